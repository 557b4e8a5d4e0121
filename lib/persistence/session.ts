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
  select(...fields: any[]): any
  selectDistinct(...fields: any[]): any
  insert(table: any): any
  update(table: any): any
  delete(table: any): any
  with(...queries: any[]): any
  $with(alias: string, ...rest: any[]): any
  $count(source: any, filters?: any): any
  /** Relational queries over the schema that the datastore was given. */
  readonly query: any
  transaction<T>(work: (session: AnySession) => T | Promise<T>): Promise<T>
  /** SQLite's. */
  run(query: any): any
  all(query: any): any
  get(query: any): any
  values(query: any): any
  /** PostgreSQL's. */
  execute(query: any): any
  /* eslint-enable @typescript-eslint/no-explicit-any */
}
