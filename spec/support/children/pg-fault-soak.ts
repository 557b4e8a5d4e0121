// Eight workers save, alone and in transactions with rows of their own, while the network fails at random:
// `pg-fault-soak <url> <schema> <pool> <seconds> <seed>`. Says what came of it.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { IntegrityError } from '../../../lib/errors.js'
import { Dog } from '../dogs.js'
import type { FaultSoakReport } from '../fault-soak.js'
import { type Direction, FaultProxy } from '../fault-proxy.js'
import { owners } from '../postgres-backends.js'
import { type Random, random } from '../random.js'
import { Victim, lost } from '../victim.js'
import { tell } from './parent.js'

const [url = '', , , seconds = '', seed = ''] = process.argv.slice(2)
await using proxy = await FaultProxy.before(url)
const victim = await Victim.start({ through: proxy.url, poolTimeoutMs: 2000 })
const { admin, school } = victim

class Undo extends Error {}

/** What is stored together or not at all: events of one dog or two, and perhaps a row of that name. */
interface Unit {
  readonly name: string
  readonly dogs: readonly Dog[]
  readonly hasRow: boolean
  /** Its events, as `<id> <version>`. */
  readonly events: readonly string[]
}

const report = { acknowledged: 0, found: 0, undone: 0, failures: 0, inDoubt: 0, conflicts: 0 }
const faults: Record<string, number> = {}
/** Those that are stored, as far as their workers know. */
const stored: Unit[] = []
/** The ids that saves were told, by event. */
const ids = new Map<string, number>()
let isOver = false

const working = Array.from({ length: 8 }, (_, worker) => work(worker, random(Number(seed) * 100 + worker)))
await Promise.race([failNowAndThen(random(Number(seed))), ...working])
isOver = true
proxy.heal()
await Promise.all(working)

const rows = await admin`
  SELECT notification_id::int AS id, originator_id, originator_version::int AS version, convert_from(state, 'UTF8') AS state
    FROM school_events ORDER BY notification_id`
const given: number[] = []
for await (const { id } of school.notificationLog.read({})) given.push(id)
await tell({ ...report, faults, events: rows.length, wrong: await whatIsWrong() } satisfies FaultSoakReport)
await victim.expectHealthy()
await victim.close()

// ---- who works ----

async function work(worker: number, chance: Random): Promise<void> {
  let dogs = [new Dog(`dog ${worker} a`), new Dog(`dog ${worker} b`)]
  for (let n = 1; !isOver; n += 1) {
    const name = `unit ${worker}.${n}`
    const kind = chance.below(10)
    if (kind === 0) await undo(name)
    if (kind === 1) dogs[chance.below(2)] = new Dog(`${name}, a dog`)
    const [first, second] = dogs as [Dog, Dog]
    const unit = unitOf(name, kind < 7 ? [first] : [first, second], kind > 3, 1 + chance.below(3))
    const isTold = await saved(unit, chance)
    stored.push(unit)
    // who was not told has dogs with events that are stored already
    if (!isTold) for (const dog of unit.dogs) dogs[dogs.indexOf(dog)] = await again(dog.id)
    dogs = dogs.reverse()
  }
}

function unitOf(name: string, dogs: readonly Dog[], hasRow: boolean, tricks: number): Unit {
  for (const dog of dogs) for (let trick = 1; trick <= tricks; trick += 1) dog.addTrick(`${name}, trick ${trick}`)
  const events = dogs.flatMap(({ id, pendingEvents }) =>
    pendingEvents.map(({ originatorVersion }) => `${id} ${originatorVersion}`),
  )
  return { name, dogs, hasRow, events }
}

/** Repeats it until it is stored. @returns Whether it was told so, and has not had to look. */
async function saved(unit: Unit, chance: Random): Promise<boolean> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await save(unit, chance)
      report.acknowledged += 1
      return true
    } catch (error) {
      // right only if an attempt whose answer was lost has stored it
      const isConflict = error instanceof IntegrityError && attempt > 1
      if (isConflict) report.conflicts += 1
      else await failed(error)
      if (await isThere(unit)) {
        report.found += 1
        return false
      }
      expect(isConflict, `${unit.name}: a conflict, and it is not there`).to.equal(false)
      expect(unit.dogs.flatMap(({ pendingEvents }) => pendingEvents)).to.have.length(unit.events.length)
    }
  }
}

async function save({ name, dogs, hasRow }: Unit, chance: Random): Promise<void> {
  if (!hasRow) return tellIds(await school.save(...dogs))
  const [isRowFirst, isNested] = [chance.below(2) === 0, chance.below(4) === 0]
  const recordings = await school.transaction(async (session) => {
    if (isRowFirst) await session.insert(owners).values({ name })
    const saving = () => school.save(...dogs)
    const recordings = isNested ? await school.transaction(saving) : await saving()
    if (!isRowFirst) await session.insert(owners).values({ name })
    return recordings
  })
  tellIds(recordings)
}

function tellIds(recordings: Awaited<ReturnType<typeof school.save>>): void {
  for (const { notification } of recordings) {
    ids.set(`${notification.originatorId} ${notification.originatorVersion}`, notification.id)
  }
}

/** A transaction that is rolled back, whatever becomes of its connection. */
async function undo(name: string): Promise<void> {
  try {
    await school.transaction(async (session) => {
      await session.insert(owners).values({ name: `dead ${name}` })
      await school.save(new Dog(`dead ${name}`))
      throw new Undo()
    })
  } catch (error) {
    if (!(error instanceof Undo)) await failed(error)
    else report.undone += 1
  }
}

async function again(id: string): Promise<Dog> {
  for (;;) {
    try {
      return await school.repository.get(Dog, id)
    } catch (error) {
      await failed(error)
    }
  }
}

async function failed(error: unknown): Promise<void> {
  // that a whole pool was in use, or could not be connected, has no code
  if (!/^Waited \d+ ms for/.test((error as Error).message)) await lost(Promise.reject(error))
  report.failures += 1
  if (/is not known/.test((error as Error).message)) report.inDoubt += 1
}

/** Asks the server itself. All of it, or nothing, in one statement, which sees one moment. */
async function isThere({ name, events, hasRow }: Unit): Promise<boolean> {
  const [row] = await admin`
    SELECT (SELECT count(*)::int FROM school_events WHERE originator_id || ' ' || originator_version = ANY (${events as string[]})
              AND originator_id = ANY (${events.map((event) => event.split(' ')[0]!)})) AS events,
           (SELECT count(*)::int FROM owners WHERE name = ${name}) AS rows`
  const whole = { events: events.length, rows: hasRow ? 1 : 0 }
  expect(row, `${name}: all or nothing`).to.be.deep.oneOf([whole, { events: 0, rows: 0 }])
  return row?.events === whole.events
}

// ---- who fails ----

async function failNowAndThen(chance: Random): Promise<void> {
  const all: Record<string, () => Promise<void> | void> = {
    'cut one': () => proxy.cut(chance.below(proxy.connections)),
    'cut all': () => proxy.cut(),
    'reset one': () => proxy.reset(chance.below(proxy.connections)),
    'reset all': () => proxy.reset(),
    'down for a while': async () => {
      await proxy.down()
      await delay(chance.below(60))
      await proxy.up()
    },
    'cut after some bytes': () => proxy.cutAfter(direction(chance), 1 + chance.below(3000)),
    'an answer lost': () => proxy.loseNextReply(),
    'the answer to COMMIT lost': () => proxy.loseNextReply('COMMIT'),
    'a COMMIT lost': () => proxy.loseNextStatement(/^commit$/i),
    'a delay': () => proxy.delay(direction(chance), chance.below(2) * chance.below(10)),
  }
  const kinds = Object.keys(all)
  for (const end = performance.now() + Number(seconds) * 1000; ; await aWhile(chance)) {
    // on a slow machine longer, until there is something to see
    const isEnough = report.acknowledged > 100 && kinds.every((kind) => (faults[kind] ?? 0) > 0)
    if (performance.now() > end && isEnough) return
    const kind = kinds[chance.below(kinds.length)]!
    const counted = async () => {
      await all[kind]!()
      faults[kind] = (faults[kind] ?? 0) + 1
    }
    if (kind.startsWith('down')) await counted()
    // others have happened when somebody comes by
    else void counted()
  }
}

/** Some milliseconds, and more on a slow machine, where otherwise nobody would come to anything. */
async function aWhile(chance: Random): Promise<void> {
  const { acknowledged } = report
  await delay(chance.below(60))
  for (let turns = 0; turns < 100 && report.acknowledged < acknowledged + 4; turns += 1) await delay(5)
}

function direction(chance: Random): Direction {
  return chance.below(2) === 0 ? 'to the server' : 'to the client'
}

// ---- what came of it ----

async function whatIsWrong(): Promise<string[]> {
  const wrong: string[] = []
  const byKey = new Map(rows.map((row) => [`${row.originator_id} ${row.version}`, row]))
  const expected = new Set(stored.flatMap(({ events }) => events))
  for (const { name, events } of stored) {
    const missing = events.filter((event) => !byKey.has(event))
    if (missing.length > 0) wrong.push(`${name} is stored without ${missing.length} of ${events.length} events`)
    const tricks = events.map((event) => (byKey.get(event)?.state ?? '') as string)
    if (!tricks.every((state) => state.includes(name) || state.includes('"name":')))
      wrong.push(`${name} is not what is stored`)
  }
  for (const key of byKey.keys()) if (!expected.has(key)) wrong.push(`${key} is stored, and nobody saved it`)
  if (byKey.size !== rows.length) wrong.push('a version is stored twice')
  for (const [key, id] of ids)
    if (byKey.get(key)?.id !== id) wrong.push(`${key} was acknowledged as ${id}, and is not that`)
  if (!rows.every(({ id }, place) => given[place] === id) || given.length !== rows.length) {
    wrong.push('the notification log does not give what is stored')
  }
  const versions = new Map<string, number[]>()
  for (const { originator_id: id, version } of rows) versions.set(id, [...(versions.get(id) ?? []), version])
  for (const [id, found] of versions) {
    if (!found.every((version, place) => version === place + 1)) wrong.push(`${id} has versions ${found.join()}`)
  }
  const names = (await admin`SELECT name FROM owners`).map(({ name }) => name as string)
  const due = new Set(stored.filter(({ hasRow }) => hasRow).map(({ name }) => name))
  for (const name of names) if (!due.delete(name)) wrong.push(`the row of ${name} is there without its events`)
  for (const name of due) wrong.push(`the row of ${name} is missing beside its events`)
  return wrong
}
