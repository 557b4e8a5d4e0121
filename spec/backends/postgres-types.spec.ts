import { expect } from 'chai'
import { drizzle as drizzleSqlite } from 'drizzle-orm/better-sqlite3'
import { relations } from 'drizzle-orm'
import { bigint, integer, jsonb, pgTable, text, timestamp } from 'drizzle-orm/pg-core'
import { type PostgresJsDatabase, drizzle } from 'drizzle-orm/postgres-js'
import { sqliteTable, text as sqliteText } from 'drizzle-orm/sqlite-core'
import postgresJs from 'postgres'
import { Application } from '../../lib/application/application.js'
import { DrizzleApplicationRecorder } from '../../lib/drizzle/recorders.js'
import type { AnySession } from '../../lib/persistence/session.js'
import { eventsTable, postgres, type PostgresSession, trackingTable } from '../../lib/postgres/index.js'
import { type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'

const people = pgTable('people', {
  id: integer('id').primaryKey(),
  name: text('name').notNull(),
  born: timestamp('born', { withTimezone: true }),
  chip: bigint('chip', { mode: 'bigint' }),
  likes: jsonb('likes').$type<{ treats: string[] }>(),
  nicknames: text('nicknames').array(),
})
const leashes = pgTable('leashes', { id: integer('id').primaryKey(), personId: integer('person_id').notNull() })
const schema = {
  people,
  leashes,
  peopleRelations: relations(people, ({ many }) => ({ leashes: many(leashes) })),
  leashesRelations: relations(leashes, ({ one }) => ({
    person: one(people, { fields: [leashes.personId], references: [people.id] }),
  })),
}
const elsewhere = sqliteTable('people', { name: sqliteText('name').notNull() })

// What the compiler says is most of these cases: an @ts-expect-error that it has no error for does not compile.
describePostgres('The types of a session on PostgreSQL', () => {
  let place: FreshSchema

  beforeEach(async () => {
    place = await freshSchema()
    await admin().unsafe(`
      CREATE TABLE ${place.searchPath}.people
        (id integer PRIMARY KEY, name text NOT NULL, born timestamptz, chip bigint, likes jsonb, nicknames text[]);
      CREATE TABLE ${place.searchPath}.leashes (id integer PRIMARY KEY, person_id integer NOT NULL)`)
  })

  afterEach(() => place.drop())

  function open() {
    return postgres(postgresUrl(), { schema, max: 2, connection: { search_path: place.searchPath } })
  }

  it('are those of the schema that the datastore was given', async () => {
    await using datastore = open()
    await datastore.ready()
    const ann = {
      id: 1,
      name: 'Ann',
      born: new Date(0),
      chip: 2n ** 60n,
      likes: { treats: ['bone'] },
      nicknames: ['Annie'],
    }
    const name: string | undefined = await datastore.transaction(async (session) => {
      await session.insert(people).values(ann)
      await session.insert(leashes).values({ id: 1, personId: 1 })
      const [person] = await session.select().from(people)
      const born: Date | null | undefined = person?.born
      const chip: bigint | null | undefined = person?.chip
      const treats: string[] | undefined = person?.likes?.treats
      const nicknames: string[] | null | undefined = person?.nicknames
      expect({ ...person, born, chip, likes: { treats }, nicknames }).to.deep.equal(ann)
      // @ts-expect-error a name is text
      const wrong: number | undefined = person?.name
      expect(wrong).to.equal('Ann')
      const found = await session.query.people.findFirst({ with: { leashes: true } })
      const ids: number[] | undefined = found?.leashes.map(({ id }) => id)
      expect(ids).to.deep.equal([1])
      const [returned] = await session.update(people).set({ name: 'Bea' }).returning({ is: people.name })
      const is: string | undefined = returned?.is
      expect(is).to.equal('Bea')
      return person?.name
    })
    expect(name).to.equal('Ann')
    const outside: { id: number; name: string; born: Date | null }[] = await datastore.db.select().from(people)
    expect(outside).to.deep.equal([{ ...ann, name: 'Bea' }])
    const found = await datastore.db.query.leashes.findFirst({ with: { person: true } })
    const owner: string | undefined = found?.person.name
    expect(owner).to.equal('Bea')
    compilerOnly(() =>
      datastore.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ id: 2, name: 42 })
        // @ts-expect-error a name has to be given
        await session.insert(people).values({ id: 2 })
        // @ts-expect-error a chip is a bigint
        await session.insert(people).values({ id: 2, name: 'Ann', chip: 42 })
        // @ts-expect-error no such table in the schema
        await session.query.dogs.findMany()
      }),
    )
    compilerOnly(async () => {
      // @ts-expect-error a name is text
      await datastore.db.insert(people).values({ id: 2, name: 42 })
      // @ts-expect-error no such table in the schema
      await datastore.db.query.dogs.findMany()
    })
  })

  it('are those of the datastore in recorders that were made for it', async () => {
    await using datastore = open()
    await datastore.ready()
    const recorder = new DrizzleApplicationRecorder(datastore, { kind: 'events', name: 'school_events' })
    await recorder.transaction(async (session) => {
      await session.insert(people).values({ id: 1, name: 'Ann' })
      const found = await session.query.people.findFirst()
      const name: string | undefined = found?.name
      expect(name).to.equal('Ann')
    })
    const made = await datastore.factory({ name: 'School' }).applicationRecorder()
    compilerOnly(() =>
      made.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ id: 2, name: 42 })
      }),
    )
  })

  it("are those of the user's own database", async () => {
    const client = postgresJs(postgresUrl(), { max: 1, connection: { search_path: place.searchPath } })
    await using datastore = postgres(drizzle(client, { schema }))
    await datastore.transaction(async (session) => {
      await session.insert(people).values({ id: 1, name: 'Ann' })
      const found = await session.query.people.findFirst({ with: { leashes: true } })
      const leashCount: number | undefined = found?.leashes.length
      expect(leashCount).to.equal(0)
    })
    compilerOnly(() =>
      datastore.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ id: 2, name: 42 })
        // @ts-expect-error no such table in the schema
        await session.query.dogs.findMany()
      }),
    )
    await client.end()
  })

  it('reach the transactions of an application that names its datastore', async () => {
    await using datastore = open()
    await datastore.ready()

    class School extends Application<typeof datastore> {
      enrol(name: string): Promise<string[]> {
        return this.transaction(async (session) => {
          await session.insert(people).values({ id: 1, name })
          return (await session.query.people.findMany()).map((person) => person.name)
        })
      }
    }
    const school = new School({ persistence: datastore })
    expect(await school.enrol('Ann')).to.deep.equal(['Ann'])
    {
      await using tx = await school.recorder.transaction()
      const [person] = await tx.session.select().from(people)
      const name: string | undefined = person?.name
      expect(name).to.equal('Ann')
    }
    compilerOnly(() =>
      school.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ id: 2, name: 42 })
      }),
    )
  })

  it('take tables of either dialect where an application names none', async () => {
    await using datastore = open()
    await datastore.ready()
    class School extends Application {}
    const school = new School({ persistence: datastore })
    await school.transaction(async (session) => {
      await session.insert(people).values({ id: 1, name: 'Ann' })
      const [person] = await session.select({ name: people.name }).from(people)
      expect(person).to.deep.equal({ name: 'Ann' })
      await session.delete(people)
    })
    compilerOnly(() =>
      school.transaction(async (session) => {
        await session.insert(elsewhere).values({ name: 'Ann' })
        // @ts-expect-error sessions have no such method
        await session.upsert(people)
      }),
    )
  })

  it("fit where Drizzle's own database, any session or any application is asked for", () => {
    type People = { people: typeof people }
    const takesDatabase = (db: PostgresJsDatabase<People>): unknown => db
    const takesSession = (session: AnySession): unknown => session
    const takesOurs = (session: PostgresSession<People>): unknown => session
    const takesApplication = (application: Application): unknown => application
    compilerOnly(async () => {
      const datastore = postgres(postgresUrl(), { schema: { people } })
      const school = new Application<typeof datastore>({ persistence: datastore, name: 'School' })
      takesApplication(school)
      takesDatabase(datastore.db)
      await school.transaction(async (session) => {
        takesDatabase(session)
        takesSession(session)
        takesOurs(session)
        await session.transaction(async (inner) => {
          inner.afterCommit(() => undefined)
          await inner.insert(people).values({ id: 1, name: 'Ann' })
        })
      })
    })
  })

  it('name the columns of our own tables', async () => {
    await using datastore = open()
    await datastore.ready()
    const events = eventsTable({ name: 'school_events' })
    const query = datastore.db.select({ version: events.originatorVersion, state: events.state }).from(events)
    expect(query.toSQL().sql).to.equal('select "originator_version", "state" from "school_events"')
    const tracking = trackingTable({ name: 'school_tracking', schema: 'es' })
    const position = datastore.db.select().from(tracking)
    expect(position.toSQL().sql).to.equal('select "application_name", "notification_id" from "es"."school_tracking"')
    compilerOnly(async () => {
      const [row] = await query
      // @ts-expect-error a version is a number
      const wrong: string | undefined = row?.version
      const [found] = await position
      const id: number | undefined = found?.notificationId
      return [wrong, id]
    })
  })

  it('do not let options through that do not belong, or mean something else', () => {
    compilerOnly(async () => {
      // @ts-expect-error max is a number
      postgres(postgresUrl(), { max: '10' })
      // @ts-expect-error no such option
      postgres(postgresUrl(), { poolSize: 10 })
      // @ts-expect-error the database has a schema
      postgres(drizzle(postgresJs(postgresUrl())), { schema })
      // @ts-expect-error a database of SQLite
      postgres(drizzleSqlite(':memory:'))
      // @ts-expect-error no such isolation level
      await postgres(postgresUrl()).transaction(() => 1, { isolationLevel: 'snapshot' })
      // @ts-expect-error no such mode
      await postgres(postgresUrl()).transaction(() => 1, { accessMode: 'write' })
    })
  })
})

/** Takes code that is there for the compiler alone, and never runs it. */
function compilerOnly(code: () => Promise<unknown>): void {
  expect(code).to.be.a('function')
}
