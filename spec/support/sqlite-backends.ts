import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { sql } from 'drizzle-orm'
import { sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import type { AnyDatastore } from '../../lib/persistence/datastore.js'
import { type SqliteDatastore, type SqliteSession, sqlite } from '../../lib/sqlite/index.js'
import type { Backend, Opened, OwnersTable } from './backend.js'

/** The user's own table of the suites. */
export const owners = sqliteTable('owners', { name: text('name').primaryKey() })

/** The user's schema of the suites. */
export const schema = { owners }

/** Creates that table, by hand as a migration would. */
export const createOwners = 'CREATE TABLE owners (name text PRIMARY KEY NOT NULL)'

/** A file in WAL mode: a writer, and readers beside it. */
export const sqliteFile: Backend = {
  name: 'sqlite-file',
  capabilities: { concurrentWriters: false, ownTables: true },
  async open(options) {
    const directory = await temporaryDirectory()
    return opened(sqlite(join(directory, 'school.db'), { schema, ...options }), () => remove(directory))
  },
}

/** A database in memory: one connection, which readers and the writer share by turns. */
export const sqliteMemory: Backend = {
  name: 'sqlite-memory',
  capabilities: { concurrentWriters: false, ownTables: true },
  open: (options) => opened(sqlite('sqlite::memory:', { schema, ...options })),
}

/** The user's own Drizzle database over a file: one connection, and it stays theirs. */
export const sqliteGivenDb: Backend = {
  name: 'sqlite-given-db',
  capabilities: { concurrentWriters: false, ownTables: true },
  async open(options) {
    const directory = await temporaryDirectory()
    const client = new Database(join(directory, 'school.db'))
    return opened(sqlite(drizzle(client, { schema }), options), () => {
      client.close()
      return remove(directory)
    })
  },
}

/** A directory that is nobody else's. */
export function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'eventsourcing-drizzle-'))
}

/** Removes a directory with everything in it. */
export function remove(directory: string): Promise<void> {
  return rm(directory, { recursive: true, force: true, maxRetries: 3 })
}

async function opened(
  datastore: SqliteDatastore<typeof schema>,
  afterwards: () => Promise<void> | void = () => undefined,
): Promise<Opened> {
  await datastore.ready()
  await datastore.db.run(createOwners)
  return {
    // suites name no dialect: to them it is a datastore with sessions of whatever kind
    datastore: datastore as unknown as AnyDatastore,
    factory: (name, env) => new DrizzleFactory({ datastore, name, env }),
    persistence: () => datastore,
    owners: ownersTable(datastore),
    async close() {
      await datastore.close()
      await afterwards()
    },
  }
}

function ownersTable(datastore: SqliteDatastore<typeof schema>): OwnersTable {
  const on = (session: unknown) => session as SqliteSession<typeof schema>
  return {
    async insert(session, name) {
      await on(session).insert(owners).values({ name })
    },
    async names(session) {
      const query = session ? on(session).select().from(owners) : datastore.db.select().from(owners)
      return (await query.orderBy(owners.name)).map(({ name }) => name)
    },
    prepareInsert(session) {
      const insert = on(session)
        .insert(owners)
        .values({ name: sql.placeholder('name') })
        .prepare()
      return async (name) => {
        await insert.execute({ name })
      }
    },
    buildInsert(session, name) {
      const insert = on(session).insert(owners).values({ name })
      return async () => {
        await insert
      }
    },
    buildSelect(session) {
      const select = on(session).select().from(owners)
      return async () => (await select).map(({ name }) => name)
    },
    async relationalNames(session) {
      const rows = await on(session).query.owners.findMany({ orderBy: owners.name })
      return rows.map(({ name }) => name)
    },
  }
}
