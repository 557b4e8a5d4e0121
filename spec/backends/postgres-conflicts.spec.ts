import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { IntegrityError, OperationalError, RecordConflictError } from '../../lib/errors.js'
import type { AggregateRecorder, ProcessRecorder } from '../../lib/persistence/recorders.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import type { PostgresDatastore, PostgresSession } from '../../lib/postgres/index.js'
import { createOwners, type FreshSchema, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { everyWay, type OpenedDatastore, isWaitedFor } from '../support/postgres-datastores.js'
import { describePostgres } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { storedEvent, storedEvents, versions } from '../support/stored-events.js'

type Datastore = PostgresDatastore<typeof schema>

describePostgres("A conflict inside a user's transaction on PostgreSQL", () => {
  for (const way of everyWay) {
    describe(`through ${way.name}`, () => {
      let place: FreshSchema
      let opened: OpenedDatastore<typeof schema>
      let datastore: Datastore
      let recorder: ProcessRecorder & AggregateRecorder
      let snapshots: AggregateRecorder

      beforeEach(async () => {
        place = await freshSchema()
        await createOwners(place.name)
        opened = await way.open({ schema, searchPath: place.searchPath })
        datastore = opened.datastore
        const factory = new DrizzleFactory({ datastore, name: 'School' })
        recorder = await factory.processRecorder()
        snapshots = await factory.aggregateRecorder('snapshots')
      })

      afterEach(async () => {
        await opened.close()
        await place.drop()
      })

      /** A transaction of the user's that goes on: what it does before and after is committed. */
      async function around(work: (session: PostgresSession<typeof schema>) => Promise<void>): Promise<void> {
        await datastore.transaction(async (session) => {
          await session.insert(owners).values({ name: 'before' })
          await recorder.insertEvents([storedEvent('before', 1)])
          await work(session)
          await session.insert(owners).values({ name: 'after' })
          await recorder.insertEvents([storedEvent('after', 1)])
        })
        expect(await datastore.db.$count(owners)).to.equal(2)
        for (const id of ['before', 'after']) expect(await recorder.selectEvents(id)).to.have.length(1)
      }

      /** The same, with the work in a nested one that fails. */
      function aroundNested(work: () => Promise<void>): Promise<void> {
        return around(async () => {
          const nested = datastore.transaction(async (session) => {
            await session.insert(owners).values({ name: 'inner' })
            await recorder.insertEvents([storedEvent('inner', 1)])
            await work()
            throw new RangeError('undo the nested one')
          })
          await rejection(nested, RangeError)
          expect(await recorder.selectEvents('inner')).to.deep.equal([])
        })
      }

      for (const [where, inside] of [
        ['', around],
        [' in a nested one', aroundNested],
      ] as const) {
        describe(`leaves it usable${where}, with nothing stored, where it was made by`, () => {
          const conflicts: [string, StoredEvent[], number][] = [
            ['one event', [storedEvent('dog', 2)], 2],
            ['the first of several', storedEvents('dog', 3, 6), 3],
            [
              'the last of several',
              storedEvents('dog', 1, 1).concat(storedEvents('cat', 1, 3), storedEvent('dog', 2)),
              2,
            ],
            ['an event that stands twice', [...storedEvents('dog', 4, 6), storedEvent('dog', 5)], 5],
          ]
          for (const [what, events, version] of conflicts) {
            it(what, async () => {
              await recorder.insertEvents(storedEvents('dog', 2, 3))
              await inside(async () => {
                const error = await rejection(recorder.insertEvents(events), RecordConflictError)
                expect([error.originatorId, error.originatorVersion, error.currentVersion]).to.deep.equal([
                  'dog',
                  version,
                  3,
                ])
              })
              expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([2, 3])
              expect(await recorder.selectEvents('cat')).to.deep.equal([])
            })

            it(`${what} among snapshots`, async () => {
              await snapshots.insertEvents(storedEvents('dog', 2, 3))
              await inside(async () => {
                await rejection(snapshots.insertEvents(events), RecordConflictError)
                expect(await snapshots.insertEvents([storedEvent('dog', 7)])).to.deep.equal([])
              })
              expect(versions(await snapshots.selectEvents('dog'))).to.deep.equal(where === '' ? [2, 3, 7] : [2, 3])
              expect(await snapshots.selectEvents('cat')).to.deep.equal([])
            })

            it(`${what} with tracking, which has not moved`, async () => {
              await recorder.insertEvents(storedEvents('dog', 2, 3))
              await inside(async () => {
                const tracking = { applicationName: 'upstream', notificationId: 7 }
                await rejection(recorder.insertEvents(events, { tracking }), RecordConflictError)
              })
              expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([2, 3])
              expect(await recorder.maxTrackingId('upstream')).to.equal(null)
            })
          }

          it('tracking', async () => {
            await recorder.insertTracking({ applicationName: 'upstream', notificationId: 7 })
            await inside(async () => {
              const tracking = { applicationName: 'upstream', notificationId: 7 }
              for (const events of [[storedEvent('dog', 1)], storedEvents('dog', 1, 3), []]) {
                await rejection(recorder.insertEvents(events, { tracking }), IntegrityError, 'upstream')
              }
              await rejection(recorder.insertTracking(tracking), IntegrityError, 'upstream')
            })
            expect(await recorder.selectEvents('dog')).to.deep.equal([])
            expect(await recorder.maxTrackingId('upstream')).to.equal(7)
          })
        })

        describe(`with what another one commits while it waits leaves it usable${where}`, () => {
          it('and nothing of one event is stored', async () => {
            await inside(async () => {
              const error = await beatenBy(
                () => recorder.insertEvents([storedEvent('dog', 1)]),
                () => recorder.insertEvents(storedEvents('dog', 1, 2)),
              )
              expectConflict(error, 1, 2)
            })
            expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
          })

          it('and the part of several that was stored is taken back', async () => {
            await inside(async () => {
              const error = await beatenBy(
                () => recorder.insertEvents([...storedEvents('cat', 1, 2), ...storedEvents('dog', 1, 5)]),
                () => recorder.insertEvents([storedEvent('dog', 3)]),
              )
              expectConflict(error, 3, 3)
              expect(await recorder.selectEvents('cat')).to.deep.equal([])
            })
            expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([3])
            expect(await recorder.selectEvents('cat')).to.deep.equal([])
            // and no reader waits for what was taken back
            const found = await recorder.selectNotifications({ limit: 100 })
            expect(found).to.have.length(3)
            expect(await recorder.maxNotificationId()).to.equal(found.at(-1)?.id)
          })

          it('and the part of several snapshots that was stored is taken back', async () => {
            await snapshots.insertEvents([storedEvent('other', 1)])
            await inside(async () => {
              const error = await beatenBy(
                () => snapshots.insertEvents([...storedEvents('cat', 1, 2), ...storedEvents('dog', 1, 5)]),
                () => snapshots.insertEvents([storedEvent('dog', 3)]),
              )
              expectConflict(error, 3, 3)
              expect(await snapshots.selectEvents('cat')).to.deep.equal([])
            })
            expect(versions(await snapshots.selectEvents('dog'))).to.deep.equal([3])
            expect(await snapshots.selectEvents('other')).to.have.length(1)
          })

          it('and the part of several with tracking is taken back, and tracking has not moved', async () => {
            const tracking = { applicationName: 'upstream', notificationId: 7 }
            await inside(async () => {
              const error = await beatenBy(
                () => recorder.insertEvents(storedEvents('dog', 1, 5), { tracking }),
                () => recorder.insertEvents([storedEvent('dog', 3)]),
              )
              expectConflict(error, 3, 3)
            })
            expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([3])
            expect(await recorder.maxTrackingId('upstream')).to.equal(null)
          })

          it('and events are taken back whose tracking was first recorded by the other one', async () => {
            const tracking = { applicationName: 'upstream', notificationId: 7 }
            await inside(async () => {
              const error = await beatenBy(
                () => recorder.insertEvents(storedEvents('dog', 1, 5), { tracking }),
                () => recorder.insertEvents([storedEvent('cat', 1)], { tracking }),
              )
              expect(error).to.be.instanceOf(IntegrityError).and.not.instanceOf(RecordConflictError)
            })
            expect(await recorder.selectEvents('dog')).to.deep.equal([])
            expect(await recorder.selectEvents('cat')).to.have.length(1)
          })
        })

        it(`does not come of what another one rolls back while it waits${where}`, async () => {
          await inside(async () => {
            const tracking = { applicationName: 'upstream', notificationId: 7 }
            const ids = await afterOther(
              'rollback',
              () => recorder.insertEvents(storedEvents('dog', 1, 5), { tracking }),
              () => recorder.insertEvents([storedEvent('dog', 3)]),
            )
            expect(ids).to.deep.equal(Array.from({ length: 5 }, (_, i) => ids[0]! + i))
            expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2, 3, 4, 5])
          })
          const isKept = where === ''
          expect(await recorder.selectEvents('dog')).to.have.length(isKept ? 5 : 0)
          expect(await recorder.maxTrackingId('upstream')).to.equal(isKept ? 7 : null)
        })
      }

      for (const isolationLevel of ['repeatable read', 'serializable'] as const)
        it(`with what it can't see is a retryable OperationalError where it is ${isolationLevel}`, async () => {
          const attempt = datastore.transaction(
            async (session) => {
              expect(await session.$count(owners)).to.equal(0)
              await datastore.outside(() => recorder.insertEvents([storedEvent('dog', 2)]))
              await recorder.insertEvents(storedEvents('dog', 1, 3))
            },
            { isolationLevel },
          )
          const error = await rejection(attempt, OperationalError)
          expect([error.code, error.retryable]).to.deep.equal(['40001', true])
          expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([2])
        })

      it('outside of any comes of what another one commits while it waits, and nothing is stored', async () => {
        for (const [at, events] of [storedEvents('dog', 1, 1), storedEvents('dog', 11, 15)].entries()) {
          const last = events.at(-1)!
          const outcome = afterOther(
            'commit',
            () => recorder.insertEvents(events),
            () => recorder.insertEvents([last]),
          )
          const error = await rejection(outcome, RecordConflictError)
          expect(error.originatorVersion).to.equal(last.originatorVersion)
          expect(await recorder.selectEvents('dog')).to.have.length(at + 1)
        }
      })

      /** What `work` rejects with, which waits for what `others` have written until that is committed. */
      function beatenBy(work: () => Promise<unknown>, others: () => Promise<unknown>): Promise<unknown> {
        return rejection(afterOther('commit', work, others), IntegrityError)
      }

      /** Lets `work` wait for what another transaction has written, ends that, and says how the work came out. */
      async function afterOther<T>(
        end: 'commit' | 'rollback',
        work: () => Promise<T>,
        others: () => Promise<unknown>,
      ): Promise<T> {
        const other = await datastore.outside(() => datastore.transaction())
        const [backend] = await other.session.execute<{ pid: number }>(sql`SELECT pg_backend_pid() AS pid`)
        await other.run(others)
        const outcome = work()
        outcome.catch(() => undefined) // looked at below; until then a case that fails is to show its own error
        await isWaitedFor(backend!.pid)
        await other[end]()
        return outcome
      }
    })
  }
})

function expectConflict(error: unknown, version: number, currentVersion: number): void {
  expect(error).to.be.instanceOf(RecordConflictError).and.to.include({ originatorVersion: version, currentVersion })
}
