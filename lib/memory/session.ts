import { NotSupportedError } from '../errors.js'
import { type AnySession, type AnySessionByHand, refuseNoAutoflush, requireAutoflush } from '../persistence/session.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { MemoryTables } from './tables.js'

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
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- as AnySession has it
  run: (query: any) => any = noTables
  all = noTables
  get = noTables
  values = noTables
  execute = noTables
}

/** A session in memory that is managed by hand. */
export class MemorySessionByHand extends MemorySession implements AnySessionByHand {
  readonly #session: SessionByHand<MemorySession, MemoryTables>

  constructor(session: SessionByHand<MemorySession, MemoryTables>) {
    super(session)
    this.#session = session
  }

  commit(): Promise<void> {
    return this.#session.commit()
  }

  rollback(): Promise<void> {
    return this.#session.rollback()
  }

  close(): Promise<void> {
    return this.#session.close()
  }

  /** Runs `fn` inside: every call on the same datastore joins. */
  override run = <T>(fn: () => T): T => (typeof fn === 'function' ? this.#session.inside(fn) : noTables())

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.close()
  }
}

function noTables(): never {
  throw new NotSupportedError(
    'Memory keeps events, and no tables of your own: use a database, sqlite::memory: for example',
  )
}
