import { NotSupportedError } from '../errors.js'
import {
  type AnySession,
  type SessionByHandExtras,
  type SessionExtras,
  withByHandExtras,
  withExtras,
} from '../persistence/session.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { TransactionOptions } from '../persistence/transactional.js'
import type { MemoryTables } from './tables.js'

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
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- as AnySession has it
  run: (query: any) => any = noTables
  all = noTables
  get = noTables
  values = noTables
  execute = noTables
}

/** A session in memory that is managed by hand. */
export type MemorySessionByHand = TablelessSessionByHand & SessionByHandExtras

/** Its handle. */
export function memorySessionByHand(session: SessionByHand<MemorySession, MemoryTables>): MemorySessionByHand {
  return withByHandExtras(new TablelessSessionByHand(session), session)
}

class TablelessSessionByHand extends TablelessSession {
  readonly #session: SessionByHand<MemorySession, MemoryTables>

  constructor(session: SessionByHand<MemorySession, MemoryTables>) {
    super(session)
    this.#session = session
  }

  /** Runs `fn` inside: every call on the same datastore joins. */
  override run = <T>(fn: () => T): T => (typeof fn === 'function' ? this.#session.inside(fn) : noTables())
}

function noTables(): never {
  throw new NotSupportedError(
    'Memory keeps events, and no tables of your own: use a database, sqlite::memory: for example',
  )
}
