import { innerSession, kindName, type UsersSession, type UsersSessions } from '../drizzle/scoped-sessions.js'
import { ProgrammingError } from '../errors.js'
import { PostgresDialect } from './dialect.js'
import {
  loadPostgres,
  type PostgresClient,
  type PostgresTransactionSql,
  requireUntransformed,
} from './drivers/client.js'
import type { PostgresConnection } from './drivers/connection.js'
import { GivenSource } from './drivers/given.js'
import { PostgresJsDriver } from './drivers/postgres-js.js'
import { usersUnit } from './drivers/users-transaction.js'
import { DrizzleHandles, type PostgresDatabase, type PostgresSession } from './session.js'

type Schema = Record<string, never>

/** Drizzle databases and transactions of postgres.js, as their user manages them. */
export const usersSessions: UsersSessions<PostgresDatabase<Schema>, PostgresSession<Schema>, PostgresConnection> = {
  name: 'postgresql',
  takes: 'postgres.js (drizzle-orm/postgres-js)',
  makeDialect: (timeoutMs) => new PostgresDialect(timeoutMs),
  accepts: (session) => kindName(innerSession(session) ?? {}) === 'PostgresJsSession',
  take,
}

function take(
  session: object,
  timeoutMs: number,
): UsersSession<PostgresDatabase<Schema>, PostgresSession<Schema>, PostgresConnection> {
  const { client } = innerSession(session) as { client?: Partial<PostgresClient & PostgresTransactionSql> }
  const handles = () => DrizzleHandles.like<Schema>(session)
  if (typeof client?.unsafe === 'function' && typeof client.savepoint === 'function') {
    return { key: client, unit: () => usersUnit(client as PostgresTransactionSql, handles(), timeoutMs) }
  }
  if (typeof client?.unsafe !== 'function' || typeof client.begin !== 'function' || !client.options) {
    throw new ProgrammingError(
      'The scoped session has no client of postgres.js: it has to be a Drizzle database over one',
    )
  }
  const whole = client as PostgresClient
  requireUntransformed(whole, 'The scoped session')
  return {
    key: whole,
    driver: () =>
      new PostgresJsDriver<Schema>({ source: new GivenSource(whole, timeoutMs, loadPostgres), handles: handles() }),
  }
}
