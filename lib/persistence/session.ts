import { NotSupportedError } from '../errors.js'

/** What every session has beside its database's own methods. */
export interface SessionExtras {
  /**
   * Runs `fn` once the outermost transaction has committed, in order, outside of it; never after a rollback, also of the
   * savepoint it was given in. `transaction()` resolves after them; it rejects if one fails, and says that all is committed.
   */
  afterCommit(fn: () => unknown): void
  /** Whether saved events are written at once: always, so far. Setting it to `false` is not built yet. */
  autoflush: boolean
  /** Not built yet. @throws NotSupportedError  Always. */
  noAutoflush(fn: () => unknown): never
  /** Writes saved events that wait. While autoflush is on none do. */
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

/** @throws NotSupportedError  Autoflush is to be turned off. */
export function requireAutoflush(on: boolean): void {
  if (on !== true) throw new NotSupportedError('Turning autoflush off is not built yet: each save is written at once')
}

/** Autoflush can't be turned off yet. @throws NotSupportedError  Always. */
export function refuseNoAutoflush(): never {
  throw new NotSupportedError('noAutoflush() is not built yet: each save is written at once')
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
  transaction<T>(work: (session: AnySession) => T | PromiseLike<T>): Promise<T>
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
