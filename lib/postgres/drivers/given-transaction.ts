import { isConnectionLost, sqlState } from '../errors.js'
import { startTimer } from '../../persistence/timers.js'
import type { PostgresResult, PostgresSql, PostgresTransactionSql } from './client.js'
import type { Closings } from './closings.js'
import { type How, Line, unprepared } from './line.js'
import { type Begun, commitLost, Lease } from './source.js'

/** What a transaction on a user's client is made from. */
export interface GivenTransactionParts {
  readonly sql: PostgresTransactionSql
  /** Settled when postgres.js has come to the end of it. */
  readonly ended: () => Promise<unknown>
  readonly closings: Pick<Closings, 'underWay' | 'begin' | 'query'>
  /** How long a rollback may take. */
  readonly timeoutMs: number
  /** Of a savepoint. */
  readonly parent?: GivenTransaction
  /** Whether its user has begun it and sets savepoints too: then postgres.js has counted others than ours. */
  readonly isUsers?: boolean
}

/**
 * A transaction of postgres.js, or a savepoint of it, whose callback is held until we say how it ends.
 *
 * Once its connection has died the callback is held for ever: postgres.js would send COMMIT or ROLLBACK to the dead
 * socket when it comes back, which ends the process.
 *
 * @see https://github.com/porsager/postgres/issues/1066
 */
export class GivenTransaction implements Begun {
  /** What postgres.js waits for. */
  readonly suspended: Promise<void>
  readonly #parts: GivenTransactionParts
  readonly #line: Line
  readonly #lease: Lease
  readonly #sql: PostgresSql
  /** postgres.js names savepoints s0, s1, … over all of a transaction; ours, where this is one. */
  readonly #names: { next: number }
  readonly #name: string
  #finish!: () => void
  #undo!: (why: Undone) => void
  /** The statement that failed first, after which the server does nothing until a rollback. */
  #failure: { readonly error: unknown } | undefined

  constructor(parts: GivenTransactionParts, name = '') {
    const { ended, parent, sql, closings } = parts
    this.#parts = parts
    this.#name = name
    this.#line = parent
      ? parent.#line
      : new Line(() => {
          parts.closings.begin()
        })
    this.#sql = { unsafe: (text, parameters, how) => closings.query(sql, text, parameters, how) }
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
    const { closings, sql, timeoutMs, isUsers = false } = this.#parts
    if (closings.underWay) await closings.underWay
    const number = this.#names.next++
    // around that of postgres.js, whose name isn't known: released, it takes that along
    const outer = isUsers ? `ours_${number}` : undefined
    if (outer) await this.#send(`SAVEPOINT ${outer}`, [], unprepared)
    return this.#line.turn(
      () =>
        new Promise<Begun>((resolve, reject) => {
          const name = outer ?? `s${number}`
          const ended: Promise<unknown> = sql.savepoint((inside) => {
            const transaction = new GivenTransaction(
              { sql: inside, ended: () => ended, closings, timeoutMs, isUsers, parent: this },
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
    const timer = startTimer(() => {
      this.#line.lose() // a server that says nothing rolls back when it sees that
    }, timeoutMs)
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
    await by.#send(`RELEASE SAVEPOINT ${this.#name}`, [], unprepared)
  }

  async #send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    const { closings } = this.#parts
    if (closings.underWay) await closings.underWay
    try {
      return await this.#line.send(this.#sql, sql, parameters, how)
    } catch (error) {
      this.#failure ??= { error }
      throw error
    }
  }
}

/** What makes postgres.js roll back where we want it to. */
export class Undone extends Error {}
