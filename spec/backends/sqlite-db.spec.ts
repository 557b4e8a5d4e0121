import { join } from 'node:path'
import { expect } from 'chai'
import { eq, relations, sql } from 'drizzle-orm'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { InterfaceError, ProgrammingError } from '../../lib/errors.js'
import { type SqliteDatastore, sqlite } from '../../lib/sqlite/index.js'
import { failure, rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'
import { storedEvent } from '../support/stored-events.js'

const people = sqliteTable('people', { id: integer('id').primaryKey(), name: text('name').notNull().unique() })
const leashes = sqliteTable('leashes', { id: integer('id').primaryKey(), personId: integer('person_id').notNull() })
const schema = {
  people,
  leashes,
  peopleRelations: relations(people, ({ many }) => ({ leashes: many(leashes) })),
  leashesRelations: relations(leashes, ({ one }) => ({
    person: one(people, { fields: [leashes.personId], references: [people.id] }),
  })),
}

for (const [where, source] of [
  ['a file', (directory: string) => join(directory, 'school.db')],
  ['a database in memory', () => ':memory:'],
] as const) {
  describe(`datastore.db on ${where}`, () => {
    let directory: string
    let datastore: SqliteDatastore<typeof schema>

    beforeEach(async () => {
      directory = await temporaryDirectory()
      datastore = sqlite(source(directory), { schema, poolTimeoutMs: 5000 })
      await datastore.ready()
      await datastore.db.run(sql`CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL UNIQUE)`)
      await datastore.db.run(sql`CREATE TABLE leashes (id integer PRIMARY KEY, person_id integer NOT NULL)`)
    })

    afterEach(async () => {
      await datastore.close()
      await remove(directory)
    })

    it('has every kind of query, prepared ones and RETURNING included', async () => {
      const { db } = datastore
      const { changes, lastInsertRowid } = await db.insert(people).values([{ name: 'Ann' }, { name: 'Bea' }])
      expect([changes, lastInsertRowid]).to.deep.equal([2, 2])
      expect(await db.insert(people).values({ name: 'Cem' }).returning()).to.deep.equal([{ id: 3, name: 'Cem' }])
      expect(await db.update(people).set({ name: 'Bo' }).where(eq(people.id, 2)).returning()).to.deep.equal([
        { id: 2, name: 'Bo' },
      ])
      const byId = db
        .select({ name: people.name })
        .from(people)
        .where(eq(people.id, sql.placeholder('id')))
        .prepare()
      expect(await byId.all({ id: 1 })).to.deep.equal([{ name: 'Ann' }])
      expect(await byId.get({ id: 3 })).to.deep.equal({ name: 'Cem' })
      await db.delete(people).where(eq(people.id, 3))
      expect(await db.$count(people)).to.equal(2)
      expect(await db.all(sql`SELECT name FROM people`)).to.deep.equal([{ name: 'Ann' }, { name: 'Bo' }])
      expect(await db.get(sql`SELECT name FROM people`)).to.deep.equal({ name: 'Ann' })
      expect(await db.values(sql`SELECT name FROM people`)).to.deep.equal([['Ann'], ['Bo']])
    })

    it('has relational queries, and so has a session', async () => {
      await datastore.db.insert(people).values({ id: 1, name: 'Ann' })
      await datastore.db.insert(leashes).values([{ personId: 1 }, { personId: 1 }])
      const expected = { id: 1, name: 'Ann', leashes: [{ id: 1 }, { id: 2 }] }
      const asked = { with: { leashes: { columns: { id: true } } } } as const
      expect(await datastore.db.query.people.findMany(asked)).to.deep.equal([expected])
      await datastore.transaction(async (session) => {
        expect(await session.query.people.findFirst(asked)).to.deep.equal(expected)
      })
    })

    it('gives the user the error of a statement, and works on', async () => {
      await datastore.db.insert(people).values({ name: 'Ann' })
      const error = await failure(Promise.resolve(datastore.db.insert(people).values({ name: 'Ann' })))
      expect(error).to.have.property('code', 'SQLITE_CONSTRAINT_UNIQUE')
      await failure(Promise.resolve(datastore.db.all(sql`SELECT nothing`)))
      expect(await datastore.db.$count(people)).to.equal(1)
    })

    it('lets a write wait for its turn while a transaction is open, and for nothing of that', async () => {
      await using tx = await datastore.transaction()
      const writing = Promise.resolve(datastore.db.insert(people).values({ id: 2, name: 'Bea' }))
      await tx.session.insert(people).values({ id: 1, name: 'Ann' })
      await tx.rollback()
      await writing
      expect(await datastore.db.select().from(people)).to.deep.equal([{ id: 2, name: 'Bea' }])
    })

    it('never shows a reader what is not committed', async () => {
      await datastore.db.insert(people).values({ name: 'Ann' })
      let reading: Promise<number> | undefined
      await rejection(
        datastore.transaction(async (session) => {
          await session.insert(people).values({ name: 'Bea' })
          reading = datastore.outside(async () => datastore.db.$count(people))
          await new Promise((resolve) => setImmediate(resolve))
          throw new RangeError('undone')
        }),
        RangeError,
      )
      expect(await reading).to.equal(1)
    })

    it('is refused for a write inside of a transaction, instead of waiting for itself', async () => {
      await datastore.transaction(async (session) => {
        await rejection(
          Promise.resolve(datastore.db.insert(people).values({ name: 'Ann' })),
          ProgrammingError,
          "transaction's session",
        )
        await session.insert(people).values({ name: 'Bea' })
      })
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

    it('refuses statements that begin and end transactions, as a session does', async () => {
      for (const statement of ['BEGIN', 'commit', ' ROLLBACK', '/* now */ END', '-- so\nSAVEPOINT x', 'release x']) {
        await rejection(Promise.resolve(datastore.db.run(sql.raw(statement))), ProgrammingError, 'transaction()')
        const inside = datastore.transaction((session) => session.run(sql.raw(statement)))
        await rejection(inside, ProgrammingError, 'transaction()')
      }
      expect(await datastore.db.insert(people).values({ name: 'Ann' })).to.have.property('changes', 1)
    })

    it('refuses them behind empty statements and comments too', async () => {
      const statements = [
        ';COMMIT',
        ' ; ;\n-- so\n/* now */;ROLLBACK',
        '/**//**/END',
        '/* a *//* b */ -- c\n\tBEGIN',
        '--\nCOMMIT',
      ]
      for (const statement of statements) {
        await rejection(Promise.resolve(datastore.db.run(sql.raw(statement))), ProgrammingError, 'transaction()')
        const inside = datastore.transaction((session) => session.run(sql.raw(statement)))
        await rejection(inside, ProgrammingError, 'transaction()')
      }
    })

    it('decides that quickly, however many comments there are', async () => {
      const begun = performance.now()
      for (const statement of [`${'/**/'.repeat(28)}(select 1)`, `${'-- so\n'.repeat(28)}(select 1)`]) {
        await failure(Promise.resolve(datastore.db.all(sql.raw(statement))))
      }
      expect(performance.now() - begun, 'ms').to.be.below(1000)
    })

    it('refuses everything once the datastore is closed', async () => {
      const { db } = datastore
      const prepared = db.select().from(people).prepare()
      await datastore.close()
      await rejection(Promise.resolve(db.insert(people).values({ name: 'Ann' })), InterfaceError, 'closed')
      await rejection(Promise.resolve(db.select().from(people)), InterfaceError, 'closed')
      await rejection(Promise.resolve(prepared.all()), InterfaceError, 'closed')
    })
  })
}

describe('datastore.db on a file', () => {
  it('reads what is committed by a query made in outside(), inside a transaction', async () => {
    const directory = await temporaryDirectory()
    const datastore = sqlite(join(directory, 'school.db'), { schema, poolTimeoutMs: 300 })
    await datastore.ready()
    await datastore.db.run(sql`CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL UNIQUE)`)
    await datastore.db.insert(people).values({ name: 'Ann' })
    await datastore.transaction(async (session) => {
      await session.insert(people).values({ name: 'Bea' })
      const found = await datastore.outside(() => datastore.db.select({ name: people.name }).from(people))
      expect(found).to.deep.equal([{ name: 'Ann' }])
      expect(await session.$count(people)).to.equal(2)
    })
    expect(await datastore.db.$count(people)).to.equal(2)
    await datastore.close()
    await remove(directory)
  })

  it('reads beside an open transaction, inside and outside of it', async () => {
    const directory = await temporaryDirectory()
    const datastore = sqlite(join(directory, 'school.db'), { schema })
    await datastore.ready()
    await datastore.db.run(sql`CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL UNIQUE)`)
    await datastore.db.insert(people).values({ name: 'Ann' })
    const tx = await datastore.transaction()
    await tx.session.insert(people).values({ name: 'Bea' })
    expect(await datastore.db.$count(people)).to.equal(1)
    await tx.commit()
    expect(await datastore.db.$count(people)).to.equal(2)
    await datastore.close()
    await remove(directory)
  })
})
