import { InterfaceError, NotSupportedError, ProgrammingError } from '../errors.js'
import type { Environment } from '../persistence/environment.js'
import { creatorKey, creatorSource, type CreatorSource } from './connection-creator.js'
import type { AnyDrizzleDatastore, Datastore, DatastoreParts } from './datastore.js'
import { NoConnections } from './no-connections.js'
import type { AnyUsersSessions, ScopedSessionOptions } from './scoped-sessions.js'

/** How a dialect opens the datastore that an environment asks for. */
export interface DatastoreOpener {
  /** The URL forms it takes, for errors: `sqlite:school.db`. */
  readonly forms: readonly string[]
  /** Whether a URL is for it, by its scheme. */
  accepts(url: string): boolean
  /** What datastores of the same configuration have in common; undefined where each is its own (`:memory:`). */
  key(url: string): string | undefined
  /** @param creator  Where connections are asked for; where there is none, they are made by the URL. */
  open(
    url: string,
    options: { poolTimeoutMs: number; poolSize: number | undefined; autoflush: boolean },
    creator: CreatorSource | undefined,
  ): AnyDrizzleDatastore
  /** The sessions that users manage themselves. */
  readonly usersSessions: AnyUsersSessions
}

/** Puts a datastore together that has no connections of its own. */
export type MakeDatastore = (parts: DatastoreParts<never, never, never, never>) => Datastore

const openers: DatastoreOpener[] = []
let makeDatastore: MakeDatastore | undefined
const shared = new Map<string, Datastore>()
const users = new Map<Datastore, number>()

/** Makes a dialect's URLs known. */
export function registerOpener(opener: DatastoreOpener): void {
  openers.push(opener)
}

/** Makes datastores known that have no URL, and their sessions from scopes. */
export function registerDatastoresOfScopes(make: MakeDatastore): void {
  makeDatastore = make
}

/**
 * The datastore for an environment: within a process the same one for the same URL, schema, options and connection creator.
 *
 * @param topicBase  Where the topics of the connection creator and of the scoped session start, if they are relative.
 * @throws ProgrammingError  `DRIZZLE_URL` is missing where no scoped session is named, or its form is not known. Its value
 *   is not shown: it may hold a password.
 */
export function sharedDatastore(env: Environment, topicBase?: string | URL): Datastore {
  const url = env.text('DRIZZLE_URL')
  const scoped = scopedSessionOptions(env, topicBase)
  if (!url && scoped?.topic === undefined) {
    throw new ProgrammingError(
      `${env.variable('DRIZZLE_URL')} is not set: it says where the database is, as ${forms()}`,
    )
  }
  const opener = url ? openers.find((candidate) => candidate.accepts(url)) : undefined
  if (url && !opener)
    throw new ProgrammingError(`The form of ${env.variable('DRIZZLE_URL')} is not known; accepted: ${forms()}`)
  const options = {
    poolTimeoutMs: env.integer('DRIZZLE_POOL_TIMEOUT_MS', 30_000),
    // left to the URL where it isn't set
    poolSize: env.text('DRIZZLE_POOL_SIZE') ? env.integer('DRIZZLE_POOL_SIZE', 10, 1) : undefined,
    autoflush: env.yes('DRIZZLE_AUTOFLUSH', true),
  }
  const creator = url === undefined ? undefined : creatorSource(env, url, topicBase)
  const urlKey = url && opener ? opener.key(url) : 'scoped sessions'
  const schema = env.text('DRIZZLE_SCHEMA') ?? null
  const key =
    urlKey && JSON.stringify([urlKey, schema, options, creator ? creatorKey(creator) : null, ...keysOf(scoped)])
  const known = key === undefined ? undefined : shared.get(key)
  const open = () => (url && opener ? opener.open(url, options, creator) : ofScopesAlone(env, options))
  const datastore = known && !known.isClosed ? known : open()
  if (datastore !== known && scoped) datastore.takeScopedSessions(scoped)
  if (key) shared.set(key, datastore)
  users.set(datastore, (users.get(datastore) ?? 0) + 1)
  return datastore
}

/** What an environment says of scoped sessions, if it does. */
export function scopedSessionOptions(
  env: Environment,
  topicBase: string | URL | undefined,
): ScopedSessionOptions | undefined {
  const topic = env.get('DRIZZLE_SCOPED_SESSION_TOPIC')
  const isRequired = env.yes('DRIZZLE_REQUIRE_SCOPED_SESSION', false)
  if (topic === undefined && !isRequired) return undefined
  return {
    topic,
    topicBase,
    isRequired,
    check: (dialect) => {
      checkSchema(env, dialect)
    },
  }
}

/** @throws NotSupportedError  A schema is asked for, and SQLite has none. */
export function checkSchema(env: Environment, dialect: 'sqlite' | 'postgresql'): void {
  if (dialect === 'postgresql' || !env.text('DRIZZLE_SCHEMA')) return
  throw new NotSupportedError(`${env.variable('DRIZZLE_SCHEMA')} is for PostgreSQL: SQLite has no schemas`)
}

function ofScopesAlone(
  env: Environment,
  { poolTimeoutMs, autoflush }: { poolTimeoutMs: number; autoflush: boolean },
): Datastore {
  if (!makeDatastore)
    throw new InterfaceError('No datastore without a URL is known: import eventsourcing-drizzle/drizzle')
  return makeDatastore({
    driver: new NoConnections(
      `There is no scoped session just now, and ${env.variable('DRIZZLE_URL')}, which would say where the database is, ` +
        'is not set: do this inside a scope',
    ),
    poolTimeoutMs,
    autoflush,
    usersSessions: openers.map((opener) => opener.usersSessions),
  })
}

/** Objects that were topics, by a number. */
const topicNumbers = new WeakMap<object, number>()
let topics = 0

function keysOf(scoped: ScopedSessionOptions | undefined): unknown[] {
  if (!scoped) return []
  const { topic, topicBase, isRequired } = scoped
  if (typeof topic === 'string') return [topic, String(topicBase), isRequired]
  if (typeof topic !== 'object' && typeof topic !== 'function') return [typeof topic, isRequired]
  if (topic === null) return [isRequired]
  let number = topicNumbers.get(topic)
  if (number === undefined) topicNumbers.set(topic, (number = topics += 1))
  return [number, isRequired]
}

/** Gives a datastore back; the last user closes it, and keeps it where it can't be closed just now. */
export async function releaseDatastore(datastore: Datastore): Promise<void> {
  const left = (users.get(datastore) ?? 1) - 1
  if (left > 0) {
    users.set(datastore, left)
    return
  }
  await datastore.close()
  users.delete(datastore)
  for (const [key, candidate] of shared) if (candidate === datastore) shared.delete(key)
}

function forms(): string {
  return openers.flatMap((opener) => opener.forms).join(', ')
}
