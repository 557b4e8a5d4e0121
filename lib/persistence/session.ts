import { ProgrammingError } from '../errors.js'
import type { TransactionOptions } from './transactional.js'

/**
 * Under it a session of ours, or whatever stands for one, has a function that gives the `Transaction` of the moment; it gives
 * `undefined` where there is none.
 */
export const joined = Symbol('the transaction that calls join')

/** What every session has beside its database's own methods. */
export interface SessionExtras {
  /**
   * Runs `fn` once the outermost transaction has committed, in order, outside of it; never after a rollback, also of the
   * savepoint it was given in. `transaction()` resolves after them; it rejects if one fails, and says that all is committed.
   */
  afterCommit(fn: () => unknown): void
  /**
   * Whether saves in this transaction are written at once. While it is `false` saved events wait in the session, and reads don't
   * see them: `flush()`, a nested transaction that begins, and the commit write them, those of one table in one insert. `save` then
   * resolves to `[]`, and it is these that reject with a conflict. Once it is `true` again the next save writes them first.
   *
   * Default: as the transaction option `autoflush`, as the transaction around this one, or as the datastore.
   *
   * @throws ProgrammingError  It is set to something that is neither `true` nor `false`.
   */
  autoflush: boolean
  /**
   * Runs `fn` with autoflush off; what was saved goes on waiting after it. For an `fn` that returns a promise autoflush is off until
   * that has settled, for whoever saves in this transaction meanwhile; of several at a time until the last has.
   *
   * @returns What `fn` returns.
   */
  noAutoflush<T>(fn: () => T): T
  /**
   * Writes the saved events that wait; does nothing where none do.
   *
   * What can't be written goes on waiting, so the commit fails as well: roll back, and aggregates have their events back.
   *
   * @throws RecordConflictError  A version is already recorded, or was saved twice.
   * @throws IntegrityError  A tracking is not above the recorded one.
   */
  flush(): Promise<void>
}

/** What a session has that is managed by hand, beside what every session has. */
export interface SessionByHandExtras extends SessionExtras, AsyncDisposable {
  /**
   * Commits what was done since the last commit or rollback; the next statement begins another transaction. What fails leaves
   * it rolled back. Without anything done, the database is not asked.
   *
   * @throws InterfaceError  The session is closed.
   */
  commit(): Promise<void>
  /** Rolls back what was done since the last commit; the next statement begins another transaction. */
  rollback(): Promise<void>
  /** Rolls back what was not committed, and ends the session: later statements are an `InterfaceError`. Again does nothing. */
  close(): Promise<void>
  /** Runs `fn` inside: every call on the same datastore joins the session's transaction. */
  run<T>(fn: () => T): T
  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Gives a session what every session has.
 *
 * @param transaction  What stands behind it.
 */
export function withExtras<S extends object>(session: S, transaction: SessionExtras): S & SessionExtras {
  return Object.defineProperties(session, {
    afterCommit: {
      value: (fn: () => unknown) => {
        transaction.afterCommit(fn)
      },
    },
    autoflush: {
      get: () => transaction.autoflush,
      set: (on: boolean) => {
        transaction.autoflush = on
      },
    },
    noAutoflush: { value: <T>(fn: () => T) => transaction.noAutoflush(fn) },
    flush: { value: () => transaction.flush() },
    // of its own, and not of a class: it is found through what forwards to the session too
    [joined]: { value: () => ('current' in transaction ? transaction.current : transaction) },
  }) as S & SessionExtras
}

/** Gives a session what every one has that is managed by hand, but for `run`, which is Drizzle's as well on SQLite. */
export function withByHandExtras<S extends object>(
  handle: S,
  session: SessionExtras & Pick<SessionByHandExtras, 'commit' | 'rollback' | 'close'>,
): S & Omit<SessionByHandExtras, 'run'> {
  const close = () => session.close()
  return Object.defineProperties(withExtras(handle, session), {
    commit: { value: () => session.commit() },
    rollback: { value: () => session.rollback() },
    close: { value: close },
    [Symbol.asyncDispose]: { value: close },
  }) as S & Omit<SessionByHandExtras, 'run'>
}

/** A switch's value. @param what  Begins the message. @throws ProgrammingError  It is neither `true` nor `false`. */
export function requireSwitch(what: string, on: unknown): boolean {
  if (typeof on === 'boolean') return on
  throw new ProgrammingError(`${what} must be true or false`)
}

/**
 * A session of whatever dialect: takes tables of any.
 *
 * Its rows have no types; an application that says which datastore it is on, `Application<typeof datastore>`, has them.
 */
export interface AnySession extends SessionExtras {
  /* eslint-disable @typescript-eslint/no-explicit-any -- tables of either dialect go in, and this room knows neither */
  /** Drizzle's. */
  select(...fields: any[]): any
  /** Drizzle's. */
  selectDistinct(...fields: any[]): any
  /** Drizzle's. */
  insert(table: any): any
  /** Drizzle's. */
  update(table: any): any
  /** Drizzle's. */
  delete(table: any): any
  /** Drizzle's. */
  with(...queries: any[]): any
  /** Drizzle's. */
  $with(alias: string, ...rest: any[]): any
  /** Drizzle's. */
  $count(source: any, filters?: any): any
  /** Relational queries over the schema that the datastore was given. */
  readonly query: any
  /** A savepoint inside this transaction. */
  transaction<T>(work: (session: AnySession) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
  /** SQLite's: runs a statement. */
  run(query: any): any
  /** SQLite's: all rows. */
  all(query: any): any
  /** SQLite's: the first row. */
  get(query: any): any
  /** SQLite's: all rows, each an array. */
  values(query: any): any
  /** PostgreSQL's: runs a statement. */
  execute(query: any): any
  /* eslint-enable @typescript-eslint/no-explicit-any */
}

/** A session that is managed by hand, of whatever dialect. */
export interface AnySessionByHand extends Omit<AnySession, 'run'>, SessionByHandExtras {
  /** Runs `fn` inside: every call on the same datastore joins the session's transaction. */
  run<T>(fn: () => T): T
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- as in AnySession
  run(query: any): any
}
