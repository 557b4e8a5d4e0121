import { randomUUID } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { pgSchema, pgTable, text } from 'drizzle-orm/pg-core'
import { type PostgresJsDatabase, drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import type { AnyDatastore } from '../../lib/persistence/datastore.js'
import { type PostgresDatastore, postgres } from '../../lib/postgres/index.js'
import type { Backend, Opened, OwnersTable } from './backend.js'
import { admin, postgresUrl } from './postgres-server.js'

/** The user's own table of the suites, where `search_path` leads to it. */
export const owners = pgTable('owners', { name: text('name').primaryKey() })

/** The user's schema of the suites. */
export const schema = { owners }

const capabilities = { concurrentWriters: true, ownTables: true }

const skip = {
  'let a transaction go on after an error of the user’s own statement is caught inside':
    'PostgreSQL aborts the transaction; what may fail goes into a nested one',
}

/** As many connections as the suites have transactions open at once, and few enough to be opened for each case. */
const max = 5

/** A pool of ours; tables are found by the connections' `search_path`. */
export const postgresPool: Backend = {
  name: 'postgres',
  capabilities,
  skip,
  async open(options) {
    const { name, searchPath, drop } = await freshSchema()
    await createOwners(name)
    const datastore = postgres(postgresUrl(), { schema, max, connection: { search_path: searchPath }, ...options })
    return opened({ datastore, owners, afterwards: drop })
  },
}

/** A pool of ours; tables are in the schema that `DRIZZLE_SCHEMA` names, whose name has to be quoted. */
export const postgresSchema: Backend = {
  name: 'postgres-schema',
  capabilities,
  skip,
  async open(options) {
    const { name, drop } = await freshSchema('Spec of "dogs" ')
    await createOwners(name)
    const table = pgSchema(name).table('owners', { name: text('name').primaryKey() })
    // the suites look at its columns only, which are the same
    const elsewhere = table as unknown as typeof owners
    const datastore = postgres(postgresUrl(), { schema: { owners: elsewhere }, max, ...options })
    return opened({ datastore, owners: elsewhere, env: { DRIZZLE_SCHEMA: name }, afterwards: drop })
  },
}

/** The user's own Drizzle database over a pool of postgres.js, and it stays theirs. */
export const postgresGivenDb: Backend = {
  name: 'postgres-given-db',
  capabilities,
  skip,
  async open(options) {
    const { name, searchPath, drop } = await freshSchema()
    await createOwners(name)
    const client = postgresJs(postgresUrl(), { max, connection: { search_path: searchPath } })
    const datastore = postgres(drizzle(client, { schema }), options)
    const afterwards = async () => {
      await client.end({ timeout: 1 })
      await drop()
    }
    return opened({ datastore, owners, afterwards })
  },
}

/** A PostgreSQL schema that is nobody else's. */
export interface FreshSchema extends AsyncDisposable {
  readonly name: string
  /** For `connection: { search_path }`: leads to it alone. */
  readonly searchPath: string
  /** Removes it with everything in it. */
  drop(): Promise<void>
}

/** Creates one in the run's database, in a few milliseconds; its name is the prefix and something random. */
export async function freshSchema(prefix = 'spec_'): Promise<FreshSchema> {
  const name = `${prefix}${randomUUID().slice(0, 13)}`
  await admin()`CREATE SCHEMA ${admin()(name)}`
  const drop = async () => {
    await admin()`DROP SCHEMA ${admin()(name)} CASCADE`
  }
  return { name, searchPath: `"${name.replaceAll('"', '""')}"`, drop, [Symbol.asyncDispose]: drop }
}

/** Creates the user's table there, by hand as a migration would. */
export async function createOwners(schemaName: string): Promise<void> {
  // in the order of their bytes, as on the other backends
  await admin()`CREATE TABLE ${admin()(schemaName)}.owners (name text COLLATE "C" PRIMARY KEY NOT NULL)`
}

interface Parts {
  readonly datastore: PostgresDatastore<typeof schema>
  readonly owners: typeof owners
  readonly env?: Readonly<Record<string, unknown>>
  afterwards(): Promise<void>
}

async function opened({ datastore, owners, env, afterwards }: Parts): Promise<Opened> {
  await datastore.ready()
  return {
    // suites name no dialect: to them it is a datastore with sessions of whatever kind
    datastore: datastore as unknown as AnyDatastore,
    factory: (name, given) => new DrizzleFactory({ datastore, name, env: { ...env, ...given } }),
    persistence: (name) => (env ? new DrizzleFactory({ datastore, name, env }) : datastore),
    owners: ownersTable(datastore, owners),
    async close() {
      await datastore.close()
      await afterwards()
    },
  }
}

function ownersTable(datastore: PostgresDatastore<typeof schema>, table: typeof owners): OwnersTable {
  const on = (session: unknown) => session as PostgresJsDatabase<typeof schema>
  return {
    async insert(session, name) {
      await on(session).insert(table).values({ name })
    },
    async names(session) {
      const db = session ? on(session) : datastore.db
      return (await db.select().from(table).orderBy(table.name)).map(({ name }) => name)
    },
    prepareInsert(session) {
      const insert = on(session)
        .insert(table)
        .values({ name: sql.placeholder('name') })
        .prepare('insert_owner')
      return async (name) => {
        await insert.execute({ name })
      }
    },
    buildInsert(session, name) {
      const insert = on(session).insert(table).values({ name })
      return async () => {
        await insert
      }
    },
    buildSelect(session) {
      const select = on(session).select().from(table)
      return async () => (await select).map(({ name }) => name)
    },
    async relationalNames(session) {
      const rows = await on(session).query.owners.findMany({ orderBy: table.name })
      return rows.map(({ name }) => name)
    },
  }
}
