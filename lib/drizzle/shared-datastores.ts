import { ProgrammingError } from '../errors.js'
import type { Environment } from '../persistence/environment.js'
import type { Datastore } from './datastore.js'

/** How a dialect opens the datastore that an environment asks for. */
export interface DatastoreOpener {
  /** The URL forms it takes, for errors: `sqlite:school.db`. */
  readonly forms: readonly string[]
  /** Whether a URL is for it, by its scheme. */
  accepts(url: string): boolean
  /** What datastores of the same configuration have in common; undefined where each is its own (`:memory:`). */
  key(url: string): string | undefined
  open(url: string, options: { poolTimeoutMs: number; poolSize: number | undefined; autoflush: boolean }): Datastore
}

const openers: DatastoreOpener[] = []
const shared = new Map<string, Datastore>()
const users = new Map<Datastore, number>()

/** Makes a dialect's URLs known. */
export function registerOpener(opener: DatastoreOpener): void {
  openers.push(opener)
}

/**
 * The datastore for an environment: within a process the same one for the same URL, schema and options.
 *
 * @throws ProgrammingError  `DRIZZLE_URL` is missing, or its form is not known. Its value is not shown: it may hold a password.
 */
export function sharedDatastore(env: Environment): Datastore {
  const url = env.text('DRIZZLE_URL')
  if (!url) {
    throw new ProgrammingError(
      `${env.variable('DRIZZLE_URL')} is not set: it says where the database is, as ${forms()}`,
    )
  }
  const opener = openers.find((candidate) => candidate.accepts(url))
  if (!opener)
    throw new ProgrammingError(`The form of ${env.variable('DRIZZLE_URL')} is not known; accepted: ${forms()}`)
  const options = {
    poolTimeoutMs: env.integer('DRIZZLE_POOL_TIMEOUT_MS', 30_000),
    // left to the URL where it isn't set
    poolSize: env.text('DRIZZLE_POOL_SIZE') ? env.integer('DRIZZLE_POOL_SIZE', 10, 1) : undefined,
    autoflush: env.yes('DRIZZLE_AUTOFLUSH', true),
  }
  const urlKey = opener.key(url)
  const key = urlKey && JSON.stringify([urlKey, env.text('DRIZZLE_SCHEMA') ?? null, options])
  const known = key === undefined ? undefined : shared.get(key)
  const datastore = known && !known.isClosed ? known : opener.open(url, options)
  if (key) shared.set(key, datastore)
  users.set(datastore, (users.get(datastore) ?? 0) + 1)
  return datastore
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
