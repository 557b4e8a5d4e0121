import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import type { Sql } from 'postgres'
import type { Application } from '../../lib/application/application.js'
import { OperationalError, ProgrammingError } from '../../lib/errors.js'
import type { SelectNotificationsOptions } from '../../lib/persistence/recorders.js'
import type { PostgresDatastore } from '../../lib/postgres/index.js'
import { OrderDatabase, placements } from '../support/order-database.js'
import { compare, nothing } from '../support/order-findings.js'
import type { schema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { Wiretap } from '../support/postgres-wiretap.js'
import { failure, rejection } from '../support/rejection.js'
import { storedEvent, storedEvents } from '../support/stored-events.js'

type Kennel = Application<PostgresDatastore<typeof schema>>

for (const placement of placements) {
  describePostgres(`The order of events on PostgreSQL (${placement})`, () => {
    let database: OrderDatabase
    let kennel: Kennel

    beforeEach(async () => {
      database = await OrderDatabase.open(placement)
      kennel = await database.application()
    })

    afterEach(() => database[Symbol.asyncDispose]())

    describe('while a lower id is in flight', () => {
      it('hides the higher ones from every way to read, until it is committed', async () => {
        await insert(kennel, 'settled', 2)
        const late = await inFlight(kennel, 'late')
        expect(await insert(kennel, 'early', 2)).to.deep.equal([4, 5])
        await expectAll(kennel, [1, 2])
        await late.commit()
        await expectAll(kennel, [1, 2, 3, 4, 5])
      })

      it('hides the higher ones until it is rolled back, and waits for nothing then', async () => {
        const late = await inFlight(kennel, 'late')
        expect(await insert(kennel, 'early', 2)).to.deep.equal([2, 3])
        await expectAll(kennel, [])
        await late.rollback()
        await expectAll(kennel, [2, 3])
      })

      it('hides what is above the lowest of several, whichever ends first', async () => {
        const [one, another, third] = [
          await inFlight(kennel, 'one'),
          await inFlight(kennel, 'another'),
          await inFlight(kennel, 'third'),
        ]
        await insert(kennel, 'early')
        await another.commit()
        await expectAll(kennel, [])
        await one.commit()
        await expectAll(kennel, [1, 2])
        await third.rollback()
        await expectAll(kennel, [1, 2, 4])
      })

      it('hides the higher ones from a reader who comes new and starts in the middle', async () => {
        await insert(kennel, 'settled', 2)
        const late = await inFlight(kennel, 'late')
        await insert(kennel, 'early', 2)
        // each knows nothing yet: without a look at the floor it would take 4 and 5 for what comes next
        for (const start of [
          { start: 4 },
          { start: 3, inclusiveOfStart: false },
          { start: 5 },
          { start: 4, stop: 4 },
        ]) {
          const cold = await database.application()
          expect(await ids(cold, start), JSON.stringify(start)).to.deep.equal([])
        }
        const cold = await database.application()
        expect(await ids(cold, { start: 2, inclusiveOfStart: false })).to.deep.equal([])
        expect(await ids(cold, { start: 2 })).to.deep.equal([2])
        await late.commit()
        expect(await ids(cold, { start: 4 })).to.deep.equal([4, 5])
        expect(await ids(cold, { start: 3, inclusiveOfStart: false })).to.deep.equal([4, 5])
      })

      it('hides the higher ones of a page that is limited or has a stop', async () => {
        await insert(kennel, 'settled', 3)
        const late = await inFlight(kennel, 'late')
        await insert(kennel, 'early', 3)
        expect(await ids(kennel, { limit: 2 })).to.deep.equal([1, 2])
        expect(await ids(kennel, { limit: 4 })).to.deep.equal([1, 2, 3])
        expect(await ids(kennel, { stop: 2 })).to.deep.equal([1, 2])
        expect(await ids(kennel, { stop: 4 })).to.deep.equal([1, 2, 3])
        expect(await ids(kennel, { start: 3, stop: 6, limit: 2 })).to.deep.equal([3])
        expect(await ids(kennel, { start: 5, stop: 7 })).to.deep.equal([])
        expect(await ids(kennel, { limit: 0 })).to.deep.equal([])
        await late.commit()
        expect(await ids(kennel, { start: 3, stop: 6 })).to.deep.equal([3, 4, 5, 6])
      })

      it('hides the higher ones that a filter by topics would leave alone', async () => {
        await kennel.recorder.insertEvents([storedEvent('settled', 1, { topic: 'Cat.Napped' })])
        const late = await inFlight(kennel, 'late')
        await kennel.recorder.insertEvents([storedEvent('early', 1, { topic: 'Cat.Napped' })])
        const topics = ['Cat.Napped']
        for (const reader of [kennel, await database.application()]) {
          expect(await ids(reader, { topics })).to.deep.equal([1])
          expect(await ids(reader, { topics, start: 3 })).to.deep.equal([])
          expect(await ids(reader, { topics: ['Dog.TrickAdded'] })).to.deep.equal([])
        }
        await late.commit()
        expect(await ids(kennel, { topics })).to.deep.equal([1, 3])
        expect(await ids(kennel, { topics: ['Dog.TrickAdded'] })).to.deep.equal([2])
        expect(await ids(kennel, { topics: [...topics, 'Dog.TrickAdded'] })).to.deep.equal([1, 2, 3])
      })

      it('hides what is above the place of a writer who has not drawn an id yet', async () => {
        await insert(kennel, 'settled')
        const writer = await registered(1)
        const late = await inFlight(kennel, 'late')
        await insert(kennel, 'early')
        await late.rollback()
        await expectAll(kennel, [1])
        await writer.unsafe('ROLLBACK')
        await expectAll(kennel, [1, 3])
      })

      it('goes on showing what it has shown, when a writer registers who looked at the sequence before that', async () => {
        await insert(kennel, 'settled', 3)
        await expectAll(kennel, [1, 2, 3])
        const writer = await registered(1)
        const late = await inFlight(kennel, 'late')
        await insert(kennel, 'early')
        await expectAll(kennel, [1, 2, 3])
        await late.rollback()
        await expectAll(kennel, [1, 2, 3])
        await writer.unsafe('ROLLBACK')
        await expectAll(kennel, [1, 2, 3, 5])
      })

      it('shows the transaction its own events, and nobody else', async () => {
        await insert(kennel, 'settled')
        await kennel.transaction(async () => {
          await insert(kennel, 'own', 2)
          await expectAll(kennel, [1, 2, 3])
          const others = kennel.recorder.datastore as PostgresDatastore
          await others.outside(() => expectAll(kennel, [1]))
          await expectAll(await database.application(), [1])
          await others.outside(() => insert(kennel, 'early'))
          await expectAll(kennel, [1, 2, 3, 4])
          // what it knows of its own, nobody else may go by
          await others.outside(() => expectAll(kennel, [1]))
          await insert(kennel, 'own', 1, 3)
          await expectAll(kennel, [1, 2, 3, 4, 5])
          await others.outside(() => expectAll(kennel, [1]))
        })
        await expectAll(kennel, [1, 2, 3, 4, 5])
      })

      it('forgets what a transaction saw of its own, once that is rolled back', async () => {
        const seen = await kennel.recorder.transaction()
        await seen.run(async () => {
          await insert(kennel, 'gone', 2)
          await expectAll(kennel, [1, 2])
        })
        const late = await inFlight(kennel, 'late')
        await insert(kennel, 'early')
        await seen.rollback()
        await expectAll(kennel, [])
        await late.commit()
        await expectAll(kennel, [3, 4])
      })
    })

    describe('registers a writer', () => {
      it('once for each transaction, whatever the number of inserts', async () => {
        await kennel.transaction(async () => {
          for (let version = 1; version <= 2000; version += 1) await insert(kennel, 'own', 1, version)
          for (let version = 2001; version <= 2100; version += 10) await insert(kennel, 'own', 10, version)
          await insert(await sameTables('Kennel'), 'by another recorder of the table')
          expect(await database.registrations()).to.equal(1)
        })
        expect(await database.registrations()).to.equal(0)
        expect(await ids(kennel, { limit: 3000 })).to.have.length(2101)
      })

      it('in each of the transactions that follow each other on a connection', async () => {
        const alone = await database.application('Kennel', database.datastore({ max: 1 }))
        for (let version = 1; version <= 4; version += 1) {
          const transaction = await inFlight(alone, `dog ${version}`)
          expect(await database.registrations()).to.equal(1)
          await (version % 2 === 0 ? transaction.commit() : transaction.rollback())
          expect(await database.registrations()).to.equal(0)
        }
      })

      it('for each table that a transaction writes to', async () => {
        const school = await sameTables('School')
        await kennel.transaction(async () => {
          await insert(kennel, 'dog')
          await insert(school, 'dog')
          await insert(school, 'dog', 1, 2)
          expect(await database.registrations()).to.equal(1)
          expect(await database.registrations('school_events')).to.equal(1)
        })
      })

      it('again where the savepoint in which it was first done is rolled back', async () => {
        const late = await kennel.recorder.transaction()
        await late.run(async () => {
          await undone(kennel, () => insert(kennel, 'late'))
          expect(await database.registrations()).to.equal(0)
        })
        expect(await insert(kennel, 'early')).to.deep.equal([2])
        expect(await late.run(() => insert(kennel, 'late'))).to.deep.equal([3])
        expect(await database.registrations()).to.equal(1)
        expect(await insert(kennel, 'early', 1, 2)).to.deep.equal([4])
        await expectAll(kennel, [2])
        await late.commit()
        await expectAll(kennel, [2, 3, 4])
      })

      it('again where a savepoint around the one in which it was first done is rolled back', async () => {
        const late = await kennel.recorder.transaction()
        await late.run(async () => {
          await undone(kennel, async () => {
            await kennel.transaction(() => insert(kennel, 'late'))
            await insert(kennel, 'late', 1, 2)
            expect(await database.registrations()).to.equal(1)
          })
          expect(await database.registrations()).to.equal(0)
        })
        expect(await insert(kennel, 'early')).to.deep.equal([3])
        expect(await late.run(() => kennel.transaction(() => insert(kennel, 'late', 2)))).to.deep.equal([4, 5])
        await insert(kennel, 'early', 1, 2)
        await expectAll(kennel, [3])
        await late.commit()
        await expectAll(kennel, [3, 4, 5, 6])
      })

      it('for all of the transaction where the savepoint in which it was first done is released', async () => {
        const late = await kennel.recorder.transaction()
        await late.run(() => kennel.transaction(() => kennel.transaction(() => insert(kennel, 'late'))))
        expect(await insert(kennel, 'early')).to.deep.equal([2])
        expect(await database.registrations()).to.equal(1)
        await late.run(() => insert(kennel, 'late', 1, 2))
        await insert(kennel, 'early', 1, 2)
        expect(await database.registrations()).to.equal(1)
        await expectAll(kennel, [])
        await late.commit()
        await expectAll(kennel, [1, 2, 3, 4])
      })

      it('for all of the transaction where a savepoint that came later is rolled back', async () => {
        const late = await inFlight(kennel, 'late')
        await late.run(() => undone(kennel, () => insert(kennel, 'late', 2, 2)))
        await insert(kennel, 'early')
        await late.run(() => insert(kennel, 'late', 1, 2))
        expect(await database.registrations()).to.equal(1)
        await expectAll(kennel, [])
        await late.commit()
        await expectAll(kennel, [1, 4, 5])
      })

      it('not where an insert is refused, which draws nothing', async () => {
        await insert(kennel, 'dog')
        const refused = await kennel.recorder.transaction()
        await refused.run(() => failure(insert(kennel, 'dog')))
        expect(await database.registrations()).to.equal(0)
        await expectAll(kennel, [1])
        await refused.commit()
      })
    })

    describe('has no place for a gap that is dead', () => {
      it('after an insert of several events was rolled back', async () => {
        await insert(kennel, 'settled')
        const late = await kennel.recorder.transaction()
        expect(await late.run(() => insert(kennel, 'late', 5))).to.deep.equal([2, 3, 4, 5, 6])
        await insert(kennel, 'early')
        await expectAll(kennel, [1])
        await late.rollback()
        await expectAll(kennel, [1, 7])
      })

      it('after an insert of several events was refused for one of them', async () => {
        await insert(kennel, 'dog')
        await failure(kennel.recorder.insertEvents([...storedEvents('other', 1, 3), storedEvent('dog', 1)]))
        const [id] = await insert(kennel, 'dog', 1, 2)
        await expectAll(kennel, [1, id!])
      })

      it('after writers were ended half-way by the server', async () => {
        const writers = [await inFlight(kennel, 'a', 3), await inFlight(kennel, 'b'), await inFlight(kennel, 'c', 2)]
        expect(await insert(kennel, 'early', 2)).to.deep.equal([7, 8])
        const survivor = await inFlight(kennel, 'survivor')
        await insert(kennel, 'early', 1, 3)
        await expectAll(kennel, [])
        for (const writer of writers) {
          const pid = await pidOf(writer.session)
          await admin()`SELECT pg_terminate_backend(${pid}, 5000)`
        }
        for (const writer of writers) await rejection(writer.commit(), OperationalError)
        // by whom nothing has died: the connections of this one may have to be replaced
        const reader = await database.application()
        await expectAll(reader, [7, 8])
        await survivor.commit()
        await expectAll(reader, [7, 8, 9, 10])
      })

      it('in a page that is limited or has a stop', async () => {
        await insert(kennel, 'settled')
        await (await inFlight(kennel, 'gone', 2)).rollback()
        await insert(kennel, 'early', 3)
        for (const [bounds, expected] of [
          [{ stop: 5 }, [1, 4, 5]],
          [{ limit: 2 }, [1, 4]],
          [{ start: 3, stop: 4 }, [4]],
          [{ start: 4, inclusiveOfStart: false, limit: 1 }, [5]],
          [{ stop: 3 }, [1]],
        ] as const) {
          const cold = await database.application()
          for (const reader of [cold, cold, kennel]) expect(await ids(reader, bounds)).to.deep.equal(expected)
        }
      })
    })

    it('holds no reader back by what strangers have open', async () => {
      const [writes, locks, looks, rows, alike, elsewhere] = Array.from({ length: 6 }, () => database.client())
      const other = await database.elsewhere()
      await insert(kennel, 'settled', 2)
      // a transaction with an id of its own on another table
      await writes!.unsafe(`BEGIN; INSERT INTO owners VALUES ('Ann')`)
      await locks!.unsafe('CREATE TABLE theirs (a int); BEGIN; LOCK TABLE theirs IN ACCESS EXCLUSIVE MODE')
      // one with an old snapshot
      await looks!.unsafe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM kennel_events')
      // one that has locked rows of the same table, and the table as who writes to it does
      await rows!.unsafe('BEGIN; SELECT * FROM kennel_events FOR SHARE; LOCK TABLE kennel_events IN ROW EXCLUSIVE MODE')
      // locks that look like a writer's: of one key, of another class
      await alike!.unsafe(
        `BEGIN; SELECT pg_advisory_xact_lock_shared(oid::int8 << 32), pg_advisory_xact_lock_shared(oid::int4 + 1, 0)
           FROM pg_class WHERE oid = 'kennel_events'::regclass`,
      )
      // in another database of the server: one that writes, with the very lock of a writer here
      const [row] = await elsewhere!`SELECT 'kennel_events'::regclass::oid::int4 AS class`
      await other.unsafe(
        `CREATE TABLE a (b int); BEGIN; INSERT INTO a VALUES (1);
         SELECT pg_advisory_xact_lock_shared(${row!.class as number}, 0)`,
      )
      const late = await inFlight(kennel, 'late')
      await insert(kennel, 'early', 2)
      await expectAll(kennel, [1, 2])
      await late.rollback()
      await expectAll(kennel, [1, 2, 4, 5])
      await expectAll(await database.application(), [1, 2, 4, 5])
    })

    it('holds no reader back by writers to the table of another application', async () => {
      const school = await sameTables('School')
      await insert(school, 'settled', 2)
      const inSchool = await inFlight(school, 'late')
      const late = await inFlight(kennel, 'late')
      await insert(kennel, 'early')
      await late.rollback()
      await expectAll(kennel, [2])
      const inKennel = await inFlight(kennel, 'late')
      await insert(school, 'early')
      await inSchool.rollback()
      await expectAll(school, [1, 2, 4])
      await inKennel.commit()
      await expectAll(kennel, [2, 3])
    })

    it('is that of versions, where the lower one’s writer came to the database later', async () => {
      const first = await kennel.recorder.transaction()
      // its transaction has a number by now, lower than that of who writes version 1
      await first.session.insert(database.owners).values({ name: 'Ann' })
      expect(await insert(kennel, 'dog', 1, 1)).to.deep.equal([1])
      expect(await first.run(() => insert(kennel, 'dog', 1, 2))).to.deep.equal([2])
      await first.commit()
      const events = await kennel.recorder.selectNotifications({ limit: 10 })
      expect(events.map(({ id, originatorVersion }) => [id, originatorVersion])).to.deep.equal([
        [1, 1],
        [2, 2],
      ])
    })

    for (const level of ['repeatable read', 'serializable'] as const) {
      it(`is not to be had inside a transaction that is ${level}: that is an error which says where`, async () => {
        await insert(kennel, 'dog')
        await kennel.recorder.transaction(
          async () => {
            await rejection(kennel.recorder.selectNotifications({ limit: 1 }), ProgrammingError, 'outside')
            await rejection(kennel.recorder.maxNotificationId(), ProgrammingError, level)
            await rejection(kennel.notificationLog.section('1,10'), ProgrammingError, level)
            await insert(kennel, 'dog', 1, 2) // it goes on
          },
          { isolationLevel: level },
        )
        const strict = await database.application(
          'Kennel',
          database.datastore({ connection: { default_transaction_isolation: level } }),
        )
        await strict.transaction(() => rejection(strict.recorder.maxNotificationId(), ProgrammingError, level))
        // outside, each statement is a transaction
        const late = await inFlight(kennel, 'late')
        await insert(kennel, 'early')
        await expectAll(strict, [1, 2])
        await late.commit()
        await expectAll(strict, [1, 2, 3, 4])
      })
    }

    it('is to be had inside transactions of the lower levels', async () => {
      await insert(kennel, 'dog')
      for (const isolationLevel of ['read committed', 'read uncommitted'] as const) {
        await kennel.recorder.transaction(() => expectAll(kennel, [1]), { isolationLevel })
      }
      await kennel.recorder.transaction(() => expectAll(kennel, [1]), { accessMode: 'read only' })
    })

    it('costs a look at the floor at a gap, and nothing elsewhere', async () => {
      await using tap = await Wiretap.before(postgresUrl())
      const reader = await database.application('Kennel', database.datastore({ max: 1, url: tap.url }))
      const statements = async (read: () => Promise<unknown>) =>
        (await tap.during(read)).map(
          ({ statements: [statement] }) => statement?.match(/last_value|pg_locks/)?.[0] ?? '',
        )
      const page = () => ids(reader, {})
      await insert(kennel, 'dog', 3)
      // a statement takes another exchange the first time, which makes it known to the server
      await page()
      await reader.recorder.maxNotificationId()
      expect(await statements(page)).to.deep.equal([''])
      await (await inFlight(kennel, 'gone')).rollback()
      expect(await statements(page)).to.deep.equal([''])
      await insert(kennel, 'dog', 1, 4)
      const boundedPage = ['', 'last_value', 'pg_locks', '']
      await page()
      expect(await statements(page), 'known by now').to.deep.equal([''])
      await (await inFlight(kennel, 'gone')).rollback()
      await insert(kennel, 'dog', 1, 5)
      expect(await statements(page), 'a new gap').to.deep.equal(boundedPage)
      expect(await statements(page), 'the same gap').to.deep.equal([''])
      await insert(kennel, 'dog', 2, 6)
      expect(await statements(page), 'more, without a gap').to.deep.equal([''])
      expect(await statements(() => reader.recorder.maxNotificationId())).to.deep.equal([''])
      await insert(kennel, 'dog', 2, 8)
      expect(await statements(() => ids(reader, { start: 8 }))).to.deep.equal([''])
      const late = await inFlight(kennel, 'late')
      await insert(kennel, 'dog', 1, 10)
      for (const time of ['first', 'second']) {
        expect(await statements(page), `in flight, the ${time} time`).to.deep.equal(boundedPage)
      }
      await late.commit()
      expect(await statements(page), 'after it').to.deep.equal([''])
    })

    describe('where the keys of locks, which have 31 bits, begin anew', () => {
      for (const wrap of [2 ** 31, 2 ** 32, 2 ** 31 * 1001]) {
        it(`at ${wrap}, is the same`, async () => {
          await insert(kennel, 'settled')
          await admin().unsafe(`ALTER TABLE ${database.table()} ALTER notification_id RESTART WITH ${wrap - 2}`)
          const below = await inFlight(kennel, 'below') // wrap - 2
          await insert(kennel, 'early') // wrap - 1
          const at = await inFlight(kennel, 'at') // wrap
          await insert(kennel, 'early', 2, 2) // wrap + 1, wrap + 2
          const above = await inFlight(kennel, 'above', 2) // wrap + 3, wrap + 4
          await insert(kennel, 'early', 1, 4) // wrap + 5
          const expectAt = (places: readonly number[]) => expectAll(kennel, [1, ...places.map((place) => wrap + place)])
          await expectAt([])
          await below.commit()
          await expectAt([-2, -1])
          await above.commit()
          await expectAt([-2, -1])
          await at.rollback()
          await expectAt([-2, -1, 1, 2, 3, 4, 5])
        })
      }

      it('is the same for ids that are almost more than a number can hold', async () => {
        await admin().unsafe(`ALTER TABLE ${database.table()} ALTER notification_id RESTART WITH ${2 ** 53 - 10}`)
        const late = await inFlight(kennel, 'late', 3)
        const [id] = await insert(kennel, 'early')
        expect(id).to.equal(2 ** 53 - 7)
        await expectAll(kennel, [])
        await late.commit()
        await expectAll(
          kennel,
          [10, 9, 8, 7].map((below) => 2 ** 53 - below),
        )
      })
    })

    it('has the events of each insert side by side, while many draw ids at once', async () => {
      const crowd = await database.application('Kennel', database.datastore({ max: 24 }))
      let isOver = false
      const inserted: number[][] = []
      const insertion = async (originator: string, count: number, first: number, inTransaction: boolean) => {
        const run = () => insert(crowd, originator, count, first)
        inserted.push(await (inTransaction ? crowd.transaction(run) : run()))
      }
      const singles = Array.from({ length: 16 }, async (_, writer) => {
        for (let version = 1; !isOver || version <= 5; version += 1) {
          await insertion(`single ${writer}`, 1, version, writer % 2 === 0)
        }
      })
      const blocks = Array.from({ length: 8 }, async (_, writer) => {
        for (const first of [1, 501]) await insertion(`block ${writer}`, 500, first, writer % 2 === 0)
      })
      await Promise.all(blocks)
      isOver = true
      await Promise.all(singles)
      for (const drawn of inserted) expect(drawn).to.deep.equal(drawn.map((_, place) => drawn[0]! + place))
      const stored = await kennel.recorder.selectNotifications({ limit: 1_000_000 })
      expect(stored.map(({ id }) => id)).to.deep.equal(inserted.flat().sort((a, b) => a - b))
      expect(compare(stored, stored)).to.deep.equal(nothing)
      expect(inserted.filter(({ length }) => length === 500)).to.have.length(16)
    })

    /** Somebody who is registered as a writer, at that place, and has drawn nothing. */
    async function registered(place: number): Promise<Sql> {
      const client = database.client()
      await client.unsafe(`BEGIN; SELECT pg_advisory_xact_lock_shared('kennel_events'::regclass::oid::int4, ${place})`)
      return client
    }

    /** Another application on the same tables, or beside them, by the same datastore. */
    function sameTables(name: string): Promise<Kennel> {
      return database.application(name, kennel.recorder.datastore as PostgresDatastore<typeof schema>)
    }
  })
}

/** Inserts that many events of an originator, versions `first` and up. @returns Their ids. */
function insert(application: Kennel, originatorId: string, count = 1, first = 1): Promise<number[]> {
  return application.recorder.insertEvents(storedEvents(originatorId, first, first + count - 1))
}

/** Begins a transaction and inserts in it, which is not committed yet. */
async function inFlight(application: Kennel, originatorId: string, count = 1) {
  const transaction = await application.recorder.transaction()
  await transaction.run(() => insert(application, originatorId, count))
  return transaction
}

/** Runs it in a savepoint that is rolled back. */
async function undone(application: Kennel, run: () => Promise<unknown>): Promise<void> {
  const undo = application.transaction(async () => {
    await run()
    throw new RangeError('undo')
  })
  await rejection(undo, RangeError)
}

async function ids(application: Kennel, options: Partial<SelectNotificationsOptions>): Promise<number[]> {
  return (await application.recorder.selectNotifications({ limit: 100, ...options })).map(({ id }) => id)
}

/** Expects that these are all notifications, in this order, whichever way they are read. At most ten of them. */
async function expectAll(application: Kennel, expected: readonly number[]): Promise<void> {
  const { recorder, notificationLog } = application
  expect(await recorder.maxNotificationId(), 'maxNotificationId').to.equal(expected.at(-1) ?? null)
  expect(await ids(application, {}), 'selectNotifications').to.deep.equal(expected)
  expect(
    (await notificationLog.select()).map(({ id }) => id),
    'notificationLog.select',
  ).to.deep.equal(expected)
  const section = await notificationLog.section('1,10')
  expect(
    section.items.map(({ id }) => id),
    'notificationLog.section',
  ).to.deep.equal(expected)
  const read: number[] = []
  for await (const { id } of notificationLog.read()) read.push(id)
  expect(read, 'notificationLog.read').to.deep.equal(expected)
  for (const [index, id] of expected.entries()) {
    expect(await ids(application, { start: id, limit: 1 })).to.deep.equal([id])
    expect(await ids(application, { start: id, inclusiveOfStart: false })).to.deep.equal(expected.slice(index + 1))
  }
}

async function pidOf(session: { execute(query: unknown): unknown }): Promise<number> {
  const [row] = (await session.execute(sql`SELECT pg_backend_pid() AS pid`)) as { pid: number }[]
  return row!.pid
}
