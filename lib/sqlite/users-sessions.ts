import { innerSession, kindName, type UsersSession, type UsersSessions } from '../drizzle/scoped-sessions.js'
import { ProgrammingError } from '../errors.js'
import { sqliteDialect } from './dialect.js'
import { BetterSqlite3Driver } from './drivers/better-sqlite3.js'
import { type SqliteClient, SqliteConnection } from './drivers/connection.js'
import { usersUnit } from './drivers/users-transaction.js'
import { DrizzleHandles, type SqliteDatabase, type SqliteSession } from './session.js'

type Schema = Record<string, never>

/** Drizzle databases and transactions of better-sqlite3, as their user manages them. */
export const usersSessions: UsersSessions<SqliteDatabase<Schema>, SqliteSession<Schema>, SqliteConnection> = {
  name: 'sqlite',
  takes: 'better-sqlite3 (drizzle-orm/better-sqlite3)',
  makeDialect: () => sqliteDialect,
  accepts: (session, isOurs) => {
    const kind = kindName(innerSession(session) ?? {})
    // ours that are managed by hand wait for their turn, which Drizzle's for this driver can't
    return kind === 'BetterSQLiteSession' || (isOurs && kind === 'SQLiteSession')
  },
  take,
}

function take(
  session: object,
  poolTimeoutMs: number,
): UsersSession<SqliteDatabase<Schema>, SqliteSession<Schema>, SqliteConnection> {
  const { client } = innerSession(session) as { client?: Partial<SqliteClient> }
  if (typeof client?.prepare !== 'function' || typeof client.pragma !== 'function') {
    throw new ProgrammingError(
      'The scoped session has no client of better-sqlite3: it has to be a Drizzle database over one',
    )
  }
  const whole = client as SqliteClient
  const handles = () => DrizzleHandles.like<Schema>(session)
  if (SqliteConnection.isInUsersTransaction(whole)) return { key: whole, unit: () => usersUnit(whole, handles()) }
  return {
    key: whole,
    driver: () =>
      new BetterSqlite3Driver<Schema>({
        source: { client: whole },
        handles: handles(),
        poolTimeoutMs,
        synchronous: 'full',
        shareCommits: false,
      }),
  }
}
