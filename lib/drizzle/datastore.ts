import { InterfaceError, ProgrammingError } from '../errors.js'
import { type AnyDatastore, type Capabilities, TransactionalDatastore } from '../persistence/datastore.js'
import type { FactoryOptions } from '../persistence/factory.js'
import { inThisContext } from '../persistence/outside.js'
import type { AnySession, AnySessionByHand } from '../persistence/session.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import { type Transaction, Transactions } from '../persistence/transaction.js'
import type { BeginTexts, SelectEventsOptions } from '../persistence/recorders.js'
import type { Connection, Dialect, Driver, Insert, TableName } from './dialect.js'
import { DrizzleFactory } from './factory.js'
import { isWholeStream } from './statements.js'
import { waitingInsert } from './waiting-insert.js'

/** What a datastore is made of; a dialect's `sqlite()` or `postgres()` puts it together. */
export interface DatastoreParts<Db, Session, C extends Connection, ByHand> {
  readonly dialect: Dialect<C>
  readonly driver: Driver<Db, Session, C, ByHand>
  /** How long to wait for a connection, for the writer, and for a turn inside a transaction. */
  readonly poolTimeoutMs: number
  /** Whether saves in a transaction are written at once. Default: true. */
  readonly autoflush?: boolean | undefined
}

/** A datastore on any database, with whatever schema. */
// the parameters stand for themselves in both directions, so nothing narrower takes every datastore
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyDrizzleDatastore = Datastore<any, any, any, any>

/**
 * A Drizzle database, its connections, and its transactions.
 *
 * Made by `sqlite(…)` or `postgres(…)`; connects at its first use, or by `ready()`.
 */
export class Datastore<
  Db = unknown,
  Session = AnySession,
  C extends Connection = Connection,
  ByHand extends object = AnySessionByHand,
>
  extends TransactionalDatastore<Session, C, ByHand>
  implements AnyDatastore<Session>
{
  /** `'sqlite'` or `'postgresql'`. */
  readonly dialect: 'sqlite' | 'postgresql'
  readonly capabilities: Capabilities
  /** @internal What the SQL differs in, for the recorders. */
  readonly sql: Dialect<C>
  readonly #driver: Driver<Db, Session, C, ByHand>
  protected readonly transactions: Transactions<Session, C>
  #opening: Promise<void> | undefined
  #isOpen = false
  #isClosed = false
  #closing: Promise<void> | undefined

  constructor({ dialect, driver, poolTimeoutMs, autoflush = true }: DatastoreParts<Db, Session, C, ByHand>) {
    super()
    this.dialect = dialect.name
    this.capabilities = dialect.capabilities
    this.sql = dialect
    this.#driver = driver
    driver.attach(this)
    this.transactions = new Transactions<Session, C>({
      timeoutMs: poolTimeoutMs,
      translate: (error) => dialect.translate(error),
      begin: async (transaction, options) => {
        await this.ready()
        return driver.begin(transaction, options)
      },
    })
    this.autoflush = autoflush
  }

  /**
   * The Drizzle database for use outside transactions. There once `ready()` has resolved, or at once where the user
   * gave a `db`.
   *
   * @throws InterfaceError  Not connected yet.
   */
  get db(): Db {
    const { db } = this.#driver
    if (!db) throw new InterfaceError('The datastore is not connected yet: await datastore.ready() before using .db')
    return db
  }

  /** Whether `close()` was called. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Connects, if that has not happened. A failed attempt is tried again by the next call. */
  async ready(): Promise<void> {
    if (this.#isClosed) throw new InterfaceError('The datastore is closed')
    if (this.#isOpen) return
    // outside of any transaction: what is opened here outlives it
    this.#opening ??= this.outside(async () => {
      try {
        await this.#driver.open()
        this.#isOpen = true
      } catch (error) {
        throw this.sql.translate(error)
      } finally {
        this.#opening = undefined
      }
    })
    await this.#opening
  }

  /** @internal */
  handleOf(session: SessionByHand<Session, C>): ByHand {
    return this.#driver.handleOf(session)
  }

  /** @internal The current transaction, if any. */
  current(): Transaction<Session, C> | undefined {
    return this.transactions.current()
  }

  /** @internal Runs a recorder's query: inside the current transaction, or outside of any. */
  async read<T>(work: (connection: C) => T | Promise<T>): Promise<T> {
    const transaction = this.transactions.current()
    try {
      // with one writer, who has only read so far has not taken it
      const readsOutside = !transaction || (transaction.isIdle && !this.capabilities.concurrentWriters)
      if (!readsOutside) return await transaction.take(work)
      if (!this.#isOpen || this.#isClosed) await this.ready()
      return await this.#driver.read(work)
    } catch (error) {
      throw this.sql.translate(error)
    }
  }

  /** @internal One originator's events as text: as `read`, or together with others. */
  async selectTexts(
    table: TableName,
    originatorId: string,
    begin: BeginTexts,
    options: SelectEventsOptions,
  ): Promise<boolean> {
    // rows come in outside of any context; whoever takes them may look for the caller's
    const beginHere = this.#driver.readTexts ? inThisContext(() => inThisContext(begin())) : begin
    const work = (connection: C) => this.sql.selectTexts(connection, table, originatorId, beginHere, options)
    const isForSharing = isWholeStream(options) && this.#isOpen && !this.#isClosed && !this.transactions.current()
    if (!this.#driver.readTexts || !isForSharing) return this.read(work)
    try {
      return await this.#driver.readTexts(table, originatorId, beginHere, work)
    } catch (error) {
      throw this.sql.translate(error)
    }
  }

  /** @internal What recorders' tables need before their first use; see `Driver.setUp`. */
  async setUp(
    isDone: (connection: C) => boolean | Promise<boolean>,
    make: (connection: C) => void | Promise<void>,
  ): Promise<void> {
    try {
      await this.ready()
      await this.#driver.setUp(isDone, make)
    } catch (error) {
      throw this.sql.translate(error)
    }
  }

  /** @internal Runs a recorder's write, which is atomic by itself: inside the current transaction, or on its own. */
  async write<T>(work: (connection: C) => T | Promise<T>): Promise<T> {
    return this.#write(
      (transaction) => transaction.write(work),
      () => this.#driver.write(work),
    )
  }

  /**
   * @internal Inserts events: inside the current transaction, there, with autoflush off, at the next flush; or on its own, or
   * together with others.
   */
  append(insert: Insert): Promise<number[]> {
    const work = (connection: C) => this.sql.append(connection, insert)
    // no promise more than it takes, on the way of every save: each costs about a microsecond
    if (this.#isOpen && !this.#isClosed && !this.transactions.current()) return this.#driver.append(insert, work)
    return this.#write(
      (transaction) => transaction.append(work, () => waitingInsert(this.sql, insert)),
      () => this.#driver.append(insert, work),
    )
  }

  async #write<T>(inside: (transaction: Transaction<Session, C>) => Promise<T>, outside: () => Promise<T>): Promise<T> {
    const transaction = this.transactions.current()
    try {
      if (transaction) return await inside(transaction)
      if (!this.#isOpen || this.#isClosed) await this.ready()
      return await outside()
    } catch (error) {
      throw this.sql.translate(error)
    }
  }

  /** Makes a factory of recorders on this datastore. */
  factory(options: Omit<FactoryOptions, 'datastore'> = {}): DrizzleFactory<Datastore<Db, Session, C, ByHand>> {
    return new DrizzleFactory<Datastore<Db, Session, C, ByHand>>({ ...options, datastore: this })
  }

  /**
   * Waits for open transactions, then closes what we opened; a `db` that the user gave stays open.
   *
   * @throws ProgrammingError  It is called inside a transaction, for whose end it would have to wait.
   * @throws OperationalError  They did not end within the pool timeout. New calls are refused all the same, and `close()`
   *   may be called again.
   */
  async close(): Promise<void> {
    if (!this.#closing && this.transactions.isInside()) {
      throw new ProgrammingError('close() waits for open transactions: call it outside of them')
    }
    this.#isClosed = true
    this.#closing ??= this.#close().catch((error: unknown) => {
      this.#closing = undefined
      throw this.sql.translate(error)
    })
    await this.#closing
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    await this.#opening?.catch(() => undefined)
    await this.#driver.close()
  }
}
