// Measures Emmett's stores beside ours and the plain drivers, in one process and in turns. `make bench-emmett` installs
// them in folders of their own and runs this, which writes EMMETT.md.
import type { Application, StoredEvent } from 'eventsourcing-drizzle'
import { deepStrictEqual } from 'node:assert'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { Dog, newDog, registered, storedDogs, trickAdded } from './domain.js'
import { type Contest, measure, median, type Result, type Settings, type Side } from './harness.js'
import { describeMachine } from './machine.js'
import * as onPostgres from './postgres/databases.js'
import { openServer } from './postgres/server.js'
import { type EventRow, foldDog, newDogRows, toPlainEvent } from './raw-dog.js'
import { machineLines, markdownTable, perSecond, writeFormatted } from './report.js'
import * as onSqlite from './sqlite/databases.js'

/** A store of Emmett's, as `store.mjs` in its folder opens it. */
interface EmmettStore {
  append(stream: string, events: readonly EmmettEvent[]): Promise<unknown>
  load<State>(
    stream: string,
    evolve: (state: State, event: EmmettEvent) => State,
    initialState: () => State,
  ): Promise<{ state: State }>
  /** The next events after a position. */
  page(after: number, size: number): Promise<readonly { readonly data: object }[]>
  close(): Promise<void>
}

interface EmmettEvent {
  readonly type: string
  readonly data: object
}

/** The same database three times, each with the same events. */
interface Stage {
  readonly app: Application
  /** On the plain driver, in its fastest way. */
  readonly byHand: {
    insert(rows: readonly EventRow[]): unknown
    load(originatorId: string): unknown
    page(start: number): unknown
  }
  readonly emmett: EmmettStore
  readonly contest: (sides: { raws: readonly Side[]; ours: Side; check?: () => Promise<void> }) => Contest
}

interface Backend {
  readonly title: string
  /** Of `bench`, where Emmett's packages are. */
  readonly folder: string
  readonly note: string
  open(stored: readonly StoredEvent[], callers: number): Promise<Stage>
}

interface Operation {
  readonly name: string
  readonly unit: string
  readonly units?: number
  open(backend: Backend, callers: number): Promise<Contest>
}

const pageSize = 1000
const streams = 24

const operations: readonly Operation[] = [
  { name: 'append 1 event', unit: 'appends', open: (backend, callers) => append(backend, callers, 1) },
  { name: 'append 10 events', unit: 'appends', open: (backend, callers) => append(backend, callers, 10) },
  { name: 'load 10 events', unit: 'loads', open: load },
  { name: 'read all, pages of 1,000', unit: 'events', units: pageSize, open: readAll },
]

async function append(backend: Backend, callers: number, events: number): Promise<Contest> {
  const { app, byHand, emmett, contest } = await backend.open([], callers)
  return contest({
    raws: [
      { name: 'by hand', operation: () => byHand.insert(newDogRows(events)) },
      {
        name: 'Emmett',
        operation: () => emmett.append(`dog-${randomUUID()}`, emmettDog(events)),
      },
    ],
    ours: { name: 'app.save', operation: () => app.save(newDog(events)) },
  })
}

async function load(backend: Backend, callers: number): Promise<Contest> {
  const dogs = 200
  const stored = storedDogs(dogs, 10)
  const idOf = (turn: number) => stored[(turn % dogs) * 10]!.originatorId
  const { app, byHand, emmett, contest } = await backend.open(stored, callers)
  const byUs = (turn: number) => app.repository.get(Dog, idOf(turn))
  const byEmmett = (turn: number) =>
    emmett.load(
      `dog-${idOf(turn)}`,
      (dog, { data }) =>
        'trick' in data ? { ...dog, tricks: [...dog.tricks, data.trick as string] } : { ...dog, ...data },
      () => ({ tricks: [] as readonly string[] }),
    )
  return contest({
    raws: [
      { name: 'by hand', operation: (turn) => byHand.load(idOf(turn)) },
      { name: 'Emmett', operation: byEmmett },
    ],
    ours: { name: 'repository.get', operation: byUs },
    async check() {
      const { name, breed, owner, address, tricks } = await byUs(1)
      deepStrictEqual((await byEmmett(1)).state, { tricks, name, breed, owner, address })
    },
  })
}

async function readAll(backend: Backend, callers: number): Promise<Contest> {
  const stored = storedDogs(streams, pageSize)
  const { app, byHand, emmett, contest } = await backend.open(stored, callers)
  const mapper = await app.factory.mapper()
  const startOf = (turn: number) => (turn % streams) * pageSize + 1
  const byUs = async (turn: number) => {
    const notifications = await app.recorder.selectNotifications({ start: startOf(turn), limit: pageSize })
    return notifications.map((notification) => mapper.toDomainEvent(notification))
  }
  const byEmmett = (turn: number) => emmett.page(startOf(turn) - 1, pageSize)
  return contest({
    raws: [
      { name: 'by hand', operation: (turn) => byHand.page(startOf(turn)) },
      { name: 'Emmett', operation: byEmmett },
    ],
    ours: { name: 'recorder.selectNotifications, mapper', operation: byUs },
    async check() {
      const [ours, emmetts] = [await byUs(1), await byEmmett(1)]
      deepStrictEqual(
        emmetts.map(({ data }) => data),
        ours.map(({ data }) => data),
      )
    },
  })
}

const server = await openServer()
const backends: readonly Backend[] = [
  {
    title: 'PostgreSQL',
    folder: 'emmett-postgresql',
    note: "Emmett's own pool of up to 10 connections, ours of up to 10, by hand 8 of them for 32 callers.",
    async open(stored, callers) {
      const databases = await onPostgres.Databases.open(server.url, stored)
      const raw = await databases.raw(callers === 1 ? 1 : 8)
      const admin = postgres(server.url, { max: 1 })
      const name = `emmett_${randomUUID().slice(0, 8)}`
      await admin.unsafe(`CREATE DATABASE ${name}`)
      const url = new URL(server.url)
      url.pathname = name
      const emmett = await openEmmett('emmett-postgresql', url.href, stored)
      return {
        app: databases.app,
        byHand: {
          insert: (rows) => (rows.length === 1 ? raw.insert(rows[0]!) : raw.insertAtOnce(rows)),
          load: async (id) => foldDog(await raw.query(onPostgres.selectDog.text, [id])),
          page: async (start) => (await raw.query(onPostgres.selectPageOfTexts, [start, pageSize])).map(toPlainEvent),
        },
        emmett,
        contest: (sides) =>
          closingToo(databases.contest(sides), async () => {
            await emmett.close()
            // waits some seconds for connections that are being closed
            await admin.unsafe(`DROP DATABASE ${name}`)
            await admin.end()
          }),
      }
    },
  },
  {
    title: 'SQLite file (WAL, synchronous FULL)',
    folder: 'emmett-sqlite',
    note:
      "Emmett's store shares one connection, which is faster than its default of one for each operation. Its appends queue, " +
      'since concurrent ones fail, and those that fail all the same (SQLITE_BUSY) are repeated. Its package asks for a version ' +
      'of @event-driven-io/emmett that the registry may not have, so it runs with 0.42.0.',
    async open(stored) {
      const databases = await onSqlite.Databases.open('file', stored)
      const raw = databases.raw()
      const [select, page] = [raw.query(onSqlite.selectDog.text), raw.query(onSqlite.selectPageOfTexts)]
      const folder = await mkdtemp(join(tmpdir(), 'bench-'))
      const emmett = await openEmmett('emmett-sqlite', join(folder, 'emmett.db'), stored)
      return {
        app: databases.app,
        byHand: {
          insert: (rows) => raw.insertAtOnce(rows),
          load: (id) => foldDog(select.all(id)),
          page: (start) => page.all(start, pageSize).map(toPlainEvent),
        },
        emmett,
        contest: (sides) =>
          closingToo(databases.contest(sides), async () => {
            await emmett.close()
            await rm(folder, { recursive: true, force: true })
          }),
      }
    },
  },
]

const settings: Settings = { rounds: 5, slicesPerRound: 3, sliceMs: 60, turnsPerCaller: 4, warmUpMs: 200 }
// this file is compiled into dist/bench
const bench = new URL('../../bench/', import.meta.url)

try {
  const machine = describeMachine({ PostgreSQL: server.version })
  const lines = ['# Emmett beside ours', '', '`make bench-emmett` wrote this page.', '']
  for (const line of machineLines(machine)) lines.push(`- ${line}`)
  lines.push(`- ${new Date().toISOString().slice(0, 10)}, ${settings.rounds} rounds`, '', howToRead())
  for (const backend of backends) {
    console.log(`\n${backend.title}`)
    const rows: string[][] = []
    for (const { open, ...operation } of operations) {
      for (const callers of [1, 32]) {
        const name = operation.name + (callers > 1 ? `, ${callers} callers` : '')
        const place = backend.folder === 'emmett-sqlite' ? 'file' : 'postgres'
        const [raw, emmett] = await measure(
          { ...operation, name, place, callers, open: () => open(backend, callers) },
          settings,
        )
        rows.push(columns(raw!, emmett!))
        console.log(rows.at(-1)!.join('  '))
      }
    }
    const versions = `${versionsIn(backend.folder)}. ${backend.note}`
    const heads = ['operation', 'by hand', 'ours', 'Emmett', 'ours ÷ by hand', 'Emmett ÷ by hand', 'ours ÷ Emmett']
    lines.push('', `## ${backend.title}`, '', versions, '', ...markdownTable(heads, 1, rows))
  }
  await writeFormatted(new URL('EMMETT.md', bench), lines.join('\n'))
  console.log('\nWritten to bench/EMMETT.md')
} finally {
  await server.close()
}

function columns(raw: Result, emmett: Result): string[] {
  // both have ours in them, of the same rounds
  const emmettToRaw = median(raw.ratios.map((ratio, round) => ratio / emmett.ratios[round]!))
  return [
    raw.name,
    ...[raw.rawPerSecond, raw.oursPerSecond, emmett.rawPerSecond].map((count) => perSecond(count, raw.unit)),
    ...[raw.ratio.median, emmettToRaw, emmett.ratio.median].map((ratio) => ratio.toFixed(2)),
  ]
}

function howToRead(): string {
  return (
    'Each store does the same with the same events, on a database of its own, in short slices that take turns; ratios are ' +
    'medians over the rounds, of operations in a second. Appends are of a stream that must not exist yet. Loading folds the ' +
    'events into a state. By hand is the plain driver with prepared statements, in its faster way of reading states.'
  )
}

/** What its package.json asks for, which is exact. */
function versionsIn(folder: string): string {
  const { dependencies } = JSON.parse(readFileSync(new URL(`${folder}/package.json`, bench), 'utf8')) as {
    dependencies: Record<string, string>
  }
  return Object.entries(dependencies)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')
}

async function openEmmett(folder: string, where: string, stored: readonly StoredEvent[]): Promise<EmmettStore> {
  const module = new URL(`${folder}/store.mjs`, bench).href
  const { open } = (await import(module)) as { open(where: string): Promise<EmmettStore> }
  const store = await open(where)
  const byStream = new Map<string, EmmettEvent[]>()
  for (const { originatorId, topic, state } of stored) {
    const events = byStream.get(originatorId) ?? []
    events.push(emmettEvent(topic, state))
    byStream.set(originatorId, events)
  }
  for (const [id, events] of byStream) await store.append(`dog-${id}`, events)
  return store
}

/** The events of a new dog. */
function emmettDog(events: number): EmmettEvent[] {
  return Array.from({ length: events }, (_, index) =>
    index === 0 ? { type: 'Dog.Registered', data: registered } : { type: 'Dog.TrickAdded', data: trickAdded },
  )
}

function emmettEvent(topic: string, state: Uint8Array): EmmettEvent {
  return { type: topic, data: (JSON.parse(Buffer.from(state).toString()) as { data: object }).data }
}

function closingToo(contest: Contest, close: () => Promise<void>): Contest {
  return {
    ...contest,
    async close() {
      await contest.close()
      await close()
    },
  }
}
