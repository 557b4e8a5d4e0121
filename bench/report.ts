import { writeFile } from 'node:fs/promises'
import { format, resolveConfig } from 'prettier'
import type { Place, Result, Settings } from './harness.js'
import type { Machine } from './machine.js'

/** Everything that a run has to say. */
export interface Report {
  readonly machine: Machine
  readonly settings: Readonly<Record<Place, Settings>>
  readonly results: readonly Result[]
}

/** What the places are called, and the plain driver there. */
export const titles: Readonly<Record<Place, { readonly place: string; readonly driver: string }>> = {
  file: { place: 'SQLite file (WAL, synchronous FULL)', driver: 'better-sqlite3' },
  memory: { place: 'SQLite in memory (no disk: what is left is CPU)', driver: 'better-sqlite3' },
  postgres: { place: 'PostgreSQL', driver: 'postgres.js' },
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

/** One line of the table, as columns. */
export function columns({ name, raw, unit, rawPerSecond, oursPerSecond, ratio }: Result): string[] {
  return [
    name,
    raw,
    perSecond(rawPerSecond, unit),
    perSecond(oursPerSecond, unit),
    ratio.median.toFixed(2),
    `${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)}`,
  ]
}

/** The titles of those columns. */
export function columnTitles(place: Place): string[] {
  return ['operation', `by hand on ${titles[place].driver}`, 'by hand', 'ours', 'ours ÷ by hand', 'spread']
}

/** Writes `RESULTS.md` and `results.json`, formatted as the rest of the project is. */
export async function writeReport(report: Report, folder: URL): Promise<void> {
  await writeFormatted(new URL('RESULTS.md', folder), markdown(report))
  await writeFormatted(new URL('results.json', folder), JSON.stringify(report))
}

function markdown({ machine, settings, results }: Report): string {
  const lines = ['# What was measured', '', '`make bench` wrote this page and `results.json`.', '']
  for (const line of machineLines(machine)) lines.push(`- ${line}`)
  lines.push(
    `- ${new Date().toISOString().slice(0, 10)}, ${settings.file.rounds} rounds, ${settings.postgres.rounds} on PostgreSQL`,
    '',
    howToRead,
    '',
  )
  for (const place of ['file', 'memory', 'postgres'] as const) {
    const heads = columnTitles(place)
    lines.push(`## ${titles[place].place}`, '', row(heads), row(heads.map((_, index) => (index < 2 ? '---' : '--:'))))
    for (const result of results) if (result.place === place) lines.push(row(columns(result)))
    lines.push('')
  }
  return lines.join('\n')
}

const howToRead =
  'How to read it: each line compares this library with the same work done by hand on the plain driver: statements prepared ' +
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
  'has ended, and by hand they have the connections that the line names, or one each.'

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

function perSecond(count: number, unit: string): string {
  return `${Number(count.toPrecision(3)).toLocaleString('en')} ${unit}/s`
}

async function writeFormatted(file: URL, text: string): Promise<void> {
  const config = await resolveConfig(file)
  await writeFile(file, await format(text, { ...config, proseWrap: 'always', filepath: file.pathname }))
}
