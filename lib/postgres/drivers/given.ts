import { markDriverError } from '../../drizzle/driver-errors.js'
import { InterfaceError, OperationalError } from '../../errors.js'
import { isConnectionLost, sqlState } from '../errors.js'
import type { PostgresClient, PostgresPackage, PostgresResult, PostgresTransactionSql } from './client.js'
import { addArrayTypes, arrayTypes } from './array-types.js'
import { type How, Line, startedAs } from './line.js'
import { Link } from './link.js'
import { type Begun, commitLost, Lease, type OutsideChannel, type Source } from './source.js'

/** The client of a user's own database: its pool, its options, and never closed by us. */
export class GivenSource implements Source {
  readonly #client: PostgresClient
  readonly #timeoutMs: number
  readonly #load: () => Promise<PostgresPackage>
  readonly #closings: Closings
  readonly #open = new Set<Promise<unknown>>()
  #closed = false

  constructor(client: PostgresClient, timeoutMs: number, load: () => Promise<PostgresPackage>) {
    this.#client = client
    this.#timeoutMs = timeoutMs
    this.#load = load
    this.#closings = Closings.of(client)
  }

  async open(): Promise<void> {
    const { options } = this.#client
    const fetchTypes = options.fetch_types
    // asked by the client, for each connection, the answer is awaited by nobody: one that dies then ends the process
    options.fetch_types = false
    try {
      const rows = await this.#channel.send(fetchTypes ? arrayTypes : 'SELECT 1', [], plain)
      if (fetchTypes) addArrayTypes(options, rows)
    } catch (error) {
      options.fetch_types = fetchTypes
      throw error
    }
  }

  async outside<T>(work: (channel: OutsideChannel) => Promise<T>): Promise<T> {
    this.#requireOpen()
    return work(this.#channel)
  }

  async apart<T>(work: (channel: OutsideChannel) => Promise<T>): Promise<T> {
    this.#requireOpen()
    if (this.#open.size === 0) return work(this.#channel)
    // its connections may all be transactions': one more, opened as the client opens its own
    const { options } = this.#client
    const link = await Link.open(await this.#load(), [options], this.#timeoutMs, () => undefined)
    try {
      return await work({
        send: (sql, parameters, how) => link.send(sql, parameters, how),
        begin: () => this.begin(''),
      })
    } finally {
      await link.end()
    }
  }

  begin(how: string): Promise<Begun> {
    this.#requireOpen()
    return this.#again(() => this.#begin(how), isOfServer)
  }

  /**
   * Repeats what met a connection that its client had opened anew: postgres.js then gives the first one to use it the old
   * connection's last words, and sends nothing.
   *
   * @param isUnsent  Whether an error means that nothing was done.
   */
  async #again<T>(send: () => Promise<T>, isUnsent: (error: unknown) => boolean): Promise<T> {
    for (let left = this.#client.options.max; ; left -= 1) {
      try {
        return await send()
      } catch (error) {
        if (left === 0 || !isUnsent(error)) throw error
      }
    }
  }

  async #begin(how: string): Promise<Begun> {
    if (this.#closings.underWay) await this.#closings.underWay
    return new Promise((resolve, reject) => {
      let isWaiting = true
      const timer = setTimeout(
        () => {
          isWaiting = false
          this.#open.delete(ended) // nobody's any more
          reject(noConnection(this.#timeoutMs))
        },
        Math.min(this.#timeoutMs, 2 ** 31 - 1),
      )
      const ended: Promise<unknown> = this.#client
        .begin(how, (sql) => {
          clearTimeout(timer)
          // too late: nobody is there any more, and postgres.js rolls back
          if (!isWaiting) throw new Undone()
          const transaction = new GivenTransaction({
            sql,
            ended: () => ended,
            closings: this.#closings,
            timeoutMs: this.#timeoutMs,
          })
          resolve(transaction)
          return transaction.suspended
        })
        .catch((error: unknown) => {
          clearTimeout(timer)
          const failure = markDriverError(error)
          if (isConnectionLost(error)) this.#closings.begin()
          reject(failure) // where it could not begin
          throw failure
        })
      this.#open.add(ended)
      const over = () => this.#open.delete(ended)
      ended.then(over, over)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => {
          reject(
            new OperationalError(
              `Waited ${this.#timeoutMs} ms for ${this.#open.size} transactions that are still open`,
              {
                retryable: true,
              },
            ),
          )
        },
        Math.min(this.#timeoutMs, 2 ** 31 - 1),
      )
    })
    try {
      await Promise.race([Promise.allSettled(this.#open), timeout])
    } finally {
      clearTimeout(timer)
    }
  }

  readonly #channel: OutsideChannel = {
    begin: () => this.begin(''),
    send: async (text, parameters, how) => {
      const unsent = new WeakSet<object>()
      return this.#again(
        () => this.#send(text, parameters, how, unsent),
        (error) => unsent.has(error as object),
      )
    },
  }

  /** @param unsent  Gets the error that came instead of sending it. */
  async #send(
    text: string,
    parameters: readonly unknown[],
    how: How,
    unsent: WeakSet<object>,
  ): Promise<PostgresResult> {
    if (this.#closings.underWay) await this.#closings.underWay
    const query = this.#client.unsafe(text, parameters, how)
    return new Promise<PostgresResult>((resolve, reject) => {
      const timer = setTimeout(
        () => {
          if (query.state !== null) return // it runs: how long that takes is not ours to say
          reject(noConnection(this.#timeoutMs))
          // nothing of it may happen later; cancelled, it would leave a connection that is being opened unused for ever
          query.strings = ['SELECT 1']
          query.args = []
        },
        Math.min(this.#timeoutMs, 2 ** 31 - 1),
      )
      startedAs(query, how).then(
        (result) => {
          clearTimeout(timer)
          resolve(result)
        },
        (error: unknown) => {
          clearTimeout(timer)
          if (query.state === null && isOfServer(error)) unsent.add(error as object)
          if (isConnectionLost(error)) this.#closings.begin()
          reject(markDriverError(error))
        },
      )
    })
  }

  #requireOpen(): void {
    if (this.#closed) throw new InterfaceError('The datastore is closed')
  }
}

interface GivenTransactionParts {
  readonly sql: PostgresTransactionSql
  /** Settled when postgres.js has come to the end of it. */
  readonly ended: () => Promise<unknown>
  readonly closings: Closings
  /** How long a rollback may take. */
  readonly timeoutMs: number
  /** Of a savepoint. */
  readonly parent?: GivenTransaction
}

/**
 * A transaction of postgres.js, or a savepoint of it, whose callback is held until we say how it ends.
 *
 * Once its connection has died the callback is held for ever: postgres.js would send COMMIT or ROLLBACK to the dead
 * socket when it comes back, which ends the process.
 *
 * @see https://github.com/porsager/postgres/issues/1066
 */
class GivenTransaction implements Begun {
  /** What postgres.js waits for. */
  readonly suspended: Promise<void>
  readonly #parts: GivenTransactionParts
  readonly #line: Line
  readonly #lease: Lease
  /** postgres.js names savepoints s0, s1, … over all of a transaction; ours, where this is one. */
  readonly #names: { next: number }
  readonly #name: string
  #finish!: () => void
  #undo!: (why: Undone) => void
  /** The statement that failed first, after which the server does nothing until a rollback. */
  #failure: { readonly error: unknown } | undefined

  constructor(parts: GivenTransactionParts, name = '') {
    const { ended, parent } = parts
    this.#parts = parts
    this.#name = name
    this.#line = parent
      ? parent.#line
      : new Line(() => {
          parts.closings.begin()
        })
    this.#lease = new Lease(parent ? parent.#lease : undefined)
    this.#names = parent ? parent.#names : { next: 0 }
    this.suspended = new Promise((resolve, reject) => {
      this.#finish = resolve
      this.#undo = reject
    })
    // postgres.js stops waiting for its callback when the connection closes
    if (!parent) {
      ended().catch((error: unknown) => {
        if (!this.#lease.isOver || isConnectionLost(error)) this.#line.lose(error)
      })
    }
  }

  async send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    this.#lease.require()
    return this.#send(sql, parameters, how)
  }

  async savepoint(): Promise<Begun> {
    this.#lease.require()
    const { closings, sql, timeoutMs } = this.#parts
    if (closings.underWay) await closings.underWay
    return this.#line.turn(
      () =>
        new Promise<Begun>((resolve, reject) => {
          const name = `s${this.#names.next++}`
          const ended: Promise<unknown> = sql.savepoint((inside) => {
            const transaction = new GivenTransaction(
              { sql: inside, ended: () => ended, closings, timeoutMs, parent: this },
              name,
            )
            resolve(transaction)
            return transaction.suspended
          })
          ended.catch(reject)
        }),
    )
  }

  async commit(): Promise<void> {
    const { parent, closings } = this.#parts
    this.#lease.require()
    this.#lease.end()
    if (closings.underWay) await closings.underWay
    this.#line.requireAlive()
    try {
      // postgres.js will go back to the savepoint, released or not
      if (parent && this.#failure) throw this.#failure.error
      // one that it has come to the end of it leaves
      if (parent) await this.#release(this)
      await this.#end(this.#finish)
    } catch (error) {
      if (parent) this.#lease.renew()
      else if (this.#line.isLost) throw commitLost(error)
      throw this.#failure && sqlState(error) === '25P02' ? this.#failure.error : error
    }
  }

  async rollback(): Promise<void> {
    const { parent, closings, timeoutMs } = this.#parts
    if (this.#lease.isOver) return
    this.#lease.end()
    if (closings.underWay) await closings.underWay
    const timer = setTimeout(
      () => {
        this.#line.lose() // a server that says nothing rolls back when it sees that
      },
      Math.min(timeoutMs, 2 ** 31 - 1),
    )
    try {
      await this.#end(() => {
        this.#undo(new Undone())
      }).catch((error: unknown) => {
        if (!(error instanceof Undone)) throw error
      })
      if (parent) await this.#release(parent)
    } catch (error) {
      // the server has rolled back what it has lost the connection of
      if (!this.#line.isLost) throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** Lets postgres.js go on, once statements that nobody waited for are answered. */
  #end(goOn: () => void): Promise<void> {
    return this.#line.turn(async () => {
      goOn()
      await this.#parts.ended()
    })
  }

  /** @param by  The savepoint itself, or what it is in. */
  async #release(by: GivenTransaction): Promise<void> {
    await by.#send(`RELEASE SAVEPOINT ${this.#name}`, [], plain)
  }

  async #send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    const { closings } = this.#parts
    if (closings.underWay) await closings.underWay
    try {
      return await this.#line.send(this.#parts.sql, sql, parameters, how)
    } catch (error) {
      this.#failure ??= { error }
      throw error
    }
  }
}

/**
 * Knows when a client's connections close.
 *
 * A statement that is sent on one after its first sign of that, and before the client has cleared it away, is written to a
 * socket that is gone, which ends the process; or it is never answered, and the connection never used again. So for that
 * moment, which ends with the next turn of the event loop, everything of ours waits: any connection may be the one.
 */
class Closings {
  underWay: Promise<void> | undefined
  static readonly #all = new WeakMap<PostgresClient, Closings>()

  static of(client: PostgresClient): Closings {
    let closings = Closings.#all.get(client)
    if (!closings) Closings.#all.set(client, (closings = new Closings(client)))
    return closings
  }

  private constructor({ options }: PostgresClient) {
    const told = options.onclose
    // read by the client at each closing
    options.onclose = (id) => {
      this.begin()
      told?.(id)
    }
  }

  begin(): void {
    // sockets say that they are closed after the first, and before the second
    this.underWay ??= new Promise((resolve) => {
      setImmediate(() => {
        setImmediate(() => {
          this.underWay = undefined
          resolve()
        })
      })
    })
  }
}

const plain = { prepare: false, values: true }

/** What makes postgres.js roll back where we want it to. */
class Undone extends Error {}

/** Whether the server said it of something else than connecting: of a connection that was there before. */
function isOfServer(error: unknown): boolean {
  const state = sqlState(error)
  return state !== undefined && !/^(28|3D|53|57P03)/.test(state)
}

function noConnection(timeoutMs: number): OperationalError {
  return new OperationalError(`Waited ${timeoutMs} ms for a connection of the database given to postgres()`, {
    retryable: true,
  })
}
