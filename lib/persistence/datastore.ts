import { NotSupportedError } from '../errors.js'
import type { Factory, FactoryOptions } from './factory.js'
import { requireSwitch } from './session.js'
import { SessionByHand } from './session-by-hand.js'
import type { Transactions } from './transactions.js'
import { type OpenTransaction, PassesTransactionsOn, type SessionOf, type Transactional } from './transactional.js'

/** What a backend can do; asked for by name instead of asking which backend it is. */
export interface Capabilities {
  /** Whether two transactions may write at the same time. */
  readonly concurrentWriters: boolean
  /** Whether it holds tables of the user's own beside the events. */
  readonly ownTables: boolean
}

/** Where events are kept, and its transactions: what an application, a factory and recorders need to know of it. */
export interface AnyDatastore<Session = unknown> extends Transactional<Session> {
  readonly dialect: string
  readonly capabilities: Capabilities
  /** Whether saves in a transaction are written at once, unless it says so itself. */
  autoflush: boolean
  /** Connects, if that has not happened. @throws OperationalError  It can't be reached or opened. */
  ready(): Promise<void>
  /** Runs `fn` outside the current transaction. */
  outside<T>(fn: () => T): T
  onRollback(fn: (isOutcomeUnknown: boolean) => void): void
  currentTransaction(): OpenTransaction | undefined
  usesOwnDatabase?(): boolean
  /** Makes a factory of recorders on this datastore, for an application that is given the datastore itself. */
  factory?(options: Omit<FactoryOptions, 'datastore'>): Factory
  /** Waits for open transactions, then closes what we opened. Everything later is an `InterfaceError`. */
  close(): Promise<void>
}

/** What every datastore of ours has: transactions, and what goes with them. */
export abstract class TransactionalDatastore<
  Session,
  Connection,
  ByHand extends object = object,
> extends PassesTransactionsOn<Session> {
  /** @internal */
  protected abstract readonly transactions: Transactions<Session, Connection>

  /**
   * Whether saves in a transaction are written at once, unless it says so itself; see `SessionExtras.autoflush`. Default: `true`.
   * Assigned, it holds for transactions that begin from then on. A save outside of a transaction is written at once in any case.
   *
   * @throws ProgrammingError  It is set to something that is neither `true` nor `false`.
   */
  get autoflush(): boolean {
    return this.transactions.autoflush
  }

  set autoflush(on: boolean) {
    this.transactions.autoflush = requireSwitch("A datastore's autoflush", on)
  }

  /** Runs `fn` outside the current transaction: what it saves commits on its own, and what it reads is committed. */
  outside<T>(fn: () => T): T {
    return this.transactions.outside(fn)
  }

  /** Runs `fn` if the current transaction, or the savepoint it is in, is rolled back. Does nothing outside of one. */
  onRollback(fn: (isOutcomeUnknown: boolean) => void): void {
    this.transactions.current()?.onRollback(fn)
  }

  /** The transaction or savepoint that a call made now would join; `undefined` outside of any. */
  currentTransaction(): OpenTransaction | undefined {
    return this.transactions.current()
  }

  /** Whether a call made now works in its own database, and in no transaction that a user has begun. */
  usesOwnDatabase(): boolean {
    const transaction = this.transactions.current(true)
    return !transaction || (transaction.isOf(this.transactions) && !transaction.isUsers)
  }

  /** Connects, if that has not happened. */
  abstract ready(): Promise<void>

  /**
   * Opens a session that is managed by hand: `await using session = await datastore.openSession()`.
   *
   * Connects, if that has not happened. Its transaction begins at its first statement, or at the first call that joins by
   * `session.run(fn)`; after `commit()` or `rollback()` the next one begins another. Any number may be open, each independent
   * of the others and of the current transaction. Where there is one writer (SQLite, memory), what only reads takes no
   * transaction before the first write, and sees what is committed then.
   *
   * @throws OperationalError  The database can't be reached. Of statements: no connection, or the writer not free, within the
   *   pool timeout; retryable.
   */
  async openSession(): Promise<ByHand> {
    await this.ready()
    return this.handleOf(this.newSession())
  }

  /** @internal A session for `openSession()`, or for a scope. */
  newSession(): SessionByHand<Session, Connection> {
    return new SessionByHand(this.transactions)
  }

  /** @internal What scopes run in. */
  transactionsForScopes(): Transactions<Session, Connection> {
    return this.transactions
  }

  /** @internal What the user gets of it. */
  abstract handleOf(session: SessionByHand<Session, Connection>): ByHand

  protected transactional(): Transactional<Session> | Promise<Transactional<Session>> {
    return this.transactions
  }
}

/** What every recorder of ours has: a datastore, and its transactions. */
export abstract class RecorderOn<D extends AnyDatastore> extends PassesTransactionsOn<SessionOf<D>> {
  constructor(readonly datastore: D) {
    super()
  }

  /** Runs `fn` if the current transaction, or the savepoint it is in, is rolled back. Does nothing outside of one. */
  onRollback(fn: (isOutcomeUnknown: boolean) => void): void {
    this.datastore.onRollback(fn)
  }

  /** The transaction or savepoint that a call made now would join; `undefined` outside of any. */
  currentTransaction(): OpenTransaction | undefined {
    return this.datastore.currentTransaction()
  }

  /** Whether a call made now works in the datastore's own database, and in no transaction that a user has begun. */
  usesOwnDatabase(): boolean {
    return this.datastore.usesOwnDatabase?.() ?? true
  }

  protected transactional(): Transactional<SessionOf<D>> {
    // what D is a datastore of is what its session says
    return this.datastore as Transactional as Transactional<SessionOf<D>>
  }
}

/** Subscriptions are not built yet. @throws NotSupportedError  Always. */
export function refuseSubscribe(): never {
  throw new NotSupportedError('recorder.subscribe() is not built yet: read notifications with selectNotifications()')
}
