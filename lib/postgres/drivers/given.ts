import { markDriverError } from '../../drizzle/driver-errors.js'
import { InterfaceError, OperationalError } from '../../errors.js'
import { isConnectionLost, sqlState } from '../errors.js'
import type { PostgresClient, PostgresPackage, PostgresResult, PostgresTransactionSql } from './client.js'
import { type Channel, type How, Line, startedAs } from './line.js'
import { Link } from './link.js'
import { type Begun, commitLost, type Source } from './source.js'

/** The client of a user's own database: its pool, its options, and never closed by us. */
export class GivenSource implements Source {
  readonly #client: PostgresClient
  readonly #timeoutMs: number
  readonly #load: () => Promise<PostgresPackage>
  readonly #open = new Set<Promise<unknown>>()
  #closed = false

  /** @param onLost  Told when a connection was found to be gone. */
  constructor(
    client: PostgresClient,
    timeoutMs: number,
    load: () => Promise<PostgresPackage>,
    private readonly onLost: () => void,
  ) {
    this.#client = client
    this.#timeoutMs = timeoutMs
    this.#load = load
  }

  async open(): Promise<void> {
    await this.outside((channel) => channel.send('SELECT 1', [], { prepare: false, values: true }))
  }

  async outside<T>(work: (channel: Channel) => Promise<T>): Promise<T> {
    this.#requireOpen()
    return work(this.#channel)
  }

  async apart<T>(work: (channel: Channel) => Promise<T>): Promise<T> {
    this.#requireOpen()
    if (this.#open.size === 0) return work(this.#channel)
    // its connections may all be transactions': one more, opened as the client opens its own
    const link = await Link.open(await this.#load(), [this.#client.options], this.#timeoutMs, () => undefined)
    try {
      return await work(link)
    } finally {
      void link.end()
    }
  }

  begin(how: string): Promise<Begun> {
    this.#requireOpen()
    return new Promise((resolve, reject) => {
      let isWaiting = true
      const timer = setTimeout(
        () => {
          isWaiting = false
          reject(noConnection(this.#timeoutMs))
        },
        Math.min(this.#timeoutMs, 2 ** 31 - 1),
      )
      const ended: Promise<unknown> = this.#client
        .begin(how, (sql) => {
          clearTimeout(timer)
          // too late: nobody is there any more, and postgres.js rolls back
          if (!isWaiting) throw new Undone()
          const transaction = new GivenTransaction(sql, () => ended)
          resolve(transaction)
          return transaction.suspended
        })
        .catch((error: unknown) => {
          clearTimeout(timer)
          const failure = markDriverError(error)
          if (isConnectionLost(error)) this.onLost()
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

  readonly #channel: Channel = {
    send: (text, parameters, how) => {
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
            if (isConnectionLost(error)) this.onLost()
            reject(markDriverError(error))
          },
        )
      })
    },
  }

  #requireOpen(): void {
    if (this.#closed) throw new InterfaceError('The datastore is closed')
  }
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
  readonly #sql: PostgresTransactionSql
  readonly #ended: () => Promise<unknown>
  readonly #savepoint: { readonly parent: GivenTransaction; readonly name: string } | undefined
  readonly #line: Line
  /** postgres.js names savepoints s0, s1, … over all of a transaction. */
  readonly #names: { next: number }
  #finish!: () => void
  #undo!: (why: Undone) => void
  #isOver = false
  /** The statement that failed first, after which the server does nothing until a rollback. */
  #failure: { readonly error: unknown } | undefined

  /** @param ended  Settled when postgres.js has come to the end of it. */
  constructor(
    sql: PostgresTransactionSql,
    ended: () => Promise<unknown>,
    savepoint?: { readonly parent: GivenTransaction; readonly name: string },
  ) {
    this.#sql = sql
    this.#ended = ended
    this.#savepoint = savepoint
    this.#line = savepoint ? savepoint.parent.#line : new Line()
    this.#names = savepoint ? savepoint.parent.#names : { next: 0 }
    this.suspended = new Promise((resolve, reject) => {
      this.#finish = resolve
      this.#undo = reject
    })
    // postgres.js stops waiting for its callback when the connection closes
    if (!savepoint) {
      ended().catch((error: unknown) => {
        if (!this.#isOver || isConnectionLost(error)) this.#line.lose(error)
      })
    }
  }

  async send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    try {
      return await this.#line.send(this.#sql, sql, parameters, how)
    } catch (error) {
      if (sqlState(error)) this.#failure ??= { error }
      throw error
    }
  }

  savepoint(): Promise<Begun> {
    const nested = new Promise<Begun>((resolve, reject) => {
      this.#line.requireAlive()
      const name = `s${this.#names.next++}`
      const ended: Promise<unknown> = this.#sql.savepoint((sql) => {
        const transaction = new GivenTransaction(sql, () => ended, { parent: this, name })
        resolve(transaction)
        return transaction.suspended
      })
      ended.catch(reject)
    })
    return this.#line.settled(nested)
  }

  async commit(): Promise<void> {
    this.#line.requireAlive()
    try {
      // a savepoint that postgres.js comes to the end of is left there by it
      if (this.#savepoint) await this.#release(this.#savepoint.name)
      this.#isOver = true
      this.#finish()
      await this.#line.settled(this.#ended())
    } catch (error) {
      if (!this.#savepoint && this.#line.isLost) throw commitLost(error)
      throw this.#failure && sqlState(error) === '25P02' ? this.#failure.error : error
    }
  }

  async rollback(): Promise<void> {
    if (this.#isOver || this.#line.isLost) return
    this.#isOver = true
    this.#undo(new Undone())
    try {
      await this.#line.settled(this.#ended())
    } catch (error) {
      if (!(error instanceof Undone)) throw error
    }
    if (this.#savepoint) await this.#savepoint.parent.#release(this.#savepoint.name)
  }

  #release(name: string): Promise<unknown> {
    return this.send(`RELEASE SAVEPOINT ${name}`, [], { prepare: false, values: false })
  }
}

/** What makes postgres.js roll back where we want it to. */
class Undone extends Error {}

function noConnection(timeoutMs: number): OperationalError {
  return new OperationalError(`Waited ${timeoutMs} ms for a connection of the database given to postgres()`, {
    retryable: true,
  })
}
