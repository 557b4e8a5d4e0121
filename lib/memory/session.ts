import { NotSupportedError } from '../errors.js'
import { type AnySession, refuseNoAutoflush, requireAutoflush } from '../persistence/session.js'

/** What a session needs of its transaction. */
interface SessionTransaction {
  requireOpen(): void
  afterCommit(fn: () => unknown): void
  nested<T>(work: (session: MemorySession) => T | PromiseLike<T>): Promise<T>
}

/**
 * The session of a transaction in memory: what every session has, and no tables of the user's own.
 *
 * @throws NotSupportedError  Whatever asks for a table.
 */
export class MemorySession implements AnySession {
  readonly #transaction: SessionTransaction

  constructor(transaction: SessionTransaction) {
    this.#transaction = transaction
  }

  afterCommit(fn: () => unknown): void {
    this.#transaction.afterCommit(fn)
  }

  get autoflush(): boolean {
    return true
  }

  set autoflush(on: boolean) {
    requireAutoflush(on)
  }

  noAutoflush(): never {
    return refuseNoAutoflush()
  }

  async flush(): Promise<void> {
    this.#transaction.requireOpen()
  }

  /** A savepoint inside this transaction. */
  transaction<T>(work: (session: MemorySession) => T | PromiseLike<T>): Promise<T> {
    return this.#transaction.nested(work)
  }

  get query(): never {
    return noTables()
  }

  select = noTables
  selectDistinct = noTables
  insert = noTables
  update = noTables
  delete = noTables
  with = noTables
  $with = noTables
  $count = noTables
  run = noTables
  all = noTables
  get = noTables
  values = noTables
  execute = noTables
}

function noTables(): never {
  throw new NotSupportedError(
    'Memory keeps events, and no tables of your own: use a database, sqlite::memory: for example',
  )
}
