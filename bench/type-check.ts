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

/** The shapes that an aggregate may have: how one is written, and what an application does with it. */
const shapes = [
  { shape: 'decorated classes', aggregateSource: decoratedSource, command: classCommand },
  { shape: 'classes with a map of events', aggregateSource: eventedSource, command: classCommand },
  { shape: 'deciders', aggregateSource: deciderSource, command: deciderCommand },
]

type Shape = (typeof shapes)[number]

/**
 * How long TypeScript takes for a project with many aggregates of one shape, for each shape, by itself on this machine: the
 * compiler that the project is built with, and the next one beside it.
 *
 * @param runs  The median of so many counts.
 */
export function typeChecks(runs: number): Outcome[] {
  return shapes.map((shape) => typeCheck(shape, runs))
}

function typeCheck(shape: Shape, runs: number): Outcome {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  try {
    writeProject(folder, shape)
    const [now, next] = ['typescript', 'typescript-7'].map((compiler) => timesOf(compiler, folder, runs))
    return {
      operation: `type-check of ${aggregates} aggregates × ${eventsEach} events, as ${shape.shape}`,
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
function writeProject(folder: string, { aggregateSource, command }: Shape): void {
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
  writeFileSync(join(folder, 'application.ts'), applicationSource(command))
}

function decoratedSource(name: string): string {
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

function eventedSource(name: string): string {
  const changes = Array.from({ length: eventsEach - 1 }, (_, index) => `Changed${index}`)
  const methods = changes.map(
    (event, index) => `
  change${index}(label: string, count: number): void {
    this.trigger('${event}', { label, count })
  }
`,
  )
  const handlers = changes.map(
    (event) => `    ${event}: (thing, { label, count }) => {
      thing.labels.push(label)
      thing.total += count
    },
`,
  )
  return `import { EventedAggregate, type Evolve } from 'eventsourcing-drizzle'

interface ${name}Events {
  Created: { name: string; total: number }
${changes.map((event) => `  ${event}: { label: string; count: number }\n`).join('')}}

export class ${name} extends EventedAggregate<${name}Events> {
  static readonly topic = '${name}'
  readonly labels: string[] = []
  name = ''
  total = 0
${methods.join('')}
  static readonly evolve: Evolve<${name}, ${name}Events> = {
    Created: (thing, { name, total }) => {
      thing.name = name
      thing.total = total
    },
${handlers.join('')}  }
}
`
}

function deciderSource(name: string): string {
  const numbers = Array.from({ length: eventsEach - 1 }, (_, index) => index)
  const handlers = numbers.map(
    (number) => `    Changed${number}: (state, data: { label: string; count: number }) => ({
      ...state,
      labels: [...state.labels, data.label],
      total: state.total + data.count,
    }),
`,
  )
  const commands = numbers.map(
    (number) => `    change${number}: (state, command: { label: string; count: number }) =>
      state.total > 100 ? [] : [events.Changed${number}(command)],
`,
  )
  return `import { decider } from 'eventsourcing-drizzle'

export const ${name} = decider('${name}', { initial: () => ({ name: '', labels: [] as string[], total: 0 }) })
  .events({
    Created: (state, data: { name: string; total: number }) => ({ ...state, ...data }),
${handlers.join('')}  })
  .commands((events) => ({
    create: (_state, command: { name: string; total: number }) => events.Created(command),
${commands.join('')}  }))
`
}

function applicationSource(command: (name: string) => string): string {
  const names = Array.from({ length: aggregates }, (_, number) => `Thing${number}`)
  return `import { Application } from 'eventsourcing-drizzle'
${names.map((name, number) => `import { ${name} } from './thing-${number}.js'`).join('\n')}

export class Things extends Application {${names.map(command).join('')}}
`
}

function classCommand(name: string): string {
  return `
  async change${name}(id: string): Promise<string> {
    const thing = await this.repository.get(${name}, id)
    thing.change1('label', 1)
    await this.save(thing)
    return thing.name
  }
`
}

function deciderCommand(name: string): string {
  return `
  async change${name}(id: string): Promise<string> {
    await this.execute(${name}, id, 'change1', { label: 'label', count: 1 })
    const thing = await this.repository.get(${name}, id)
    return thing.state.name
  }
`
}

/** @throws Error  It finds a mistake. */
function tsc(compiler: string, args: readonly string[]): string {
  const path = join(dirname(createRequire(import.meta.url).resolve(`${compiler}/package.json`)), 'bin/tsc')
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${compiler} finds a mistake where none should be: ${stdout}${stderr}`)
  return stdout
}
