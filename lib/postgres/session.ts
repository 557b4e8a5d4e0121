import type { ExtractTablesWithRelations } from 'drizzle-orm'
import { PgDatabase, PgDialect } from 'drizzle-orm/pg-core'
import type { PostgresJsDatabase, PostgresJsQueryResultHKT } from 'drizzle-orm/postgres-js'
import { PostgresJsSession, PostgresJsTransaction } from 'drizzle-orm/postgres-js/session'
import {
  configuredLogger,
  type DrizzleConfiguration,
  type QueryLogger,
  type RelationalSchema,
  relationalSchema,
  relationalSchemaOf,
} from '../drizzle/configuration.js'
import { EventSourcingError, NotSupportedError } from '../errors.js'
import { type SessionByHandExtras, type SessionExtras, withByHandExtras, withExtras } from '../persistence/session.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { Transaction } from '../persistence/transaction.js'
import type { TransactionOptions } from '../persistence/transactional.js'
import type { PostgresConnection } from './drivers/connection.js'
import type { Channel, How } from './drivers/line.js'
import { quoted } from './tables.js'
import { refuseTransactionControl } from './transaction-control.js'

/*
 * The one place that knows Drizzle's internals: how a database object is put together over a client, so that each
 * transaction has a handle of its own, which stops working when the transaction ends.
 */

/** `datastore.db`: a Drizzle database for use outside transactions. Its `transaction()` is the datastore's. */
export type PostgresDatabase<Schema extends Record<string, unknown>> = PostgresJsDatabase<Schema>

/** How `datastore.db` reaches the connections. */
export interface OutsideOptions {
  readonly send: Channel['send']
  readonly transaction: (work: (session: unknown) => unknown, options?: TransactionOptions) => Promise<unknown>
}

/** Makes Drizzle database objects over our connections. */
export class DrizzleHandles<Schema extends Record<string, unknown>> {
  readonly #dialect: PgDialect
  readonly #schema: RelationalSchema | undefined
  readonly #options: { readonly logger?: QueryLogger }

  private constructor(dialect: PgDialect, schema: RelationalSchema | undefined, options: { logger?: QueryLogger }) {
    this.#dialect = dialect
    this.#schema = schema
    this.#options = options
  }

  /** From what the user configured. */
  static configured<S extends Record<string, unknown>>(configuration: DrizzleConfiguration<S>): DrizzleHandles<S> {
    const dialect = new PgDialect({ casing: configuration.casing })
    // before 0.45.2 Drizzle's own let a quote inside a name end it (GHSA-gpj5-g38j-94v9)
    dialect.escapeName = quoted
    const logger = configuredLogger(configuration)
    return new DrizzleHandles<S>(dialect, relationalSchema(configuration.schema), logger ? { logger } : {})
  }

  /** From the user's own Drizzle database: its schema, casing, logger and cache. */
  static like<S extends Record<string, unknown>>(db: unknown): DrizzleHandles<S> {
    const { dialect, session } = db as { dialect: PgDialect; session: { options?: { logger?: QueryLogger } } }
    return new DrizzleHandles<S>(dialect, relationalSchemaOf(db), session.options ?? {})
  }

  /** The handle of one transaction. */
  session(channel: Channel, transaction: AnyTransaction): PostgresSession<Schema> {
    const session = new CheckedSession(
      new Client(() => (sql, parameters, how) => {
        transaction.requireStatement()
        return channel.send(sql, parameters, how)
      }) as never,
      this.#dialect,
      this.#schema,
      this.#options,
    )
    session.check = (sql) => {
      transaction.requireStatement()
      refuseTransactionControl(sql)
    }
    // its transaction() is typed as Drizzle's by the class it extends, and is ours
    const guarded = new GuardedSession<Schema>(this.#dialect, session, this.#schema, transaction)
    return withExtras(guarded, transaction) as PostgresSession<Schema>
  }

  /** The handle of a session that is managed by hand. Its statements begin the transaction where it has not begun. */
  sessionByHand(byHand: SessionByHand<PostgresSession<Schema>, PostgresConnection>): PostgresSessionByHand<Schema> {
    const session = new CheckedSession(
      new Client(() => {
        const { current } = byHand
        return (sql, parameters, how) =>
          byHand.statement((connection) => connection.send(sql, parameters, how), current)
      }) as never,
      this.#dialect,
      this.#schema,
      this.#options,
    )
    session.check = (sql) => {
      byHand.requireStatement()
      refuseTransactionControl(sql)
    }
    // its transaction() is typed as Drizzle's by the class it extends, and is ours
    const guarded = new GuardedSessionByHand<Schema>(this.#dialect, session, this.#schema, byHand)
    return withByHandExtras(guarded, byHand) as PostgresSessionByHand<Schema>
  }

  /**
   * The handle for use outside transactions. Its `transaction()` is the datastore's: Drizzle's own ends the process when its
   * connection dies.
   *
   * @param given  The user's own database, whose client and cache this one has too.
   */
  database({ send, transaction }: OutsideOptions, given: object = {}): PostgresDatabase<Schema> {
    const session = new CheckedSession(new Client(() => send) as never, this.#dialect, this.#schema, this.#options)
    session.check = refuseTransactionControl
    const db = new PgDatabase(this.#dialect, session as never, this.#schema)
    const { $client, $cache } = given as { readonly $client?: unknown; readonly $cache?: unknown }
    return Object.assign(db, $client ? { $client, $cache } : {}, { transaction }) as unknown as PostgresDatabase<Schema>
  }
}

/** The session of a transaction: a Drizzle database bound to it, with the user's schema, and what every session has. */
export type PostgresSession<Schema extends Record<string, unknown> = Record<string, never>> = {
  /** A savepoint inside this transaction. */
  transaction<T>(
    work: (session: PostgresSession<Schema>) => T | PromiseLike<T>,
    options?: TransactionOptions,
  ): Promise<T>
} & GuardedSession<Schema> &
  SessionExtras

/**
 * The session of a transaction: a Drizzle database bound to it, with the user's schema.
 *
 * Used after the transaction has ended, it throws `InterfaceError` and does nothing; so do queries made from it before.
 * Its `transaction(work)` is the datastore's: a savepoint.
 */
export class GuardedSession<
  Schema extends Record<string, unknown> = Record<string, never>,
> extends PostgresJsTransaction<Schema, ExtractTablesWithRelations<Schema>> {
  constructor(
    dialect: PgDialect,
    session: CheckedSession,
    schema: RelationalSchema | undefined,
    transaction: AnyTransaction,
  ) {
    super(dialect, session as never, schema as never)
    this.transaction = ((work: (session: unknown) => unknown, options?: TransactionOptions) =>
      transaction.nested(work, options)) as never
  }

  /** SQLite's. @throws NotSupportedError  Always: PostgreSQL has execute. */
  run(_query?: unknown): never {
    return sqlitesOnly('run')
  }

  /** SQLite's. @throws NotSupportedError  Always: PostgreSQL has execute. */
  all(_query?: unknown): never {
    return sqlitesOnly('all')
  }

  /** SQLite's. @throws NotSupportedError  Always: PostgreSQL has execute. */
  get(_query?: unknown): never {
    return sqlitesOnly('get')
  }

  /** SQLite's. @throws NotSupportedError  Always: PostgreSQL has execute. */
  values(_query?: unknown): never {
    return sqlitesOnly('values')
  }
}

/** A session that is managed by hand: a Drizzle database with the user's schema, and what such a session has. */
export type PostgresSessionByHand<Schema extends Record<string, unknown> = Record<string, never>> = {
  /** A savepoint inside the session's transaction. */
  transaction<T>(
    work: (session: PostgresSession<Schema>) => T | PromiseLike<T>,
    options?: TransactionOptions,
  ): Promise<T>
} & GuardedSessionByHand<Schema> &
  SessionByHandExtras

/**
 * A session that is managed by hand: its transaction begins at its first statement, and after `commit()` or `rollback()` at
 * the next one.
 *
 * Used after `close()`, it throws `InterfaceError` and does nothing; so do queries made from it before.
 */
export class GuardedSessionByHand<Schema extends Record<string, unknown> = Record<string, never>> extends PgDatabase<
  PostgresJsQueryResultHKT,
  Schema,
  ExtractTablesWithRelations<Schema>
> {
  readonly #session: SessionByHand<PostgresSession<Schema>, PostgresConnection>

  constructor(
    dialect: PgDialect,
    session: CheckedSession,
    schema: RelationalSchema | undefined,
    byHand: SessionByHand<PostgresSession<Schema>, PostgresConnection>,
  ) {
    super(dialect, session as never, schema as never)
    this.#session = byHand
    this.transaction = ((work: (session: PostgresSession<Schema>) => unknown, options?: TransactionOptions) =>
      byHand.nested(work, options)) as never
  }

  /** Runs `fn` inside: every call on the same datastore joins the session's transaction. */
  run<T>(fn: () => T): T {
    return typeof fn === 'function' ? this.#session.inside(fn) : sqlitesOnly('run')
  }

  /** SQLite's. @throws NotSupportedError  Always: PostgreSQL has execute. */
  all(_query?: unknown): never {
    return sqlitesOnly('all')
  }

  /** SQLite's. @throws NotSupportedError  Always: PostgreSQL has execute. */
  get(_query?: unknown): never {
    return sqlitesOnly('get')
  }

  /** SQLite's. @throws NotSupportedError  Always: PostgreSQL has execute. */
  values(_query?: unknown): never {
    return sqlitesOnly('values')
  }
}

type AnyTransaction =
  Transaction<never, never> | Pick<Transaction<unknown, unknown>, 'requireStatement' | 'nested' | keyof SessionExtras>

/** Drizzle's session, whose statements are checked when they are run, outside of where Drizzle wraps what is thrown. */
class CheckedSession extends PostgresJsSession<never, Record<string, unknown>, Record<string, never>> {
  check: (sql: string) => void = () => undefined

  override prepareQuery(...how: Parameters<PostgresJsSession<never, never, never>['prepareQuery']>) {
    const prepared = super.prepareQuery(...how)
    const [{ sql }] = how
    // all that Drizzle's builders call to run a query
    const runs = prepared as unknown as Record<'execute' | 'all', (...args: unknown[]) => Promise<unknown>>
    for (const method of ['execute', 'all'] as const) {
      const run = runs[method].bind(prepared)
      Object.defineProperty(prepared, method, {
        value: async (...args: unknown[]) => {
          this.check(sql)
          try {
            return await run(...args)
          } catch (error) {
            // ours comes as it is: a transaction that has ended, a pool that is exhausted
            const { cause } = error as { readonly cause?: unknown }
            throw cause instanceof EventSourcingError ? cause : error
          }
        },
      })
    }
    return prepared as never
  }
}

/** What Drizzle's session takes for the client. */
class Client {
  readonly #sending: () => Channel['send']

  /** @param sending  How a statement is sent that is made now. */
  constructor(sending: () => Channel['send']) {
    this.#sending = sending
  }

  unsafe(sql: string, parameters: readonly unknown[] = [], { prepare = false }: { prepare?: boolean } = {}) {
    const send = this.#sending()
    return new Statement((values) => send(sql, parameters, { prepare, values }))
  }
}

/** What Drizzle's session takes for a statement of the client: sent once it is awaited. */
class Statement implements PromiseLike<unknown> {
  readonly #send: (values: How['values']) => Promise<unknown>
  #values = false

  constructor(send: (values: How['values']) => Promise<unknown>) {
    this.#send = send
  }

  values(): this {
    this.#values = true
    return this
  }

  then<A, B>(
    fulfilled?: ((value: unknown) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#send(this.#values).then(fulfilled, rejected)
  }
}

function sqlitesOnly(method: string): never {
  throw new NotSupportedError(`session.${method}() is SQLite's: on PostgreSQL use execute`)
}
