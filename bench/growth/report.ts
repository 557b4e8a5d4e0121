import { writeFile } from 'node:fs/promises'
import { format, resolveConfig } from 'prettier'
import type { Machine } from '../machine.js'
import { machineLines } from '../report.js'
import type { Measured, Spread } from './contests.js'
import type { FullRead, SavesAtOnce } from './memory.js'

/** What was measured on one database. */
export interface Growth {
  /** `SQLite file`, `PostgreSQL`. */
  readonly place: string
  readonly sizes: readonly { readonly events: number; readonly measured: readonly Measured[] }[]
  readonly read: FullRead
  readonly atOnce: readonly SavesAtOnce[]
}

/** Everything that a run has to say. */
export interface GrowthReport {
  readonly machine: Machine
  readonly rounds: number
  readonly growths: readonly Growth[]
}

/** Writes `GROWTH.md` and `growth.json`, formatted as the rest of the project is. */
export async function writeReport(report: GrowthReport, folder: URL): Promise<void> {
  await writeFormatted(new URL('GROWTH.md', folder), markdown(report))
  await writeFormatted(new URL('growth.json', folder), JSON.stringify(report, rounded))
}

/** The page. */
export function markdown({ machine, rounds, growths }: GrowthReport): string {
  const lines = ['# What grows, and what does not', '', '`make bench-growth` wrote this page and `growth.json`.', '']
  for (const line of machineLines(machine)) lines.push(`- ${line}`)
  lines.push(`- ${new Date().toISOString().slice(0, 10)}, medians of ${rounds} rounds`, '', howToRead, '')
  for (const growth of growths) lines.push(...section(growth))
  return lines.join('\n')
}

const howToRead =
  'Tables of this library and tables by hand (the same columns and indexes, statements prepared once) are filled side by ' +
  'side with the same events, about 200 bytes of state each, streams of ten with random UUIDs. At each size the same ' +
  'operations are measured on both, in short slices that take turns. What to look at is the last column: the figure at the ' +
  'largest size divided by that at the smallest. An index on random UUIDs is touched in another place by each new stream, ' +
  'so the larger it is, the less of it is at hand: the line by hand says how much that costs the database, and what this ' +
  'library adds to it shows in the line below, where 1 is nothing; that line is also the one to trust where the machine ' +
  'had other work in between, which slowed both. A difference that is smaller than the quartiles of the rounds, in ' +
  'brackets, is none.'

function section({ place, sizes, read, atOnce }: Growth): string[] {
  const [first, last] = [sizes[0]!, sizes.at(-1)!]
  const heads = ['operation', 'milliseconds', ...sizes.map(({ events }) => `${count(events)} events`), 'growth']
  const rows = first.measured.flatMap(({ operation, unit }, index) =>
    sides.map(({ side, title }, line) => {
      const cells = sizes.map(({ measured }) => quartiles(measured[index]![side]))
      const growth = last.measured[index]![side].median / first.measured[index]![side].median
      return [line === 0 ? operation : '', title(unit), ...cells, growth.toFixed(2)]
    }),
  )
  return [
    `## ${place}`,
    '',
    ...table(heads, rows, 2),
    '',
    `All ${count(read.events)} events through \`app.notificationLog.read()\`: ${count(read.perSecond)} events/s. What was ` +
      'in use on the way, in MB, garbage not counted:',
    '',
    ...memoryTable(read),
    '',
    'Saves that are started all at once, on those tables. Bytes are for each save, above what was in use before: what one ' +
      'holds while all of them wait, the most there was with garbage counted, and what is left when all are settled.',
    '',
    ...table(
      ['saves', 'conflicts', 'ms', 'saves/s', 'longest turn of the event loop, ms', 'held waiting', 'most', 'left'],
      atOnce.map((each) => [
        count(each.saves),
        count(each.conflicts),
        count(each.ms),
        count((each.saves * 1000) / each.ms),
        count(each.longestTurnMs),
        ...[each.waiting, each.peak, each.left].map(count),
      ]),
      0,
    ),
    '',
  ]
}

const sides = [
  { side: 'ours', title: (unit: string) => `for a ${unit}, ours` },
  { side: 'byHand', title: (unit: string) => `for a ${unit}, by hand` },
  { side: 'ratio', title: () => 'ours ÷ by hand' },
] as const

function quartiles({ median, low, high }: Spread): string {
  return `${figure(median)} (${figure(low)}–${figure(high)})`
}

/** A few of the samples: after the first, and then at each fifth of the way. */
function memoryTable({ every, usedMb }: FullRead): string[] {
  const last = usedMb.length - 1
  const shown = [...new Set([0, 1, 2, 3, 4, 5].map((fifth) => Math.round((last * fifth) / 5)))]
  return table(
    ['after', ...shown.map((index) => `${count((index + 1) * every)} events`), 'least', 'most'],
    [['MB', ...shown.map((index) => usedMb[index]!), Math.min(...usedMb), Math.max(...usedMb)].map(megabytes)],
    1,
  )
}

function megabytes(cell: string | number): string {
  return typeof cell === 'string' ? cell : cell.toFixed(1)
}

function table(heads: readonly string[], rows: readonly (readonly string[])[], left: number): string[] {
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [row(heads), row(heads.map((_, index) => (index < left ? '---' : '--:'))), ...rows.map(row)]
}

function count(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en')
}

function figure(value: number): string {
  return String(Number(value.toPrecision(2)))
}

/** Figures as precise as they are. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toPrecision(4)) : value
}

async function writeFormatted(file: URL, text: string): Promise<void> {
  const config = await resolveConfig(file)
  await writeFile(file, await format(text, { ...config, proseWrap: 'always', filepath: file.pathname }))
}
