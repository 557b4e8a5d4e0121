// Measures this library against the same work by hand on the plain driver. `make bench` runs it, `make bench-quick` in
// short. `--only <text>` takes the operations whose names have it, `--place <name>` one place (file, memory, postgres);
// only a whole run is written down.
import { parseArgs } from 'node:util'
import { type Case, measure, type Place, type Result, type Settings } from './harness.js'
import { describeMachine } from './machine.js'
import { postgresCases } from './postgres/cases.js'
import { openServer } from './postgres/server.js'
import { columns, columnTitles, machineLines, titles, writeReport } from './report.js'
import { sqliteCases } from './sqlite/cases.js'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    place: { type: 'string', default: '' },
  },
})
const sqliteSettings: Settings = options.quick
  ? { rounds: 5, slicesPerRound: 6, sliceMs: 10, warmUpMs: 150 }
  : { rounds: 9, slicesPerRound: 16, sliceMs: 10, warmUpMs: 400 }
// one operation there is a round trip at least, and up to 32 are under way: more of them make a slice
const postgresSettings: Settings = options.quick
  ? { rounds: 5, slicesPerRound: 2, sliceMs: 20, warmUpMs: 100 }
  : { rounds: 7, slicesPerRound: 6, sliceMs: 40, warmUpMs: 400 }
const settings: Record<Place, Settings> = {
  file: sqliteSettings,
  memory: sqliteSettings,
  postgres: postgresSettings,
}

const server = await openServer()
try {
  const cases: Record<Place, readonly Omit<Case, 'place'>[]> = {
    file: sqliteCases,
    memory: sqliteCases,
    postgres: postgresCases(server.url),
  }
  const machine = describeMachine({ PostgreSQL: server.version })
  for (const line of machineLines(machine)) console.log(line)

  const results: Result[] = []
  for (const place of ['file', 'memory', 'postgres'] satisfies Place[]) {
    if (!place.includes(options.place)) continue
    console.log(`\n${titles[place].place}\n`)
    print(columnTitles(place))
    for (const each of cases[place].filter(({ name }) => name.includes(options.only))) {
      for (const result of await measure({ ...each, place }, settings[place])) {
        results.push(result)
        print(columns(result))
      }
    }
  }

  if (!options.quick && options.only === '' && options.place === '') {
    // compiled into dist/bench
    await writeReport({ machine, settings, results }, new URL('../../bench/', import.meta.url))
    console.log('\nWritten to bench/RESULTS.md and bench/results.json')
  }
} finally {
  await server.close()
}

function print([operation = '', by = '', ...figures]: readonly string[]): void {
  const widths = [24, 24, 17, 12]
  console.log(
    `${operation.padEnd(42)}${by.padEnd(51)}${figures.map((figure, index) => figure.padStart(widths[index] ?? 0)).join('')}`,
  )
}
