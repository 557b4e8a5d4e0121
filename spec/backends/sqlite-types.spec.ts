import Database from 'better-sqlite3'
import { expect } from 'chai'
import { relations } from 'drizzle-orm'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import { pgTable, text as pgText } from 'drizzle-orm/pg-core'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { Application } from '../../lib/application/application.js'
import { DrizzleApplicationRecorder } from '../../lib/drizzle/recorders.js'
import type { AnySession } from '../../lib/persistence/session.js'
import { eventsTable, sqlite } from '../../lib/sqlite/index.js'

const people = sqliteTable('people', { id: integer('id').primaryKey(), name: text('name').notNull() })
const leashes = sqliteTable('leashes', { id: integer('id').primaryKey(), personId: integer('person_id').notNull() })
const schema = {
  people,
  leashes,
  peopleRelations: relations(people, ({ many }) => ({ leashes: many(leashes) })),
  leashesRelations: relations(leashes, ({ one }) => ({
    person: one(people, { fields: [leashes.personId], references: [people.id] }),
  })),
}
const elsewhere = pgTable('people', { name: pgText('name').notNull() })

const createTables = [
  'CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL)',
  'CREATE TABLE leashes (id integer PRIMARY KEY, person_id integer NOT NULL)',
]

// What the compiler says is most of these cases: an @ts-expect-error that it has no error for does not compile.
describe('The types of a session on SQLite', () => {
  it('are those of the schema that the datastore was given', async () => {
    await using datastore = sqlite(':memory:', { schema })
    await datastore.ready()
    for (const statement of createTables) await datastore.db.run(statement)
    const name: string | undefined = await datastore.transaction(async (session) => {
      await session.insert(people).values({ name: 'Ann' })
      await session.insert(leashes).values({ personId: 1 })
      const [person] = await session.select().from(people)
      // @ts-expect-error a name is text
      const wrong: number | undefined = person?.name
      expect(wrong).to.equal('Ann')
      const found = await session.query.people.findFirst({ with: { leashes: true } })
      const ids: number[] | undefined = found?.leashes.map(({ id }) => id)
      expect(ids).to.deep.equal([1])
      return person?.name
    })
    expect(name).to.equal('Ann')
    const outside: { id: number; name: string }[] = await datastore.db.select().from(people)
    expect(outside).to.deep.equal([{ id: 1, name: 'Ann' }])
    const found = await datastore.db.query.leashes.findFirst({ with: { person: true } })
    const owner: string | undefined = found?.person.name
    expect(owner).to.equal('Ann')
    compilerOnly(() =>
      datastore.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ name: 42 })
        // @ts-expect-error a name has to be given
        await session.insert(people).values({})
        // @ts-expect-error no such table in the schema
        await session.query.dogs.findMany()
      }),
    )
    compilerOnly(async () => {
      // @ts-expect-error a name is text
      await datastore.db.insert(people).values({ name: 42 })
      // @ts-expect-error no such table in the schema
      await datastore.db.query.dogs.findMany()
    })
  })

  it('are those of the datastore in recorders that were made for it', async () => {
    await using datastore = sqlite(':memory:', { schema })
    await datastore.ready()
    for (const statement of createTables) await datastore.db.run(statement)
    const recorder = new DrizzleApplicationRecorder(datastore, { kind: 'events', name: 'school_events' })
    await recorder.transaction(async (session) => {
      await session.insert(people).values({ name: 'Ann' })
      const found = await session.query.people.findFirst()
      const name: string | undefined = found?.name
      expect(name).to.equal('Ann')
    })
    const made = await datastore.factory({ name: 'School' }).applicationRecorder()
    compilerOnly(() =>
      made.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ name: 42 })
      }),
    )
  })

  it("are those of the user's own database", async () => {
    const client = new Database(':memory:')
    for (const statement of createTables) client.exec(statement)
    await using datastore = sqlite(drizzle(client, { schema }))
    await datastore.transaction(async (session) => {
      await session.insert(people).values({ name: 'Ann' })
      const found = await session.query.people.findFirst({ with: { leashes: true } })
      const leashCount: number | undefined = found?.leashes.length
      expect(leashCount).to.equal(0)
    })
    compilerOnly(() =>
      datastore.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ name: 42 })
        // @ts-expect-error no such table in the schema
        await session.query.dogs.findMany()
      }),
    )
  })

  it('reach the transactions of an application that names its datastore', async () => {
    await using datastore = sqlite(':memory:', { schema })
    await datastore.ready()
    for (const statement of createTables) await datastore.db.run(statement)

    class School extends Application<typeof datastore> {
      enrol(name: string): Promise<string[]> {
        return this.transaction(async (session) => {
          await session.insert(people).values({ name })
          return (await session.query.people.findMany()).map((person) => person.name)
        })
      }
    }
    const school = new School({ persistence: datastore })
    expect(await school.enrol('Ann')).to.deep.equal(['Ann'])
    await using tx = await school.recorder.transaction()
    const [person] = await tx.session.select().from(people)
    const name: string | undefined = person?.name
    expect(name).to.equal('Ann')
    compilerOnly(() =>
      school.transaction(async (session) => {
        // @ts-expect-error a name is text
        await session.insert(people).values({ name: 42 })
      }),
    )
  })

  it('take tables of either dialect where an application names none', async () => {
    await using datastore = sqlite(':memory:', { schema })
    await datastore.ready()
    for (const statement of createTables) await datastore.db.run(statement)
    class School extends Application {}
    const school = new School({ persistence: datastore })
    await school.transaction(async (session) => {
      await session.insert(people).values({ name: 'Ann' })
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
    const takesDatabase = (db: BetterSQLite3Database<People>): unknown => db
    const takesSession = (session: AnySession): unknown => session
    const takesApplication = (application: Application): unknown => application
    compilerOnly(async () => {
      const datastore = sqlite(':memory:', { schema: { people } })
      const school = new Application<typeof datastore>({ persistence: datastore, name: 'School' })
      takesApplication(school)
      await school.transaction(async (session) => {
        takesDatabase(session)
        takesSession(session)
        await session.transaction(async (inner) => {
          inner.afterCommit(() => undefined)
          await inner.insert(people).values({ name: 'Ann' })
        })
      })
    })
  })

  it('name the columns of our own tables', async () => {
    await using datastore = sqlite(':memory:')
    await datastore.ready()
    const events = eventsTable({ name: 'school_events' })
    const query = datastore.db.select({ version: events.originatorVersion, state: events.state }).from(events)
    const { sql } = query.toSQL()
    expect(sql).to.equal('select "originator_version", "state" from "school_events"')
    compilerOnly(async () => {
      const [row] = await query
      // @ts-expect-error a version is a number
      const wrong: string | undefined = row?.version
      return wrong
    })
  })
})

/** Takes code that is there for the compiler alone, and never runs it. */
function compilerOnly(code: () => Promise<unknown>): void {
  expect(code).to.be.a('function')
}
