import type { EventEmitter } from 'node:events'
import { markDriverError } from '../../drizzle/driver-errors.js'
import { NotSupportedError, OperationalError } from '../../errors.js'
import { driverCode, isConnectionLost } from '../errors.js'
import type { PostgresQuery, PostgresResult, PostgresSql } from './client.js'

/** How a statement is sent. */
export interface How {
  /** Kept prepared by the connection, under a name, unless the client's option `prepare: false` says never. */
  readonly prepare: boolean
  /** Rows as arrays instead of objects. */
  readonly values: boolean
  /** Takes each row as it comes in, in place of the result; may not throw. postgres.js doesn't count the rows then. */
  readonly each?: (row: unknown[]) => void
}

/** For what is sent once. */
export const unprepared: How = { prepare: false, values: true }

/** Where statements go: one connection, or a client that picks one for each statement. */
export interface Channel {
  send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult>
}

/**
 * One connection, as long as it lives: what is sent on it afterwards is refused, what is under way then is rejected.
 *
 * postgres.js would write to the dead socket, which ends the process, or send it on another connection, which is nobody's
 * transaction; and what it had in its queues would never be settled. It gets one statement after the other: one that it
 * refuses by itself, for a parameter that is undefined, would else reject the one that runs, and lose count of the answers.
 *
 * @see https://github.com/porsager/postgres/issues/1216
 */
export class Line {
  #lost: OperationalError | undefined
  #isBusy = false
  readonly #waiting: (() => void)[] = []
  /** What to tell those who wait for something, if the connection dies. */
  readonly #underWay = new Set<(error: unknown) => void>()
  readonly #onLost: () => void

  constructor(onLost: () => void = () => undefined) {
    this.#onLost = onLost
  }

  get isLost(): boolean {
    return this.#lost !== undefined
  }

  /** The connection is gone: nothing may be sent on it any more. */
  lose(cause?: unknown): void {
    if (this.#lost) return
    this.#lost = connectionLost(cause)
    this.#onLost()
    // the driver rejects what it knows of by itself, with more to say; the rest follows
    setImmediate(() => {
      for (const reject of this.#underWay) reject(this.#lost)
    })
  }

  /** @throws OperationalError  The connection is gone. */
  requireAlive(): void {
    if (!this.#lost) return
    const { message, cause, code, retryable } = this.#lost
    // another one each time: the stack says who asks
    throw new OperationalError(message, { cause, code, retryable })
  }

  /** Sends a statement, after those that were sent before it have been answered. */
  send(sql: PostgresSql, text: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    return this.#inTurn(
      () => startedAs(sql.unsafe(text, parameters, how), how),
      (result) => {
        this.#requireRows(result)
        closeHoles(result)
      },
    )
  }

  /** Does what sends something, in turn; rejected when the connection is lost: the driver may never settle it then. */
  turn<T>(work: () => Promise<T>): Promise<T> {
    return this.#inTurn(work, () => undefined)
  }

  /** @param check  Throws where a result is none. */
  #inTurn<T>(work: () => Promise<T>, check: (result: T) => void): Promise<T> {
    // one promise for all of it: each costs a microsecond where an AsyncLocalStorage is in use, and every statement is here
    return new Promise((resolve, reject) => {
      const begin = () => {
        let isOver = false
        const settle = (settled: () => void) => {
          if (isOver) return
          isOver = true
          this.#underWay.delete(lost)
          this.#handOver()
          settled()
        }
        const lost = (error: unknown) => {
          settle(() => {
            reject(error)
          })
        }
        const failed = (error: unknown) => {
          markDriverError(error)
          if (isConnectionLost(error)) this.lose(error)
          lost(error)
        }
        try {
          this.requireAlive()
          this.#underWay.add(lost)
          work().then((result) => {
            try {
              check(result)
            } catch (error) {
              lost(error)
              return
            }
            settle(() => {
              resolve(result)
            })
          }, failed)
        } catch (error) {
          lost(error)
        }
      }
      if (this.#isBusy) this.#waiting.push(begin)
      else {
        this.#isBusy = true
        begin()
      }
    })
  }

  /** To the next in turn, at once: nobody comes between. */
  #handOver(): void {
    const next = this.#waiting.shift()
    if (!next) this.#isBusy = false
    else if (this.isLost) queueMicrotask(next)
    else next()
  }

  #requireRows(result: unknown): void {
    if (Array.isArray(result)) return
    // a stream: the connection waits for data now, and for nothing else
    ;(result as EventEmitter).on('error', () => undefined)
    this.lose()
    throw new NotSupportedError('COPY is not for a connection that others use too: use a client of your own for it')
  }
}

/** That a connection is gone, and nothing is known of what it was asked for. */
export function connectionLost(cause?: unknown): OperationalError {
  return new OperationalError('The connection to PostgreSQL was lost', {
    cause,
    code: driverCode(cause) ?? 'CONNECTION_CLOSED',
    retryable: true,
  })
}

/** The query, sent now, with rows as asked. */
export function startedAs(query: PostgresQuery, { values, each }: How): PostgresQuery {
  if (each) query.forEachFn = each
  return (values ? query.values() : query).execute()
}

/**
 * Takes out the holes that a result begins with: postgres.js goes on counting rows after a statement that fails behind its
 * first ones.
 *
 * @see https://github.com/porsager/postgres/issues/1181
 */
export function closeHoles(result: PostgresResult): void {
  // of several statements the first
  const rows = result.command === undefined ? result[0] : result
  if (!Array.isArray(rows) || rows.length === 0 || 0 in rows) return
  rows.splice(
    0,
    rows.findIndex((_, index) => index in rows),
  )
}
