import { ProgrammingError } from '../errors.js'
import { requireSwitch } from './session.js'
import type { TransactionHandle } from './transaction-handle.js'

/** What a transaction takes. */
export interface TransactionOptions {
  /** `false`: always rolled back at the end, and nothing inside may commit. Default: true. */
  readonly commit?: boolean | undefined
  /** For PostgreSQL, and only on the outermost transaction. SQLite and memory are serializable whatever is asked. */
  readonly isolationLevel?: (typeof isolationLevels)[number] | undefined
  /** For PostgreSQL, and only on the outermost transaction. */
  readonly accessMode?: 'read only' | 'read write' | undefined
  /**
   * Whether each save is written at once; see `SessionExtras.autoflush`. Default: as the transaction that it is nested in, and
   * for the outermost as the datastore.
   */
  readonly autoflush?: boolean | undefined
}

const isolationLevels = ['read uncommitted', 'read committed', 'repeatable read', 'serializable'] as const

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
  transaction<T>(work: (session: Session) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
  /** Opens a transaction to be ended by hand: `await using tx = await recorder.transaction()`. */
  transaction(options?: TransactionOptions): Promise<TransactionHandle<Session>>
  /**
   * Runs `fn` if the current transaction, or the savepoint it is in, is rolled back, or its commit had no answer: then with
   * `true`, and it may be committed. Does nothing outside of one.
   */
  onRollback?(fn: (isOutcomeUnknown: boolean) => void): void
  /** The transaction or savepoint that a call made now would join; `undefined` outside of any. */
  currentTransaction?(): OpenTransaction | undefined
  /**
   * Whether a call made now works in the datastore's own database: outside of transactions, or in one that the datastore has
   * begun. If not, a scope gives a session of the user's. Default: yes.
   */
  usesOwnDatabase?(): boolean
}

/** A transaction or savepoint, as far as others need to know. */
export interface OpenTransaction {
  /**
   * The open transaction whose end decides whether what was written here stays: this one, or, once this savepoint is
   * released, the one around it. `undefined` when that is decided.
   */
  readonly decider: OpenTransaction | undefined
  /** Whether what is saved here is written at once. */
  readonly autoflush?: boolean
  /** Whether it is that one, or a savepoint somewhere inside of it. */
  isInside(other: OpenTransaction): boolean
  /** Runs `fn` once the outermost transaction has committed; never after a rollback, also of a savepoint that it was given in. */
  afterCommit(fn: () => unknown): void
  /** Runs `fn` if it is rolled back, or if its commit had no answer: then with `true`. */
  onRollback(fn: (isOutcomeUnknown: boolean) => void): void
}

/** The session that a datastore's transactions give. */
export type SessionOf<D> = D extends Transactional<infer Session> ? Session : never

/** Passes `transaction()` on to whatever opens the transactions. */
export abstract class PassesTransactionsOn<Session> implements Transactional<Session> {
  /** Who opens them. */
  protected abstract transactional(): Transactional<Session> | Promise<Transactional<Session>>

  transaction<T>(work: (session: Session) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
  transaction(options?: TransactionOptions): Promise<TransactionHandle<Session>>
  async transaction<T>(
    workOrOptions?: ((session: Session) => T | PromiseLike<T>) | TransactionOptions,
    options?: TransactionOptions,
  ): Promise<T | TransactionHandle<Session>> {
    const target = this.transactional()
    const opener = target instanceof Promise ? await target : target
    return typeof workOrOptions === 'function'
      ? opener.transaction(workOrOptions, options)
      : opener.transaction(workOrOptions ?? options)
  }
}

/**
 * Refuses options that can't be.
 *
 * @param parent  The transaction that it would be inside of.
 * @throws ProgrammingError, NotSupportedError  Says which option, and what it takes.
 */
export function checkTransactionOptions(
  options: TransactionOptions,
  parent: { requireCommits(): void } | undefined,
): void {
  const { commit = true, isolationLevel, accessMode, autoflush = true, ...unknown } = options
  const [name] = Object.keys(unknown)
  if (name !== undefined) {
    throw new ProgrammingError(
      `transaction() has no option ${name}; it takes commit, isolationLevel, accessMode and autoflush`,
    )
  }
  requireSwitch('The option commit', commit)
  requireSwitch('The option autoflush', autoflush)
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
