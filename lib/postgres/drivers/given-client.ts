import { entityKind } from 'drizzle-orm'
import { ProgrammingError } from '../../errors.js'
import { type PostgresClient, requireUntransformed } from './client.js'

/** Told by Drizzle's own names of its classes, so that no driver has to be loaded for it. */
function kindOf(object: object): string | undefined {
  const kinds = object.constructor as { [entityKind]?: unknown } | undefined
  const kind = kinds?.[entityKind]
  return typeof kind === 'string' ? kind : undefined
}

/** Whether it is a Drizzle database, of whatever driver. */
export function isDrizzleDatabase(source: object): boolean {
  return kindOf(source) !== undefined || '$client' in source
}

/** Takes the client out of the user's Drizzle database. @throws ProgrammingError  It is none of postgres.js's. */
export function clientOf(db: object): PostgresClient {
  const kind = kindOf(db)
  if (kind !== 'PostgresJsDatabase') {
    throw new ProgrammingError(
      'postgres() takes a Drizzle database of postgres.js (drizzle-orm/postgres-js), not ' +
        (kind === undefined ? 'this object' : `a ${kind}`),
    )
  }
  return requireClient(
    (db as { $client?: unknown }).$client,
    'postgres() takes a Drizzle database of postgres.js; this one has no such client',
  )
}

/** A client of postgres.js as the user gave it. @throws ProgrammingError  It is none, or changes what it reads. */
export function requireClient(given: unknown, orElse = 'The client given is none of postgres.js'): PostgresClient {
  const client = given as Partial<PostgresClient> | undefined
  if (typeof client?.unsafe !== 'function' || typeof client.begin !== 'function' || !client.options) {
    throw new ProgrammingError(orElse)
  }
  requireUntransformed(client as PostgresClient, 'The database given to postgres()')
  return client as PostgresClient
}
