import { setTimeout as pause } from 'node:timers/promises'
import type { Insert, TableName } from '../../drizzle/dialect.js'
import { OperationalError, type RecordConflictError } from '../../errors.js'
import { Turns } from '../../persistence/turns.js'
import type { Events } from '../append-together.js'
import type { PostgresConnection } from './connection.js'
import { Gathering, type UnderWay } from './gathering.js'
import { isConnectionLost, sqlState, translate } from '../errors.js'
import { qualified } from '../tables.js'

/** What inserts that share statements need of the rest. */
export interface SharingOptions {
  /** Does work on a connection, outside of any transaction. */
  readonly outside: <T>(work: (connection: PostgresConnection) => T | Promise<T>) => Promise<T>
  /** Inserts for several by one statement; see `AppendTogether`. */
  readonly together: (
    connection: PostgresConnection,
    table: TableName,
    inserts: readonly Events[],
  ) => Promise<(number[] | undefined)[]>
  /** The conflicts that are to be seen by now of inserts that were not stored; see `AppendTogether`. */
  readonly conflicts: (
    connection: PostgresConnection,
    table: TableName,
    inserts: readonly Events[],
  ) => Promise<(RecordConflictError | undefined)[]>
  /** How long an insert waits for what a transaction of somebody's has locked, in ms. */
  readonly timeoutMs: number
  /** How many connections there are. */
  readonly connections: number
}

type Alone = (connection: PostgresConnection) => number[] | Promise<number[]>

/**
 * Lets inserts that are started while another is under way share the next statement: a round trip, a commit and a flush of
 * the disk cost many times what an event more in the statement does.
 *
 * One that finds none under way is sent by itself, at once. Each has its own outcome: what a shared statement could not
 * store, and all of it if it failed, is repeated by itself.
 *
 * @see docs/decisions/0018-inserts-share-statements.md
 */
export class SharedStatements {
  /** By the table's name in statements. */
  readonly #queues = new Map<string, Queue>()
  readonly #options: SharingOptions
  readonly #apart: Turns

  constructor(options: SharingOptions) {
    this.#options = options
    this.#apart = new Turns(
      'a connection, behind others that are sent by themselves too',
      options.timeoutMs,
      Math.max(1, Math.min(4, Math.floor(options.connections / 2))),
    )
  }

  /** @param alone  Does it by itself; it may be called more than once. Rejects with errors of ours. */
  insert({ table, events }: Insert, alone: Alone): Promise<number[]> {
    const name = qualified(table)
    let queue = this.#queues.get(name)
    if (!queue) this.#queues.set(name, (queue = new Queue(table, this.#options, this.#apart)))
    return queue.insert(events, alone)
  }
}

/** What an insert waits for that others hold locked is short; then it is repeated by itself. In ms. */
export const lockWaitMs = 10

/** A statement that has had no answer for so long holds nobody up any more. In ms. */
const patienceMs = 100

// enough for what each statement costs to weigh nothing, and few enough for an answer within milliseconds
const atMost = { events: 500, bytes: 2 ** 20 }

interface Waiting {
  readonly events: Events
  readonly keys: readonly string[]
  readonly bytes: number
  readonly alone: Alone
  readonly resolve: (ids: number[]) => void
  readonly reject: (error: unknown) => void
}

/** The inserts into one table. */
class Queue {
  readonly #table: TableName
  readonly #options: SharingOptions
  readonly #apart: Turns
  /** One after the other: each keeps a connection until it has waited in vain. */
  readonly #lockedTurns: Turns
  readonly #gathering = new Gathering<Waiting>((waiting) => this.#sendNext(waiting), patienceMs)
  /** The keys of inserts that a transaction of somebody's has locked, each with how many of them there are. */
  readonly #lockedKeys = new Map<string, number>()

  /** @param apart  For what is sent by itself, of all tables. */
  constructor(table: TableName, options: SharingOptions, apart: Turns) {
    this.#table = table
    this.#options = options
    this.#apart = apart
    this.#lockedTurns = new Turns('a transaction that is still open and has inserted the same', options.timeoutMs)
  }

  insert(events: Events, alone: Alone): Promise<number[]> {
    if (this.#isLocked(events)) return this.#locked(events, alone)
    return new Promise((resolve, reject) => {
      this.#gathering.add({ events, keys: keysOf(events), bytes: bytesOf(events), alone, resolve, reject })
    })
  }

  /** Sends one statement for as many of them as may share it. @returns Those who are left. */
  #sendNext(waiting: readonly Waiting[]): readonly Waiting[] {
    const inserts: Waiting[] = []
    /** Those with a key that another one of them has. */
    const behind: Waiting[] = []
    const keys = new Set<string>()
    let bytesOfAll = 0
    let next = 0
    for (const insert of waiting) {
      const { keys: own, bytes } = insert
      // what has a key twice in itself will fail, and not for others
      if (this.#isLocked(insert.events) || (own.length > 1 && new Set(own).size < own.length)) {
        this.#sendByItself(insert)
      } else if (own.some((key) => keys.has(key))) {
        // by its key alone the second of two would look stored
        behind.push(insert)
      } else {
        if (inserts.length > 0 && (keys.size + own.length > atMost.events || bytesOfAll + bytes > atMost.bytes)) break
        inserts.push(insert)
        bytesOfAll += bytes
        for (const key of own) keys.add(key)
      }
      next += 1
    }
    void this.#send(inserts, behind)
    return waiting.slice(next)
  }

  /** @param behind  What can be sent only when the answer is there. */
  async #send(inserts: readonly Waiting[], behind: readonly Waiting[]): Promise<void> {
    const [first] = inserts
    if (!first) return
    const statement = this.#gathering.begin()
    if (inserts.length === 1 && behind.length === 0) {
      await this.#sendFirst(first, statement)
      return
    }
    let outcomes: readonly (number[] | undefined)[] = []
    try {
      outcomes = await this.#options.outside((connection) =>
        this.#options.together(
          connection,
          this.#table,
          inserts.map(({ events }) => events),
        ),
      )
    } catch (error) {
      // what the server has refused is not stored; of anything else that isn't known
      if (sqlState(error) === undefined || isConnectionLost(error)) {
        for (const { reject } of inserts) reject(translate(error))
        for (const insert of behind) this.#sendByItself(insert)
        return
      }
    } finally {
      this.#gathering.end(statement)
    }
    const left = inserts.filter(({ resolve }, index) => {
      const ids = outcomes[index]
      if (ids) resolve(ids)
      return !ids
    })
    // where the statement has failed, most of them are in nobody's way
    const isRefused = outcomes.length === 0
    if (isRefused) for (const insert of left) this.#sendByItself(insert)
    await this.#tellConflicts(isRefused ? behind : [...left, ...behind])
  }

  async #sendFirst({ events, alone, resolve, reject }: Waiting, statement: UnderWay): Promise<void> {
    try {
      const ids = await this.#options.outside(alone)
      this.#gathering.end(statement)
      resolve(ids)
    } catch (error) {
      const isLocked = sqlState(error) === lockNotAvailable
      const trying = isLocked ? this.#locked(events, alone) : undefined // known before those are sent who have the same key
      this.#gathering.end(statement)
      if (trying) trying.then(resolve, reject)
      else reject(translate(error))
    }
  }

  /** Rejects those that have a conflict, found for all of them at once; the others are sent by themselves. */
  async #tellConflicts(inserts: readonly Waiting[]): Promise<void> {
    if (inserts.length === 0) return
    let conflicts: readonly (RecordConflictError | undefined)[] = []
    try {
      conflicts = await this.#apart.during(() =>
        this.#options.outside((connection) =>
          this.#options.conflicts(
            connection,
            this.#table,
            inserts.map(({ events }) => events),
          ),
        ),
      )
    } catch {
      // each meets by itself what is wrong
    }
    inserts.forEach((insert, index) => {
      const conflict = conflicts[index]
      if (conflict) insert.reject(conflict)
      else this.#sendByItself(insert)
    })
  }

  #sendByItself({ events, alone, resolve, reject }: Waiting): void {
    const sent = this.#isLocked(events) ? this.#locked(events, alone) : this.#byItself(events, alone)
    sent.then(resolve, reject)
  }

  async #byItself(events: Events, alone: Alone): Promise<number[]> {
    try {
      return await this.#apart.during(() => this.#options.outside(alone))
    } catch (error) {
      if (sqlState(error) !== lockNotAvailable) throw translate(error)
    }
    return this.#locked(events, alone)
  }

  /**
   * Inserts what a transaction of somebody's has locked: tries again and again. Waiting in the server, it would keep a
   * connection from others, perhaps the one that this transaction's end needs.
   */
  async #locked(events: Events, alone: Alone): Promise<number[]> {
    const { timeoutMs, outside } = this.#options
    const deadline = performance.now() + timeoutMs
    this.#lock(events)
    try {
      for (let pauseMs = 4; ; pauseMs = Math.min(pauseMs * 2, 256)) {
        // unequal pauses: who waits for the same doesn't ask in step
        await pause(pauseMs * (0.5 + Math.random()))
        try {
          return await this.#lockedTurns.during(() => outside(alone), Math.max(1, deadline - performance.now()))
        } catch (error) {
          if (sqlState(error) !== lockNotAvailable) throw translate(error)
          if (performance.now() > deadline) throw lockedFor(timeoutMs, events, error)
        }
      }
    } finally {
      this.#unlock(events)
    }
  }

  /** Whether one of its keys is known to be locked: it would make others wait with it. */
  #isLocked(events: Events): boolean {
    return this.#lockedKeys.size > 0 && keysOf(events).some((key) => this.#lockedKeys.has(key))
  }

  #lock(events: Events): void {
    for (const key of keysOf(events)) this.#lockedKeys.set(key, (this.#lockedKeys.get(key) ?? 0) + 1)
  }

  #unlock(events: Events): void {
    for (const key of keysOf(events)) {
      const others = (this.#lockedKeys.get(key) ?? 1) - 1
      if (others > 0) this.#lockedKeys.set(key, others)
      else this.#lockedKeys.delete(key)
    }
  }
}

/** SQLSTATE of a lock that was waited for as long as said. */
const lockNotAvailable = '55P03'

function keysOf(events: Events): string[] {
  return events.map(({ originatorId, originatorVersion }) => `${originatorVersion} ${originatorId}`)
}

function bytesOf(events: Events): number {
  let bytes = 0
  for (const { originatorId, topic, state } of events) bytes += originatorId.length + topic.length + state.length
  return bytes
}

function lockedFor(timeoutMs: number, [event]: Events, cause: unknown): OperationalError {
  const id = JSON.stringify(event?.originatorId)
  return new OperationalError(
    `Events of ${id} waited ${timeoutMs} ms for a transaction that is still open and has inserted the same, or has locked ` +
      'what they need',
    { cause, code: lockNotAvailable, retryable: true },
  )
}
