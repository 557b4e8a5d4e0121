import { InterfaceError, ProgrammingError } from '../errors.js'
import { type AnyDatastore, type Capabilities, TransactionalDatastore } from '../persistence/datastore.js'
import type { FactoryOptions } from '../persistence/factory.js'
import { markOutcomeUnknown } from '../persistence/outcomes.js'
import { inThisContext } from '../persistence/outside.js'
import type { AnySession, AnySessionByHand } from '../persistence/session.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { StoredEvent } from '../persistence/stored-event.js'
import type { Transaction } from '../persistence/transaction.js'
import { Transactions } from '../persistence/transactions.js'
import type { Transactional } from '../persistence/transactional.js'
import type { BeginTexts, SelectEventsOptions } from '../persistence/recorders.js'
import type { Connection, Dialect, Driver, Insert, TableName } from './dialect.js'
import { DrizzleFactory } from './factory.js'
import { isUnsent } from './driver-errors.js'
import { NoConnections } from './no-connections.js'
import { type ScopedSessionOptions, ScopedSessions, type AnyUsersSessions } from './scoped-sessions.js'
import { LostAppends } from './lost-appends.js'
import { Reconnecting, type RetryOptions } from './reconnecting.js'
import { isWholeStream } from './statements.js'
import { waitingInsert, waitingReplace } from './waiting-insert.js'

/** What a datastore is made of; a dialect's `sqlite()` or `postgres()` puts it together. */
export interface DatastoreParts<Db, Session, C extends Connection, ByHand> {
  /** Absent where the first scoped session tells. */
  readonly dialect?: Dialect<C>
  readonly driver: Driver<Db, Session, C, ByHand>
  /** The sessions of its dialect, of every dialect without one, that users manage themselves. */
  readonly usersSessions: readonly AnyUsersSessions[]
  /** How long to wait for a connection, for the writer, and for a turn inside a transaction. */
  readonly poolTimeoutMs: number
  /** How what lost its connection is repeated. */
  readonly retry?: RetryOptions | undefined
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
  #dialect: Dialect<C> | undefined
  readonly #usersSessions: readonly AnyUsersSessions[]
  readonly #poolTimeoutMs: number
  #scoped: ScopedSessions<Db, Session, C> | undefined
  readonly #driver: Driver<Db, Session, C, ByHand>
  protected readonly transactions: Transactions<Session, C>
  /** Absent where there is no connection to lose. */
  readonly #reconnecting: Reconnecting | undefined
  readonly #lostAppends: LostAppends | undefined
  #opening: Promise<void> | undefined
  #isOpen = false
  #isClosed = false
  #closing: Promise<void> | undefined

  constructor({
    dialect,
    driver,
    poolTimeoutMs,
    usersSessions,
    retry = {},
    autoflush = true,
  }: DatastoreParts<Db, Session, C, ByHand>) {
    super()
    this.#dialect = dialect
    this.#usersSessions = usersSessions
    this.#poolTimeoutMs = poolTimeoutMs
    this.#driver = driver
    driver.attach(this)
    if (dialect?.isDisconnect) {
      const reconnecting = new Reconnecting(retry, (error) => dialect.isDisconnect?.(error) ?? false, poolTimeoutMs)
      this.#reconnecting = reconnecting
      this.#lostAppends = new LostAppends({
        sql: dialect,
        reconnecting,
        append: (insert) => driver.append(insert, (connection) => dialect.append(connection, insert)),
        // whatever connection it gets, it is one of this dialect
        read: (work) => this.transactions.translated(() => driver.read(work)),
      })
    }
    this.transactions = new Transactions<Session, C>({
      timeoutMs: poolTimeoutMs,
      translate: (error) => this.#translate(error),
      scoped: (isOptional) => (this.#isClosed ? undefined : this.#scoped?.transaction(isOptional)),
      begin: async (transaction, options) => {
        const outside = await this.#outside()
        return this.#on(outside, () => outside.begin(transaction, options))
      },
    })
    this.autoflush = autoflush
  }

  /** `'sqlite'` or `'postgresql'`. @throws InterfaceError  No scoped session was there yet, and no URL tells. */
  get dialect(): 'sqlite' | 'postgresql' {
    return this.sql.name
  }

  get capabilities(): Capabilities {
    return this.sql.capabilities
  }

  /** @internal What the SQL differs in, for the recorders. */
  get sql(): Dialect<C> {
    if (this.#dialect) return this.#dialect
    throw new InterfaceError('Which database this is, the first scoped session tells: there was none yet')
  }

  /** @internal Whether a database is known, and so whether names can be checked. */
  get isKnown(): boolean {
    return this.#dialect !== undefined
  }

  /** @internal Whether there are connections beside those of scoped sessions. */
  get hasConnections(): boolean {
    return !(this.#driver instanceof NoConnections)
  }

  /**
   * @internal Takes sessions from a topic from now on, as `DRIZZLE_SCOPED_SESSION_TOPIC` says.
   *
   * @throws ProgrammingError  It takes them from another one.
   */
  takeScopedSessions(options: ScopedSessionOptions): void {
    const known = this.#scoped?.options
    if (known) {
      if (known.topic === options.topic && known.isRequired === options.isRequired) return
      throw new ProgrammingError(
        'This datastore has its sessions from another DRIZZLE_SCOPED_SESSION_TOPIC: applications that share a datastore ' +
          'share the topic, and DRIZZLE_REQUIRE_SCOPED_SESSION',
      )
    }
    this.#scoped = new ScopedSessions<Db, Session, C>(options, {
      timeoutMs: this.#poolTimeoutMs,
      transactions: this.transactions,
      db: () => this.#driver.db,
      kinds: () => this.#usersSessions,
      tell: (kind) => {
        if (this.#dialect?.name === kind.name) return
        if (this.#dialect)
          throw new ProgrammingError(`This datastore is on ${this.dialect}, and the scoped session on ${kind.name}`)
        options.check?.(kind.name)
        this.#dialect = kind.makeDialect(this.#poolTimeoutMs)
      },
      attach: (driver) => {
        driver.attach(this)
      },
    })
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
        await this.#scoped?.resolve()
        await this.#driver.open()
        this.#isOpen = true
      } catch (error) {
        throw this.#translate(error)
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

  /**
   * @internal The current transaction, if any: ours, or that of the scope.
   *
   * @throws ProgrammingError  There has to be a scope, and there is none.
   */
  current(): Transaction<Session, C> | undefined {
    return this.transactions.current()
  }

  /** Whether a call made now works in its own database, and in no transaction that a user has begun. */
  override usesOwnDatabase(): boolean {
    return super.usesOwnDatabase() && !this.#scoped?.driver()
  }

  /** @internal As `current`, for what may be done without a scope too. */
  currentIfAny(): Transaction<Session, C> | undefined {
    return this.transactions.current(true)
  }

  /** @internal Finds what the topic of the scoped sessions names, where that is still to do; else no promise. */
  known(): Promise<void> | undefined {
    return this.#scoped && !this.#scoped.isResolved ? this.#scoped.resolve() : undefined
  }

  /** @internal Whether a call has a database now: ours, or the scope's. */
  isReachable(): boolean {
    return this.hasConnections || (this.#scoped?.isThere() ?? false)
  }

  /** @internal Runs a recorder's query: inside the current transaction, or outside of any. */
  async read<T>(work: (connection: C) => T | Promise<T>): Promise<T> {
    const transaction = this.transactions.current()
    try {
      // with one writer, who has only read so far has not taken it
      const readsOutside = !transaction || (this.#isIdleHere(transaction) && !this.capabilities.concurrentWriters)
      if (!readsOutside) return await transaction.take(work)
      const driver = await this.#outside()
      return await this.#on(driver, () => driver.read(work))
    } catch (error) {
      throw this.#translate(error)
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
    const beginHere = this.#driver.readTexts || this.#scoped ? inThisContext(() => inThisContext(begin())) : begin
    const work = (connection: C) => this.sql.selectTexts(connection, table, originatorId, beginHere, options)
    const { readTexts } = this.#driver
    if (!readTexts || !isWholeStream(options) || !this.#isFree()) return this.read(work)
    try {
      return await this.#repeating(() => readTexts.call(this.#driver, table, originatorId, beginHere, work))
    } catch (error) {
      throw this.#translate(error)
    }
  }

  /** @internal What recorders' tables need before their first use; see `Driver.setUp`. */
  async setUp(
    isDone: (connection: C) => boolean | Promise<boolean>,
    make: (connection: C) => void | Promise<void>,
    timeoutMs?: number,
  ): Promise<void> {
    try {
      await this.ready()
      const driver = this.hasConnections ? this.#driver : await this.#outside()
      await this.#on(driver, () => driver.setUp(isDone, make, timeoutMs))
    } catch (error) {
      throw this.#translate(error)
    }
  }

  /** @internal Runs a recorder's write, which is atomic by itself: inside the current transaction, or on its own. */
  async write<T>(work: (connection: C) => T | Promise<T>): Promise<T> {
    // once sent, nobody knows whether it has happened
    return this.#write(
      (transaction) => transaction.write(work),
      async (driver) => {
        try {
          return await this.#on(driver, () => driver.write(work), isUnsent)
        } catch (error) {
          const isLost = driver === this.#driver && this.#reconnecting?.isDisconnect(error) && !isUnsent(error)
          throw isLost ? markOutcomeUnknown(this.#translate(error) as Error) : error
        }
      },
    )
  }

  /**
   * @internal Inserts events: inside the current transaction, there, with autoflush off, at the next flush; or on its own, or
   * together with others.
   */
  append(insert: Insert): Promise<number[]> {
    const work = (connection: C) => this.sql.append(connection, insert)
    // no promise more than it takes, on the way of every save: each costs about a microsecond
    if (!this.#scoped && this.#isFree()) return this.#appendOutside(insert, work)
    return this.#write(
      (transaction) => transaction.append(work, () => waitingInsert(this.sql, insert)),
      (driver) => (driver === this.#driver ? this.#appendOutside(insert, work) : driver.append(insert, work)),
    )
  }

  /** @internal Puts a snapshot in the place of the one of that version: inside the current transaction as `append`, or on its own. */
  async replace(table: TableName, snapshot: StoredEvent): Promise<void> {
    const work = (connection: C) => this.sql.replace(connection, table, snapshot)
    await this.#write<unknown>(
      (transaction) =>
        transaction.append(
          async (connection) => {
            await work(connection)
            return []
          },
          () => waitingReplace(this.sql, table, snapshot),
        ),
      // sent twice it is the same snapshot
      (driver) => this.#on(driver, () => driver.write(work)),
    )
  }

  #appendOutside(insert: Insert, work: (connection: C) => number[] | Promise<number[]>): Promise<number[]> {
    return this.#lostAppends?.append(insert) ?? this.#driver.append(insert, work)
  }

  /** As `#repeating`, where the driver is the one of our own connections: a scope's are its user's affair. */
  #on<T>(
    driver: Driver<Db, Session, C>,
    attempt: () => Promise<T>,
    isRepeatable?: (error: unknown) => boolean,
  ): Promise<T> {
    return driver === this.#driver ? this.#repeating(attempt, isRepeatable) : attempt()
  }

  /** Repeats it where its connection was lost, or there is none, and that is safe. */
  #repeating<T>(attempt: () => Promise<T>, isRepeatable?: (error: unknown) => boolean): Promise<T> {
    const reconnecting = this.#reconnecting
    if (!reconnecting) return attempt()
    return attempt().catch((error: unknown) => reconnecting.again(error, attempt, isRepeatable))
  }

  async #write<T>(
    inside: (transaction: Transaction<Session, C>) => Promise<T>,
    outside: (driver: Driver<Db, Session, C>) => Promise<T>,
  ): Promise<T> {
    const transaction = this.transactions.current()
    try {
      if (transaction) return await inside(transaction)
      return await outside(await this.#outside())
    } catch (error) {
      throw this.#translate(error)
    }
  }

  /** Whether the database does not know of it yet, and of ours has all that it will see: not of another datastore's. */
  #isIdleHere(transaction: Transaction<Session, C>): boolean {
    return transaction.isIdle && this.hasConnections && transaction.isOf(this.transactions)
  }

  /** Whether our own connections are open and nothing else comes before them. */
  #isFree(): boolean {
    return this.#isOpen && !this.#isClosed && !this.transactions.current() && !this.#scoped?.driver()
  }

  /** Where to work outside of transactions: the scope's database, or our own connections. */
  #outside(): Driver<Db, Session, C> | Promise<Driver<Db, Session, C>> {
    const scopes = this.#isClosed ? undefined : this.#scoped?.driver()
    if (scopes) return scopes
    return this.#isOpen && !this.#isClosed ? this.#driver : this.ready().then(() => this.#driver)
  }

  #translate(error: unknown): unknown {
    return this.#dialect ? this.#dialect.translate(error) : error
  }

  protected override transactional(): Transactional<Session> | Promise<Transactional<Session>> {
    return this.known()?.then(() => this.transactions) ?? this.transactions
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
      throw this.#translate(error)
    })
    await this.#closing
  }

  /** As `close`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    await this.#opening?.catch(() => undefined)
    await this.#scoped?.close()
    await this.#driver.close()
  }
}
