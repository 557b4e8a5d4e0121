import { setTimeout as pause } from 'node:timers/promises'
import type { Insert, TableName } from '../../drizzle/dialect.js'
import { OperationalError, type RecordConflictError } from '../../errors.js'
import { outsideOfEverything } from '../../persistence/outside.js'
import { Turns } from '../../persistence/turns.js'
import type { Events } from '../append-together.js'
import type { PostgresConnection } from './connection.js'
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

/** A statement that others wait for. */
interface Statement {
  readonly inserts: number
  /** When it was sent, in ms. */
  readonly since: number
}

interface Waiting {
  readonly events: Events
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
  #waiting: Waiting[] = []
  /** The statement that those who come now wait for, until the next one is sent. */
  #underWay: Statement | undefined
  #timer: NodeJS.Timeout | undefined
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
    if (!this.#underWay) return this.#first(events, alone)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ events, alone, resolve, reject })
      this.#watch()
    })
  }

  async #first(events: Events, alone: Alone): Promise<number[]> {
    const statement = this.#begin(1)
    try {
      return await this.#options.outside(alone)
    } catch (error) {
      if (sqlState(error) !== lockNotAvailable) throw translate(error)
      this.#lock(events) // before those are sent who wait: one of them may have the same key
    } finally {
      this.#end(statement)
    }
    this.#unlock(events)
    return this.#locked(events, alone)
  }

  #begin(inserts: number): Statement {
    return (this.#underWay = { inserts, since: performance.now() })
  }

  #end(statement: Statement): void {
    if (this.#underWay !== statement) return
    if (statement.inserts === 1 && this.#waiting.length === 0) this.#underWay = undefined
    // who has an answer now comes again, most of the time: one statement for all of them costs less than two that take
    // turns (measured with 8 and 32 callers, on a fast disk and on a slow one)
    // a tick comes after all that follows from the answer without waiting for anything else
    else process.nextTick(this.#sendGathered, statement)
  }

  /** Sends all who have come until now, after those who had an answer had a turn. */
  readonly #sendGathered = (statement: Statement): void => {
    if (this.#underWay !== statement) return
    this.#underWay = undefined
    if (this.#waiting.length > 0) this.#sendNext()
  }

  /** Sends one statement for as many of those who wait as may share it. */
  #sendNext(): void {
    // it is nobody's in particular: not in the context of who happened to be first
    outsideOfEverything(() => {
      const { inserts, behind } = this.#take()
      void this.#send(inserts, behind)
    })
  }

  /** @returns `behind`  Those with a key that another one of them has. */
  #take(): { inserts: readonly Waiting[]; behind: readonly Waiting[] } {
    const inserts: Waiting[] = []
    const behind: Waiting[] = []
    const keys = new Set<string>()
    let bytes = 0
    let next = 0
    for (; next < this.#waiting.length; next += 1) {
      const insert = this.#waiting[next] as Waiting
      const own = keysOf(insert.events)
      // what has a key twice in itself will fail, and not for others
      if (this.#isLocked(insert.events) || (own.length > 1 && new Set(own).size < own.length)) {
        this.#sendByItself(insert)
        continue
      }
      // by its key alone the second of two would look stored
      if (own.some((key) => keys.has(key))) {
        behind.push(insert)
        continue
      }
      const size = bytesOf(insert.events)
      if (inserts.length > 0 && (keys.size + own.length > atMost.events || bytes + size > atMost.bytes)) break
      inserts.push(insert)
      bytes += size
      for (const key of own) keys.add(key)
    }
    this.#waiting = this.#waiting.slice(next)
    return { inserts, behind }
  }

  /** @param behind  What can be sent only when the answer is there. */
  async #send(inserts: readonly Waiting[], behind: readonly Waiting[]): Promise<void> {
    const [first] = inserts
    if (!first) return
    if (inserts.length === 1 && behind.length === 0) {
      await this.#first(first.events, first.alone).then(first.resolve, first.reject)
      return
    }
    const statement = this.#begin(inserts.length)
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
      this.#end(statement)
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

  /** Sends all that wait for a statement without an answer: it may be waiting for a connection, a lock, or for ever. */
  #watch(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      if (!this.#underWay || this.#waiting.length === 0) return
      if (performance.now() - this.#underWay.since < patienceMs) this.#watch()
      else while (this.#waiting.length > 0) this.#sendNext()
    }, patienceMs).unref()
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
  for (const { state } of events) bytes += state.length
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
