// Measures this library against the same work by hand on the plain driver. `make bench` runs it, `make bench-quick` in
// short. `--only <text>` takes the operations whose names have it; only a whole run is written down.
import { parseArgs } from 'node:util'
import { readCases } from './cases/read.js'
import { recorderCases } from './cases/recorder.js'
import { saveCases } from './cases/save.js'
import { transactionCases } from './cases/transaction.js'
import { measure, type Place, type Result, type Settings } from './harness.js'
import { describeMachine } from './machine.js'
import { columns, columnTitles, machineLines, titles, writeReport } from './report.js'

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
})
const settings: Settings = options.quick
  ? { rounds: 5, slicesPerRound: 6, sliceMs: 10, warmUpMs: 150 }
  : { rounds: 9, slicesPerRound: 16, sliceMs: 10, warmUpMs: 400 }
const cases = [...saveCases, ...transactionCases, ...recorderCases, ...readCases].filter(({ name }) =>
  name.includes(options.only),
)

const machine = describeMachine()
for (const line of machineLines(machine)) console.log(line)

const results: Result[] = []
for (const place of ['file', 'memory'] satisfies Place[]) {
  console.log(`\n${titles[place]}\n`)
  print(columnTitles)
  for (const each of cases) {
    for (const result of await measure({ ...each, place }, settings)) {
      results.push(result)
      print(columns(result))
    }
  }
}

if (!options.quick && options.only === '') {
  // compiled into dist/bench
  await writeReport({ machine, settings, results }, new URL('../../bench/', import.meta.url))
  console.log('\nWritten to bench/RESULTS.md and bench/results.json')
}

function print([operation = '', by = '', ...figures]: readonly string[]): void {
  const widths = [24, 24, 17, 12]
  console.log(
    `${operation.padEnd(42)}${by.padEnd(51)}${figures.map((figure, index) => figure.padStart(widths[index] ?? 0)).join('')}`,
  )
}
