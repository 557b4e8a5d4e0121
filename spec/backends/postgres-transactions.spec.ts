import { expect } from 'chai'
import { DrizzleQueryError, eq, sql, TransactionRollbackError } from 'drizzle-orm'
import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import {
  DataError,
  DatabaseProgrammingError,
  EventSourcingError,
  IntegrityError,
  InterfaceError,
  NotSupportedError,
  OperationalError,
  ProgrammingError,
  RecordConflictError,
} from '../../lib/errors.js'
import type { PostgresDatastore, PostgresSession } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { everyWay, type OpenedDatastore } from '../support/postgres-datastores.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'
import { bytes, storedEvent, storedEvents, versions } from '../support/stored-events.js'

const people = pgTable('people', { name: text('name').notNull(), boss: integer('boss') })
const schema = { people }
type Session = PostgresSession<typeof schema>
type Datastore = PostgresDatastore<typeof schema>

describePostgres('A transaction on PostgreSQL', () => {
  for (const way of everyWay) {
    describe(`through ${way.name}`, () => {
      let place: FreshSchema
      let opened: OpenedDatastore<typeof schema>
      let datastore: Datastore
      let school: Application<Datastore>

      beforeEach(async () => {
        place = await freshSchema()
        await admin().unsafe(`CREATE TABLE ${place.searchPath}.people (name text UNIQUE NOT NULL, boss integer)`)
        await open()
      })

      afterEach(async () => {
        await opened.close()
        await place.drop()
      })

      async function open(options: { max?: number } = {}): Promise<void> {
        opened = await way.open({ schema, searchPath: place.searchPath, ...options })
        datastore = opened.datastore
        school = new Application<Datastore>({ name: 'School', persistence: datastore })
        await school.ready()
      }

      /** With one connection, so that who comes next shows what the one before has left on it. */
      async function openOne(): Promise<void> {
        await opened.close()
        await open({ max: 1 })
      }

      describe('with an isolation level', () => {
        const setting = async (session: Session, name: string) => {
          const [row] = await session.execute<{ value: string }>(sql`SELECT current_setting(${name}) AS value`)
          return row?.value
        }

        for (const isolationLevel of ['read uncommitted', 'read committed', 'repeatable read', 'serializable'] as const)
          it(`is ${isolationLevel}, and the next one on that connection is not`, async () => {
            await openOne()
            await datastore.transaction(
              async (session) => {
                expect(await setting(session, 'transaction_isolation')).to.equal(isolationLevel)
                expect(await setting(session, 'transaction_read_only')).to.equal('off')
                await school.save(new Dog('Fido'))
                await datastore.transaction(async (nested) => {
                  expect(await setting(nested, 'transaction_isolation')).to.equal(isolationLevel)
                })
              },
              { isolationLevel },
            )
            await datastore.transaction(async (session) => {
              expect(await setting(session, 'transaction_isolation')).to.equal('read committed')
            })
          })

        it('has it as a handle too, together with an access mode', async () => {
          await openOne()
          {
            await using tx = await datastore.transaction({ isolationLevel: 'serializable', accessMode: 'read only' })
            expect(await setting(tx.session, 'transaction_isolation')).to.equal('serializable')
            expect(await setting(tx.session, 'transaction_read_only')).to.equal('on')
          }
          await datastore.transaction(
            async (session) => expect(await setting(session, 'transaction_read_only')).to.equal('off'),
            { accessMode: 'read write' },
          )
        })

        it('sees one moment only where it is repeatable read', async () => {
          await datastore.db.insert(people).values({ name: 'Ann' })
          await datastore.transaction(
            async (session) => {
              expect(await session.$count(people)).to.equal(1)
              await datastore.db.insert(people).values({ name: 'Bea' })
              expect(await session.$count(people)).to.equal(1)
            },
            { isolationLevel: 'repeatable read' },
          )
        })

        it('refuses to be given to a nested one', async () => {
          await datastore.transaction(async (session) => {
            for (const options of [{ isolationLevel: 'serializable' }, { accessMode: 'read only' }] as const) {
              await rejection(
                datastore.transaction(() => expect.fail('Has begun'), options),
                ProgrammingError,
                'outermost',
              )
            }
            await session.insert(people).values({ name: 'Ann' })
          })
          expect(await datastore.db.$count(people)).to.equal(1)
        })

        for (const isolationLevel of ['repeatable read', 'serializable'] as const)
          it(`reads no notifications where it is ${isolationLevel}, says to do so outside, and goes on`, async () => {
            await school.save(new Dog('Fido'))
            const { recorder } = school
            await datastore.transaction(
              async () => {
                await rejection(recorder.selectNotifications({ limit: 10 }), ProgrammingError, 'outside')
                await rejection(recorder.maxNotificationId(), ProgrammingError, 'outside')
                const seen = await datastore.outside(() => recorder.selectNotifications({ limit: 10 }))
                expect(seen).to.have.length(1)
                expect(await school.save(new Dog('Rex'))).to.have.length(1)
              },
              { isolationLevel },
            )
            expect(await recorder.maxNotificationId()).to.equal(2)
          })
      })

      describe('that only reads', () => {
        it('reads rows and aggregates', async () => {
          await school.save(new Dog('Fido'))
          const name = await school.transaction(
            async (session) => {
              expect(await session.$count(people)).to.equal(0)
              return (await school.repository.get(Dog, Dog.createId('Fido'))).name
            },
            { accessMode: 'read only' },
          )
          expect(name).to.equal('Fido')
        })

        for (const [what, write] of [
          ['a save', () => school.save(new Dog('Rex'))],
          ['a row', (session: Session) => session.insert(people).values({ name: 'Ann' }).execute()],
        ] as const)
          it(`makes ${what} an OperationalError that says so, and the next one writes`, async () => {
            await openOne()
            const attempt = school.transaction((session) => write(session), { accessMode: 'read only' })
            const error = await rejection(attempt, OperationalError, 'read-only')
            expect([error.code, error.retryable]).to.deep.equal(['25006', false])
            await school.transaction((session) => write(session))
            expect([await datastore.db.$count(people), await school.recorder.maxNotificationId()]).to.deep.equal(
              what === 'a row' ? [1, null] : [0, 1],
            )
          })
      })

      describe('that meets another one', () => {
        it('is a retryable OperationalError where they could not have come one after the other', async () => {
          await datastore.db.insert(people).values([
            { name: 'Ann', boss: 1 },
            { name: 'Bea', boss: 1 },
          ])
          const bothHaveRead = [gate(), gate()]
          const dogs = [new Dog('Fido'), new Dog('Rex')]
          const step = (index: number, meet: boolean) =>
            school.transaction(
              async (session) => {
                const bosses = await session.$count(people, eq(people.boss, 1))
                bothHaveRead[index]?.open()
                if (meet) await bothHaveRead[1 - index]?.passed
                await school.save(dogs[index])
                if (bosses > 1)
                  await session
                    .update(people)
                    .set({ boss: 0 })
                    .where(eq(people.name, ['Ann', 'Bea'][index]!))
              },
              { isolationLevel: 'serializable' },
            )
          await expectOneLoser([step(0, true), step(1, true)], '40001', async (loser) => {
            expect(await datastore.db.$count(people, eq(people.boss, 1))).to.equal(1)
            expect(dogs[loser]?.pendingEvents).to.have.length(1)
            await step(loser, false)
            expect(await datastore.db.$count(people, eq(people.boss, 1))).to.equal(1)
          })
          for (const { id } of dogs) expect(await school.repository.has(id)).to.equal(true)
        })

        it('is a retryable OperationalError where each waits for what the other one has, and then can be repeated', async () => {
          await datastore.db.insert(people).values([{ name: 'Ann' }, { name: 'Bea' }])
          const bothHaveOne = [gate(), gate()]
          const dogs = [new Dog('Fido'), new Dog('Rex')]
          const step = (index: number, meet: boolean) =>
            school.transaction(async (session) => {
              await session.execute(findDeadlocksSoon)
              const names = index === 0 ? ['Ann', 'Bea'] : ['Bea', 'Ann']
              await school.save(dogs[index])
              await session.update(people).set({ boss: index }).where(eq(people.name, names[0]!))
              bothHaveOne[index]?.open()
              if (meet) await bothHaveOne[1 - index]?.passed
              await session.update(people).set({ boss: index }).where(eq(people.name, names[1]!))
            })
          await expectOneLoser([step(0, true), step(1, true)], '40P01', async (loser) => {
            expect(dogs[loser]?.pendingEvents).to.have.length(1)
            await step(loser, false)
            expect(await datastore.db.$count(people, eq(people.boss, loser))).to.equal(2)
          })
          for (const { id } of dogs) expect(await school.repository.has(id)).to.equal(true)
        })

        it('is that also where events are what they wait for', async () => {
          const bothHaveOne = [gate(), gate()]
          const step = (index: number, meet: boolean) =>
            school.transaction(async (session) => {
              await session.execute(findDeadlocksSoon)
              const recorder = await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
              const ids = index === 0 ? ['Fido', 'Rex'] : ['Rex', 'Fido']
              await recorder.insertEvents([storedEvent(ids[0]!, 1)])
              bothHaveOne[index]?.open()
              if (meet) await bothHaveOne[1 - index]?.passed
              await recorder.insertEvents([storedEvent(ids[1]!, 1)])
            })
          await expectOneLoser([step(0, true), step(1, true)], '40P01', async (loser) => {
            // what it wanted to record, the other one has
            const error = await rejection(step(loser, false), RecordConflictError)
            expect([error.originatorVersion, error.currentVersion]).to.deep.equal([1, 1])
          })
          expect(await school.recorder.selectNotifications({ limit: 10 })).to.have.length(2)
        })

        async function expectOneLoser(
          attempts: readonly Promise<unknown>[],
          code: string,
          repeat: (loser: number) => Promise<void>,
        ): Promise<void> {
          const outcomes = await Promise.allSettled(attempts)
          expect(outcomes.map(({ status }) => status).sort()).to.deep.equal(['fulfilled', 'rejected'])
          const loser = outcomes.findIndex(({ status }) => status === 'rejected')
          const { reason } = outcomes[loser] as PromiseRejectedResult
          expect(reason).to.be.instanceOf(OperationalError).and.to.include({ code, retryable: true })
          await repeat(loser)
        }
      })

      describe('in which a statement has failed', () => {
        it('is rolled back at its end with that error, though its user has passed it over, and the pool is well', async () => {
          await openOne()
          const dog = new Dog('Fido')
          const attempt = school.transaction(async (session) => {
            await school.save(dog)
            await session.insert(people).values({ name: 'Ann' })
            const error = await failure(session.insert(people).values({ name: 'Ann' }).execute())
            expect(error).to.be.instanceOf(DrizzleQueryError)
            return 'as if nothing had happened'
          })
          const error = await rejection(attempt, IntegrityError)
          expect(error.code).to.equal('23505')
          expect(error.cause).to.have.property('constraint_name', 'people_name_key')

          expect(await datastore.db.$count(people)).to.equal(0)
          expect(await school.recorder.maxNotificationId()).to.equal(null)
          expect(dog.pendingEvents).to.have.length(1)
          expect(await school.save(dog)).to.have.length(1)
        })

        it('refuses what comes after, and is rolled back with the error that came first', async () => {
          await openOne()
          const dog = new Dog('Fido')
          const attempt = school.transaction(async (session) => {
            await failure(session.execute(sql`SELECT 1 / 0`).execute())
            const later = await rejection(school.save(dog), EventSourcingError)
            expect(later.code).to.equal('25P02')
            await failure(session.insert(people).values({ name: 'Ann' }).execute())
          })
          const error = await rejection(attempt, DataError)
          expect(error.code).to.equal('22012')
          expect(await datastore.db.$count(people)).to.equal(0)
          expect(await school.save(dog)).to.have.length(1)
        })

        it('is what its user makes of it where it fails by itself afterwards', async () => {
          const thrown = new RangeError('the user’s own')
          const attempt = school.transaction(async (session) => {
            await failure(session.execute(sql`SELECT 1 / 0`).execute())
            throw thrown
          })
          expect(await failure(attempt)).to.equal(thrown)
        })

        it('is only a nested one that is rolled back, where the statement was there', async () => {
          await openOne()
          const dogs = [new Dog('Fido'), new Dog('Rex')]
          await school.transaction(async (session) => {
            await session.insert(people).values({ name: 'Ann' })
            const inner = school.transaction(async (nested) => {
              await school.save(dogs[0])
              await failure(nested.insert(people).values({ name: 'Ann' }).execute())
            })
            expect((await rejection(inner, IntegrityError)).code).to.equal('23505')
            await session.insert(people).values({ name: 'Bea' })
            await school.save(dogs[1])
          })
          expect(await datastore.db.$count(people)).to.equal(2)
          expect(dogs.map(({ pendingEvents }) => pendingEvents.length)).to.deep.equal([1, 0])
          expect(await school.recorder.maxNotificationId()).to.be.above(0)
        })

        it('as a handle is rolled back at its commit, with that error', async () => {
          await using tx = await datastore.transaction()
          await tx.session.insert(people).values({ name: 'Ann' })
          await failure(tx.session.execute(sql`SELECT nothing`).execute())
          expect((await rejection(tx.commit(), DatabaseProgrammingError)).code).to.equal('42703')
          expect(await datastore.db.$count(people)).to.equal(0)
        })
      })

      it('with a foreign key that is broken at the commit is rolled back, and its events are given back', async () => {
        await openOne()
        await admin().unsafe(`
          ALTER TABLE ${place.searchPath}.people ADD COLUMN id integer UNIQUE;
          ALTER TABLE ${place.searchPath}.people ADD FOREIGN KEY (boss) REFERENCES ${place.searchPath}.people (id)
            DEFERRABLE INITIALLY DEFERRED`)
        const dog = new Dog('Fido')
        let isCommitted = false
        const attempt = school.transaction(async (session) => {
          session.afterCommit(() => (isCommitted = true))
          await session.insert(people).values({ name: 'Ann', boss: 17 })
          await school.save(dog)
        })
        const error = await rejection(attempt, IntegrityError)
        expect([error.code, isCommitted]).to.deep.equal(['23503', false])
        expect(await datastore.db.$count(people)).to.equal(0)
        expect(await school.repository.has(dog.id)).to.equal(false)
        expect(dog.pendingEvents).to.have.length(1)
        expect(await school.save(dog)).to.have.length(1)
      })

      it('runs what is left for after the commit on connections that are free by then', async () => {
        await openOne()
        await school.transaction(async (session) => {
          await session.insert(people).values({ name: 'Ann' })
          session.afterCommit(async () => {
            await school.save(new Dog('Fido'))
            await school.transaction((other) => other.insert(people).values({ name: 'Bea' }))
          })
        })
        expect(await datastore.db.$count(people)).to.equal(2)
        expect(await school.recorder.maxNotificationId()).to.equal(1)
      })

      it('ends by Drizzle’s own session.rollback(), which undoes a nested one alone', async () => {
        await openOne()
        const whole = school.transaction(async (session) => {
          await session.insert(people).values({ name: 'Ann' })
          await school.save(new Dog('Fido'))
          session.rollback()
        })
        await rejection(whole, TransactionRollbackError)
        await school.transaction(async (session) => {
          await session.insert(people).values({ name: 'Bea' })
          const inner = session.transaction(async (nested) => {
            await nested.insert(people).values({ name: 'Cem' })
            nested.rollback()
          })
          await rejection(inner, TransactionRollbackError)
        })
        expect(await datastore.db.select({ name: people.name }).from(people)).to.deep.equal([{ name: 'Bea' }])
        expect(await school.recorder.maxNotificationId()).to.equal(null)
      })

      it('takes prepared statements by their names, again and with another text too', async () => {
        await openOne()
        for (const name of ['Ann', 'Bea']) {
          await datastore.transaction(async (session) => {
            const insert = session
              .insert(people)
              .values({ name: sql.placeholder('name'), boss: 1 })
              .prepare('one')
            await insert.execute({ name })
            await insert.execute({ name: `${name} too` })
            const select = session.select({ name: people.name }).from(people).orderBy(people.name).prepare('one')
            expect((await select.execute()).at(-1)).to.deep.equal({ name: `${name} too` })
          })
        }
        expect(await datastore.db.$count(people)).to.equal(4)
      })

      describe('whose user has not awaited a statement', () => {
        for (const where of ['', ' in a nested one'])
          it(`has committed it${where}, or refuses it, and nobody else has anything to do with it`, async () => {
            await openOne()
            let unawaited: Promise<unknown>[] = []
            const work = (session: Session) => {
              unawaited = [
                session.insert(people).values({ name: 'Ann' }).execute(),
                session.execute(sql`SELECT pg_sleep(0.05)`).execute(),
                session.insert(people).values({ name: 'Bea' }).execute(),
              ]
            }
            await datastore.transaction(async (session) => {
              if (where === '') return work(session)
              await session.transaction(work)
              await session.insert(people).values({ name: 'Cem' })
            })
            const outcomes = await Promise.allSettled(unawaited)
            for (const outcome of outcomes) {
              if (outcome.status === 'rejected') expect(outcome.reason).to.be.instanceOf(InterfaceError)
            }
            const stored = [outcomes[0], outcomes[2]].filter((outcome) => outcome?.status === 'fulfilled').length
            await datastore.transaction(async (session) => {
              expect(await session.$count(people)).to.equal(stored + (where === '' ? 0 : 1))
            })
          })

        it('has undone it with the rest', async () => {
          await openOne()
          let unawaited: Promise<unknown> | undefined
          const attempt = datastore.transaction(async (session) => {
            unawaited = session.insert(people).values({ name: 'Ann' }).execute()
            throw new RangeError('undone')
          })
          await rejection(attempt, RangeError)
          await unawaited?.catch((error: unknown) => expect(error).to.be.instanceOf(InterfaceError))
          expect(await datastore.db.$count(people)).to.equal(0)
        })

        it('fails with it', async () => {
          await openOne()
          let unawaited: Promise<unknown> | undefined
          const attempt = datastore.transaction(async (session) => {
            await session.insert(people).values({ name: 'Ann' })
            unawaited = failure(session.execute(sql`SELECT 1 / 0`).execute())
          })
          const [error] = await Promise.all([failure(attempt), unawaited])
          expect(error).to.be.instanceOf(DataError).with.property('code', '22012')
          expect(await datastore.db.$count(people)).to.equal(0)
        })
      })

      describe('that has ended', () => {
        for (const end of ['commit', 'rollback'] as const)
          it(`by ${end} refuses whatever is done with its session, and does nothing`, async () => {
            await openOne()
            const tx = await datastore.transaction()
            const { session } = tx
            const find = session.query.people.findMany({ where: eq(people.name, sql.placeholder('name')) })
            const before = {
              'a prepared statement': session.select().from(people).prepare('before'),
              'a prepared relational query': find.prepare('before too'),
              'a prepared write': session
                .insert(people)
                .values({ name: sql.placeholder('name') })
                .prepare('a write'),
            }
            const uses: Record<string, () => PromiseLike<unknown>> = {
              ...Object.fromEntries(
                Object.entries(before).map(([use, prepared]) => [use, () => prepared.execute({ name: 'late' })]),
              ),
              execute: () => session.execute(sql`INSERT INTO people VALUES ('late')`),
              'execute with text': () => session.execute("INSERT INTO people VALUES ('late')"),
              'a builder': () => session.insert(people).values({ name: 'late' }),
              'a builder that returns': () => session.insert(people).values({ name: 'late' }).returning(),
              update: () => session.update(people).set({ name: 'late' }),
              delete: () => session.delete(people),
              with: () => session.with(session.$with('x').as(session.select().from(people))).delete(people),
              'a select': () => session.select().from(people),
              'a distinct one': () => session.selectDistinctOn([people.name]).from(people),
              'a relational query': () => session.query.people.findFirst(),
              $count: () => session.$count(people),
              refreshMaterializedView: async () => session.execute(sql`REFRESH MATERIALIZED VIEW late`),
              'a nested transaction': async () => session.transaction(() => expect.fail('Has begun')),
              afterCommit: async () => session.afterCommit(() => expect.fail('Is run')),
              flush: () => session.flush(),
            }
            await session.insert(people).values({ name: 'in time' })
            await tx[end]()
            for (const [use, call] of Object.entries(uses)) {
              const error = await rejection((async () => call())(), InterfaceError)
              expect(Object.getPrototypeOf(error), use).to.equal(InterfaceError.prototype)
            }
            expect(await datastore.db.select({ name: people.name }).from(people)).to.deep.equal(
              end === 'commit' ? [{ name: 'in time' }] : [],
            )
          })
      })

      describe('with nested ones', () => {
        it('leaves no savepoint behind, however they end', async () => {
          await openOne()
          await datastore.transaction(async (session) => {
            const before = await levels(session)
            for (let n = 0; n < 1000; n += 1) {
              const nested = datastore.transaction(async (inner) => {
                if (n % 100 === 0) await inner.insert(people).values({ name: `owner ${n}` })
                if (n % 2 === 1) throw new RangeError('undone')
              })
              await (n % 2 === 1 ? rejection(nested, RangeError) : nested)
            }
            expect(await levels(session)).to.deep.equal(before)
            expect(await session.$count(people)).to.equal(10)
          })
          expect(await datastore.db.$count(people)).to.equal(10)
        })

        it('has as many levels as there are, and none afterwards', async () => {
          await openOne()
          const nest = async (depth: number): Promise<number> =>
            datastore.transaction(async (session) => {
              await session.insert(people).values({ name: `level ${depth}` })
              return depth === 1 ? levels(session) : nest(depth - 1)
            })
          await datastore.transaction(async (session) => {
            const before = await levels(session)
            expect(await nest(20)).to.equal(before + 20)
            expect(await levels(session)).to.equal(before)
          })
          expect(await datastore.db.$count(people)).to.equal(20)
        })

        it('takes turns with siblings, of which one fails in the database, and that takes no other along', async () => {
          await openOne()
          await school.transaction(async (session) => {
            await session.insert(people).values({ name: 'Ann' })
            const outcomes = await Promise.allSettled(
              ['Bea', 'Ann', 'Cem', 'Ann', 'Dan'].map((name) =>
                school.transaction(async (nested) => {
                  await school.save(new Dog(`dog of ${name}`))
                  await nested.insert(people).values({ name })
                }),
              ),
            )
            expect(outcomes.map(({ status }) => status === 'fulfilled')).to.deep.equal([true, false, true, false, true])
          })
          const names = await datastore.db.select({ name: people.name }).from(people).orderBy(people.name)
          expect(names.map(({ name }) => name)).to.deep.equal(['Ann', 'Bea', 'Cem', 'Dan'])
          const found = await school.recorder.selectNotifications({ limit: 10 })
          expect(found.map(({ originatorId }) => originatorId)).to.have.members(
            ['Bea', 'Cem', 'Dan'].map((name) => Dog.createId(`dog of ${name}`)),
          )
        })
      })

      it('keeps to itself among 20 at once, of which half fail in one way or another', async () => {
        const ways: ((session: Session, n: number) => Promise<unknown>)[] = [
          () => Promise.reject(new RangeError('undone')),
          (session) => session.execute(sql`SELECT 1 / 0`).execute(),
          (session, n) =>
            session
              .insert(people)
              .values({ name: `owner ${n}` })
              .execute(),
          async (session) => failure(session.execute(sql`SELECT nothing`).execute()),
        ]
        const outcomes = await Promise.allSettled(
          Array.from({ length: 20 }, (_, n) =>
            school.transaction(async (session) => {
              await session.insert(people).values({ name: `owner ${n}` })
              await school.save(new Dog(`dog ${n}`))
              await school.transaction((nested) => nested.insert(people).values({ name: `friend ${n}` }))
              expect(await session.$count(people, eq(people.name, `owner ${n}`))).to.equal(1)
              if (n % 2 === 1) await ways[((n - 1) / 2) % ways.length]?.(session, n)
            }),
          ),
        )
        expect(outcomes.map(({ status }) => status === 'fulfilled')).to.deep.equal(
          Array.from({ length: 20 }, (_, n) => n % 2 === 0),
        )
        const even = Array.from({ length: 10 }, (_, i) => 2 * i)
        const names = (await datastore.db.select().from(people)).map(({ name }) => name)
        expect(names).to.have.members(even.flatMap((n) => [`owner ${n}`, `friend ${n}`]))
        const found = await school.recorder.selectNotifications({ limit: 100 })
        expect(found.map(({ originatorId }) => originatorId)).to.have.members(even.map((n) => Dog.createId(`dog ${n}`)))
      })

      it('passes the user’s own error on that another connection’s error led to', async () => {
        const foreign = postgresJs(postgresUrl(), { max: 1 })
        const foreignDb = drizzle(foreign)
        for (const cause of [
          await failure(foreign.unsafe('SELECT nothing')),
          await failure(foreignDb.execute(sql`SELECT nothing`).execute()),
        ]) {
          for (const thrown of [new RangeError('the user’s own', { cause }), cause]) {
            const attempt = school.transaction(async () => {
              await school.save(new Dog('Fido'))
              throw thrown
            })
            expect(await failure(attempt)).to.equal(thrown)
          }
        }
        await foreign.end()
        expect(await school.recorder.maxNotificationId()).to.equal(null)
      })

      it('passes the user’s own error on that one of its statements led to', async () => {
        let thrown: unknown
        const attempt = school.transaction(async (session) => {
          const cause = await failure(session.execute(sql`SELECT nothing`).execute())
          thrown = new RangeError('the user’s own', { cause })
          throw thrown
        })
        expect(await failure(attempt)).to.equal(thrown)
      })

      it('has nothing of what is SQLite’s alone', async () => {
        await school.transaction(async (session) => {
          for (const method of ['run', 'all', 'get', 'values'] as const) {
            expect(() => session[method](sql`SELECT 1`)).to.throw(NotSupportedError, 'execute')
          }
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
            expect(ids).to.deep.equal(Array.from({ length: 5000 }, (_, i) => ids[0]! + i))
            expect(await recorder.selectEvents('dog')).to.have.length(5000)
          })

          it(`is not recorded at all when the last one conflicts, ${where}`, async () => {
            const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
            await recorder.insertEvents([storedEvent('dog', 5000)])
            const insert = async () => {
              const error = await rejection(recorder.insertEvents(many), RecordConflictError)
              expect([error.originatorId, error.originatorVersion, error.currentVersion]).to.deep.equal([
                'dog',
                5000,
                5000,
              ])
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

        const failures: [string, new (...args: never[]) => Error, (session: Session) => PromiseLike<unknown>][] = [
          [
            'a row twice',
            IntegrityError,
            (session) => session.insert(people).values([{ name: marker }, { name: marker }]),
          ],
          [
            'NULL where there must be something',
            IntegrityError,
            (session) => session.execute(sql`INSERT INTO people VALUES (NULL, length(${marker}))`),
          ],
          [
            'a table that is not there',
            DatabaseProgrammingError,
            (session) => session.execute(sql`INSERT INTO nobody VALUES (${marker})`),
          ],
          ['a statement that is none', DatabaseProgrammingError, (session) => session.execute(sql`INSERT ${marker}`)],
          ['JSON that is none', DataError, (session) => session.execute(sql`SELECT ${marker}::json`)],
          ['a number that is none', DataError, (session) => session.execute(sql`SELECT ${marker}::integer`)],
          [
            'a value that cannot be sent',
            EventSourcingError,
            (session) => session.execute(sql`INSERT INTO people VALUES (${marker}, ${new Date()})`),
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
            const { message, stack } = error
            expect(`${String(error)} ${message} ${stack}`).not.to.include(marker)
            expect(String(error.cause)).not.to.include('Failed query')
          })
        }

        it('in the hands of its user has what the driver said as its cause', async () => {
          const error = await rejection(
            datastore.transaction((session) => session.execute(sql`INSERT INTO people VALUES (NULL)`)),
            IntegrityError,
          )
          expect(error.code).to.equal('23502')
          expect(error.cause).to.have.property('name', 'PostgresError')
          expect(error.cause).to.have.property('code', '23502')
          expect(error.retryable).to.equal(false)
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
  }
})

// the server looks for them when somebody has waited for so long; otherwise a second
const findDeadlocksSoon = sql`SET LOCAL deadlock_timeout = '20ms'`

/** How deep the server is in savepoints: it keeps one of these for each that is open. */
async function levels(session: Session): Promise<number> {
  const [row] = await session.execute<{ count: number }>(
    sql`SELECT count(*)::int FROM pg_backend_memory_contexts WHERE name = 'CurTransactionContext'`,
  )
  return row!.count
}
