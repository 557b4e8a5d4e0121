import type { ExtractTablesWithRelations, SQLWrapper } from 'drizzle-orm'
import { BetterSQLiteSession, BetterSQLiteTransaction } from 'drizzle-orm/better-sqlite3/session'
import { BaseSQLiteDatabase, SQLitePreparedQuery, SQLiteSession, SQLiteSyncDialect } from 'drizzle-orm/sqlite-core'
import {
  configuredLogger,
  type DrizzleConfiguration,
  type QueryLogger,
  type RelationalSchema,
  relationalSchema,
  relationalSchemaOf,
} from '../drizzle/configuration.js'
import { NotSupportedError, ProgrammingError } from '../errors.js'
import { type SessionByHandExtras, type SessionExtras, withByHandExtras, withExtras } from '../persistence/session.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { Transaction } from '../persistence/transaction.js'
import type { TransactionOptions } from '../persistence/transactional.js'
import type { SqliteConnection, SqliteStatement } from './drivers/connection.js'
import { quoted } from './tables.js'

/*
 * The one place that knows Drizzle's internals: how a database object is put together over a client, so that each
 * transaction has a handle of its own, which stops working when the transaction ends.
 */

/** What a statement that changes rows gives. */
export interface RunResult {
  readonly changes: number
  readonly lastInsertRowid: number | bigint
}

/** `datastore.db`: a Drizzle database for use outside transactions; awaited, since writes take their turn. */
export type SqliteDatabase<Schema extends Record<string, unknown>> = BaseSQLiteDatabase<'async', RunResult, Schema>

/** How `datastore.db` reaches the connections. */
export interface OutsideOptions {
  /** Runs a query: one that only reads beside the writer where that can be, others in turn. */
  readonly run: <T>(sql: string, work: (connection: SqliteConnection) => T) => Promise<T>
  readonly transaction: (work: (session: unknown) => unknown) => Promise<unknown>
}

/** Makes Drizzle database objects over our connections. */
export class DrizzleHandles<Schema extends Record<string, unknown>> {
  readonly #dialect: SQLiteSyncDialect
  readonly #schema: RelationalSchema | undefined
  readonly #logger: QueryLogger | undefined

  private constructor(
    dialect: SQLiteSyncDialect,
    schema: RelationalSchema | undefined,
    logger: QueryLogger | undefined,
  ) {
    this.#dialect = dialect
    this.#schema = schema
    this.#logger = logger
  }

  /** From what the user configured. */
  static configured<S extends Record<string, unknown>>(configuration: DrizzleConfiguration<S>): DrizzleHandles<S> {
    const dialect = new SQLiteSyncDialect({ casing: configuration.casing })
    // before 0.45.2 Drizzle's own let a quote inside a name end it (GHSA-gpj5-g38j-94v9)
    dialect.escapeName = quoted
    return new DrizzleHandles<S>(dialect, relationalSchema(configuration.schema), configuredLogger(configuration))
  }

  /** From the user's own Drizzle database: its schema, casing and logger. */
  static like<S extends Record<string, unknown>>(db: unknown): DrizzleHandles<S> {
    const { dialect, session } = db as { dialect: SQLiteSyncDialect; session: { logger?: QueryLogger } }
    return new DrizzleHandles<S>(dialect, relationalSchemaOf(db), session.logger)
  }

  /** The handle of one transaction. */
  session(connection: SqliteConnection, transaction: AnyTransaction): SqliteSession<Schema> {
    const client = new GuardedClient(connection, transaction)
    // its transaction() is typed as Drizzle's by the class it extends, and is ours
    const session = new GuardedSession<Schema>(this.#dialect, this.#sync(client), this.#schema, transaction)
    return withExtras(session, transaction) as SqliteSession<Schema>
  }

  /** The handle for use outside transactions. */
  database({ run, transaction }: OutsideOptions): SqliteDatabase<Schema> {
    const outside = new OutsideSession(this.#dialect, {
      run,
      transaction,
      on: ({ client }) => this.#sync(client),
    })
    return new BaseSQLiteDatabase('async', this.#dialect as never, outside as never, this.#schema as never)
  }

  /** The handle of a session that is managed by hand. */
  sessionByHand(
    run: OutsideOptions['run'],
    byHand: SessionByHand<SqliteSession<Schema>, SqliteConnection>,
  ): SqliteSessionByHand<Schema> {
    const session = new OutsideSession(this.#dialect, {
      run,
      transaction: (work) => byHand.nested(work),
      on: ({ client }) => this.#sync(client),
    })
    // its transaction() is typed as Drizzle's by the class it extends, and is ours
    const guarded = new GuardedSessionByHand<Schema>(this.#dialect, session, this.#schema, byHand)
    return withByHandExtras(guarded, byHand) as SqliteSessionByHand<Schema>
  }

  #sync(client: { prepare(sql: string): unknown }): SyncSession {
    const logger = this.#logger
    return new BetterSQLiteSession(client as never, this.#dialect, this.#schema, logger ? { logger } : {})
  }
}

/** The session of a transaction: a Drizzle database bound to it, with the user's schema, and what every session has. */
export type SqliteSession<Schema extends Record<string, unknown> = Record<string, never>> = {
  /** A savepoint inside this transaction, for asynchronous work too. */
  transaction<T>(work: (session: SqliteSession<Schema>) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
} & GuardedSession<Schema> &
  SessionExtras

/**
 * The session of a transaction: a Drizzle database bound to it, with the user's schema.
 *
 * Used after the transaction has ended, it throws `InterfaceError` and does nothing; so do queries made from it before.
 * Its `transaction(work)` is the datastore's: a savepoint, for asynchronous work too.
 */
export class GuardedSession<
  Schema extends Record<string, unknown> = Record<string, never>,
> extends BetterSQLiteTransaction<Schema, ExtractTablesWithRelations<Schema>> {
  readonly #transaction: AnyTransaction

  constructor(
    dialect: SQLiteSyncDialect,
    session: SyncSession,
    schema: RelationalSchema | undefined,
    transaction: AnyTransaction,
  ) {
    super('sync', dialect, session as never, schema as never)
    this.#transaction = transaction
    // the base class has Drizzle's synchronous one, whose type also fits asynchronous work
    this.transaction = ((work: (session: unknown) => unknown, options?: TransactionOptions) =>
      transaction.nested(work, options)) as never
  }

  /** PostgreSQL's. @throws NotSupportedError  Always: SQLite has run, all, get and values. */
  execute(_query?: unknown): never {
    return postgresqlsOnly()
  }

  // Drizzle wraps what these four throw; a session that has ended answers by itself

  /** Drizzle's: runs a statement. */
  override run(...[query]: Parameters<BetterSQLiteTransaction<Schema, never>['run']>) {
    this.#transaction.requireStatement()
    return super.run(query)
  }

  /** Drizzle's: all rows of a query. */
  override all<T = unknown>(...[query]: Parameters<BetterSQLiteTransaction<Schema, never>['all']>) {
    this.#transaction.requireStatement()
    return super.all<T>(query)
  }

  /** Drizzle's: the first row of a query. */
  override get<T = unknown>(...[query]: Parameters<BetterSQLiteTransaction<Schema, never>['get']>) {
    this.#transaction.requireStatement()
    return super.get<T>(query)
  }

  /** Drizzle's: all rows of a query, each an array. */
  override values<T extends unknown[] = unknown[]>(
    ...[query]: Parameters<BetterSQLiteTransaction<Schema, never>['values']>
  ) {
    this.#transaction.requireStatement()
    return super.values<T>(query)
  }
}

/** A session that is managed by hand: a Drizzle database with the user's schema, and what such a session has. */
export type SqliteSessionByHand<Schema extends Record<string, unknown> = Record<string, never>> = {
  /** A savepoint inside the session's transaction. */
  transaction<T>(work: (session: SqliteSession<Schema>) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
} & GuardedSessionByHand<Schema> &
  SessionByHandExtras

/**
 * A session that is managed by hand: its transaction begins, and takes the writer, at its first statement that writes, and
 * after `commit()` or `rollback()` at the next such one. Awaited, since that waits for its turn.
 *
 * Used after `close()`, it throws `InterfaceError` and does nothing; so do queries made from it before.
 */
export class GuardedSessionByHand<
  Schema extends Record<string, unknown> = Record<string, never>,
> extends BaseSQLiteDatabase<'async', RunResult, Schema, ExtractTablesWithRelations<Schema>> {
  readonly #session: SessionByHand<SqliteSession<Schema>, SqliteConnection>

  constructor(
    dialect: SQLiteSyncDialect,
    session: OutsideSession,
    schema: RelationalSchema | undefined,
    byHand: SessionByHand<SqliteSession<Schema>, SqliteConnection>,
  ) {
    super('async', dialect as never, session as never, schema as never)
    this.#session = byHand
    this.transaction = ((work: (session: SqliteSession<Schema>) => unknown, options?: TransactionOptions) =>
      byHand.nested(work, options)) as never
  }

  /** Runs `fn` inside: every call on the same datastore joins the session's transaction. */
  override run<T>(fn: () => T): T
  /** Drizzle's: runs a statement. */
  override run(query: SQLWrapper | string): ReturnType<SqliteDatabase<Schema>['run']>
  override run(fnOrQuery: (() => unknown) | SQLWrapper | string): never {
    const isWork = typeof fnOrQuery === 'function'
    return (isWork ? this.#session.inside(fnOrQuery) : super.run(fnOrQuery)) as never
  }

  /** PostgreSQL's. @throws NotSupportedError  Always: SQLite has run, all, get and values. */
  execute(_query?: unknown): never {
    return postgresqlsOnly()
  }
}

type AnyTransaction =
  Transaction<never, never> | Pick<Transaction<unknown, unknown>, 'requireStatement' | 'nested' | keyof SessionExtras>

type SyncSession = BetterSQLiteSession<Record<string, unknown>, Record<string, never>>

/** What Drizzle's session takes for the client: each statement asks first whether its transaction is still open. */
class GuardedClient {
  readonly #connection: SqliteConnection
  readonly #transaction: AnyTransaction

  constructor(connection: SqliteConnection, transaction: AnyTransaction) {
    this.#connection = connection
    this.#transaction = transaction
  }

  prepare(sql: string): GuardedStatement {
    this.check()
    refuseTransactionControl(sql)
    return new GuardedStatement(this, this.#connection.prepared(sql))
  }

  check(): void {
    this.#transaction.requireStatement()
    this.#connection.requireTransactionAlive()
  }

  driven<T>(call: () => T): T {
    return this.#connection.driven(call)
  }
}

class GuardedStatement {
  readonly #client: GuardedClient
  readonly #statement: SqliteStatement

  constructor(client: GuardedClient, statement: SqliteStatement) {
    this.#client = client
    this.#statement = statement
  }

  run(...parameters: unknown[]) {
    this.#client.check()
    return this.#client.driven(() => this.#statement.run(...parameters))
  }

  all(...parameters: unknown[]) {
    return this.#rows(false).all(...parameters)
  }

  get(...parameters: unknown[]) {
    return this.#rows(false).get(...parameters)
  }

  raw() {
    return this.#rows(true)
  }

  #rows(raw: boolean) {
    const [client, statement] = [this.#client, this.#statement]
    const set = () => {
      client.check()
      if (statement.reader) statement.raw(raw)
    }
    return {
      all(...parameters: unknown[]) {
        set()
        return client.driven(() => statement.all(...parameters))
      },
      get(...parameters: unknown[]) {
        set()
        return client.driven(() => statement.get(...parameters))
      },
    }
  }
}

interface Outside extends OutsideOptions {
  on(connection: SqliteConnection): SyncSession
}

/** Drizzle's session of `datastore.db`: asynchronous, because a write waits for its turn. */
class OutsideSession extends SQLiteSession<'async', RunResult, Record<string, unknown>, Record<string, never>> {
  readonly #outside: Outside

  constructor(dialect: SQLiteSyncDialect, outside: Outside) {
    super(dialect as never)
    this.#outside = outside
  }

  prepareQuery(...[query, ...how]: Parameters<SyncSession['prepareQuery']>) {
    const outside = this.#outside
    const executed = (method: 'run' | 'all' | 'get' | 'values') => async (placeholders?: Record<string, unknown>) => {
      refuseTransactionControl(query.sql)
      return outside.run(query.sql, (connection) => {
        const session = outside.on(connection)
        return connection.called(() => session.prepareQuery(query, ...how)[method](placeholders))
      })
    }
    return new OutsideQuery(query as never, how[1] as never, {
      run: executed('run'),
      all: executed('all'),
      get: executed('get'),
      values: executed('values'),
    }) as never
  }

  override transaction(work: (session: never) => unknown): never {
    return this.#outside.transaction(work as (session: unknown) => unknown) as never
  }
}

type Executed = (placeholders?: Record<string, unknown>) => Promise<unknown>

class OutsideQuery extends SQLitePreparedQuery<never> {
  readonly #executed: Record<'run' | 'all' | 'get' | 'values', Executed>

  constructor(query: never, method: never, executed: Record<'run' | 'all' | 'get' | 'values', Executed>) {
    super('async', method, query)
    this.#executed = executed
  }

  override run(placeholders?: Record<string, unknown>): never {
    return this.#executed.run(placeholders) as never
  }

  override all(placeholders?: Record<string, unknown>): never {
    return this.#executed.all(placeholders) as never
  }

  override get(placeholders?: Record<string, unknown>): never {
    return this.#executed.get(placeholders) as never
  }

  override values(placeholders?: Record<string, unknown>): never {
    return this.#executed.values(placeholders) as never
  }

  isResponseInArrayMode(): boolean {
    return false
  }
}

function postgresqlsOnly(): never {
  throw new NotSupportedError("session.execute() is PostgreSQL's: on SQLite use run, all, get or values")
}

/** @throws ProgrammingError  The statement begins or ends a transaction, which is ours to do. */
function refuseTransactionControl(sql: string): void {
  const word = /^[a-z]+/i.exec(sql.slice(startOfStatement(sql)))?.[0].toLowerCase()
  if (word === undefined || !['begin', 'commit', 'end', 'rollback', 'savepoint', 'release'].includes(word)) return
  throw new ProgrammingError(
    `${word.toUpperCase()} is not for statements of one's own: use transaction(), nested or not`,
  )
}

/** Where the first word of a statement is, past the white space, comments and semicolons that SQLite passes over. */
function startOfStatement(sql: string): number {
  let at = 0
  for (;;) {
    if (sql.startsWith('--', at)) at = endAfter(sql, '\n', at)
    else if (sql.startsWith('/*', at)) at = endAfter(sql, '*/', at + 2)
    else if (at < sql.length && /[\s;\uFEFF]/.test(sql.charAt(at))) at += 1
    else return at
  }
}

function endAfter(sql: string, end: string, from: number): number {
  const found = sql.indexOf(end, from)
  return found < 0 ? sql.length : found + end.length
}
