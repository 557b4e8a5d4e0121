import { expect } from 'chai'
import { DrizzleQueryError, eq, relations, sql } from 'drizzle-orm'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { InterfaceError, OperationalError } from '../../lib/errors.js'
import { type PostgresDatastore, postgres } from '../../lib/postgres/index.js'
import { type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { everyWay, type OpenedDatastore } from '../support/postgres-datastores.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'
import { storedEvent } from '../support/stored-events.js'

const people = pgTable('people', {
  id: integer('id').primaryKey().generatedByDefaultAsIdentity(),
  name: text('name').notNull().unique(),
})
const leashes = pgTable('leashes', {
  id: integer('id').primaryKey().generatedByDefaultAsIdentity(),
  personId: integer('person_id').notNull(),
})
const schema = {
  people,
  leashes,
  peopleRelations: relations(people, ({ many }) => ({ leashes: many(leashes) })),
  leashesRelations: relations(leashes, ({ one }) => ({
    person: one(people, { fields: [leashes.personId], references: [people.id] }),
  })),
}

describePostgres('datastore.db on PostgreSQL', () => {
  for (const way of everyWay) {
    describe(`through ${way.name}`, () => {
      let place: FreshSchema
      let opened: OpenedDatastore<typeof schema>
      let datastore: PostgresDatastore<typeof schema>

      beforeEach(async () => {
        place = await placeOfPeople()
        opened = await way.open({ schema, searchPath: place.searchPath })
        datastore = opened.datastore
      })

      afterEach(async () => {
        await opened.close()
        await place.drop()
      })

      it('has every kind of query, prepared ones and RETURNING included', async () => {
        const { db } = datastore
        expect(await db.insert(people).values([{ name: 'Ann' }, { name: 'Bea' }])).to.have.property('count', 2)
        expect(await db.insert(people).values({ name: 'Cem' }).returning()).to.deep.equal([{ id: 3, name: 'Cem' }])
        expect(await db.update(people).set({ name: 'Bo' }).where(eq(people.id, 2)).returning()).to.deep.equal([
          { id: 2, name: 'Bo' },
        ])
        const upsert = db
          .insert(people)
          .values({ id: 3, name: 'Cem' })
          .onConflictDoUpdate({ target: people.id, set: { name: 'Cleo' } })
        expect(await upsert.returning({ name: people.name })).to.deep.equal([{ name: 'Cleo' }])
        const byId = db
          .select({ name: people.name })
          .from(people)
          .where(eq(people.id, sql.placeholder('id')))
          .prepare('person_by_id')
        expect(await byId.execute({ id: 1 })).to.deep.equal([{ name: 'Ann' }])
        expect(await byId.execute({ id: 3 })).to.deep.equal([{ name: 'Cleo' }])
        expect(await db.delete(people).where(eq(people.id, 3))).to.have.property('count', 1)
        expect(await db.$count(people)).to.equal(2)
        const named = db.$with('named').as(db.select({ name: people.name }).from(people).orderBy(people.id))
        expect(await db.with(named).select().from(named)).to.deep.equal([{ name: 'Ann' }, { name: 'Bo' }])
        const rows = await db.execute<{ name: string }>(sql`SELECT name FROM people WHERE id = ${1}`)
        expect([...rows]).to.deep.equal([{ name: 'Ann' }])
      })

      it('has relational queries, prepared ones included, and so has a session', async () => {
        await datastore.db.insert(people).values({ id: 1, name: 'Ann' })
        await datastore.db.insert(leashes).values([{ personId: 1 }, { personId: 1 }])
        const expected = { id: 1, name: 'Ann', leashes: [{ id: 1 }, { id: 2 }] }
        const asked = { with: { leashes: { columns: { id: true } } } } as const
        expect(await datastore.db.query.people.findMany(asked)).to.deep.equal([expected])
        const prepared = datastore.db.query.people
          .findFirst({ ...asked, where: eq(people.name, sql.placeholder('name')) })
          .prepare('person_with_leashes')
        expect(await prepared.execute({ name: 'Ann' })).to.deep.equal(expected)
        expect(await prepared.execute({ name: 'Bea' })).to.equal(undefined)
        await datastore.transaction(async (session) => {
          expect(await session.query.people.findFirst(asked)).to.deep.equal(expected)
        })
      })

      it('gives the user the error of a statement as Drizzle does, and works on', async () => {
        await datastore.db.insert(people).values({ name: 'Ann' })
        const error = await rejection(datastore.db.insert(people).values({ name: 'Ann' }).execute(), DrizzleQueryError)
        expect(error.cause).to.have.property('code', '23505')
        await failure(datastore.db.execute(sql`SELECT nothing`).execute())
        expect(await datastore.db.$count(people)).to.equal(1)
      })

      it('writes beside an open transaction, and sees nothing of it', async () => {
        await using tx = await datastore.transaction()
        await tx.session.insert(people).values({ name: 'Ann' })
        await datastore.db.insert(people).values({ name: 'Bea' })
        const names = () => datastore.db.select({ name: people.name }).from(people).orderBy(people.name)
        expect(await names()).to.deep.equal([{ name: 'Bea' }])
        await tx.commit()
        expect(await names()).to.deep.equal([{ name: 'Ann' }, { name: 'Bea' }])
      })

      it('is outside of the transaction that it is used in, where the session is inside', async () => {
        const undone = datastore.transaction(async (session) => {
          await session.insert(people).values({ name: 'Ann' })
          await datastore.db.insert(people).values({ name: 'Bea' })
          expect(await datastore.db.$count(people)).to.equal(1)
          expect(await session.$count(people)).to.equal(2)
          throw new RangeError('undone')
        })
        await rejection(undone, RangeError)
        expect(await datastore.db.select({ name: people.name }).from(people)).to.deep.equal([{ name: 'Bea' }])
      })

      it('has transaction(), which is ours', async () => {
        const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
        await rejection(
          datastore.db.transaction(async (session) => {
            await session.insert(people).values({ name: 'Ann' })
            await recorder.insertEvents([storedEvent('dog', 1)])
            throw new RangeError('undone')
          }),
          RangeError,
        )
        expect(await datastore.db.$count(people)).to.equal(0)
        expect(await recorder.maxNotificationId()).to.equal(null)
      })

      it('refuses transactions once the datastore is closed', async () => {
        const { db } = datastore
        await datastore.close()
        await rejection(
          db.transaction(async () => expect.fail('Has begun')),
          InterfaceError,
          'closed',
        )
      })
    })
  }

  describe('through a pool of its own', () => {
    it('is not there before the datastore is connected', async () => {
      await using place = await placeOfPeople()
      await using datastore = postgres(postgresUrl(), { schema, connection: { search_path: place.searchPath } })
      expect(() => datastore.db).to.throw(InterfaceError, 'ready()')
      await datastore.ready()
      expect(await datastore.db.$count(people)).to.equal(0)
    })

    it('is an OperationalError at the pool timeout while all connections are in use, and works afterwards', async () => {
      await using place = await placeOfPeople()
      const connection = { search_path: place.searchPath }
      await using datastore = postgres(postgresUrl(), { schema, connection, max: 1, poolTimeoutMs: 600 })
      await datastore.ready()
      await datastore.transaction(async (session) => {
        await session.insert(people).values({ name: 'Ann' })
        for (const call of [
          () => datastore.db.select().from(people).execute(),
          () => datastore.db.insert(people).values({ name: 'Bea' }).execute(),
          () => datastore.db.query.people.findMany().execute(),
          () => datastore.db.execute(sql`SELECT 1`).execute(),
        ]) {
          expect((await rejection(call(), OperationalError, '600 ms')).retryable).to.equal(true)
        }
        expect(await session.$count(people)).to.equal(1)
      })
      expect(await datastore.db.select({ name: people.name }).from(people)).to.deep.equal([{ name: 'Ann' }])
    })

    it('refuses everything once the datastore is closed', async () => {
      await using place = await placeOfPeople()
      const datastore = postgres(postgresUrl(), { schema, connection: { search_path: place.searchPath } })
      await datastore.ready()
      const { db } = datastore
      const prepared = db.select().from(people).prepare('everybody')
      await datastore.close()
      for (const call of [
        () => db.insert(people).values({ name: 'Ann' }).execute(),
        () => db.select().from(people).execute(),
        () => db.query.people.findMany().execute(),
        () => prepared.execute(),
        () => db.execute(sql`SELECT 1`).execute(),
      ]) {
        await rejection(call(), InterfaceError, 'closed')
      }
      const [row] = await admin()`SELECT count(*)::int FROM ${admin()(place.name)}.people`
      expect(row?.count).to.equal(0)
    })

    it('is logged as its options say, once for each statement', async () => {
      await using place = await placeOfPeople()
      const logged: [string, unknown[]][] = []
      const logger = { logQuery: (query: string, params: unknown[]) => logged.push([query, params]) }
      await using datastore = postgres(postgresUrl(), { schema, connection: { search_path: place.searchPath }, logger })
      await datastore.ready()
      await datastore.db.select().from(people).where(eq(people.id, 1))
      await datastore.transaction((session) => session.delete(people))
      expect(logged).to.deep.equal([
        ['select "id", "name" from "people" where "people"."id" = $1', [1]],
        ['delete from "people"', []],
      ])
    })

    it('writes names as its option casing says', async () => {
      await using place = await placeOfPeople()
      const pets = pgTable('leashes', { id: integer().primaryKey(), personId: integer().notNull() })
      const connection = { search_path: place.searchPath }
      await using datastore = postgres(postgresUrl(), { schema: { pets }, connection, casing: 'snake_case' })
      await datastore.transaction((session) => session.insert(pets).values({ id: 1, personId: 7 }))
      expect(await datastore.db.query.pets.findMany()).to.deep.equal([{ id: 1, personId: 7 }])
    })
  })
})

/** A schema with the user's tables, as a migration would have made them. */
async function placeOfPeople(): Promise<FreshSchema> {
  const place = await freshSchema()
  await admin().unsafe(`
    CREATE TABLE ${place.searchPath}.people
      (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
    CREATE TABLE ${place.searchPath}.leashes
      (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, person_id integer NOT NULL)`)
  return place
}
