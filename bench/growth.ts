// Measures what a save, a command and a page cost as the number of stored events grows, and what memory a read of all
// events and ten thousand saves at once take. `make bench-growth` runs it, some minutes. `--quick` has fewer events and
// writes nothing down; `--place <name>` takes one place (sqlite, postgres).
import { parseArgs } from 'node:util'
import { measure, operationsOn } from './growth/contests.js'
import { readAll, saveAtOnce } from './growth/memory.js'
import { openPostgresStore } from './growth/postgres.js'
import { type Growth, markdown, writeReport } from './growth/report.js'
import { openSqliteStore } from './growth/sqlite.js'
import { type Store, Streams } from './growth/store.js'
import { describeMachine } from './machine.js'
import { openServer } from './postgres/server.js'

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, place: { type: 'string', default: '' } },
})
const sizes = options.quick ? [10_000, 30_000, 60_000] : [10_000, 100_000, 500_000, 2_000_000]
const rounds = options.quick ? 5 : 15
const batch = 10_000

const server = await openServer()
try {
  const machine = describeMachine({ PostgreSQL: server.version })
  const places = { sqlite: openSqliteStore, postgres: () => openPostgresStore(server.url) }
  const titles = { sqlite: 'SQLite file (WAL, synchronous FULL)', postgres: 'PostgreSQL' }
  const growths: Growth[] = []
  for (const place of ['sqlite', 'postgres'] as const) {
    if (place.includes(options.place)) growths.push(await grow(titles[place], await places[place]()))
  }
  const report = { machine, rounds, growths }
  console.log(`\n${markdown(report)}`)
  if (!options.quick && options.place === '') {
    // compiled into dist/bench
    await writeReport(report, new URL('../../bench/', import.meta.url))
    console.log('Written to bench/GROWTH.md and bench/growth.json')
  }
} finally {
  await server.close()
}

/** Fills a store step by step, and measures at each of the sizes. */
async function grow(place: string, store: Store): Promise<Growth> {
  try {
    const streams = new Streams()
    await store.add(streams.next(batch / 5))
    const operations = operationsOn(store, streams, () => last)
    let last = 1000
    say(`${place}: warming up`)
    for (const operation of operations) await measure({ ...operation, units: operation.units * 3 }, 2)

    const measuredAt: { events: number; measured: Awaited<ReturnType<typeof measure>>[] }[] = []
    for (const events of sizes) {
      await fill(store, streams, events)
      await store.settle()
      last = await store.app.recorder.maxNotificationId().then((id) => id ?? 0)
      say(`${place}: measuring at ${last.toLocaleString('en')} events`)
      const measured: Awaited<ReturnType<typeof measure>>[] = []
      for (const operation of operations) measured.push(await measure(operation, rounds))
      measuredAt.push({ events, measured })
    }
    say(`${place}: reading all of them`)
    const read = await readAll(store.app, sizes.at(-1)! / 20)
    say(`${place}: ten thousand saves at once`)
    const atOnce = [await saveAtOnce(store.app, 10_000, 0), await saveAtOnce(store.app, 10_000, 1000)]
    return { place, sizes: measuredAt, read, atOnce }
  } finally {
    await store.close()
  }
}

/** Adds events until there are that many; what was measured has added some. */
async function fill(store: Store, streams: Streams, events: number): Promise<void> {
  for (;;) {
    const missing = events - ((await store.app.recorder.maxNotificationId()) ?? 0)
    if (missing <= 0) return
    await store.add(streams.next(Math.min(batch, missing)))
  }
}

function say(what: string): void {
  console.log(`${(performance.now() / 1000).toFixed(0).padStart(4)} s  ${what}`)
}
