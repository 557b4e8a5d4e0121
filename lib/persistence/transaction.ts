import { AsyncLocalStorage } from 'node:async_hooks'
import { EventSourcingError, InterfaceError, NotSupportedError, ProgrammingError } from '../errors.js'
import { Turns } from './turns.js'

/** What a transaction takes. */
export interface TransactionOptions {
  /** `false`: always rolled back at the end, and nothing inside may commit. Default: true. */
  readonly commit?: boolean | undefined
  /** For PostgreSQL, and only on the outermost transaction. SQLite and memory are serializable whatever is asked. */
  readonly isolationLevel?: (typeof isolationLevels)[number] | undefined
  /** For PostgreSQL, and only on the outermost transaction. */
  readonly accessMode?: 'read only' | 'read write' | undefined
  /** `false` is not built yet. Default: true, each save is written at once. */
  readonly autoflush?: boolean | undefined
}

const isolationLevels = ['read uncommitted', 'read committed', 'repeatable read', 'serializable'] as const

/** What every session has beside its database's own methods. */
export interface SessionExtras {
  /**
   * Runs `fn` once the outermost transaction has committed, in order, outside of it; never after a rollback, also of the
   * savepoint it was given in. `transaction()` resolves after them; it rejects if one fails, and says that all is committed.
   */
  afterCommit(fn: () => unknown): void
  /** Whether saved events are written at once. Setting it to `false` is not built yet. */
  autoflush: boolean
  /** Not built yet. */
  noAutoflush(fn: () => unknown): never
}

/** Whatever can open or join transactions: recorders, applications, datastores. */
export interface Transactional<Session = unknown> {
  /**
   * Runs `work` in a transaction: commits when it resolves, rolls back when it rejects.
   *
   * Inside another transaction of the same datastore it is a savepoint of that one. Every call on the same datastore
   * made inside `work`, however deep, joins.
   *
   * @returns What `work` returns.
   * @throws ProgrammingError  A committing transaction inside one that was started with `{ commit: false }`.
   * @throws OperationalError  The database (on SQLite: the writer) is not free within the pool timeout; retryable.
   */
  transaction<T>(work: (session: Session) => T | Promise<T>, options?: TransactionOptions): Promise<T>
  /** Opens a transaction to be ended by hand: `await using tx = await recorder.transaction()`. */
  transaction(options?: TransactionOptions): Promise<TransactionHandle<Session>>
  /** Runs `fn` if the current transaction, or the savepoint it is in, is rolled back. Does nothing outside of one. */
  onRollback?(fn: () => void): void
  /** The outermost transaction that a call made now would join; `undefined` outside of any. */
  currentTransaction?(): OpenTransaction | undefined
}

/** A transaction, to be told from others. */
export interface OpenTransaction {
  /** Whether it has yet to be committed or rolled back. */
  readonly isOpen: boolean
}

/** The session that a datastore's transactions give. */
export type SessionOf<D> = D extends Transactional<infer Session> ? Session : never

/** Passes `transaction()` on to whatever opens the transactions. */
export abstract class PassesTransactionsOn<Session> implements Transactional<Session> {
  /** Who opens them. */
  protected abstract transactional(): Transactional<Session> | Promise<Transactional<Session>>

  transaction<T>(work: (session: Session) => T | Promise<T>, options?: TransactionOptions): Promise<T>
  transaction(options?: TransactionOptions): Promise<TransactionHandle<Session>>
  async transaction<T>(
    workOrOptions?: ((session: Session) => T | Promise<T>) | TransactionOptions,
    options?: TransactionOptions,
  ): Promise<T | TransactionHandle<Session>> {
    const target = this.transactional()
    const opener = target instanceof Promise ? await target : target
    return typeof workOrOptions === 'function'
      ? opener.transaction(workOrOptions, options)
      : opener.transaction(workOrOptions ?? options)
  }
}

/** What a backend does for one transaction or savepoint. */
export interface Unit<Session, Connection> {
  /** What the user gets: a handle that refuses to work once its transaction has ended. */
  readonly session: Session
  /** What the recorders' statements run on. */
  readonly connection: Connection
  commit(): Promise<void> | void
  rollback(): Promise<void> | void
  /** Sets a savepoint; its unit's `commit` releases it, its `rollback` goes back to it and releases it. */
  nest(transaction: Transaction<Session, Connection>): Promise<Unit<Session, Connection>> | Unit<Session, Connection>
}

/** How a backend begins: waits for its connection or writer, and opens the outermost transaction. */
export type Begin<Session, Connection> = (
  transaction: Transaction<Session, Connection>,
  options: TransactionOptions,
) => Promise<Unit<Session, Connection>>

/**
 * A datastore's transactions: which one is current in which async context, nesting, turns, and what follows the end.
 *
 * The same for every backend; a backend says how to begin, commit, roll back and set a savepoint (`Unit`).
 */
export class Transactions<Session, Connection> {
  // one for each datastore, never one for the process: a save on another datastore must not land here
  readonly #context = new AsyncLocalStorage<Transaction<Session, Connection> | undefined>()
  readonly #begin: Begin<Session, Connection>
  readonly #translate: (error: unknown) => unknown
  readonly #timeoutMs: number

  /**
   * @param options.translate  Turns a driver's error into ours; passes any other unchanged.
   * @param options.timeoutMs  How long nested transactions wait for their turn.
   */
  constructor(options: {
    begin: Begin<Session, Connection>
    translate: (error: unknown) => unknown
    timeoutMs: number
  }) {
    this.#begin = options.begin
    this.#translate = options.translate
    this.#timeoutMs = options.timeoutMs
  }

  /**
   * The current async context's transaction.
   *
   * @throws InterfaceError  It has ended: the call was started inside and not awaited there.
   */
  current(): Transaction<Session, Connection> | undefined {
    const transaction = this.#context.getStore()
    transaction?.requireOpen()
    return transaction
  }

  /** The outermost transaction of the current async context. @throws InterfaceError  It, or the savepoint, has ended. */
  outermost(): OpenTransaction | undefined {
    return this.current()?.outermost
  }

  /** Whether the calling code is inside that transaction (or a savepoint of it that is `innermost`). */
  isCurrent(transaction: Transaction<Session, Connection>): boolean {
    return this.#context.getStore() === transaction
  }

  /** Whether the calling code is inside any transaction, open or ended. */
  isInside(): boolean {
    return this.#context.getStore() !== undefined
  }

  /** Runs `fn` outside the current transaction. */
  outside<T>(fn: () => T): T {
    return this.#context.run(undefined, fn)
  }

  /** Runs `fn` inside that transaction. */
  inside<T>(transaction: Transaction<Session, Connection>, fn: () => T): T {
    return this.#context.run(transaction, fn)
  }

  transaction<T>(work: (session: Session) => T | Promise<T>, options?: TransactionOptions): Promise<T>
  transaction(options?: TransactionOptions): Promise<TransactionHandle<Session>>
  transaction<T>(
    workOrOptions?: ((session: Session) => T | Promise<T>) | TransactionOptions,
    options?: TransactionOptions,
  ): Promise<T | TransactionHandle<Session>> {
    if (typeof workOrOptions === 'function') return this.#run(workOrOptions, options ?? {})
    return this.#open(workOrOptions ?? options ?? {}).then((transaction) => new TransactionHandle(transaction))
  }

  async #run<T>(work: (session: Session) => T | Promise<T>, options: TransactionOptions): Promise<T> {
    const transaction = await this.#open(options)
    let result: T
    try {
      result = await this.#context.run(transaction, work, transaction.session)
    } catch (error) {
      // the user's error is the one to know; a rollback that fails as well is the backend's to mend
      await transaction.rollback().catch(() => undefined)
      throw this.#translate(error)
    }
    await (transaction.commits ? transaction.commit() : transaction.rollback())
    return result
  }

  async #open(options: TransactionOptions): Promise<Transaction<Session, Connection>> {
    const parent = this.current()
    checkOptions(options, parent)
    const transaction = new Transaction(this, parent, options, this.#timeoutMs)
    try {
      if (parent) await transaction.openIn(parent)
      else transaction.opened(await this.outside(() => this.#begin(transaction, options)))
    } catch (error) {
      throw this.#translate(error)
    }
    return transaction
  }

  /** Translates what ending a transaction throws. */
  async ending<T>(end: () => T | Promise<T>): Promise<T> {
    try {
      return await end()
    } catch (error) {
      throw this.#translate(error)
    }
  }
}

/** One transaction, or one savepoint inside of one. */
export class Transaction<Session, Connection> {
  /** Whether it may commit. */
  readonly commits: boolean
  /** The open savepoint directly inside, if any. Siblings take turns, so there is at most one. */
  #child: Transaction<Session, Connection> | undefined
  #state: 'opening' | 'open' | 'ending' | 'committed' | 'rolled back' = 'opening'
  #unit!: Unit<Session, Connection>
  readonly #turns: Turns
  readonly #transactions: Transactions<Session, Connection>
  readonly #parent: Transaction<Session, Connection> | undefined
  readonly #afterCommit: (() => unknown)[] = []
  readonly #onRollback: (() => void)[] = []

  constructor(
    transactions: Transactions<Session, Connection>,
    parent: Transaction<Session, Connection> | undefined,
    options: TransactionOptions,
    timeoutMs: number,
  ) {
    this.#transactions = transactions
    this.#parent = parent
    this.commits = options.commit ?? true
    this.#turns = new Turns('a turn inside the transaction (a nested one is still open)', timeoutMs)
  }

  get session(): Session {
    return this.#unit.session
  }

  get connection(): Connection {
    return this.#unit.connection
  }

  get state(): string {
    return this.#state
  }

  get isOpen(): boolean {
    return this.#state !== 'committed' && this.#state !== 'rolled back'
  }

  get outermost(): OpenTransaction {
    return this.#parent ? this.#parent.outermost : this
  }

  opened(unit: Unit<Session, Connection>): void {
    this.#unit = unit
    this.#state = 'open'
  }

  async openIn(parent: Transaction<Session, Connection>): Promise<void> {
    await parent.#turns.take()
    try {
      parent.requireOpen()
      this.opened(await parent.#unit.nest(this))
      parent.#child = this
    } catch (error) {
      parent.#turns.giveBack()
      throw error
    }
  }

  /** @throws InterfaceError  The transaction has ended. */
  requireOpen(): void {
    if (this.#state === 'open') return
    throw new InterfaceError(
      `The transaction that this belongs to has ended (${this.#state}). Await everything that is started inside ` +
        'transaction() before it ends, or start it with datastore.outside(fn).',
    )
  }

  /** @throws ProgrammingError  Nothing may be recorded here. */
  requireCommits(): void {
    if (!this.commits) throw new ProgrammingError('Transaction already started with commit=False')
  }

  /**
   * Checks that a statement on this transaction's own session lands in this transaction, and not in a savepoint that
   * somebody else has open inside it, where a rollback would take the statement along unseen.
   *
   * @throws InterfaceError  It has ended, or a nested transaction is open and the caller is not inside that.
   */
  requireStatement(): void {
    this.requireOpen()
    if (!this.#child || this.#transactions.isCurrent(this.#innermost())) return
    throw new InterfaceError(
      'A nested transaction is open on this session: await it before using the outer session, or use its own session.',
    )
  }

  #innermost(): Transaction<Session, Connection> {
    return this.#child ? this.#child.#innermost() : this
  }

  /** Runs a recorder's statements in turn with nested transactions. */
  async take<T>(work: (connection: Connection) => T | Promise<T>): Promise<T> {
    this.requireOpen()
    return this.#turns.during(() => {
      this.requireOpen()
      return work(this.#unit.connection)
    })
  }

  inside<T>(fn: () => T): T {
    this.requireOpen()
    return this.#transactions.inside(this, fn)
  }

  /** Opens a transaction inside this one, whatever the calling code is inside of. */
  nested<T>(work: (session: Session) => T | Promise<T>, options?: TransactionOptions): Promise<T> {
    return this.inside(() => this.#transactions.transaction(work, options))
  }

  afterCommit(fn: () => unknown): void {
    this.requireOpen()
    this.#afterCommit.push(fn)
  }

  onRollback(fn: () => void): void {
    this.requireOpen()
    this.#onRollback.push(fn)
  }

  /** Commits, or releases the savepoint. What fails leaves it rolled back. */
  async commit(): Promise<void> {
    this.requireOpen()
    this.requireCommits()
    this.#state = 'ending' // nothing new may start; a nested one that is under way comes to its end first
    try {
      await this.#transactions.ending(async () => {
        await this.#turns.take()
        // a parent's end may have ended this one in the meantime
        if (this.#state !== 'ending') this.requireOpen()
        await this.#unit.commit()
      })
    } catch (error) {
      if (this.#state === 'ending') await this.#rollBack()
      throw error
    }
    this.#state = 'committed'
    this.#turns.close(ended)
    if (this.#parent) {
      this.#parent.#afterCommit.push(...this.#afterCommit)
      this.#parent.#onRollback.push(...this.#onRollback)
      this.#leaveParent()
    } else {
      await this.#runAfterCommit()
    }
  }

  /** Rolls back, to the savepoint if it is one. Does nothing if that has happened. */
  async rollback(): Promise<void> {
    if (this.#state === 'rolled back') return
    this.requireOpen()
    await this.#rollBack()
  }

  async #rollBack(): Promise<void> {
    this.#endAll()
    try {
      await this.#transactions.ending(() => this.#unit.rollback())
    } finally {
      this.#undo()
      this.#leaveParent()
    }
  }

  /** Ends this and what is open inside: whoever still works there gets an error instead of a statement of his own. */
  #endAll(): void {
    this.#state = 'rolled back'
    this.#turns.close(ended)
    if (this.#child) this.#child.#endAll()
  }

  /** Runs what was registered for a rollback, newest first: inside out. */
  #undo(): void {
    if (this.#child) this.#child.#undo()
    for (const fn of this.#onRollback.splice(0).reverse()) fn()
  }

  #leaveParent(): void {
    const parent = this.#parent
    if (!parent || parent.#child !== this) return
    parent.#child = undefined
    parent.#turns.giveBack()
  }

  async #runAfterCommit(): Promise<void> {
    const failures: unknown[] = []
    for (const fn of this.#afterCommit) {
      try {
        await this.#transactions.outside(fn)
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length === 0) return
    throw new EventSourcingError(
      'The transaction is committed; what was left for after the commit failed (see cause)',
      { cause: failures.length === 1 ? failures[0] : new AggregateError(failures) },
    )
  }
}

/**
 * A transaction that is ended by hand.
 *
 * `await using tx = await recorder.transaction()`: whatever way the block is left, without `commit` all is rolled back.
 */
export class TransactionHandle<Session> implements AsyncDisposable {
  readonly #transaction: Transaction<Session, unknown>

  constructor(transaction: Transaction<Session, unknown>) {
    this.#transaction = transaction
  }

  /** The Drizzle database object of this transaction. */
  get session(): Session {
    return this.#transaction.session
  }

  /** Runs `fn` inside: every call on the same datastore joins. */
  run<T>(fn: () => T): T {
    return this.#transaction.inside(fn)
  }

  /** @throws InterfaceError  It has ended. @throws ProgrammingError  It was started with `{ commit: false }`. */
  async commit(): Promise<void> {
    await this.#transaction.commit()
  }

  /** Rolls back; again does nothing. @throws InterfaceError  It was committed. */
  async rollback(): Promise<void> {
    await this.#transaction.rollback()
  }

  /** Rolls back what was not committed. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#transaction.state === 'open') await this.#transaction.rollback()
  }
}

function ended(): InterfaceError {
  return new InterfaceError('The transaction that this belongs to has ended')
}

function checkOptions(options: TransactionOptions, parent: { requireCommits(): void } | undefined): void {
  const { commit = true, isolationLevel, accessMode, autoflush = true } = options
  if (autoflush !== true) throw new NotSupportedError('The transaction option autoflush: false is not built yet')
  if (commit && parent) parent.requireCommits()
  if (isolationLevel !== undefined && !isolationLevels.includes(isolationLevel)) {
    throw new ProgrammingError(`isolationLevel takes one of: ${isolationLevels.join(', ')}`)
  }
  if (accessMode !== undefined && accessMode !== 'read only' && accessMode !== 'read write') {
    throw new ProgrammingError('accessMode takes: read only, read write')
  }
  if (parent && (isolationLevel !== undefined || accessMode !== undefined)) {
    throw new ProgrammingError('isolationLevel and accessMode belong to the outermost transaction, not to a nested one')
  }
}
