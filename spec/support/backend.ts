import type { AnyDatastore, Capabilities } from '../../lib/persistence/datastore.js'
import type { Factory } from '../../lib/persistence/factory.js'

/** One way to keep events, as the conformance suites see it. */
export interface Backend {
  /** Appears in the titles, and in `BACKENDS=…`. */
  readonly name: string
  readonly capabilities: Capabilities
  /** Opens a fresh, empty datastore. */
  open(options?: OpenOptions): Promise<Opened>
  /** Cases that can't hold here, by title, with the reason; they are printed as pending. */
  readonly skip?: Readonly<Record<string, string>>
}

/** What a datastore is opened with; the defaults are its own. */
export interface OpenOptions {
  readonly poolTimeoutMs?: number
  readonly autoflush?: boolean
}

/** A datastore that a suite works on. */
export interface Opened {
  readonly datastore: AnyDatastore
  /** A factory of recorders on it; its tables are named after the application's name. */
  factory(name?: string, env?: Readonly<Record<string, unknown>>): Factory
  /** For `new Application({ persistence })`: an application of that name on this datastore. */
  persistence(name: string): AnyDatastore | Factory
  /** A table of the user's own, where the backend has such tables (`capabilities.ownTables`). */
  readonly owners?: OwnersTable
  /** Closes it and removes what it left. */
  close(): Promise<void>
}

/** The user's own table `owners (name text primary key)`, so that suites name no dialect. */
export interface OwnersTable {
  /** Inserts through the session of a transaction. A name twice is a constraint violation. */
  insert(session: unknown, name: string): Promise<void>
  /** The names, sorted, as seen by that session; without one, as seen from outside any transaction. */
  names(session?: unknown): Promise<string[]>
  /** Prepares an insert on that session now, to be run later. */
  prepareInsert(session: unknown): (name: string) => Promise<void>
  /** Builds an insert on that session now, to be run later. */
  buildInsert(session: unknown, name: string): () => Promise<void>
  /** Builds a query for the names on that session now, to be run later. */
  buildSelect(session: unknown): () => Promise<string[]>
  /** The names through the relational query API of that session. */
  relationalNames(session: unknown): Promise<string[]>
}
