import { asc, sql } from 'drizzle-orm'
import { integer as pgInteger, pgTable, text as pgText } from 'drizzle-orm/pg-core'
import { integer as sqliteInteger, sqliteTable, text as sqliteText } from 'drizzle-orm/sqlite-core'
import type { AnyDatastore, AnySession } from 'eventsourcing-drizzle'
import { eventsTable as pgEventsTable, postgres } from 'eventsourcing-drizzle/postgres'
import { eventsTable as sqliteEventsTable, sqlite } from 'eventsourcing-drizzle/sqlite'

/** A row of the school's own table. */
export interface Owner {
  readonly id: number
  readonly name: string
  readonly dog: string
}

/** A row of the table of events, as far as the demo shows it. */
export interface EventRow {
  readonly notificationId: number
  readonly topic: string
  readonly originatorVersion: number
  readonly originatorId: string
}

/** The school's database. Your application has one, of one dialect; this one is either, to show both. */
export interface SchoolDatabase {
  readonly datastore: AnyDatastore
  /** The school's own table: plain Drizzle, in the same database as the events. */
  readonly owners: ReturnType<typeof sqliteOwners> | ReturnType<typeof pgOwners>
  /** Creates it where it is missing. In a program of yours drizzle-kit does. */
  createOwners(): Promise<void>
  /** Its rows, in the order in which they were inserted. */
  allOwners(session: AnySession): Promise<Owner[]>
  /** All events, by Drizzle from their table, as any row of the database. */
  allEvents(session: AnySession): Promise<EventRow[]>
}

/** Opens the database at that URL: PostgreSQL's, or a SQLite file. */
export function openDatabase(url: string): SchoolDatabase {
  return /^postgres(ql)?(\+\w+)?:/i.test(url) ? onPostgres(url) : onSqlite(url)
}

const eventsName = 'training_school_events'

const sqliteOwners = () =>
  sqliteTable('owners', {
    id: sqliteInteger().primaryKey({ autoIncrement: true }),
    name: sqliteText().notNull(),
    dog: sqliteText().notNull(),
  })

const pgOwners = () =>
  pgTable('owners', {
    id: pgInteger().primaryKey().generatedAlwaysAsIdentity(),
    name: pgText().notNull(),
    dog: pgText().notNull(),
  })

function onSqlite(url: string): SchoolDatabase {
  const owners = sqliteOwners()
  const events = sqliteEventsTable({ name: eventsName })
  const datastore = sqlite(url, { schema: { owners, events } })
  return {
    datastore,
    owners,
    createOwners: async () => {
      await datastore.db.run(
        sql`CREATE TABLE IF NOT EXISTS owners (id integer PRIMARY KEY AUTOINCREMENT, name text NOT NULL, dog text NOT NULL)`,
      )
    },
    allOwners: (session) => session.select().from(owners).orderBy(asc(owners.id)),
    allEvents: (session) => session.select().from(events).orderBy(asc(events.notificationId)),
  }
}

function onPostgres(url: string): SchoolDatabase {
  const owners = pgOwners()
  const events = pgEventsTable({ name: eventsName })
  const datastore = postgres(url, { schema: { owners, events } })
  return {
    datastore,
    owners,
    createOwners: async () => {
      await datastore.db.execute(
        sql`CREATE TABLE IF NOT EXISTS owners (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, dog text NOT NULL)`,
      )
    },
    allOwners: (session) => session.select().from(owners).orderBy(asc(owners.id)),
    allEvents: (session) => session.select().from(events).orderBy(asc(events.notificationId)),
  }
}
