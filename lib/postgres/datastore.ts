import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type { DrizzleConfiguration } from '../drizzle/configuration.js'
import { Datastore } from '../drizzle/datastore.js'
import type { CreatedConnections, CreatorSource } from '../drizzle/connection-creator.js'
import { CreatedDriver } from '../drizzle/created-driver.js'
import type { Driver } from '../drizzle/dialect.js'
import { checkRetryOptions, type RetryOptions, retryOptions } from '../drizzle/reconnecting.js'
import type { DatastoreOpener } from '../drizzle/shared-datastores.js'
import { ProgrammingError } from '../errors.js'
import { requireSwitch } from '../persistence/session.js'
import { PostgresDialect } from './dialect.js'
import { loadPostgres } from './drivers/client.js'
import type { PostgresConnection } from './drivers/connection.js'
import { clientOf, isDrizzleDatabase, requireClient } from './drivers/given-client.js'
import { GivenSource } from './drivers/given.js'
import type { ClientOptions } from './drivers/link.js'
import { PooledSource } from './drivers/pooled.js'
import { PostgresJsDriver } from './drivers/postgres-js.js'
import { DrizzleHandles, type PostgresDatabase, type PostgresSession, type PostgresSessionByHand } from './session.js'
import { SharedReads } from './drivers/shared-reads.js'
import { lockWaitMs, SharedStatements, type SharingOptions } from './drivers/shared-statements.js'
import { isPostgresUrl, parseSource, type PostgresSource, sourceKey, urlForms } from './source.js'
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
export interface PostgresOptions<Schema extends Record<string, unknown> = Record<string, never>>
  extends DrizzleConfiguration<Schema>, RetryOptions {
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

/** What a connection is opened with: postgres.js's part of the options. */
export type PostgresConnectionOptions = Omit<
  PostgresOptions,
  'schema' | 'logger' | 'casing' | 'poolTimeoutMs' | 'shareStatements'
>

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
  options?: GivenOptions,
): Datastore<
  PostgresDatabase<Schema> & { $client: Client },
  PostgresSession<Schema>,
  PostgresConnection,
  PostgresSessionByHand<Schema>
>
export function postgres<Schema extends Record<string, unknown>>(
  source: PostgresJsDatabase<Schema>,
  options?: GivenOptions,
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
  checkOptions(options, givenOptions)
  const opening = openingWith<Schema>(options)
  return opened(opening, given(opening, { db: source }))
}

/** How environments open datastores on PostgreSQL. */
export const postgresOpener: DatastoreOpener = {
  forms: urlForms,
  accepts: isPostgresUrl,
  key: (url) => `postgresql ${sourceKey(url)}`,
  open: (url, { poolTimeoutMs, poolSize, autoflush }, creator) =>
    open({ url, poolTimeoutMs, max: poolSize, autoflush }, creator),
  usersSessions,
}

const defaultTimeoutMs = 30_000

/** What is taken beside a Drizzle database of the user's. */
const givenOptions = ['poolTimeoutMs', 'shareStatements', 'autoflush', ...retryOptions] as const

type GivenOptions = Pick<PostgresOptions, (typeof givenOptions)[number]>

const ownOptions = ['url', 'schema', 'logger', 'casing', ...givenOptions] as const

const driverOptions = [
  ...['max', 'host', 'port', 'path', 'database', 'user', 'username', 'password', 'ssl', 'sslnegotiation'],
  ...['connect_timeout', 'idle_timeout', 'max_lifetime', 'keep_alive', 'prepare', 'fetch_types'],
  ...['target_session_attrs', 'connection', 'socket', 'onnotice', 'onparameter'],
]

function open<Schema extends Record<string, unknown>>(
  options: PostgresSourceOptions<Schema>,
  creator?: CreatorSource,
): PostgresDatastore<Schema> {
  checkOptions(options, [...ownOptions, ...driverOptions])
  const opening = openingWith(options)
  const stated = connectionOptions(opening) // refused now, whoever makes the connections
  if (!creator) return opened(opening, pooled(opening, stated, clientOptions(opening, stated)))
  const make = (connections: CreatedConnections) => created(opening, connections)
  return opened(opening, new CreatedDriver({ source: creator, dialect: 'postgresql', make }))
}

/** What drivers are made with, whatever the connections are. */
interface Opening<Schema extends Record<string, unknown>> {
  readonly options: PostgresSourceOptions<Schema>
  readonly source: PostgresSource | undefined
  readonly poolTimeoutMs: number
  readonly dialect: PostgresDialect
}

function openingWith<Schema extends Record<string, unknown>>(options: PostgresSourceOptions<Schema>): Opening<Schema> {
  const { url, poolTimeoutMs = defaultTimeoutMs } = options
  const source = url === undefined ? undefined : parseSource(url)
  return { options, source, poolTimeoutMs, dialect: dialectFor(options) }
}

function opened<Schema extends Record<string, unknown>>(
  { options, dialect, poolTimeoutMs }: Opening<Schema>,
  driver: DriverOf<Schema>,
): PostgresDatastore<Schema> {
  return new Datastore({
    dialect,
    driver,
    poolTimeoutMs,
    usersSessions: [usersSessions],
    retry: options,
    autoflush: options.autoflush,
  })
}

type DriverOf<Schema extends Record<string, unknown>> = Driver<
  PostgresDatabase<Schema>,
  PostgresSession<Schema>,
  PostgresConnection,
  PostgresSessionByHand<Schema>
>

/** Connections of ours. @param source  What each is opened with, or what tells it. */
function pooled<Schema extends Record<string, unknown>>(
  { options, poolTimeoutMs, dialect }: Opening<Schema>,
  { max = 10, connect_timeout = 30, idle_timeout = 0, max_lifetime }: PostgresConnectionOptions,
  source: ConstructorParameters<typeof PooledSource>[1],
): DriverOf<Schema> {
  const pool = {
    max,
    timeoutMs: poolTimeoutMs,
    connectTimeoutMs: connect_timeout * 1000 || Infinity,
    idleMs: idle_timeout * 1000,
    lifetimeMs: () => (max_lifetime ?? 60 * (30 + Math.random() * 30)) * 1000,
  }
  return new PostgresJsDriver<Schema>({
    source: new PooledSource(pool, source, loadPostgres),
    handles: DrizzleHandles.configured(options),
    sharing: sharingFor(options, dialect, max),
  })
}

/** A user's own database or client. */
function given<Schema extends Record<string, unknown>>(
  { options, poolTimeoutMs, dialect }: Opening<Schema>,
  { db, client }: { readonly db?: object | undefined; readonly client?: object | undefined },
): DriverOf<Schema> {
  const theirs = db ? clientOf(db) : requireClient(client)
  return new PostgresJsDriver<Schema>({
    source: new GivenSource(theirs, poolTimeoutMs, loadPostgres),
    handles: db ? DrizzleHandles.like<Schema>(db) : DrizzleHandles.configured(options),
    db,
    sharing: sharingFor(options, dialect, theirs.options.max),
  })
}

/** What a connection creator gives: the first answer tells whether there are connections of ours, which it is asked for one by one. */
async function created<Schema extends Record<string, unknown>>(
  opening: Opening<Schema>,
  connections: CreatedConnections,
): Promise<DriverOf<Schema>> {
  const answer = await connections.ask('write', opening.poolTimeoutMs)
  if (!answer.options) {
    // what Drizzle does to the client of a database, whose sessions read dates and JSON themselves
    if (answer.client) (await loadPostgres()).prepare(requireClient(answer.client))
    return given(opening, answer)
  }
  let first: object | undefined = answer.options
  return pooled(opening, connectionOptions(opening, first), async (timeoutMs) => {
    const more = first ?? (await connections.ask('write', timeoutMs)).options
    first = undefined
    if (!more) throw new ProgrammingError('A connection creator that has returned { options } has to do so each time')
    return clientOptions(opening, connectionOptions(opening, more))
  })
}

/** What the URL says, what the options say instead, and what a connection creator says instead of these. */
function connectionOptions<Schema extends Record<string, unknown>>(
  { options, source }: Opening<Schema>,
  created: object = {},
): PostgresConnectionOptions {
  const isOurs = (name: string) => (ownOptions as readonly string[]).includes(name)
  const stated = Object.entries(options).filter(([name, value]) => value !== undefined && !isOurs(name))
  const more = Object.entries(created).filter(([, value]) => value !== undefined)
  const merged = { ...source?.options, ...Object.fromEntries(stated), ...Object.fromEntries(more) }
  checkOptions(merged, driverOptions) // the URL may say some of them too
  return merged
}

function clientOptions<Schema extends Record<string, unknown>>(
  { source }: Opening<Schema>,
  options: PostgresConnectionOptions,
): ClientOptions {
  const withNotices = { onnotice: () => undefined, ...options }
  return source ? [source.url, withNotices] : [withNotices]
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
  checkRetryOptions(options)
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
