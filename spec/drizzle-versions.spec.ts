import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'

const project = fileURLToPath(new URL('../..', import.meta.url))
const hook = join(project, 'dist/spec/support/other-drizzle.js')
const program = join(project, 'dist/spec/support/children/drizzle-in-use.js')

interface Manifest {
  readonly version: string
  readonly peerDependencies: Readonly<Record<string, string>>
}

describe('A run of all specs on another drizzle-orm', function () {
  this.timeout(60_000)

  for (const other of ['drizzle-orm-0.44', 'drizzle-orm-1']) {
    it(`meets ${other} everywhere: in the program, its threads and its child processes`, async () => {
      const { version } = await manifest(join('node_modules', other))
      const { resolved, versions } = await run({ OTHER_DRIZZLE: other, NODE_OPTIONS: `--import="${hook}"` })
      expect(versions).to.deep.equal([version, version, version])
      for (const url of resolved) expect(url).to.contain(`/node_modules/${other}/`)
    })
  }

  it('needs its hook: without it a program meets the drizzle-orm that is installed by that name', async () => {
    const { version } = await manifest('node_modules/drizzle-orm')
    const { resolved, versions } = await run({ OTHER_DRIZZLE: 'drizzle-orm-0.44' })
    expect(versions).to.deep.equal([version, version, version])
    for (const url of resolved) expect(url).to.contain('/node_modules/drizzle-orm/')
  })

  it('does not start where no other is named', async () => {
    const refusal = await run({ NODE_OPTIONS: `--import="${hook}"` }).then(
      () => 'started',
      ({ stderr }: { stderr: string }) => stderr,
    )
    expect(refusal).to.contain('OTHER_DRIZZLE names no package')
  })

  it('tries the oldest that a user may have, and one that is to come', async () => {
    const { peerDependencies } = await manifest('.')
    expect(peerDependencies['drizzle-orm']).to.equal('>=0.44 <1')
    expect((await manifest('node_modules/drizzle-orm-0.44')).version).to.match(/^0\.44\./)
    expect((await manifest('node_modules/drizzle-orm-1')).version).to.match(/^1\./)
  })

  it('is compiled against the types of that one alone', async () => {
    const tsc = join(project, 'node_modules/typescript/bin/tsc')
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [tsc, '-p', 'tsconfig.drizzle-0.44.json', '--listFilesOnly'],
      { cwd: project },
    )
    const packages = stdout.replaceAll('\\', '/').match(/(?<=\/node_modules\/)drizzle-orm[^/]*/g)
    expect([...new Set(packages)]).to.deep.equal(['drizzle-orm-0.44'])
  })
})

async function manifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(project, folder, 'package.json'), 'utf8')) as Manifest
}

/** Runs the program with these in its environment, and neither of the two that this run itself may have. */
async function run(variables: NodeJS.ProcessEnv): Promise<{ resolved: string[]; versions: string[] }> {
  const { OTHER_DRIZZLE: _other, NODE_OPTIONS: _options, ...env } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, [program], { env: { ...env, ...variables } })
  return JSON.parse(stdout) as { resolved: string[]; versions: string[] }
}
