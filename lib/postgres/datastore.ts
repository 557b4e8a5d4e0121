import { entityKind } from 'drizzle-orm'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type { DrizzleConfiguration } from '../drizzle/configuration.js'
import { Datastore } from '../drizzle/datastore.js'
import type { DatastoreOpener } from '../drizzle/shared-datastores.js'
import { NotSupportedError, ProgrammingError } from '../errors.js'
import { requireSwitch } from '../persistence/session.js'
import { PostgresDialect } from './dialect.js'
import { loadPostgres, type PostgresClient, requireUntransformed } from './drivers/client.js'
import type { PostgresConnection } from './drivers/connection.js'
import { GivenSource } from './drivers/given.js'
import { PooledSource } from './drivers/pooled.js'
import { PostgresJsDriver } from './drivers/postgres-js.js'
import { DrizzleHandles, type PostgresDatabase, type PostgresSession, type PostgresSessionByHand } from './session.js'
import { SharedReads } from './drivers/shared-reads.js'
import { lockWaitMs, SharedStatements, type SharingOptions } from './drivers/shared-statements.js'
import { isPostgresUrl, parseSource, sourceKey, urlForms } from './source.js'
import { selectTextsTogether } from './texts.js'
import { usersSessions } from './users-sessions.js'

/** A datastore on PostgreSQL; `Schema` is the user's own tables. */
export type PostgresDatastore<Schema extends Record<string, unknown> = Record<string, never>> = Datastore<
  PostgresDatabase<Schema>,
  PostgresSession<Schema>,
  PostgresConnection,
  PostgresSessionByHand<Schema>
>

/**
 * What `postgres()` takes beside the source: ours, and postgres.js's own options of the same names.
 *
 * @see https://github.com/porsager/postgres#connection
 */
export interface PostgresOptions<
  Schema extends Record<string, unknown> = Record<string, never>,
> extends DrizzleConfiguration<Schema> {
  /** How long to wait for a connection, connecting included, in ms; then `OperationalError`. Default: 30000. */
  readonly poolTimeoutMs?: number | undefined
  /**
   * Whether saves that are started while another is under way share the next statement. Default: true. A save that has to
   * wait for somebody's open transaction waits `poolTimeoutMs` at most then, whatever `lock_timeout` says.
   */
  readonly shareStatements?: boolean | undefined
  /** Whether saves in a transaction are written at once; see `Datastore.autoflush`. Default: true. */
  readonly autoflush?: boolean | undefined
  /** How many connections there are at most. Default: 10. */
  readonly max?: number | undefined
  readonly host?: string | readonly string[] | undefined
  readonly port?: number | readonly number[] | undefined
  /** A Unix socket. */
  readonly path?: string | undefined
  readonly database?: string | undefined
  readonly user?: string | undefined
  readonly username?: string | undefined
  /** A function is asked for each connection. */
  readonly password?: string | (() => string | Promise<string>) | undefined
  /** `require`, `prefer`, `verify-full`, or options of Node's `tls.connect`. */
  readonly ssl?: boolean | 'require' | 'allow' | 'prefer' | 'verify-full' | object | undefined
  readonly sslnegotiation?: 'direct' | undefined
  /** Seconds until a server has to have answered, within `poolTimeoutMs`. Default: 30. */
  readonly connect_timeout?: number | undefined
  /** Seconds after which a connection that nobody uses is closed. Default: never. */
  readonly idle_timeout?: number | undefined
  /** Seconds after which a connection is replaced. Default: between 30 and 60 minutes. */
  readonly max_lifetime?: number | undefined
  /** Seconds between signs of life on a connection. Default: 60. */
  readonly keep_alive?: number | undefined
  /** `false` for poolers that don't know prepared statements. Default: true. */
  readonly prepare?: boolean | undefined
  /** Whether the server's types are asked for at connecting, so that arrays of them can be read. Default: true. */
  readonly fetch_types?: boolean | undefined
  readonly target_session_attrs?: 'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby' | undefined
  /** Settings of each connection, such as `application_name`, `search_path` or `statement_timeout`. */
  readonly connection?: Readonly<Record<string, string | number | boolean>> | undefined
  /** Makes the socket of each connection, connected. */
  readonly socket?: ((options: object) => unknown) | undefined
  /** Is told the server's notices. Default: nobody is. */
  readonly onnotice?: ((notice: object) => void) | undefined
  /** Is told settings that the server reports. */
  readonly onparameter?: ((key: string, value: unknown) => void) | undefined
}

/** The source among the options. */
export interface PostgresSourceOptions<
  Schema extends Record<string, unknown> = Record<string, never>,
> extends PostgresOptions<Schema> {
  /** As the first argument may be; where it is missing, `host` and the others say it, or the environment (`PGHOST` …). */
  readonly url?: string | undefined
}

/**
 * A datastore on PostgreSQL, through postgres.js.
 *
 * Connects at its first use, or by `ready()`.
 *
 * @param source  A URL (`postgresql://localhost/school`, …), options, or a Drizzle database of the user's own, which stays
 *   theirs: its client is used as it is, and never closed by us.
 * @throws ProgrammingError  The source or an option can't be; says what is accepted.
 */
export function postgres<Schema extends Record<string, unknown> = Record<string, never>>(
  source: string | PostgresSourceOptions<Schema>,
  options?: PostgresOptions<Schema>,
): PostgresDatastore<Schema>
export function postgres<Schema extends Record<string, unknown>, Client>(
  source: PostgresJsDatabase<Schema> & { $client: Client },
  options?: Pick<PostgresOptions, 'poolTimeoutMs' | 'shareStatements' | 'autoflush'>,
): Datastore<
  PostgresDatabase<Schema> & { $client: Client },
  PostgresSession<Schema>,
  PostgresConnection,
  PostgresSessionByHand<Schema>
>
export function postgres<Schema extends Record<string, unknown>>(
  source: PostgresJsDatabase<Schema>,
  options?: Pick<PostgresOptions, 'poolTimeoutMs' | 'shareStatements' | 'autoflush'>,
): PostgresDatastore<Schema>
export function postgres<Schema extends Record<string, unknown>>(
  source: string | PostgresSourceOptions<Schema> | PostgresJsDatabase<Schema>,
  options: PostgresOptions<Schema> = {},
): PostgresDatastore<Schema> {
  if (typeof source === 'string') return open({ ...options, url: source })
  if (typeof source !== 'object' || source === null) {
    throw new ProgrammingError(`postgres() takes a URL, options or a Drizzle database; URLs: ${urlForms.join(', ')}`)
  }
  if (!isDrizzleDatabase(source)) return open({ ...source, ...options })
  checkOptions(options, ['poolTimeoutMs', 'shareStatements', 'autoflush'])
  const { poolTimeoutMs = defaultTimeoutMs, autoflush } = options
  const client = clientOf(source)
  const dialect = dialectFor(options)
  const driver = new PostgresJsDriver<Schema>({
    source: new GivenSource(client, poolTimeoutMs, loadPostgres),
    handles: DrizzleHandles.like<Schema>(source),
    db: source,
    sharing: sharingFor(options, dialect, client.options.max),
  })
  return new Datastore({ dialect, driver, poolTimeoutMs, autoflush, usersSessions: [usersSessions] })
}

/** How environments open datastores on PostgreSQL. */
export const postgresOpener: DatastoreOpener = {
  forms: urlForms,
  accepts: isPostgresUrl,
  key: (url) => `postgresql ${sourceKey(url)}`,
  open: (url, { poolTimeoutMs, poolSize, autoflush }) =>
    postgres(url, { poolTimeoutMs, max: poolSize, autoflush }) as unknown as Datastore,
  usersSessions,
}

const defaultTimeoutMs = 30_000

const ownOptions = ['url', 'schema', 'logger', 'casing', 'poolTimeoutMs', 'shareStatements', 'autoflush'] as const

const driverOptions = [
  ...['max', 'host', 'port', 'path', 'database', 'user', 'username', 'password', 'ssl', 'sslnegotiation'],
  ...['connect_timeout', 'idle_timeout', 'max_lifetime', 'keep_alive', 'prepare', 'fetch_types'],
  ...['target_session_attrs', 'connection', 'socket', 'onnotice', 'onparameter'],
]

function open<Schema extends Record<string, unknown>>(
  options: PostgresSourceOptions<Schema>,
): PostgresDatastore<Schema> {
  checkOptions(options, [...ownOptions, ...driverOptions])
  const {
    url,
    schema,
    logger,
    casing,
    poolTimeoutMs = defaultTimeoutMs,
    shareStatements: _,
    autoflush,
    ...others
  } = options
  const source = url === undefined ? undefined : parseSource(url)
  const stated = Object.fromEntries(Object.entries(others).filter(([, value]) => value !== undefined))
  const given: PostgresOptions = { ...source?.options, ...stated }
  checkOptions(given, driverOptions) // the URL may say some of them too
  const { max = 10, connect_timeout = 30, idle_timeout = 0, max_lifetime } = given
  const clientOptions = { onnotice: () => undefined, ...given }
  const dialect = dialectFor(options)
  const connections = new PooledSource(
    {
      max,
      timeoutMs: poolTimeoutMs,
      connectTimeoutMs: connect_timeout * 1000 || Infinity,
      idleMs: idle_timeout * 1000,
      lifetimeMs: () => (max_lifetime ?? 60 * (30 + Math.random() * 30)) * 1000,
    },
    source ? [source.url, clientOptions] : [clientOptions],
    loadPostgres,
  )
  const driver = new PostgresJsDriver<Schema>({
    source: connections,
    handles: DrizzleHandles.configured({ schema, logger, casing }),
    sharing: sharingFor(options, dialect, max),
  })
  return new Datastore({ dialect, driver, poolTimeoutMs, autoflush, usersSessions: [usersSessions] })
}

type Sharing = Pick<PostgresOptions, 'poolTimeoutMs' | 'shareStatements'>

function dialectFor({ poolTimeoutMs = defaultTimeoutMs, shareStatements = true }: Sharing): PostgresDialect {
  return new PostgresDialect(poolTimeoutMs, shareStatements ? lockWaitMs : undefined)
}

function sharingFor(
  { poolTimeoutMs = defaultTimeoutMs, shareStatements = true }: Sharing,
  dialect: PostgresDialect,
  connections: number,
) {
  if (!shareStatements) return undefined
  return (outside: SharingOptions['outside']) => ({
    inserts: new SharedStatements({
      outside,
      together: (connection, table, inserts) => dialect.appendTogether(connection, table, inserts),
      conflicts: (connection, table, inserts) => dialect.conflicts(connection, table, inserts),
      timeoutMs: poolTimeoutMs,
      connections,
    }),
    reads: new SharedReads({
      outside,
      together: selectTextsTogether,
    }),
  })
}

function checkOptions(options: object, known: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || known.includes(name)) continue
    if (name === 'retries' || name === 'retryIntervalMs') {
      throw new NotSupportedError(`The option ${name} is not built yet: leave it out`)
    }
    throw new ProgrammingError(`postgres() has no option ${name} here; it takes ${known.join(', ')}`)
  }
  const {
    url,
    schema,
    poolTimeoutMs = 1,
    max = 1,
    shareStatements = true,
    autoflush = true,
    ...others
  } = options as PostgresSourceOptions
  requireSwitch('The option autoflush', autoflush)
  if (typeof shareStatements !== 'boolean') throw new ProgrammingError('The option shareStatements takes true or false')
  if (url !== undefined && typeof url !== 'string') throw new ProgrammingError('The option url must be text')
  if (schema !== undefined && (typeof schema !== 'object' || schema === null)) {
    throw new ProgrammingError('The option schema is an object of Drizzle tables: { owners }')
  }
  if (!Number.isSafeInteger(poolTimeoutMs) || poolTimeoutMs < 1) {
    throw new ProgrammingError('The option poolTimeoutMs must be an integer from 1, in milliseconds')
  }
  if (!Number.isSafeInteger(max) || max < 1) {
    throw new ProgrammingError('The option max must be an integer from 1, in connections')
  }
  for (const name of ['connect_timeout', 'idle_timeout', 'max_lifetime', 'keep_alive'] as const) {
    const seconds = others[name] ?? 0
    if (!(typeof seconds === 'number' && seconds >= 0 && seconds < Infinity)) {
      throw new ProgrammingError(`The option ${name} must be a number from 0, in seconds`)
    }
  }
}

/** Told by Drizzle's own names of its classes, so that no driver has to be loaded for it. */
function kindOf(object: object): string | undefined {
  const kinds = object.constructor as { [entityKind]?: unknown } | undefined
  const kind = kinds?.[entityKind]
  return typeof kind === 'string' ? kind : undefined
}

function isDrizzleDatabase(source: object): boolean {
  return kindOf(source) !== undefined || '$client' in source
}

/** Takes the client out of the user's Drizzle database. @throws ProgrammingError  It is none of postgres.js's. */
function clientOf(db: object): PostgresClient {
  const kind = kindOf(db)
  if (kind !== 'PostgresJsDatabase') {
    throw new ProgrammingError(
      'postgres() takes a Drizzle database of postgres.js (drizzle-orm/postgres-js), not ' +
        (kind === undefined ? 'this object' : `a ${kind}`),
    )
  }
  const client = (db as { $client?: Partial<PostgresClient> }).$client
  if (typeof client?.unsafe !== 'function' || typeof client.begin !== 'function' || !client.options) {
    throw new ProgrammingError('postgres() takes a Drizzle database of postgres.js; this one has no such client')
  }
  requireUntransformed(client as PostgresClient, 'The database given to postgres()')
  return client as PostgresClient
}
