import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Outcome } from './goals.js'
import { median } from './harness.js'

const aggregates = 50
const eventsEach = 10

/**
 * How long TypeScript takes for a project with many aggregates, by itself on this machine: the compiler that the project
 * is built with, and the next one beside it.
 *
 * @param runs  The median of so many counts.
 */
export function typeCheck(runs: number): Outcome {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  try {
    writeProject(folder)
    const [now, next] = ['typescript', 'typescript-7'].map((compiler) => timesOf(compiler, folder, runs))
    return {
      operation: `type-check of ${aggregates} aggregates × ${eventsEach} events`,
      goal: '≤ 2 s',
      measured: `${now!.total.toFixed(2)} s`,
      reached: now!.total <= 2,
      how:
        `tsc ${now!.version} --noEmit, total time, of which ${now!.check.toFixed(2)} s check and the rest reads types; ` +
        `tsc ${next!.version}: ${next!.total.toFixed(2)} s`,
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** In seconds. */
function timesOf(compiler: string, folder: string, runs: number): { version: string; total: number; check: number } {
  const version = /[\d.]+/.exec(tsc(compiler, ['--version']))![0]
  const reports = Array.from({ length: runs }, () => tsc(compiler, ['-p', folder, '--extendedDiagnostics']))
  const seconds = (what: string) =>
    median(reports.map((report) => Number(new RegExp(`^${what} time: +([\\d.]+)s$`, 'm').exec(report)![1])))
  return { version, total: seconds('Total'), check: seconds('Check') }
}

/** A project as users have it, which finds this package among its own. */
function writeProject(folder: string): void {
  mkdirSync(join(folder, 'node_modules'))
  // compiled into dist/bench
  symlinkSync(fileURLToPath(new URL('../../', import.meta.url)), join(folder, 'node_modules/eventsourcing-drizzle'))
  const compilerOptions = {
    target: 'ES2022',
    module: 'NodeNext',
    lib: ['ES2022', 'ESNext.Disposable', 'ESNext.Decorators'],
    types: [],
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
  for (let number = 0; number < aggregates; number++) {
    writeFileSync(join(folder, `thing-${number}.ts`), aggregateSource(`Thing${number}`))
  }
  writeFileSync(join(folder, 'application.ts'), applicationSource())
}

function aggregateSource(name: string): string {
  const methods = Array.from(
    { length: eventsEach - 1 },
    (_, index) => `
  @event('Changed${index}', 'label', 'count')
  change${index}(label: string, count: number): void {
    this.labels.push(label)
    this.total += count
  }
`,
  )
  return `import { Aggregate, aggregate, event } from 'eventsourcing-drizzle'

@aggregate('${name}', { created: event('Created', 'name', 'total') })
export class ${name} extends Aggregate {
  readonly labels: string[] = []

  constructor(
    readonly name: string,
    public total: number,
  ) {
    super()
  }
${methods.join('')}}
`
}

function applicationSource(): string {
  const names = Array.from({ length: aggregates }, (_, number) => `Thing${number}`)
  const commands = names.map(
    (name) => `
  async change${name}(id: string): Promise<string> {
    const thing = await this.repository.get(${name}, id)
    thing.change1('label', 1)
    await this.save(thing)
    return thing.name
  }
`,
  )
  return `import { Application } from 'eventsourcing-drizzle'
${names.map((name, number) => `import { ${name} } from './thing-${number}.js'`).join('\n')}

export class Things extends Application {${commands.join('')}}
`
}

/** @throws Error  It finds a mistake. */
function tsc(compiler: string, args: readonly string[]): string {
  const path = join(dirname(createRequire(import.meta.url).resolve(`${compiler}/package.json`)), 'bin/tsc')
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${compiler} finds a mistake where none should be: ${stdout}${stderr}`)
  return stdout
}
