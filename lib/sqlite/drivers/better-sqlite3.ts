import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import type { DatastoreOfDriver, Driver, Insert } from '../../drizzle/dialect.js'
import { markDriverError } from '../../drizzle/driver-errors.js'
import { InterfaceError, NotSupportedError, OperationalError, ProgrammingError } from '../../errors.js'
import type { SessionByHand } from '../../persistence/session-by-hand.js'
import type { Transaction, Unit } from '../../persistence/transaction.js'
import type { TransactionOptions } from '../../persistence/transactional.js'
import { type Turns, sharedTurns } from '../../persistence/turns.js'
import { isBusy, sqliteCode, translate } from '../errors.js'
import type { DrizzleHandles, SqliteDatabase, SqliteSession, SqliteSessionByHand } from '../session.js'
import { isInMemory, sameFile } from '../source.js'
import { type SqliteClient, SqliteConnection } from './connection.js'
import { SharedCommits } from './shared-commits.js'

/**
 * What a connection of better-sqlite3 is opened with, beside the file.
 *
 * @see https://github.com/WiseLibs/better-sqlite3/blob/master/docs/api.md#new-databasepath-options
 */
export interface SqliteConnectionOptions {
  readonly readonly?: boolean | undefined
  readonly fileMustExist?: boolean | undefined
  /** Where the driver's native part is. */
  readonly nativeBinding?: string | undefined
  /** Is told each statement, with the values in it. */
  readonly verbose?: ((message?: unknown, ...more: unknown[]) => void) | undefined
}

/** What a driver is made from. */
export interface DriverOptions<Schema extends Record<string, unknown>> {
  /** Absolute path or `:memory:`; or the client of the user's own Drizzle database, and one more that only reads if there is one. */
  readonly source:
    | { readonly file: string; readonly write?: SqliteConnectionOptions; readonly read?: SqliteConnectionOptions }
    | { readonly client: SqliteClient; readonly reader?: SqliteClient | undefined }
  readonly handles: DrizzleHandles<Schema>
  readonly poolTimeoutMs: number
  readonly synchronous: 'full' | 'normal'
  readonly shareCommits: boolean
}

/**
 * better-sqlite3: one writer connection, whose users take turns, and for files a second one that only reads.
 *
 * A database in memory, and one that the user gave, has one connection: there readers take turns with the writer.
 * SQLite's own waiting for other processes' locks stops the event loop, so it is off, and waiting is ours.
 */
export class BetterSqlite3Driver<Schema extends Record<string, unknown>> implements Driver<
  SqliteDatabase<Schema>,
  SqliteSession<Schema>,
  SqliteConnection,
  SqliteSessionByHand<Schema>
> {
  db: SqliteDatabase<Schema> | undefined
  #writer!: SqliteConnection
  #reader!: SqliteConnection
  /** Whether calls are refused. */
  #closed = false
  /** Whether the connections are closed too. */
  #released = false
  readonly #options: DriverOptions<Schema>
  readonly #turns: Turns
  readonly #leaveTurns: () => void
  readonly #sharedCommits: SharedCommits | undefined
  #datastore: () => DatastoreOfDriver = () => {
    throw new InterfaceError('The driver has no datastore yet')
  }

  constructor(options: DriverOptions<Schema>) {
    this.#options = options
    const { source } = options
    const file = 'file' in source ? source.file : source.client.name
    const inMemory = isInMemory({ name: file })
    // two datastores on one file or client in this process wait in one fair line, instead of asking again and again
    const { turns, leave } = sharedTurns(
      inMemory ? ('client' in source ? source.client : undefined) : sameFile(file),
      inMemory ? 'the connection of the database in memory' : `the writer of ${file}`,
    )
    this.#turns = turns
    this.#leaveTurns = leave
    if (options.shareCommits) {
      this.#sharedCommits = new SharedCommits(
        {
          takeTurn: (timeoutMs) => this.#takeTurn(timeoutMs),
          giveBackTurn: () => {
            turns.giveBack()
          },
          once: (work) => this.#onWriter(work),
          patiently: (work, timeoutMs) => this.#patiently(() => this.#onWriter(work), timeoutMs),
        },
        options.poolTimeoutMs,
      )
    }
    if ('client' in source) this.#useGiven(source)
  }

  attach(datastore: DatastoreOfDriver): void {
    this.#datastore = () => datastore
  }

  async open(): Promise<void> {
    const { source, synchronous } = this.#options
    if ('client' in source) {
      openClient(source.client)
      return
    }
    const { file, write = {}, read = {} } = source
    const Database = await loadDriver()
    const writer = new SqliteConnection(connect(Database, file, write))
    try {
      if (file === ':memory:') return this.#use(writer)
      if (!write.readonly) {
        await this.#patiently(() =>
          writer.driven(() => {
            writer.client.pragma('journal_mode = WAL')
            // the driver is built to be less than durable in WAL mode
            writer.client.pragma(`synchronous = ${synchronous}`)
          }),
        )
      }
      this.#use(writer, new SqliteConnection(connect(Database, file, { readonly: true, fileMustExist: true, ...read })))
    } catch (error) {
      writer.client.close()
      throw error
    }
  }

  readonly begin = async (
    transaction: Transaction<SqliteSession<Schema>, SqliteConnection>,
    { accessMode }: TransactionOptions,
  ): Promise<Unit<SqliteSession<Schema>, SqliteConnection>> => {
    if (accessMode === 'read only') {
      throw new NotSupportedError('accessMode "read only" is not supported on SQLite; commit: false is')
    }
    const turn = this.#takeTurn()
    if (turn) await turn
    try {
      const later = this.#nowOrPatiently(() => {
        this.#writer.begin()
      })
      if (later) await later
    } catch (error) {
      this.#turns.giveBack()
      throw error
    }
    return this.#unit(transaction)
  }

  handleOf(session: SessionByHand<SqliteSession<Schema>, SqliteConnection>): SqliteSessionByHand<Schema> {
    const run = async <T>(sql: string, work: (connection: SqliteConnection) => T): Promise<T> => {
      session.requireStatement()
      const { current } = session
      await this.#datastore().ready()
      // before its first write it has not taken the writer, whom others need meanwhile
      if (current.isIdle && (await this.#isKnownToRead(sql)) && current.isIdle) {
        session.requireStatement()
        return this.read(work)
      }
      return session.statement((connection) => {
        connection.requireTransactionAlive()
        return work(connection)
      }, current)
    }
    return this.#options.handles.sessionByHand(run, session)
  }

  /** Whether it only reads. What can't be prepared on the reader, a temporary table's query for example, isn't known to. */
  async #isKnownToRead(sql: string): Promise<boolean> {
    const reader = this.#reader
    try {
      return await this.#patiently(() => reader.called(() => reader.prepared(sql)).readonly)
    } catch {
      return false
    }
  }

  async read<T>(work: (connection: SqliteConnection) => T | Promise<T>): Promise<T> {
    if (this.#reader === this.#writer) return this.write(work)
    this.#requireOpen()
    try {
      return await work(this.#reader)
    } catch (error) {
      if (!isBusy(error)) throw error
    }
    return this.#patiently(() => work(this.#reader))
  }

  async write<T>(
    work: (connection: SqliteConnection) => T | Promise<T>,
    timeoutMs = this.#options.poolTimeoutMs,
  ): Promise<T> {
    const turn = this.#takeTurn(timeoutMs)
    if (turn) await turn
    try {
      return await this.#patiently(() => this.#onWriter(work), timeoutMs)
    } finally {
      this.#turns.giveBack()
    }
  }

  append(_insert: Insert, alone: (connection: SqliteConnection) => number[] | Promise<number[]>): Promise<number[]> {
    // SQLite's append is synchronous, so that nothing comes between its statements
    if (this.#sharedCommits) return this.#sharedCommits.write(alone as (connection: SqliteConnection) => number[])
    return this.write(alone).catch((error: unknown) => {
      throw translate(error)
    })
  }

  async setUp(
    isDone: (connection: SqliteConnection) => boolean | Promise<boolean>,
    make: (connection: SqliteConnection) => void | Promise<void>,
    timeoutMs = this.#options.poolTimeoutMs,
  ): Promise<void> {
    // asked first: what is done needs no writer, which another process may hold
    if (!(await this.read(isDone))) await this.write(make, timeoutMs)
  }

  async close(): Promise<void> {
    if (this.#released) return
    this.#closed = true
    await this.#turns.take(this.#options.poolTimeoutMs)
    this.#released = true
    try {
      if ('client' in this.#options.source || !this.#writer) return
      if (this.#reader !== this.#writer) this.#reader.client.close()
      this.#writer.client.close()
    } finally {
      this.#turns.giveBack()
      this.#leaveTurns()
    }
  }

  #useGiven({ client, reader }: { readonly client: SqliteClient; readonly reader?: SqliteClient | undefined }): void {
    const writer = new SqliteConnection(openClient(client))
    this.#use(writer, reader && new SqliteConnection(openClient(reader)))
  }

  #use(writer: SqliteConnection, reader = writer): void {
    this.#writer = writer
    this.#reader = reader
    this.db = this.#options.handles.database({
      run: async (sql, work) => {
        this.#requireOpen()
        const isRead = await this.#patiently(() => reader.called(() => reader.prepared(sql)).readonly)
        const waits = !isRead || reader === writer
        if (waits && this.#datastore().current()) {
          throw new ProgrammingError(
            "datastore.db waits for the writer, which this transaction has: use the transaction's session here",
          )
        }
        return isRead ? this.read(work) : this.write(work)
      },
      transaction: (work) => this.#datastore().transaction(work),
    })
  }

  /** The outermost transaction: it has the writer until it ends. */
  #unit(
    transaction: Transaction<SqliteSession<Schema>, SqliteConnection>,
  ): Unit<SqliteSession<Schema>, SqliteConnection> {
    const writer = this.#writer
    return {
      session: this.#options.handles.session(writer, transaction),
      connection: writer,
      commit: () => {
        const later = this.#nowOrPatiently(() => {
          writer.commit()
        })
        if (!later) return this.#turns.giveBack()
        return later.then(() => {
          this.#turns.giveBack()
        })
      },
      rollback: () => {
        try {
          writer.rollback()
        } finally {
          this.#turns.giveBack()
        }
      },
      nest: (nested) => this.#savepoint(nested, 1),
    }
  }

  #savepoint(
    transaction: Transaction<SqliteSession<Schema>, SqliteConnection>,
    depth: number,
  ): Unit<SqliteSession<Schema>, SqliteConnection> {
    const writer = this.#writer
    const name = `nested_${depth}`
    writer.savepoint(name)
    return {
      session: this.#options.handles.session(writer, transaction),
      connection: writer,
      commit: () => {
        writer.release(name)
      },
      rollback: () => {
        writer.rollbackTo(name)
      },
      nest: (nested) => this.#savepoint(nested, depth + 1),
    }
  }

  #onWriter<T>(work: (connection: SqliteConnection) => T): T {
    this.#writer.requireNoTransaction()
    return work(this.#writer)
  }

  /** The writer's turn: taken at once, or promised for when it is free. */
  #takeTurn(timeoutMs = this.#options.poolTimeoutMs): Promise<void> | undefined {
    this.#requireOpen()
    const waiting = this.#turns.take(timeoutMs)
    return waiting ? this.#whenFree(waiting) : undefined
  }

  async #whenFree(turn: Promise<void>): Promise<void> {
    await turn
    if (!this.#closed) return
    this.#turns.giveBack()
    this.#requireOpen()
  }

  #requireOpen(): void {
    if (this.#closed) throw new InterfaceError('The datastore is closed')
  }

  /** As `#patiently`, for what is synchronous and mostly succeeds at once: without a promise then. */
  #nowOrPatiently(work: () => void): Promise<void> | undefined {
    try {
      work()
    } catch (error) {
      if (!isBusy(error)) throw error
      return this.#patiently(work)
    }
    return undefined
  }

  /** Does it again while another process holds a lock, with pauses that leave the event loop free, until the timeout. */
  async #patiently<T>(work: () => T | Promise<T>, timeoutMs = this.#options.poolTimeoutMs): Promise<T> {
    const deadline = performance.now() + timeoutMs
    for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 32)) {
      try {
        return await work()
      } catch (error) {
        if (!isBusy(error)) throw error
        if (performance.now() + pauseMs > deadline) {
          throw new OperationalError(
            `The database was busy for ${this.#options.poolTimeoutMs} ms: another process or connection holds a lock`,
            { cause: error, code: sqliteCode(error), retryable: true },
          )
        }
      }
      // unequal pauses: processes that wait for the same lock don't ask in step
      await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.5 + Math.random())))
    }
  }
}

function openClient(client: SqliteClient): SqliteClient {
  if (client.open) return client
  throw new InterfaceError('The database given to sqlite() is closed')
}

type DatabaseClass = new (file: string, options: { timeout: number } & SqliteConnectionOptions) => SqliteClient

function connect(Database: DatabaseClass, file: string, options: SqliteConnectionOptions): SqliteClient {
  // the driver has a TypeError without a code for this
  if (file !== ':memory:' && !existsSync(dirname(file))) {
    throw new OperationalError(`The directory of the database file ${file} does not exist: create it first`, {
      code: 'SQLITE_CANTOPEN',
    })
  }
  try {
    return new Database(file, { ...options, timeout: 0 })
  } catch (error) {
    if (sqliteCode(error)) throw markDriverError(error)
    throw doesNotLoad(error)
  }
}

/**
 * Loads better-sqlite3, after a look at its version: the wrong one ends the process without a word.
 *
 * @throws InterfaceError  It is not installed, or is one that this Node can't run; says what to install.
 */
async function loadDriver(): Promise<DatabaseClass> {
  let version: string
  try {
    // bundlers leave import.meta empty in CommonJS, where __filename is there instead
    const here = (import.meta.url as string | undefined) ?? __filename
    version = (createRequire(here)('better-sqlite3/package.json') as { version: string }).version
  } catch (error) {
    throw new InterfaceError('SQLite needs the package better-sqlite3: npm install better-sqlite3@12', { cause: error })
  }
  // 13 uses Node-API 10; on a Node with less, opening a database is a segmentation fault
  if (Number.parseInt(version) >= 13 && Number(process.versions.napi) < 10) {
    throw new InterfaceError(
      `better-sqlite3 ${version} needs Node 22.14 or newer, and this is ${process.version}: npm install better-sqlite3@12`,
    )
  }
  try {
    return (await import('better-sqlite3')).default
  } catch (error) {
    throw doesNotLoad(error)
  }
}

function doesNotLoad(cause: unknown): InterfaceError {
  return new InterfaceError(
    'better-sqlite3 is installed, but its native part does not load: npm rebuild better-sqlite3 (npm 12 asks for ' +
      'npm install-scripts approve better-sqlite3 first)',
    { cause },
  )
}

/** Takes the client out of the user's Drizzle database. @throws ProgrammingError  It is none of better-sqlite3's. */
export function clientOf(db: { readonly $client?: unknown }): SqliteClient {
  return requireClient(db.$client, 'sqlite() takes a Drizzle database of better-sqlite3; this one has no such client')
}

/** A client of better-sqlite3 as the user gave it. @throws ProgrammingError  It is none. */
export function requireClient(given: unknown, orElse = 'The client given is none of better-sqlite3'): SqliteClient {
  const client = given as Partial<SqliteClient> | undefined
  if (typeof client?.prepare === 'function' && typeof client.pragma === 'function') return client as SqliteClient
  throw new ProgrammingError(orElse)
}
