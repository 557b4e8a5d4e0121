import { InterfaceError } from '../errors.js'
import { requireSwitch, type SessionExtras } from './session.js'
import type { Transaction } from './transaction.js'
import type { LeadsToTransaction, Transactions } from './transactions.js'
import type { TransactionOptions } from './transactional.js'

/**
 * One transaction after the other, each begun when something is first done in it: what is behind a session that is managed by
 * hand, and behind a scope's.
 */
export class SessionByHand<Session, Connection> implements LeadsToTransaction<Session, Connection>, SessionExtras {
  readonly #transactions: Transactions<Session, Connection>
  #current: Transaction<Session, Connection> | undefined
  /** What the user has set, for this transaction and those after it. */
  #autoflush: boolean | undefined
  /** How many `noAutoflush` are under way, whichever transaction they were begun in. */
  readonly #holding = { count: 0 }
  #committing: Promise<void> | undefined
  #isClosed = false

  constructor(transactions: Transactions<Session, Connection>) {
    this.#transactions = transactions
  }

  /** The transaction that a call made now belongs to; once the session is closed, the last one. */
  get current(): Transaction<Session, Connection> {
    if (!this.#current?.isOpen && !this.#isClosed)
      this.#current = this.#transactions.idle({ autoflush: this.#autoflush }, this.#holding)
    // close() has left one
    return this.#current as Transaction<Session, Connection>
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** @throws InterfaceError  It is closed. */
  requireOpen(): void {
    if (this.#isClosed)
      throw new InterfaceError('The session is closed: open another, or await its work before its end')
  }

  /** Checks that a statement may be run now, as `Transaction.requireStatement`. */
  requireStatement(): void {
    this.requireOpen()
    this.current.requireStatement()
  }

  /**
   * Runs a statement of the user's, after the transaction has been begun.
   *
   * @param work  Called right after the check that the transaction is open: a moment later it may be over.
   * @param transaction  The one that was current when the statement was called: it does not belong into the next one.
   */
  async statement<T>(
    work: (connection: Connection) => T | Promise<T>,
    transaction: Transaction<Session, Connection>,
  ): Promise<T> {
    this.requireOpen()
    transaction.requireStatement()
    await transaction.begin()
    this.requireOpen()
    transaction.requireStatement()
    return work(transaction.connection)
  }

  inside<T>(fn: () => T): T {
    this.requireOpen()
    return this.#transactions.inside(this, fn)
  }

  /** Opens a transaction inside the current one: a savepoint. */
  async nested<T>(work: (session: Session) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T> {
    this.requireOpen()
    return this.current.nested(work, options)
  }

  afterCommit(fn: () => unknown): void {
    this.requireOpen()
    this.current.afterCommit(fn)
  }

  get autoflush(): boolean {
    return this.current.autoflush
  }

  set autoflush(on: boolean) {
    this.requireOpen()
    this.current.autoflush = this.#autoflush = requireSwitch("A session's autoflush", on)
  }

  noAutoflush<T>(fn: () => T): T {
    this.requireOpen()
    return this.current.noAutoflush(fn)
  }

  async flush(): Promise<void> {
    this.requireOpen()
    await this.current.flush()
  }

  async commit(): Promise<void> {
    this.requireOpen()
    const { current } = this
    const isUnderWay = current.isEnding
    const committing = current.commit()
    // a second one is refused at once, and is not what close() waits for
    if (!isUnderWay) this.#committing = committing
    await committing
  }

  async rollback(): Promise<void> {
    this.requireOpen()
    await this.current.rollback()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    const { current } = this
    this.#isClosed = true
    // a commit that is under way has its own caller, who is told how it ends
    if (!current.isEnding) await current.rollback()
    else await this.#committing?.catch(() => undefined)
  }
}
