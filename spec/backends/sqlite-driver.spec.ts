import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'

const project = fileURLToPath(new URL('../../..', import.meta.url))

const opens = `
  import { sqlite } from 'eventsourcing-drizzle/sqlite'
  const datastore = sqlite('sqlite::memory:')
  await datastore.ready().then(() => console.log('opened'), ({ name, message }) => console.log(name + ': ' + message))
`

describe('The driver of SQLite, installed by the user', () => {
  let directory: string

  beforeEach(async () => {
    directory = await temporaryDirectory()
    await install('drizzle-orm', 'uuid', 'import-meta-resolve')
    // copied, since a link would find the driver beside the original
    await mkdir(join(modules(), 'eventsourcing-drizzle', 'dist'), { recursive: true })
    for (const path of ['package.json', join('dist', 'lib')])
      await cp(join(project, path), join(modules(), 'eventsourcing-drizzle', path), { recursive: true })
  })

  afterEach(() => remove(directory))

  it('opens a database where all is well', async () => {
    await install('better-sqlite3')
    expect(await run(opens)).to.equal('opened')
  })

  it('is asked for by name where it is missing', async () => {
    expect(await run(opens)).to.match(/^InterfaceError: .*npm install better-sqlite3@12/)
  })

  it('is not needed to import, to make a datastore, or to name tables', async () => {
    const imports = `
      import { Application } from 'eventsourcing-drizzle'
      import { DrizzleFactory } from 'eventsourcing-drizzle/drizzle'
      import { eventsTable, sqlite } from 'eventsourcing-drizzle/sqlite'
      class School extends Application {}
      new School({ persistence: sqlite('school.db') })
      new DrizzleFactory({ DRIZZLE_URL: 'sqlite:school.db' })
      console.log(typeof eventsTable({ name: 'school_events' }))
    `
    expect(await run(imports)).to.equal('object')
  })

  it('is refused in a version that would end the process', async function () {
    // from Node-API 10 on that version runs
    if (Number(process.versions.napi) >= 10) this.skip()
    await writePackage('better-sqlite3', '13.0.0', 'process.abort()')
    expect(await run(opens)).to.match(/^InterfaceError: better-sqlite3 13\.0\.0 .*npm install better-sqlite3@12/)
  })

  it('is asked to be built again where its native part is missing', async () => {
    await install('bindings', 'file-uri-to-path')
    const original = join(project, 'node_modules', 'better-sqlite3')
    await cp(join(original, 'lib'), join(modules(), 'better-sqlite3', 'lib'), { recursive: true })
    await cp(join(original, 'package.json'), join(modules(), 'better-sqlite3', 'package.json'))
    expect(await run(opens)).to.match(/^InterfaceError: .*npm rebuild better-sqlite3/)
  })

  it('is asked to be installed again where the package is broken', async () => {
    const { version } = JSON.parse(
      await readFile(join(project, 'node_modules', 'better-sqlite3', 'package.json'), 'utf8'),
    ) as { version: string }
    await writePackage('better-sqlite3', version, "throw new Error('half a package')")
    expect(await run(opens)).to.match(/^InterfaceError: .*npm rebuild better-sqlite3/)
  })

  function modules(): string {
    return join(directory, 'node_modules')
  }

  async function install(...packages: string[]): Promise<void> {
    await mkdir(modules(), { recursive: true })
    for (const name of packages) await symlink(join(project, 'node_modules', name), join(modules(), name), 'junction')
  }

  async function writePackage(name: string, version: string, main: string): Promise<void> {
    await mkdir(join(modules(), name), { recursive: true })
    await writeFile(join(modules(), name, 'package.json'), JSON.stringify({ name, version, main: 'index.js' }))
    await writeFile(join(modules(), name, 'index.js'), main)
  }

  /** Runs a program in that directory to a good end; what it printed. */
  async function run(program: string): Promise<string> {
    const file = join(directory, 'program.mjs')
    await writeFile(file, program)
    return (await promisify(execFile)(process.execPath, [file], { cwd: directory })).stdout.trim()
  }
})
