import type { SessionExtras, Transactional } from '../persistence/transaction.js'

/** The session that a datastore's transactions give. */
export type SessionOf<D> = D extends Transactional<infer Session> ? Session : never

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
