import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { Application } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import {
  DataError,
  DatabaseProgrammingError,
  EventSourcingError,
  IntegrityError,
  NotSupportedError,
  OperationalError,
  RecordConflictError,
} from '../../lib/errors.js'
import { type SqliteDatastore, type SqliteSession, sqlite } from '../../lib/sqlite/index.js'
import { Dog } from '../support/dogs.js'
import { failure, rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'
import { bytes, storedEvent, storedEvents, versions } from '../support/stored-events.js'

const people = sqliteTable('people', { name: text('name').notNull(), boss: integer('boss') })

describe('A transaction on SQLite', () => {
  let directory: string
  let datastore: SqliteDatastore
  let school: Application<SqliteDatastore>

  beforeEach(async () => {
    directory = await temporaryDirectory()
    datastore = sqlite(join(directory, 'school.db'), { poolTimeoutMs: 5000 })
    school = new Application<SqliteDatastore>({ name: 'School', persistence: datastore })
    await school.ready()
  })

  afterEach(async () => {
    await datastore.close()
    await remove(directory)
  })

  describe('that SQLite itself has rolled back', () => {
    const ways: Record<string, string[]> = {
      'a constraint with ON CONFLICT ROLLBACK': [
        'CREATE TABLE people (name text UNIQUE ON CONFLICT ROLLBACK, boss integer)',
      ],
      'a trigger with RAISE(ROLLBACK)': [
        'CREATE TABLE people (name text, boss integer)',
        `CREATE TRIGGER once BEFORE INSERT ON people WHEN EXISTS (SELECT 1 FROM people WHERE name = NEW.name)
         BEGIN SELECT RAISE(ROLLBACK, 'once is enough'); END`,
      ],
    }
    for (const [title, tables] of Object.entries(ways)) {
      it(`by ${title} can't go on, and leaves nothing`, async () => {
        for (const table of tables) await datastore.db.run(sql.raw(table))
        const insert = (session: SqliteSession) => session.insert(people).values({ name: 'Ann' }).run()
        const dog = new Dog('Fido')
        const attempt = school.transaction(async (session) => {
          await school.save(dog)
          insert(session)
          expect(() => insert(session)).to.throw()
          // alone, each of these would stay
          expect(() => session.insert(people).values({ name: 'Bea' }).run()).to.throw()
          await rejection(school.save(new Dog('Rex')), OperationalError, 'rolled')
          await rejection(
            school.transaction(() => expect.fail('Has begun')),
            OperationalError,
            'rolled',
          )
          return 'the commit is to come'
        })
        await rejection(attempt, OperationalError, 'rolled')

        expect(await datastore.db.$count(people)).to.equal(0)
        expect(await school.recorder.maxNotificationId()).to.equal(null)
        expect(dog.pendingEvents).to.have.length(1)
        expect(await school.save(dog)).to.have.length(1)
      })

      it(`by ${title} inside of a nested one takes the outer one along`, async () => {
        for (const table of tables) await datastore.db.run(sql.raw(table))
        const attempt = school.transaction(async (outer) => {
          await outer.insert(people).values({ name: 'Ann' })
          const inner = school.transaction((session) => session.insert(people).values({ name: 'Ann' }).run())
          await rejection(inner, IntegrityError)
          await outer.insert(people).values({ name: 'Bea' })
        })
        await rejection(attempt, OperationalError, 'rolled')
        expect(await datastore.db.$count(people)).to.equal(0)
        await datastore.transaction((session) => session.insert(people).values({ name: 'Bea' }).run())
        expect(await datastore.db.$count(people)).to.equal(1)
      })
    }
  })

  it('with a foreign key that is broken at the commit is rolled back, and its events are given back', async () => {
    await datastore.db.run(
      sql`CREATE TABLE people (id integer PRIMARY KEY, name text,
        boss integer REFERENCES people (id) DEFERRABLE INITIALLY DEFERRED)`,
    )
    const dog = new Dog('Fido')
    const attempt = school.transaction(async (session) => {
      await session.insert(people).values({ name: 'Ann', boss: 17 })
      await school.save(dog)
    })
    const error = await rejection(attempt, IntegrityError)
    expect(error.code).to.equal('SQLITE_CONSTRAINT_FOREIGNKEY')
    expect(await datastore.db.$count(people)).to.equal(0)
    expect(await school.repository.has(dog.id)).to.equal(false)
    expect(dog.pendingEvents).to.have.length(1)
    expect(await school.save(dog)).to.have.length(1)
  })

  it('takes no isolation level of another kind, and none that only reads', async () => {
    await school.transaction(() => undefined, { isolationLevel: 'serializable' })
    await rejection(
      school.transaction(() => expect.fail('Has begun'), { accessMode: 'read only' }),
      NotSupportedError,
      'commit: false',
    )
    expect(await school.save(new Dog('Fido'))).to.have.length(1)
  })

  it('takes more callbacks than a call takes arguments, in a nested one too', async () => {
    const count = 150_000
    const repeat = (fn: () => void) => {
      for (let i = 0; i < count; i += 1) fn()
    }
    await school.transaction(async () => {
      await school.transaction(() => repeat(() => datastore.onRollback(() => expect.fail('Is rolled back'))))
      await school.save(new Dog('Fido'))
    })
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)

    let ran = 0
    const undone = school.transaction(async () => {
      await school.transaction((session) => {
        repeat(() => session.afterCommit(() => expect.fail('Is committed')))
        repeat(() => datastore.onRollback(() => (ran += 1)))
      })
      throw new RangeError('undo')
    })
    await rejection(undone, RangeError)
    expect(ran).to.equal(count)
  })

  it('passes the user’s own error on that another connection’s error led to', async () => {
    const foreign = new Database(':memory:')
    const cause = await failure((async () => foreign.exec('SELECT nothing'))())
    expect(cause).to.have.property('code', 'SQLITE_ERROR')
    for (const thrown of [new RangeError('the user’s own', { cause }), cause]) {
      const attempt = school.transaction(async () => {
        await school.save(new Dog('Fido'))
        throw thrown
      })
      expect(await failure(attempt)).to.equal(thrown)
    }
    expect(await school.recorder.maxNotificationId()).to.equal(null)
    foreign.close()
  })

  it('passes the user’s own error on that one of its statements led to', async () => {
    await datastore.db.run(sql`CREATE TABLE people (name text UNIQUE, boss integer)`)
    let thrown: unknown
    const attempt = school.transaction(async (session) => {
      const cause = await failure((async () => session.run(sql`SELECT nothing`))())
      thrown = new RangeError('the user’s own', { cause })
      throw thrown
    })
    expect(await failure(attempt)).to.equal(thrown)
  })

  it('has no execute(), which is PostgreSQL’s', async () => {
    await school.transaction(async (session) => {
      const { execute } = session as unknown as { execute(query: unknown): unknown }
      await rejection((async () => execute.call(session, sql`SELECT 1`))(), NotSupportedError, 'execute')
    })
  })

  describe('of 5,000 events in one call', () => {
    const many = storedEvents('dog', 1, 5000)

    for (const isInside of [false, true]) {
      const where = isInside ? "in a user's transaction" : 'by itself'

      it(`is recorded with ids in a row, ${where}`, async () => {
        const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
        await recorder.insertEvents([storedEvent('cat', 1)])
        const insert = () => recorder.insertEvents(many)
        const ids = await (isInside ? recorder.transaction(insert) : insert())
        expect(ids).to.deep.equal(Array.from({ length: 5000 }, (_, i) => i + 2))
        expect(await recorder.selectEvents('dog')).to.have.length(5000)
      })

      it(`is not recorded at all when the last one conflicts, ${where}`, async () => {
        const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
        await recorder.insertEvents([storedEvent('dog', 5000)])
        const insert = async () => {
          const error = await rejection(recorder.insertEvents(many), RecordConflictError)
          expect([error.originatorId, error.originatorVersion, error.currentVersion]).to.deep.equal(['dog', 5000, 5000])
          // and what it is in goes on
          await recorder.insertEvents([storedEvent('cat', 1)])
        }
        await (isInside ? recorder.transaction(insert) : insert())
        expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([5000])
        expect(versions(await recorder.selectEvents('cat'))).to.deep.equal([1])
      })
    }
  })

  describe('that fails', () => {
    const marker = 'correct horse battery staple'

    beforeEach(() => datastore.db.run(sql`CREATE TABLE people (name text UNIQUE, boss integer NOT NULL DEFAULT 1)`))

    const failures: [string, new (...args: never[]) => Error, (session: SqliteSession) => unknown][] = [
      [
        'a row twice',
        IntegrityError,
        (session) =>
          session
            .insert(people)
            .values([{ name: marker }, { name: marker }])
            .run(),
      ],
      [
        'NULL where there must be something',
        IntegrityError,
        (session) => session.run(sql`INSERT INTO people VALUES (${marker}, NULL)`),
      ],
      [
        'a table that is not there',
        DatabaseProgrammingError,
        (session) => session.run(sql`INSERT INTO nobody VALUES (${marker})`),
      ],
      ['a statement that is none', DatabaseProgrammingError, (session) => session.run(sql`INSERT ${marker}`)],
      ['JSON that is none', DatabaseProgrammingError, (session) => session.get(sql`SELECT json(${marker})`)],
      [
        'a value that cannot be bound',
        EventSourcingError,
        (session) => session.run(sql`INSERT INTO people VALUES (${{ marker } as never}, 1)`),
      ],
      ['state twice', RecordConflictError, () => insertTwice()],
      [
        'a topic that cannot be',
        DataError,
        () => insert(storedEvent('dog', 1, { topic: 'a\0b', state: bytes(marker) })),
      ],
    ]
    for (const [title, errorClass, work] of failures) {
      it(`because of ${title} is of our family, and keeps values to itself`, async () => {
        const error = await rejection(
          datastore.transaction(async (session) => {
            await work(session)
          }),
          errorClass,
        )
        const seen = new Set<unknown>()
        for (let cause: unknown = error; cause !== undefined && !seen.has(cause); cause = (cause as Error).cause) {
          seen.add(cause)
          const { message, stack } = cause as Error
          expect(`${String(cause)} ${message} ${stack} ${JSON.stringify(cause)}`).not.to.include(marker)
        }
      })
    }

    it('in the hands of its user has what the driver said as its cause', async () => {
      const error = await rejection(
        datastore.transaction((session) => session.run(sql`INSERT INTO people VALUES ('Ann', NULL)`)),
        IntegrityError,
      )
      expect(error.code).to.equal('SQLITE_CONSTRAINT_NOTNULL')
      expect(error.cause).to.have.property('name', 'SqliteError')
      expect(error.cause).to.have.property('code', 'SQLITE_CONSTRAINT_NOTNULL')
      expect(error.retryable).to.equal(false)
    })

    it('is Drizzle’s own error inside of work, as its user knows it', async () => {
      await datastore.transaction(async (session) => {
        const error = await failure(
          (async () => {
            session
              .insert(people)
              .values([{ name: 'Ann' }, { name: 'Ann' }])
              .run()
          })(),
        )
        expect(error).not.to.be.instanceOf(EventSourcingError)
      })
    })

    async function insert(...events: ReturnType<typeof storedEvent>[]): Promise<void> {
      const recorder = await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
      await recorder.insertEvents(events)
    }

    async function insertTwice(): Promise<void> {
      await insert(storedEvent('dog', 1, { state: bytes(marker) }), storedEvent('dog', 1, { state: bytes(marker) }))
    }
  })
})
