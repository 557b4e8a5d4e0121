import { writeFile } from 'node:fs/promises'
import { format, resolveConfig } from 'prettier'
import { goalOf, type Outcome } from './goals.js'
import type { Place, Result, Settings } from './harness.js'
import type { Machine } from './machine.js'
import type { Panel } from './picture.js'

/** Everything that a run has to say. */
export interface Report {
  readonly machine: Machine
  readonly settings: Readonly<Record<Place, Settings>>
  readonly outcomes: readonly Outcome[]
  readonly results: readonly Result[]
  /** What the picture shows. */
  readonly panels: readonly Panel[]
}

/** In the order of the page. */
export const places = ['file', 'normal', 'memory', 'postgres', 'slow'] as const satisfies readonly Place[]

/** What the places are called, in a line too, and the plain driver there. */
export const titles: Readonly<
  Record<Place, { readonly place: string; readonly short: string; readonly driver: string }>
> = {
  file: { place: 'SQLite file (WAL, synchronous FULL)', short: 'SQLite file', driver: 'better-sqlite3' },
  normal: { place: 'SQLite file (WAL, synchronous NORMAL)', short: 'SQLite NORMAL', driver: 'better-sqlite3' },
  memory: {
    place: 'SQLite in memory (no disk: what is left is CPU)',
    short: 'SQLite in memory',
    driver: 'better-sqlite3',
  },
  postgres: { place: 'PostgreSQL', short: 'PostgreSQL', driver: 'postgres.js' },
  slow: { place: 'PostgreSQL, every flush takes 1 ms more', short: 'PostgreSQL, slow flush', driver: 'postgres.js' },
}

/** The machine, for people, line by line. */
export function machineLines({ cpu, cores, platform, flushMs, load, versions }: Machine): string[] {
  return [
    `${cpu}, ${cores} cores, ${platform}; the disk makes 4 kB durable in ${flushMs.toFixed(2)} ms`,
    `load before: ${load.toFixed(1)}${load > cores / 2 ? ', so the machine was busy with other work: measure again' : ''}`,
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  ]
}

/** One line of the table, as columns. @param sides  All results of its case. */
export function columns(result: Result, sides: readonly Result[]): string[] {
  const { name, raw, unit, rawPerSecond, oursPerSecond, ratio } = result
  const goal = goalOf(result, sides)
  return [
    name,
    raw,
    perSecond(rawPerSecond, unit),
    perSecond(oursPerSecond, unit),
    ratio.median.toFixed(2),
    `${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)}`,
    goal === undefined ? '' : `${goal} ${verdict(ratio.median >= goal)}`,
  ]
}

/** The titles of those columns. */
export function columnTitles(place: Place): string[] {
  return ['operation', `by hand on ${titles[place].driver}`, 'by hand', 'ours', 'ours ÷ by hand', 'spread', 'goal']
}

/** One line of the goals, as columns. */
export function goalColumns({ operation, goal, measured, reached, how }: Outcome): string[] {
  return [operation, how, goal, measured, reached === undefined ? '' : verdict(reached)]
}

/** The titles of those columns. */
const goalTitles = ['operation', 'against by hand, or how', 'goal', 'measured', ''] as const

function verdict(reached: boolean): string {
  return reached ? 'reached' : 'not reached'
}

/** Writes `RESULTS.md` and `results.json`, formatted as the rest of the project is. */
export async function writeReport(report: Report, folder: URL): Promise<void> {
  await writeFormatted(new URL('RESULTS.md', folder), markdown(report))
  await writeFormatted(new URL('results.json', folder), JSON.stringify(report))
}

function markdown({ machine, settings, outcomes, results, panels }: Report): string {
  const lines = ['# What was measured', '', '`make bench` wrote this page and `results.json`.', '']
  for (const line of machineLines(machine)) lines.push(`- ${line}`)
  lines.push(
    `- ${new Date().toISOString().slice(0, 10)}, ${settings.file.rounds} rounds, ${settings.postgres.rounds} on PostgreSQL`,
    '',
    '## Goals',
    '',
    aboutGoals,
    '',
    ...markdownTable(goalTitles, 2, outcomes.map(goalColumns)),
    '',
    '## How to read it',
    '',
    howToRead,
    '',
  )
  for (const place of places) {
    const shown = results.filter((result) => result.place === place)
    if (shown.length === 0) continue
    const rows = shown.map((result) => columns(result, sidesOf(result, shown)))
    lines.push(`## ${titles[place].place}`, '', ...markdownTable(columnTitles(place), 2, rows), '')
  }
  lines.push(
    '## Saves over writers, PostgreSQL',
    '',
    '![Saves per second over writers](../docs/performance-writers.svg)',
  )
  for (const { title, points } of panels) {
    const rows = points.map(({ writers, ours, raw, lock }) =>
      [writers, ours, raw, lock].map((each) => each.toLocaleString('en')),
    )
    const heads = ['writers', 'ours, saves/s', 'by hand, order not protected', 'by hand, table lock']
    lines.push('', `${title}:`, '', ...markdownTable(heads, 0, rows))
  }
  return lines.join('\n')
}

/** The results of the same case. */
function sidesOf({ place, name }: Result, results: readonly Result[]): Result[] {
  return results.filter((each) => each.place === place && each.name === name)
}

/** The lines of a table. @param words  How many columns hold words; figures stand to the right. */
export function markdownTable(heads: readonly string[], words: number, rows: readonly (readonly string[])[]): string[] {
  return [heads, heads.map((_, index) => (index < words ? '---' : '--:')), ...rows].map(row)
}

const aboutGoals =
  'What this library aims at, and what came of it in this run. A goal without a unit is ours ÷ by hand, against the ' +
  'fastest side by hand; where it is about another, because people read states as bytes and write own rows by ' +
  'Drizzle, the ratio against the fastest stands beside it.'

const howToRead =
  'Each line compares this library with the same work done by hand on the plain driver: statements prepared ' +
  'once, rows as arrays, states by `JSON.stringify` and `JSON.parse`, on a database with the same tables and pragmas. ' +
  '`ours ÷ by hand` is a ratio of operations per second, so 1 means as fast as by hand, and 0.5 means half as fast. ' +
  'Both sides run in one process, in short slices that take turns; a ratio is taken within each round, the median of the ' +
  'rounds is shown, and the spread is the smallest and the largest. Where two ways by hand compete, each has a line: the ' +
  'faster one is the limit to compare with. By hand means without what the library does beside: checked and frozen events, ' +
  'a queue for the writer, transactions to join, errors that say what to do. On a file, most of a save is the disk, so its ' +
  'ratio depends on the disk; in memory only the work of the CPU is left, and a ratio there says how much that is, not how ' +
  'much slower an application gets. A difference that is smaller than the spread is none.\n\n' +
  'The PostgreSQL server runs on the same machine, unless DATABASE_URL names another, so it shares the cores with both ' +
  'sides, which reach it by TCP. Both get the ids of what they insert. By hand means there that nothing protects the order of ids, so a reader that follows them can miss events; the lines against ' +
  'a table lock compare with the usual protection. With several callers, each begins its next operation as soon as its last ' +
  'has ended; ours have the 10 connections that a datastore has by default, and by hand they have those that the line ' +
  'names: one each, and fewer, as that is often faster. Where every flush takes 1 ms more, it is the same server with ' +
  '`commit_delay = 1000` and `commit_siblings = 0`: whoever flushes the log waits 1 ms before, so a disk is imitated that is ' +
  'slower than this one.'

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

/** A speed with three digits. */
export function perSecond(count: number, unit: string): string {
  return `${Number(count.toPrecision(3)).toLocaleString('en')} ${unit}/s`
}

/** Writes a page, or figures, as the rest of the project is formatted. */
export async function writeFormatted(file: URL, text: string): Promise<void> {
  const config = await resolveConfig(file)
  await writeFile(file, await format(text, { ...config, proseWrap: 'always', filepath: file.pathname }))
}
