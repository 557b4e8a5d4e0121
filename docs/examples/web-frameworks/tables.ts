import { sql } from 'drizzle-orm'
import { pgTable, text as pgText } from 'drizzle-orm/pg-core'
import { sqliteTable, text as sqliteText } from 'drizzle-orm/sqlite-core'
import { postgres } from 'eventsourcing-drizzle/postgres'
import { sqlite } from 'eventsourcing-drizzle/sqlite'

/** Rows of the server's own. */
export type AdoptionsTable = ReturnType<typeof sqliteAdoptions> | ReturnType<typeof pgAdoptions>

// The kennel is looked up at the commit, not before: what fails there has to reach the client as well.
const statements = [
  sql`CREATE TABLE kennels (name text PRIMARY KEY)`,
  sql`INSERT INTO kennels VALUES ('North'), ('South')`,
  sql`CREATE TABLE adoptions (owner text PRIMARY KEY, dog text NOT NULL,
        kennel text NOT NULL REFERENCES kennels (name) DEFERRABLE INITIALLY DEFERRED)`,
]

const sqliteAdoptions = () =>
  sqliteTable('adoptions', {
    owner: sqliteText().primaryKey(),
    dog: sqliteText().notNull(),
    kennel: sqliteText().notNull(),
  })

const pgAdoptions = () =>
  pgTable('adoptions', { owner: pgText().primaryKey(), dog: pgText().notNull(), kennel: pgText().notNull() })

/** A server has one database of one dialect. These two show that it makes no difference. */
export function onSqlite(file: string) {
  const datastore = sqlite(file)
  const createTables = async () => {
    for (const statement of statements) await datastore.db.run(statement)
  }
  return { datastore, table: sqliteAdoptions(), createTables }
}

/** As `onSqlite`. */
export function onPostgres(url: string) {
  const datastore = postgres(url)
  const createTables = async () => {
    for (const statement of statements) await datastore.db.execute(statement)
  }
  return { datastore, table: pgAdoptions(), createTables }
}
