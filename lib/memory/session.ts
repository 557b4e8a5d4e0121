import { NotSupportedError } from '../errors.js'
import { type AnySession, type SessionExtras, withExtras } from '../persistence/session.js'
import type { TransactionOptions } from '../persistence/transactional.js'

/** What a session needs of its transaction. */
interface SessionTransaction extends SessionExtras {
  nested<T>(work: (session: MemorySession) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
}

/** The session of a transaction in memory: what every session has, and no tables of the user's own. */
export type MemorySession = TablelessSession & SessionExtras

/** The session of one transaction. */
export function memorySession(transaction: SessionTransaction): MemorySession {
  return withExtras(new TablelessSession(transaction), transaction)
}

/**
 * A session without what every session has.
 *
 * @throws NotSupportedError  Whatever asks for a table.
 */
class TablelessSession implements Omit<AnySession, keyof SessionExtras> {
  readonly #transaction: SessionTransaction

  constructor(transaction: SessionTransaction) {
    this.#transaction = transaction
  }

  /** A savepoint inside this transaction. */
  transaction<T>(work: (session: MemorySession) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T> {
    return this.#transaction.nested(work, options)
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
