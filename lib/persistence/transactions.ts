import { allInContext, inContext, isSetInContext, runInContext } from './contexts.js'
import { started } from './started.js'
import { Transaction, type Unit } from './transaction.js'
import { TransactionHandle } from './transaction-handle.js'
import { checkTransactionOptions, type TransactionOptions } from './transactional.js'

/** How a backend begins: waits for its connection or writer, and opens the outermost transaction. */
export type Begin<Session, Connection> = (
  transaction: Transaction<Session, Connection>,
  options: TransactionOptions,
) => Promise<Unit<Session, Connection>>

/** What leads to the transaction that is current in a context: a session that begins one after the other. */
export interface LeadsToTransaction<Session, Connection> {
  readonly current: Transaction<Session, Connection>
}

/** Whether the calling code is inside an open transaction, of whatever datastore. */
export function isInTransaction(): boolean {
  return allInContext().some((value) => {
    const transaction =
      value instanceof Transaction
        ? value
        : (value as Partial<LeadsToTransaction<unknown, unknown>> | undefined)?.current
    return transaction !== undefined && transaction.isOpen && !transaction.isUntouched
  })
}

/**
 * A datastore's transactions: which one is current in which async context, nesting, turns, and what follows the end.
 *
 * The same for every backend; a backend says how to begin, commit, roll back and set a savepoint (`Unit`).
 */
export class Transactions<Session, Connection> {
  /** Whether saves in a transaction are written at once, unless it says so itself. */
  autoflush = true
  readonly #begin: Begin<Session, Connection>
  readonly #translate: (error: unknown) => unknown
  readonly #timeoutMs: number
  readonly #scoped: ((isOptional: boolean) => Transaction<Session, Connection> | undefined) | undefined

  /**
   * @param options.scoped  The transaction of the scope that the caller is in, where it is in none of these.
   * @param options.translate  Turns a driver's error into ours; passes any other unchanged.
   * @param options.timeoutMs  How long nested transactions wait for their turn.
   */
  constructor(options: {
    begin: Begin<Session, Connection>
    translate: (error: unknown) => unknown
    timeoutMs: number
    scoped?: (isOptional: boolean) => Transaction<Session, Connection> | undefined
  }) {
    this.#scoped = options.scoped
    this.#begin = options.begin
    this.#translate = options.translate
    this.#timeoutMs = options.timeoutMs
  }

  /**
   * The current async context's transaction.
   *
   * @param isOptional  Whether the caller can do without, where a scope is needed otherwise.
   * @throws InterfaceError  It has ended: the call was started inside and not awaited there.
   */
  current(isOptional = false): Transaction<Session, Connection> | undefined {
    const transaction = this.#inContext()
    if (!transaction) return isSetInContext(this) ? undefined : this.#scoped?.(isOptional)
    transaction.requireOpen()
    return transaction
  }

  /** One that its user began and ends: it is joined, with savepoints, and its end isn't known here. */
  usersOwn(unit: Unit<Session, Connection>): Transaction<Session, Connection> {
    // what waits for a flush would wait for a commit that nobody tells of
    const transaction = new Transaction(this, undefined, { autoflush: true }, this.#timeoutMs, { isUsersOwn: true })
    transaction.opened(unit)
    return transaction
  }

  /** Whether the calling code is in that transaction, and in no savepoint of it. */
  isCurrent(transaction: Transaction<Session, Connection>): boolean {
    return this.#inContext() === transaction
  }

  /** Whether the calling code is in that transaction or in a savepoint of it; without one, in any that the database has open. */
  isInside(transaction?: Transaction<Session, Connection>): boolean {
    const current = this.#inContext()
    if (!transaction) return (current?.isOpen && !current.isIdle) ?? false
    return current?.isInside(transaction) ?? false
  }

  /** Runs `fn` outside the current transaction. */
  outside<T>(fn: () => T): T {
    return this.#runIn(undefined, () => started(fn()))
  }

  /** Runs `fn` inside that transaction, or inside whatever transaction is current at each call. */
  inside<T>(transaction: Transaction<Session, Connection> | LeadsToTransaction<Session, Connection>, fn: () => T): T {
    return this.#runIn(transaction, () => started(fn()))
  }

  /**
   * A transaction that the database is told of when something is first done in it.
   *
   * @param holding  How many `noAutoflush` are under way, counted with other transactions.
   */
  idle(options: Pick<TransactionOptions, 'autoflush'>, holding: { count: number }): Transaction<Session, Connection> {
    const transaction: Transaction<Session, Connection> = new Transaction(this, undefined, options, this.#timeoutMs, {
      begin: () => this.translated(() => this.outside(() => this.#begin(transaction, {}))),
      holding,
    })
    return transaction
  }

  /** What the current context has: a transaction, or what leads to one. */
  get context(): Transaction<Session, Connection> | LeadsToTransaction<Session, Connection> | undefined {
    // what is stored under this key was stored by #runIn
    return inContext(this) as Transaction<Session, Connection> | LeadsToTransaction<Session, Connection> | undefined
  }

  /** Turns a driver's error into ours; any other comes back as it is. */
  translate(error: unknown): unknown {
    return this.#translate(error)
  }

  transaction<T>(work: (session: Session) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
  transaction(options?: TransactionOptions): Promise<TransactionHandle<Session>>
  transaction<T>(
    workOrOptions?: ((session: Session) => T | PromiseLike<T>) | TransactionOptions,
    options?: TransactionOptions,
  ): Promise<T | TransactionHandle<Session>> {
    if (typeof workOrOptions === 'function') return this.#run(workOrOptions, options ?? {})
    return this.#open(workOrOptions ?? options ?? {}).then((transaction) => new TransactionHandle(transaction))
  }

  async #run<T>(work: (session: Session) => T | PromiseLike<T>, options: TransactionOptions): Promise<T> {
    const transaction = await this.#open(options)
    let result: T
    try {
      // awaited inside: a query that is only started by its `then`, as Drizzle's are, starts there too
      result = await this.#runIn(transaction, async () => await work(transaction.session))
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
    checkTransactionOptions(options, parent)
    const transaction = new Transaction(this, parent, options, this.#timeoutMs)
    try {
      if (parent) await transaction.openIn(parent)
      else transaction.opened(await this.outside(() => this.#begin(transaction, options)))
    } catch (error) {
      throw this.#translate(error)
    }
    return transaction
  }

  #inContext(): Transaction<Session, Connection> | undefined {
    const { context } = this
    return context instanceof Transaction ? context : context?.current
  }

  #runIn<T>(context: typeof this.context, fn: () => T): T {
    return runInContext([[this, context]], fn)
  }

  /** Translates what beginning or ending a transaction, or writing what waits in it, throws. */
  async translated<T>(work: () => T | Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw this.#translate(error)
    }
  }
}
