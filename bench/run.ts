// Measures this library against the same work by hand on the plain driver. `make bench` runs it, `make bench-quick` in
// short. `--only <text>` takes the operations whose names have it, `--place <name>` one place (file, normal, memory,
// postgres, slow), `--picture` measures the picture alone and draws it; the rest is written down by a whole run only.
import { parseArgs } from 'node:util'
import { checkGoals, otherOutcomes, type Outcome, ratioOutcomes } from './goals.js'
import { type Case, measure, type Place, type Result, type Settings } from './harness.js'
import { describeMachine, type Machine } from './machine.js'
import { captionOf, measurePanel, type Panel, writePicture } from './picture.js'
import { postgresCases, slowFlushCases, writersCase } from './postgres/cases.js'
import { readerBesideTransactions } from './postgres/reader.js'
import { type BenchServer, openServer } from './postgres/server.js'
import { columns, columnTitles, goalColumns, machineLines, places, titles, writeReport } from './report.js'
import { sqliteCases } from './sqlite/cases.js'
import { typeChecks } from './type-check.js'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    place: { type: 'string', default: '' },
    picture: { type: 'boolean', default: false },
  },
})
const isWhole = options.only === '' && options.place === '' && !options.picture
// this file is compiled into dist/bench
const root = new URL('../../', import.meta.url)

const sqliteSettings: Settings = options.quick
  ? { rounds: 5, slicesPerRound: 3, sliceMs: 8, turnsPerCaller: 2, warmUpMs: 60 }
  : { rounds: 9, slicesPerRound: 12, sliceMs: 10, turnsPerCaller: 4, warmUpMs: 300 }
// one operation there is a round trip at least, and up to 32 are under way: more of them make a slice
const postgresSettings: Settings = options.quick
  ? { rounds: 5, slicesPerRound: 2, sliceMs: 15, turnsPerCaller: 6, warmUpMs: 60 }
  : { rounds: 7, slicesPerRound: 4, sliceMs: 40, turnsPerCaller: 12, warmUpMs: 300 }
const settings: Record<Place, Settings> = {
  file: sqliteSettings,
  normal: sqliteSettings,
  memory: sqliteSettings,
  postgres: postgresSettings,
  slow: postgresSettings,
}

const widths = [52, 62, -22, -22, -14, -11, 0]

const server = await openServer()
try {
  const machine = describeMachine({ PostgreSQL: server.version })
  for (const line of machineLines(machine)) console.log(line)

  const results = options.picture ? [] : await measureCases(server)
  const panels = options.picture || (isWhole && !options.quick) ? await drawPicture(server, machine) : []
  const outcomes = [...ratioOutcomes(results, titles), ...(isWhole ? await measureOtherGoals(server) : [])]
  if (outcomes.length > 0) console.log('\nGoals\n')
  for (const outcome of outcomes) print(goalColumns(outcome), [95, 115, -10, -14, 0])

  if (isWhole && !options.quick) {
    await writeReport({ machine, settings, outcomes, results, panels }, new URL('bench/', root))
    console.log('\nWritten to bench/RESULTS.md and bench/results.json')
  }
} finally {
  await server.close()
}

async function measureCases({ url, slowFlushUrl }: BenchServer): Promise<Result[]> {
  const cases: Record<Place, readonly Omit<Case, 'place'>[]> = {
    ...sqliteCases,
    postgres: postgresCases(url),
    slow: slowFlushCases(slowFlushUrl ?? url),
  }
  checkGoals(cases)
  const results: Result[] = []
  for (const place of places) {
    if (!place.includes(options.place) || (place === 'slow' && slowFlushUrl === undefined)) continue
    const chosen = cases[place].filter(({ name }) => name.includes(options.only))
    if (chosen.length === 0) continue
    console.log(`\n${titles[place].place}\n`)
    print(columnTitles(place), widths)
    for (const each of chosen) {
      const sides = await measure({ ...each, place }, settings[place])
      for (const result of sides) print(columns(result, sides), widths)
      results.push(...sides)
    }
  }
  return results
}

async function drawPicture({ url, slowFlushUrl }: BenchServer, machine: Machine): Promise<Panel[]> {
  const panels = [await measurePanel('This disk', (writers) => writersCase(url, writers))]
  if (slowFlushUrl !== undefined) {
    panels.push(await measurePanel('Every flush takes 1 ms more', (writers) => writersCase(slowFlushUrl, writers)))
  }
  await writePicture(new URL('docs/performance-writers.svg', root), panels, captionOf(machine))
  for (const { title, points } of panels) {
    console.log(`\n${title}\n`)
    console.table(points)
  }
  console.log('Drawn to docs/performance-writers.svg')
  return panels
}

async function measureOtherGoals({ url }: BenchServer): Promise<Outcome[]> {
  return [
    await readerBesideTransactions(url, options.quick ? 1 : 5),
    ...otherOutcomes,
    ...typeChecks(options.quick ? 1 : 5),
  ]
}

/** @param widths  Of the columns; below 0 where text stands to the right. */
function print(cells: readonly string[], widths: readonly number[]): void {
  const padded = cells.map((cell, index) => {
    const width = widths[index] ?? 0
    return width < 0 ? cell.padStart(-width) + '  ' : cell.padEnd(width)
  })
  console.log(padded.join('').trimEnd())
}
