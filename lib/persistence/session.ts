import { NotSupportedError } from '../errors.js'
import type { SessionExtras } from './transaction.js'

/** What a session needs to know of its transaction. */
export interface SessionTransaction {
  afterCommit(fn: () => unknown): void
  requireOpen(): void
}

/** A session with nothing but what every session has. */
export class BaseSession implements SessionExtras {
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
    return requireAutoflush(false) as never
  }
}

/** @throws NotSupportedError  Autoflush is to be turned off. */
export function requireAutoflush(on: boolean): void {
  if (!on) throw new NotSupportedError('Turning autoflush off is not built yet: each save is written at once')
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
  transaction<T>(work: (session: AnySession) => T | Promise<T>): Promise<T>
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
