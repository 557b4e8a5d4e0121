/** What a handle needs of its transaction. */
export interface EndableTransaction<Session> {
  readonly session: Session
  readonly state: string
  inside<T>(fn: () => T): T
  commit(): Promise<void>
  rollback(): Promise<void>
}

/**
 * A transaction that is ended by hand.
 *
 * `await using tx = await recorder.transaction()`: whatever way the block is left, without `commit` all is rolled back.
 */
export class TransactionHandle<Session> implements AsyncDisposable {
  readonly #transaction: EndableTransaction<Session>

  constructor(transaction: EndableTransaction<Session>) {
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
