import { setTimeout as delay } from 'node:timers/promises'
import type { Sql } from 'postgres'
import type { PostgresDatastore } from '../../lib/postgres/index.js'
import type { Application } from '../../lib/application/application.js'
import { RecordConflictError } from '../../lib/errors.js'
import type { ApplicationRecorder } from '../../lib/persistence/recorders.js'
import { Child } from './child.js'
import { Dog } from './dogs.js'
import { OrderDatabase, type Placement } from './order-database.js'
import { type Findings, type Placed, compare } from './order-findings.js'
import type { schema } from './postgres-backends.js'
import { admin } from './postgres-server.js'
import { random, type Random } from './random.js'
import { storedEvents } from './stored-events.js'

/** What a soak has come to. */
export interface SoakReport {
  /** What is wrong with what each reader was given, by the reader's name. */
  readonly readers: Readonly<Record<string, Findings>>
  /** Inserts whose ids were not side by side. */
  readonly scattered: readonly number[][]
  /** What was acknowledged and is not stored like that, and what is stored and was not acknowledged. */
  readonly misplaced: readonly string[]
  /** A last id that was below one told before, or not among what was then read. */
  readonly unsteadyMaximums: readonly string[]
  readonly events: number
  readonly inserts: number
  readonly rolledBack: number
  readonly conflicts: number
  /** Transactions of strangers that were open for a second or more, while events went by. */
  readonly strangers: number
  /** Readings. */
  readonly pages: number
  /**
   * The longest that a reader of large pages was without an event once the transactions of its id and of all lower ones
   * were over, in ms: a poll, and what strangers add to it.
   */
  readonly greatestDelayMs: number
}

type Kennel = Application<PostgresDatastore<typeof schema>>

const writerCount = 16

/**
 * Sixteen writers of all kinds, two who save eight aggregates at a time, readers of all kinds and strangers with long
 * transactions work on one table of events for that long; then what each reader was given is compared with the table.
 *
 * @param seed  Of what each does when, as far as that is not up to the machine.
 */
export async function soak(placement: Placement, seconds: number, seed: number): Promise<SoakReport> {
  await using database = await OrderDatabase.open(placement)
  const [kennel, library] = [database.datastore({ max: writerCount }), database.datastore({ max: 6 })]
  const soak = new Soak(
    database,
    await database.application('Kennel', kennel),
    await database.application('Kennel', library),
    seed,
  )
  return await soak.run(placement, seconds) // the database is there until then
}

class Soak {
  readonly #database: OrderDatabase
  readonly #kennel: Kennel
  /** The same on connections of its own, so that readers don't wait for writers to give theirs back. */
  readonly #library: Kennel
  readonly #seed: number
  /** What was acknowledged. */
  readonly #inserts: Placed[][] = []
  /** When the transaction of an insert was over, committed or not, by its first id. */
  readonly #ends = new Map<number, number>()
  /** The highest of the first ids that were acknowledged. */
  #last = 0
  #rolledBack = 0
  #conflicts = 0
  #pages = 0
  #strangers = 0
  #hasEnded = false
  #isWritten = false
  readonly #unsteadyMaximums: string[] = []
  readonly #tails: Tail[] = []

  constructor(database: OrderDatabase, kennel: Kennel, library: Kennel, seed: number) {
    this.#database = database
    this.#kennel = kennel
    this.#library = library
    this.#seed = seed
  }

  async run(placement: Placement, seconds: number): Promise<SoakReport> {
    const table = this.#database.table()
    const elsewhere = new Child('order-reader', [this.#database.schemaName, placement])
    try {
      await elsewhere.message()
      const reading = [
        this.#tail('pages of 7', 7),
        this.#tail('pages of 100', 100),
        this.#tail('pages of 1000, a topic', 1000, ['Dog.TrickAdded', 'Dog.Registered']),
        this.#late('one that comes late', seconds * 300),
        this.#log('notificationLog.read'),
        this.#maximums(),
      ]
      const strangers = await this.#strangersOpen(table)
      const writing = [
        ...Array.from({ length: writerCount }, (_, writer) => this.#write(writer)),
        ...Array.from({ length: 2 }, (_, trainer) => this.#train(trainer)),
      ]
      await Promise.race([this.#enough(seconds), ...[...reading, ...strangers, ...writing].map(failing)])
      this.#hasEnded = true
      await Promise.all(writing)
      this.#isWritten = true
      await Promise.all([...reading, ...strangers])
      elsewhere.send('written')
      const inAnotherProcess = (await elsewhere.message()) as Placed[]
      const { code, stderr } = await elsewhere.exit
      if (code !== 0) throw new Error(`The reader in another process ended with ${code}: ${stderr}`)
      return this.#report(await storedIn(table), inAnotherProcess)
    } finally {
      this.#hasEnded = this.#isWritten = true
      elsewhere.kill()
    }
  }

  /** Resolves after that time, or later where the machine is so slow that little has happened. */
  async #enough(seconds: number): Promise<void> {
    await delay(seconds * 1000)
    while (!this.#hasEnded && (this.#inserts.length < 200 || this.#rolledBack < 10)) await delay(50)
  }

  #report(stored: readonly Placed[], inAnotherProcess: readonly Placed[]): SoakReport {
    const readers: Record<string, Findings> = { 'one in another process': compare(stored, inAnotherProcess) }
    for (const { name, given } of this.#tails) readers[name] = compare(stored, given)
    const acknowledged = this.#inserts.flat().sort((a, b) => a.id - b.id)
    const { missed, invented } = compare(stored, acknowledged)
    return {
      readers,
      scattered: this.#inserts
        .map((events) => events.map(({ id }) => id))
        .filter((ids) => ids.some((id, place) => id !== ids[0]! + place)),
      misplaced: [...missed.map((id) => `${id} was not acknowledged`), ...invented.map((id) => `${id} is not stored`)],
      unsteadyMaximums: this.#unsteadyMaximums,
      events: stored.length,
      inserts: this.#inserts.length,
      rolledBack: this.#rolledBack,
      conflicts: this.#conflicts,
      strangers: this.#strangers,
      pages: this.#pages,
      greatestDelayMs: this.#greatestDelay(),
    }
  }

  /** How long after the end of all transactions with that id or a lower one a tail was given it, at the most. */
  #greatestDelay(): number {
    const ends = [...this.#ends].sort(([a], [b]) => a - b)
    let greatest = 0
    for (const { given, givenAt } of this.#timed()) {
      let [next, due] = [0, 0]
      for (const [index, { id }] of given.entries()) {
        for (; next < ends.length && ends[next]![0] <= id; next += 1) due = Math.max(due, ends[next]![1])
        greatest = Math.max(greatest, givenAt[index]! - due)
      }
    }
    return greatest
  }

  /** Those whose pages are large enough that they are never behind for lack of speed. */
  #timed(): Tail[] {
    return this.#tails.filter(({ limit }) => limit >= 100)
  }

  // ---- who writes ----

  async #write(writer: number): Promise<void> {
    const chance = random(this.#seed * 1000 + writer)
    const own = { originatorId: `of writer ${writer}`, version: 0 }
    while (!this.#hasEnded) {
      // half of them now and then share originators, and find them changed
      const isShared = writer % 2 === 0 && chance.below(4) === 0
      const stream = isShared ? await this.#shared(chance) : own
      const before = stream.version
      const unit = new Unit(this.#kennel, stream, chance)
      try {
        await this.#unit(unit, writer, chance)
      } catch (error) {
        unit.inserts.length = 0
        stream.version = before
        if (error instanceof RecordConflictError && isShared) this.#conflicts += 1
        else if (error instanceof Undo) this.#rolledBack += 1
        else throw error
      } finally {
        const now = performance.now()
        for (const first of unit.firstIds) this.#ends.set(first, now)
      }
      for (const insert of unit.inserts) {
        this.#inserts.push(insert)
        this.#last = Math.max(this.#last, insert[0]!.id)
      }
      if (chance.below(3) === 0) await delay(chance.below(20))
      await this.#readersAreNear()
    }
  }

  /** Saves eight dogs at once, which share statements, again and again; now and then one that is there already. */
  async #train(trainer: number): Promise<void> {
    const chance = random(this.#seed * 2000 + trainer)
    const names = Array.from({ length: 8 }, (_, i) => `dog ${i} of trainer ${trainer}`)
    const dogs = names.map((name) => new Dog(name))
    while (!this.#hasEnded) {
      const twin = chance.below(3) === 0 && dogs[0]!.pendingEvents.length === 0 ? [new Dog(names[0]!)] : []
      await Promise.all([...dogs, ...twin].map((dog) => this.#save(dog)))
      for (const dog of dogs) for (let tricks = chance.below(4); tricks > 0; tricks -= 1) dog.addTrick('sit')
      await delay(chance.below(20))
      await this.#readersAreNear()
    }
  }

  async #save(dog: Dog): Promise<void> {
    try {
      const recordings = await this.#kennel.save(dog)
      const [first] = recordings
      if (!first) return
      this.#ends.set(first.notification.id, performance.now())
      this.#inserts.push(recordings.map(({ notification }) => notification))
      this.#last = Math.max(this.#last, first.notification.id)
    } catch (error) {
      if (!(error instanceof RecordConflictError)) throw error
      this.#conflicts += 1
    }
  }

  /** Readers who are far behind would see finished work only. */
  async #readersAreNear(): Promise<void> {
    while (!this.#hasEnded && this.#tails.some(({ position }) => position < this.#last - 500)) await delay(1)
  }

  async #shared(chance: Random) {
    const originatorId = `of all, ${chance.below(6)}`
    const [last] = await this.#kennel.recorder.selectEvents(originatorId, { desc: true, limit: 1 })
    return { originatorId, version: last?.originatorVersion ?? 0 }
  }

  /** One unit of work, of ten kinds. */
  async #unit(unit: Unit, writer: number, chance: Random): Promise<void> {
    const { owners } = this.#database
    const kind = chance.below(10)
    if (kind < 2) return unit.insert(1)
    if (kind === 2) return unit.insert(2 + chance.below(30))
    const name = `owner ${writer} ${chance.below(1_000_000_000)} ${unit.stream.version}`
    await this.#kennel.transaction(async (session) => {
      // kinds 3 to 9; with a number of its own before its first event, or after it
      if (kind % 2 === 0) await session.insert(owners).values({ name })
      await think(chance)
      if (kind === 5 || kind === 6) await this.#undone(unit, chance)
      await think(chance)
      await unit.insert(1 + (kind === 7 ? chance.below(60) : 0))
      await think(chance)
      if (kind === 8) await this.#kennel.transaction(() => unit.insert(1 + chance.below(3)))
      if (kind === 6) await this.#undone(unit, chance)
      await session.insert(owners).values({ name: `${name}, too` })
      if (kind > 7) await unit.insert(1)
      await think(chance)
      if (kind === 9) throw new Undo()
    })
  }

  async #undone(unit: Unit, chance: Random): Promise<void> {
    const [{ version }, { length }] = [unit.stream, unit.inserts]
    try {
      await this.#kennel.transaction(async () => {
        await unit.insert(1 + chance.below(3))
        await think(chance)
        throw new Undo()
      })
    } catch (error) {
      if (!(error instanceof Undo)) throw error
      unit.stream.version = version
      unit.inserts.length = length
    }
  }

  // ---- who reads ----

  #tail(name: string, limit: number, topics?: readonly string[]): Promise<void> {
    const { recorder } = this.#library
    return this.#follow(new Tail(name, limit), (start) =>
      recorder.selectNotifications({ start, inclusiveOfStart: false, limit, topics }),
    )
  }

  /** Comes when there is much already; its datastore knows nothing, and its first page starts in the middle. */
  async #late(name: string, afterMs: number): Promise<void> {
    await delay(afterMs)
    const { recorder } = await this.#database.application('Kennel', this.#database.datastore({ max: 1 }))
    const middle = this.#inserts.at(-1)?.[0]?.id ?? 1
    const first = await recorder.selectNotifications({ start: middle, limit: 50 })
    const before = await recorder.selectNotifications({ limit: 1_000_000, stop: middle - 1 })
    const tail = new Tail(name, 50)
    tail.take([...before, ...first])
    await this.#follow(tail, (start) => recorder.selectNotifications({ start, inclusiveOfStart: false, limit: 50 }))
  }

  #log(name: string): Promise<void> {
    const { notificationLog } = this.#library
    const tail = new Tail(name, notificationLog.sectionSize)
    return this.#follow(tail, async (position) => {
      const items: Placed[] = []
      for await (const item of notificationLog.read({ start: position + 1 })) {
        items.push(item)
        if (items.length === 500) break
      }
      return items
    })
  }

  async #follow(tail: Tail, read: (position: number) => Promise<Placed[]>): Promise<void> {
    const chance = random(this.#seed + this.#tails.push(tail))
    for (;;) {
      const isLast = this.#isWritten
      const page = await read(tail.position)
      tail.take(page)
      this.#pages += 1
      if (isLast && page.length === 0) return
      if (page.length === 0 || chance.below(8) === 0) await delay(chance.below(5))
    }
  }

  /** A last id never goes back, and who reads up to it is given it. */
  async #maximums(): Promise<void> {
    const { recorder } = this.#library
    for (let last = 0; !this.#isWritten; await delay(3)) {
      const maximum = (await recorder.maxNotificationId()) ?? 0
      if (maximum < last) this.#unsteadyMaximums.push(`${maximum} after ${last}`)
      const [found] = await recorder.selectNotifications({ start: maximum, limit: 50 })
      if (maximum > 0 && found?.id !== maximum) this.#unsteadyMaximums.push(`${maximum}, and then ${found?.id}`)
      last = Math.max(last, maximum)
    }
  }

  // ---- who has nothing to do with it ----

  async #strangersOpen(table: string): Promise<Promise<void>[]> {
    const [elsewhere, here] = [await this.#database.elsewhere(), () => this.#database.client()]
    const writes = 'CREATE TABLE IF NOT EXISTS theirs (n int); BEGIN; INSERT INTO theirs VALUES (1)'
    return [
      this.#stranger(elsewhere, writes),
      this.#stranger(here(), writes),
      this.#stranger(here(), `BEGIN; SELECT * FROM ${table} ORDER BY notification_id DESC LIMIT 100 FOR SHARE`),
      this.#stranger(here(), `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ${table}`),
    ]
  }

  /** Opens transactions, each until a second has passed and readers were given an event committed after its beginning. */
  async #stranger(client: Sql, begin: string): Promise<void> {
    while (!this.#hasEnded) {
      await client.unsafe(begin)
      const [since, committed] = [performance.now(), this.#inserts.length]
      for (;;) {
        await delay(10)
        const [later] = this.#inserts.slice(committed)
        const hasPassed = later && this.#timed().every(({ position }) => position >= later[0]!.id)
        if (this.#hasEnded || (hasPassed && performance.now() - since >= 1000)) break
        if (performance.now() - since > 10_000) {
          throw new Error(`For ten seconds no event came past a stranger's transaction: ${begin}`)
        }
      }
      if (!this.#hasEnded) this.#strangers += 1
      await client.unsafe('ROLLBACK')
    }
  }
}

/** The inserts of one unit of work, for one originator. */
class Unit {
  /** Those that are not rolled back so far. */
  readonly inserts: Placed[][] = []
  /** The first ids of all. */
  readonly firstIds: number[] = []

  constructor(
    private readonly kennel: { readonly recorder: Pick<ApplicationRecorder, 'insertEvents'> },
    readonly stream: { readonly originatorId: string; version: number },
    private readonly chance: Random,
  ) {}

  async insert(count: number): Promise<void> {
    const { originatorId, version } = this.stream
    const topic = this.chance.below(2) === 0 ? 'Dog.TrickAdded' : 'Dog.Registered'
    const events = storedEvents(originatorId, version + 1, version + count).map((event) => ({ ...event, topic }))
    const ids = await this.kennel.recorder.insertEvents(events)
    this.firstIds.push(ids[0]!)
    this.inserts.push(events.map(({ originatorVersion }, i) => ({ id: ids[i]!, originatorId, originatorVersion })))
    this.stream.version = version + count
  }
}

/** What one reader here was given, and when. */
class Tail {
  readonly given: Placed[] = []
  /** By place in `given`. */
  readonly givenAt: number[] = []
  position = 0

  constructor(
    readonly name: string,
    readonly limit: number,
  ) {}

  take(page: readonly Placed[]): void {
    const now = performance.now()
    for (const { id, originatorId, originatorVersion } of page) {
      this.given.push({ id, originatorId, originatorVersion })
      this.givenAt.push(now)
    }
    this.position = this.given.at(-1)?.id ?? 0
  }
}

class Undo extends Error {}

/** A pause as a transaction's code makes it: mostly none, now and then some milliseconds. */
async function think(chance: Random): Promise<void> {
  const kind = chance.below(8)
  if (kind === 0) await delay(chance.below(30))
  else if (kind < 3) await chance.yield()
}

async function storedIn(table: string): Promise<Placed[]> {
  return admin().unsafe<Placed[]>(
    `SELECT notification_id::int AS id, originator_id AS "originatorId", originator_version::int AS "originatorVersion"
       FROM ${table} ORDER BY notification_id`,
  )
}

/** Settles only where that fails. */
function failing(promise: Promise<unknown>): Promise<never> {
  return new Promise((_, reject) => {
    promise.catch(reject)
  })
}
