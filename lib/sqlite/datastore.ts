import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3'
import { entityKind } from 'drizzle-orm'
import type { DrizzleConfiguration } from '../drizzle/configuration.js'
import { Datastore } from '../drizzle/datastore.js'
import type { DatastoreOpener } from '../drizzle/shared-datastores.js'
import { NotSupportedError, ProgrammingError } from '../errors.js'
import { requireSwitch } from '../persistence/session.js'
import { sqliteDialect } from './dialect.js'
import { BetterSqlite3Driver, clientOf } from './drivers/better-sqlite3.js'
import type { SqliteConnection } from './drivers/connection.js'
import { DrizzleHandles, type SqliteDatabase, type SqliteSession, type SqliteSessionByHand } from './session.js'
import { isSqliteUrl, parseSource, sameFile, urlForms } from './source.js'
import { usersSessions } from './users-sessions.js'

/** A datastore on SQLite; `Schema` is the user's own tables. */
export type SqliteDatastore<Schema extends Record<string, unknown> = Record<string, never>> = Datastore<
  SqliteDatabase<Schema>,
  SqliteSession<Schema>,
  SqliteConnection,
  SqliteSessionByHand<Schema>
>

/** What `sqlite()` takes beside the source. */
export interface SqliteOptions<
  Schema extends Record<string, unknown> = Record<string, never>,
> extends DrizzleConfiguration<Schema> {
  /** How long to wait for the writer, in ms; then `OperationalError`. Default: 30000. */
  readonly poolTimeoutMs?: number | undefined
  /**
   * `full`: a save that has resolved survives a power cut. `normal`: several times faster, the last saves may be lost
   * at a power cut, never at a crash of the process, and the file stays sound. Files we open only. Default: `full`.
   *
   * @see https://sqlite.org/pragma.html#pragma_synchronous
   */
  readonly synchronous?: 'full' | 'normal' | undefined
  /**
   * Whether saves that are started together, or wait for the writer together, share one commit, each with its own
   * outcome. Default: true.
   */
  readonly shareCommits?: boolean | undefined
  /** Whether saves in a transaction are written at once; see `Datastore.autoflush`. Default: true. */
  readonly autoflush?: boolean | undefined
}

/** The source among the options. */
export interface SqliteSourceOptions<
  Schema extends Record<string, unknown> = Record<string, never>,
> extends SqliteOptions<Schema> {
  /** A URL or a file name, as the first argument may be. */
  readonly url: string
}

/**
 * A datastore on SQLite, through better-sqlite3.
 *
 * Connects at its first use, or by `ready()`.
 *
 * @param source  A file name, a URL (`sqlite:school.db`, `sqlite::memory:`, …), options with a `url`, or a Drizzle
 *   database of the user's own, which stays theirs: it is never closed by us.
 * @throws ProgrammingError  The source or an option can't be; says what is accepted.
 */
export function sqlite<Schema extends Record<string, unknown> = Record<string, never>>(
  source: string | SqliteSourceOptions<Schema>,
  options?: SqliteOptions<Schema>,
): SqliteDatastore<Schema>
export function sqlite<Schema extends Record<string, unknown>>(
  source: BetterSQLite3Database<Schema>,
  options?: Pick<SqliteOptions, 'poolTimeoutMs' | 'shareCommits' | 'autoflush'>,
): SqliteDatastore<Schema>
export function sqlite<Schema extends Record<string, unknown>>(
  source: string | SqliteSourceOptions<Schema> | BetterSQLite3Database<Schema>,
  options: SqliteOptions<Schema> = {},
): SqliteDatastore<Schema> {
  if (typeof source === 'string') return open({ ...options, url: source })
  if (typeof source !== 'object' || source === null) {
    throw new ProgrammingError(
      `sqlite() takes a file name, a URL, options or a Drizzle database; URLs: ${urlForms.join(', ')}`,
    )
  }
  if ('url' in source) return open({ ...source, ...options })
  requireKindOfDatabase(source)
  checkOptions(options, ['poolTimeoutMs', 'shareCommits', 'autoflush'])
  return datastore(DrizzleHandles.like<Schema>(source), { client: clientOf(source as { $client?: unknown }) }, options)
}

/** How environments open datastores on SQLite. */
export const sqliteOpener: DatastoreOpener = {
  forms: urlForms,
  accepts: isSqliteUrl,
  key: (url) => {
    const { file } = parseSource(url)
    return file === ':memory:' ? undefined : `sqlite ${sameFile(file)}`
  },
  open: (url, { poolTimeoutMs, autoflush }) => sqlite(url, { poolTimeoutMs, autoflush }) as unknown as Datastore,
  usersSessions,
}

function open<Schema extends Record<string, unknown>>(options: SqliteSourceOptions<Schema>): SqliteDatastore<Schema> {
  checkOptions(options, [
    'url',
    'schema',
    'logger',
    'casing',
    'poolTimeoutMs',
    'synchronous',
    'shareCommits',
    'autoflush',
  ])
  if (typeof options.url !== 'string') throw new ProgrammingError('The option url must be text')
  return datastore(DrizzleHandles.configured(options), parseSource(options.url), options)
}

function datastore<Schema extends Record<string, unknown>>(
  handles: DrizzleHandles<Schema>,
  source: ConstructorParameters<typeof BetterSqlite3Driver<Schema>>[0]['source'],
  { poolTimeoutMs = 30_000, synchronous = 'full', shareCommits = true, autoflush }: SqliteOptions<Schema>,
): SqliteDatastore<Schema> {
  const driver = new BetterSqlite3Driver<Schema>({ source, handles, poolTimeoutMs, synchronous, shareCommits })
  return new Datastore({ dialect: sqliteDialect, driver, poolTimeoutMs, autoflush, usersSessions: [usersSessions] })
}

function checkOptions(options: object, known: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || known.includes(name)) continue
    if (name === 'retries' || name === 'retryIntervalMs') {
      throw new NotSupportedError(`The option ${name} is not built yet: leave it out`)
    }
    throw new ProgrammingError(`sqlite() has no option ${name} here; it takes ${known.join(', ')}`)
  }
  const {
    poolTimeoutMs = 0,
    synchronous = 'full',
    shareCommits = true,
    autoflush = true,
    schema = {},
  } = options as SqliteOptions
  requireSwitch('The option autoflush', autoflush)
  if (typeof shareCommits !== 'boolean') throw new ProgrammingError('The option shareCommits takes true or false')
  if (typeof schema !== 'object' || schema === null) {
    throw new ProgrammingError('The option schema is an object of Drizzle tables: { owners }')
  }
  if (!Number.isSafeInteger(poolTimeoutMs) || poolTimeoutMs < 0) {
    throw new ProgrammingError('The option poolTimeoutMs must be an integer from 0, in milliseconds')
  }
  if (synchronous !== 'full' && synchronous !== 'normal') {
    throw new ProgrammingError("The option synchronous takes 'full' or 'normal'")
  }
}

/** Told by Drizzle's own names of its classes, so that no driver has to be loaded for it. */
function requireKindOfDatabase(db: object): void {
  const kind = (db.constructor as { [entityKind]?: string })[entityKind]
  if (kind === 'BetterSQLite3Database') return
  throw new ProgrammingError(
    `sqlite() takes a Drizzle database of better-sqlite3 (drizzle-orm/better-sqlite3), not ${kind ? `a ${kind}` : 'this object'}`,
  )
}
