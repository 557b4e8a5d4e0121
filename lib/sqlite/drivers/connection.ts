import type { Connection } from '../../drizzle/dialect.js'
import { markDriverError } from '../../drizzle/driver-errors.js'
import { InterfaceError, OperationalError } from '../../errors.js'

/**
 * What we use of a better-sqlite3 database.
 *
 * @see https://github.com/WiseLibs/better-sqlite3/blob/master/docs/api.md
 */
export interface SqliteClient {
  readonly name: string
  readonly open: boolean
  readonly inTransaction: boolean
  prepare(sql: string): SqliteStatement
  pragma(text: string, options?: { simple: boolean }): unknown
  close(): unknown
}

/** What we use of a better-sqlite3 statement. */
export interface SqliteStatement {
  /** Whether it returns rows. */
  readonly reader: boolean
  /** Whether it changes nothing. */
  readonly readonly: boolean
  run(...parameters: unknown[]): { changes: number; lastInsertRowid: number | bigint }
  all(...parameters: unknown[]): unknown[]
  get(...parameters: unknown[]): unknown
  raw(on: boolean): unknown
  pluck(on: boolean): unknown
  safeIntegers(on: boolean): unknown
}

/** How many statements of each kind a connection keeps prepared; up to twice as many in between. */
const preparedAtMost = 200

/** One better-sqlite3 connection with its prepared statements, and its transaction if one is open. Synchronous throughout. */
export class SqliteConnection implements Connection {
  readonly client: SqliteClient
  /** Ours, with rows as arrays, or as the only value in them; and the users', as their clients prepare them. */
  readonly #ours = new RecentStatements()
  readonly #oursPlucked = new RecentStatements()
  readonly #users = new RecentStatements()
  /** Whether a transaction of ours is open. SQLite may have ended it by itself: on a full disk, by ON CONFLICT ROLLBACK. */
  #began = false

  #isUtf8: boolean | undefined

  /** Clients with a transaction that we have begun. */
  static readonly #inOurs = new WeakSet<SqliteClient>()
  readonly #isUsers: boolean

  /** How long the client itself waits for locks, in ms. Ours never do; a user's may, and keeps that for its user. */
  readonly #ownWaitMs: number

  /** @param options.isUsers  Whether it is for use inside a transaction that its user has begun, and ends. */
  constructor(client: SqliteClient, { isUsers = false }: { isUsers?: boolean } = {}) {
    this.client = client
    this.#isUsers = isUsers
    this.#began = isUsers
    this.#ownWaitMs = Number(this.driven(() => client.pragma('busy_timeout', { simple: true })))
  }

  /** Whether a transaction is open on the client that none of ours has begun. */
  static isInUsersTransaction(client: SqliteClient): boolean {
    return client.inTransaction && !SqliteConnection.#inOurs.has(client)
  }

  rows(sql: string, parameters: readonly unknown[]): unknown[][] {
    this.requireTransactionAlive()
    return this.called(() => this.#statement(sql).all(...parameters) as unknown[][])
  }

  /** As `rows`, of a query of one column, in half the time. */
  column(sql: string, parameters: readonly unknown[]): unknown[] {
    this.requireTransactionAlive()
    return this.called(() => this.#plucked(sql).all(...parameters))
  }

  /** Whether the database keeps text in UTF-8, as bytes turned into text have to be then. */
  get isUtf8(): boolean {
    return (this.#isUtf8 ??= this.driven(() => this.client.pragma('encoding', { simple: true })) === 'UTF-8')
  }

  change(sql: string, parameters: readonly unknown[]): number {
    this.requireTransactionAlive()
    return this.called(() => this.#statement(sql).run(...parameters).changes)
  }

  /** Runs an INSERT; the last row's id. */
  insert(sql: string, parameters: readonly unknown[]): number {
    this.requireTransactionAlive()
    return this.called(() => Number(this.#statement(sql).run(...parameters).lastInsertRowid))
  }

  begin(): void {
    this.requireNoTransaction()
    this.#run('BEGIN IMMEDIATE')
    this.#began = true
    SqliteConnection.#inOurs.add(this.client)
  }

  commit(): void {
    this.requireTransactionAlive()
    this.#run('COMMIT')
    this.#began = false
    SqliteConnection.#inOurs.delete(this.client)
  }

  rollback(): void {
    if (this.client.inTransaction) this.#run('ROLLBACK')
    // only now: where it could not be rolled back, whoever comes next has to do it first
    this.#began = false
    SqliteConnection.#inOurs.delete(this.client)
  }

  savepoint(name: string): void {
    this.requireTransactionAlive()
    this.#run(`SAVEPOINT ${name}`)
  }

  release(name: string): void {
    this.requireTransactionAlive()
    this.#run(`RELEASE ${name}`)
  }

  rollbackTo(name: string): void {
    if (!this.client.inTransaction) return
    this.#run(`ROLLBACK TO ${name}`)
    this.#run(`RELEASE ${name}`)
  }

  /** Does all of `work`, which is synchronous, or nothing: in a savepoint if a transaction is open, else in one of its own. */
  atomically<T>(work: () => T): T {
    const own = !this.#began
    if (own) this.begin()
    else this.savepoint('ours')
    try {
      const result = work()
      if (own) this.commit()
      else this.release('ours')
      return result
    } catch (error) {
      if (own) this.rollback()
      else this.rollbackTo('ours')
      throw error
    }
  }

  /** @throws InterfaceError  The connection is in a transaction that is not ours: what we write would be its. */
  requireNoTransaction(): void {
    if (this.#began) this.rollback()
    if (!this.client.inTransaction) return
    throw new InterfaceError(
      'The database given is in a transaction that was begun on it directly: use datastore.transaction() instead',
    )
  }

  /** @throws OperationalError  SQLite has rolled our transaction back by itself; a statement now would stand alone. */
  requireTransactionAlive(): void {
    if (!this.#began || this.client.inTransaction) return
    if (this.#isUsers) throw new InterfaceError('The transaction of the scoped session has ended')
    throw new OperationalError('SQLite has rolled the transaction back after an error inside it')
  }

  /** Calls the driver; what it throws is marked as the driver's. */
  driven<T>(call: () => T): T {
    try {
      return call()
    } catch (error) {
      throw markDriverError(error)
    }
  }

  #run(sql: string): void {
    this.called(() => this.#statement(sql).run())
  }

  /** Calls the driver with SQLite's own waiting off: it stops the event loop. The waiting is done by who called us. */
  called<T>(call: () => T): T {
    // in a transaction of the user's a statement of ours waits as the user's own do
    if (this.#ownWaitMs === 0 || this.#isUsers) return this.driven(call)
    this.driven(() => this.client.pragma('busy_timeout = 0'))
    try {
      return this.driven(call)
    } finally {
      this.client.pragma(`busy_timeout = ${this.#ownWaitMs}`)
    }
  }

  /** A statement of the user's: who runs it sets first how it gives rows, since others may share it. */
  prepared(sql: string): SqliteStatement {
    return (
      this.#users.get(sql) ??
      this.#users.add(
        sql,
        this.driven(() => this.client.prepare(sql)),
      )
    )
  }

  #statement(sql: string): SqliteStatement {
    const known = this.#ours.get(sql)
    if (known) return known
    const statement = this.#prepare(sql)
    if (statement.reader) statement.raw(true)
    return this.#ours.add(sql, statement)
  }

  #plucked(sql: string): SqliteStatement {
    const known = this.#oursPlucked.get(sql)
    if (known) return known
    const statement = this.#prepare(sql)
    statement.pluck(true)
    return this.#oursPlucked.add(sql, statement)
  }

  #prepare(sql: string): SqliteStatement {
    const statement = this.client.prepare(sql)
    // a user's database may be set to give bigints, or not: versions and ids are numbers here
    statement.safeIntegers(false)
    return statement
  }
}

/** Prepared statements by their text, without those that were not used for a while. */
class RecentStatements {
  #recent = new Map<string, SqliteStatement>()
  #before = new Map<string, SqliteStatement>()

  get(sql: string): SqliteStatement | undefined {
    const statement = this.#recent.get(sql)
    if (statement) return statement
    const older = this.#before.get(sql)
    return older && this.add(sql, older)
  }

  add(sql: string, statement: SqliteStatement): SqliteStatement {
    if (this.#recent.size >= preparedAtMost) {
      this.#before = this.#recent
      this.#recent = new Map()
    }
    this.#recent.set(sql, statement)
    return statement
  }
}
