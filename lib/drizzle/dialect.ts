import type { Capabilities } from '../persistence/datastore.js'
import type { BeginTexts, SelectEventsOptions, SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification, StoredEvent, Tracking } from '../persistence/stored-event.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { Begin } from '../persistence/transactions.js'
import type { TransactionOptions } from '../persistence/transactional.js'

/** What the recorders' own statements run on: one connection, inside a transaction or not. */
export interface Connection {
  /** The rows of a query, each an array of its columns. Statements are prepared once for each text. */
  rows(sql: string, parameters: readonly unknown[]): unknown[][] | Promise<unknown[][]>
  /** As `rows`, of a query of one column: its values. */
  column(sql: string, parameters: readonly unknown[]): unknown[] | Promise<unknown[]>
  /** Runs a statement; how many rows it changed. */
  change(sql: string, parameters: readonly unknown[]): number | Promise<number>
}

/** The three kinds of tables. */
export type TableKind = 'events' | 'snapshots' | 'tracking'

/** A table of ours. */
export interface TableName {
  readonly kind: TableKind
  /** As given; statements quote it. */
  readonly name: string
  /** The PostgreSQL schema. */
  readonly schema?: string | undefined
}

/** What a recorder inserts, all or nothing: events, and the position that they come from if there is one. */
export interface Insert {
  readonly table: TableName
  readonly events: readonly StoredEvent[]
  readonly tracking?: { readonly table: TableName; readonly position: Tracking } | undefined
}

/** What an SQL database says differently. */
export interface Dialect<C extends Connection = Connection> {
  readonly name: 'sqlite' | 'postgresql'
  readonly capabilities: Capabilities
  /**
   * A table's name as it stands in statements, quoted.
   *
   * @throws ProgrammingError  The database can't have a table of that name.
   */
  table(table: TableName): string
  /** The n-th parameter of a statement, from 1. */
  placeholder(n: number): string
  /** The condition that a column is in a list, which is one parameter. */
  inList(column: string, placeholder: string): string
  /** That list as a parameter. */
  list(values: readonly string[]): unknown
  /** A binary column as queries select it. */
  selectBytes(column: string): string
  /** What that gives, as bytes. */
  asBytes(selected: unknown): Uint8Array
  /**
   * Whether the table, with what it needs, is there.
   *
   * @throws ProgrammingError  It is there, but set so that the order of events, or a version once only, would not hold.
   */
  hasTable(connection: C, table: TableName): boolean | Promise<boolean>
  /**
   * Whether tables that are seen on this connection are there whatever becomes of its transaction: false as well where that
   * can't be told.
   */
  isForGood(connection: C, tables: readonly TableName[]): boolean | Promise<boolean>
  /** Creates tables and what they need where missing, all or nothing. */
  createTables(connection: C, tables: readonly TableName[]): void | Promise<void>
  /**
   * Records events, and tracking if given: all or nothing, inside a transaction of the user's as well as outside.
   *
   * @returns Notification ids, contiguous, in order; `[]` for a table of kind `snapshots`.
   * @throws RecordConflictError, IntegrityError  As `ProcessRecorder.insertEvents`; a user's transaction stays usable.
   */
  append(connection: C, insert: Insert): number[] | Promise<number[]>
  /** Puts a snapshot into its table, in the place of the one of that version where there is one; atomic by itself. */
  replace(connection: C, table: TableName, snapshot: StoredEvent): void | Promise<void>
  /** As `AggregateRecorder.selectTexts`. */
  selectTexts(
    connection: C,
    table: TableName,
    originatorId: string,
    begin: BeginTexts,
    options: SelectEventsOptions,
  ): Promise<boolean>
  /** Notifications by id; none beyond the last one below which nothing more can appear. */
  selectNotifications(connection: C, table: TableName, options: SelectNotificationsOptions): Promise<Notification[]>
  /** The highest notification id under the same bound, or null. */
  maxNotificationId(connection: C, table: TableName): Promise<number | null>
  /** Turns a driver's error, also one inside of Drizzle's, into ours; any other comes back as it is. Told by code. */
  translate(error: unknown): unknown
  /**
   * Whether an error, ours or the driver's, says that the connection is gone or can't be made just now. Absent where there is
   * no connection to lose.
   */
  isDisconnect?(error: unknown): boolean
}

/** What a driver needs of its datastore, for `datastore.db`. */
export interface DatastoreOfDriver {
  ready(): Promise<void>
  current(): unknown
  transaction(work: (session: unknown) => unknown, options?: TransactionOptions): Promise<unknown>
}

/** How a driver's connections behave. */
export interface Driver<Db, Session, C extends Connection = Connection, ByHand = unknown> {
  /** The database handle for use outside transactions; there once it is open, or from the start where the user gave one. */
  readonly db: Db | undefined
  /** Tells the driver whose it is, before anything else. */
  attach(datastore: DatastoreOfDriver): void
  /** Connects. */
  open(): Promise<void>
  /** Begins a transaction. */
  readonly begin: Begin<Session, C>
  /** The database handle of a session that is managed by hand; works from before the driver is open. */
  handleOf(session: SessionByHand<Session, C>): ByHand
  /** Runs one query outside any transaction. */
  read<T>(work: (connection: C) => T | Promise<T>): Promise<T>
  /**
   * As `read`, for one originator's whole stream, which may share the query with others that are started meanwhile. Absent
   * where sharing has nothing to give.
   *
   * @param alone  Reads it by itself.
   */
  readTexts?(
    table: TableName,
    originatorId: string,
    begin: BeginTexts,
    alone: (connection: C) => Promise<boolean>,
  ): Promise<boolean>
  /** Runs one atomic write outside any transaction, in turn where there is one writer. `work` may run again if it was refused whole. */
  write<T>(work: (connection: C) => T | Promise<T>): Promise<T>
  /**
   * As `write`, for an insert of events, which may share its commit, or the statement, with others that are started
   * meanwhile; each has its own outcome. Rejects with errors of ours.
   *
   * @param alone  Does it by itself, all or nothing; called again where it was refused for others' sake.
   */
  append(insert: Insert, alone: (connection: C) => number[] | Promise<number[]>): Promise<number[]>
  /**
   * Does what tables need before their first use, unless it is done; where there are several connections, on another one
   * than a transaction's, and without waiting for those that transactions have.
   *
   * @param timeoutMs  How long to wait for the writer where there is one. Default: as ever.
   */
  setUp(
    isDone: (connection: C) => boolean | Promise<boolean>,
    make: (connection: C) => void | Promise<void>,
    timeoutMs?: number,
  ): Promise<void>
  /** Waits for what is under way, and closes the connections that we opened. */
  close(): Promise<void>
}
