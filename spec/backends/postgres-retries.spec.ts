import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'chai'
import { eq, sql } from 'drizzle-orm'
import type { Sql } from 'postgres'
import { Application } from '../../lib/application/application.js'
import { OperationalError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import { isOutcomeUnknown } from '../../lib/persistence/outcomes.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { transactionRetry } from '../../lib/persistence/transaction-retry.js'
import { postgres } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { owners } from '../support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { Place, type PlaceOptions, poolOwners, type School } from '../support/shared-statements.js'
import { bytes, storedEvent, storedEvents, versions } from '../support/stored-events.js'
import { FaultProxy } from '../support/fault-proxy.js'
import { lostForNow } from '../support/victim.js'

/** Often and at once: what is to be shown is that it is repeated, not how long that takes. */
const retrying = { retries: 50, retryIntervalMs: 20 }

for (const poolOwner of poolOwners) {
  describePostgres(`A connection to PostgreSQL that is lost, of ${poolOwner},`, () => {
    let place: Place
    let proxy: FaultProxy
    let rival: Sql

    beforeEach(async () => {
      place = await Place.open(poolOwner)
      proxy = await FaultProxy.before(postgresUrl())
      rival = place.rival()
    })

    afterEach(async () => {
      await place[Symbol.asyncDispose]()
      await proxy[Symbol.asyncDispose]()
    })

    /** One by way of the proxy, with one connection that knows its statements. */
    async function behindProxy(options: PlaceOptions = {}): Promise<School> {
      const school = await place.school({ url: proxy.url, max: 1, ...options })
      await school.recorder.insertEvents([storedEvent('first', 1)])
      return school
    }

    /** Ends the backends that wait for the table which is locked meanwhile. */
    async function dieWhileLocked(mode: 'SHARE' | 'ACCESS EXCLUSIVE', start: () => void): Promise<void> {
      await rival.unsafe(`BEGIN; LOCK TABLE school_events IN ${mode} MODE`)
      start()
      await place.waits('relation')
      await place.end('relation')
      await rival.unsafe('ROLLBACK')
    }

    describe('is made anew', () => {
      it('for a read, which is asked again', async () => {
        const { recorder } = await place.school(retrying)
        await recorder.insertEvents(storedEvents('dog', 1, 2))
        const reads: Promise<unknown>[] = []
        await dieWhileLocked('ACCESS EXCLUSIVE', () => {
          reads.push(recorder.selectEvents('dog'), recorder.maxNotificationId())
        })
        const [events, max] = await Promise.all(reads)
        expect(versions(events as StoredEvent[])).to.deep.equal([1, 2])
        expect(max).to.equal(2)
      })

      it('for an insert, which is stored once', async () => {
        const { recorder } = await place.school(retrying)
        const saves: Promise<unknown>[] = []
        await dieWhileLocked('SHARE', () => {
          saves.push(recorder.insertEvents(storedEvents('dog', 1, 2)), recorder.insertEvents([storedEvent('cat', 1)]))
        })
        await Promise.all(saves)
        expect((await place.stored()).sort()).to.deep.equal(['cat 1', 'dog 1', 'dog 2'])
      })

      it('when the server can be reached again, for reads, saves and beginning transactions', async () => {
        const { datastore, recorder } = await behindProxy({ max: 3, ...retrying, retries: 1000 })
        await proxy.down()
        let calls = 0
        const all = Promise.all([
          recorder.selectEvents('first'),
          recorder.insertEvents([storedEvent('dog', 1)]),
          recorder.insertTracking({ applicationName: 'upstream', notificationId: 1 }),
          datastore.transaction(async () => {
            calls += 1
            await recorder.insertEvents([storedEvent('cat', 1)])
          }),
        ])
        await pause(100) // several intervals
        await proxy.up()
        await all
        expect(calls).to.equal(1)
        expect((await place.stored()).sort()).to.deep.equal(['cat 1', 'dog 1', 'first 1'])
        expect(await recorder.maxTrackingId('upstream')).to.equal(1)
      })
    })

    it('is an error once the retries are used up', async () => {
      for (const options of [
        { retries: 0 },
        { retries: 2, retryIntervalMs: 1 },
        { retries: 1000, retryIntervalMs: 1000, poolTimeoutMs: 900 },
      ]) {
        const { datastore, recorder } = await behindProxy({ ...options, poolTimeoutMs: 900 })
        await proxy.down()
        for (const call of [
          () => recorder.selectEvents('first'),
          () => recorder.insertEvents([storedEvent('dog', 1)]),
          () => datastore.transaction(() => expect.fail('Has begun')),
        ]) {
          expect((await rejection(call(), OperationalError)).retryable).to.equal(true)
        }
        await proxy.up()
        await datastore.close()
        await rival.unsafe('TRUNCATE school_events')
      }
    })

    it('ends a transaction, whose function is not called again', async () => {
      const { datastore, recorder } = await behindProxy(retrying)
      let calls = 0
      await lostForNow(
        datastore.transaction(async (session) => {
          calls += 1
          await recorder.insertEvents([storedEvent('dog', 1)])
          proxy.reset()
          await session.select().from(owners)
        }),
      )
      expect(calls).to.equal(1)
      expect(await place.stored()).to.deep.equal(['first 1'])
    })

    it('leaves a position that was sent to whoever sent it', async () => {
      const { recorder } = await behindProxy(retrying)
      const position = { applicationName: 'upstream', notificationId: 5 }
      await recorder.insertTracking({ ...position, notificationId: 4 })
      const happened = proxy.loseNextReply()
      const error = await rejection(recorder.insertTracking(position), OperationalError)
      await happened
      expect([error.retryable, isOutcomeUnknown(error)]).to.deep.equal([true, true])
      expect(await recorder.maxTrackingId('upstream')).to.equal(5)
    })

    it('leaves a position that was sent without events to whoever sent it', async () => {
      const { recorder } = await behindProxy(retrying)
      const tracking = { applicationName: 'upstream', notificationId: 5 }
      const happened = proxy.loseNextReply('COMMIT')
      const error = await rejection(recorder.insertEvents([], { tracking }), OperationalError)
      await happened
      expect([error.retryable, isOutcomeUnknown(error)]).to.deep.equal([true, true])
      expect(await recorder.maxTrackingId('upstream')).to.equal(5)
    })

    const inserts: Record<string, (school: School, events: StoredEvent[]) => Promise<number[]>> = {
      'of one event': ({ recorder }, events) => recorder.insertEvents(events.slice(0, 1)),
      'of several events': ({ recorder }, events) => recorder.insertEvents(events),
      'of events with a position': ({ recorder }, events) =>
        recorder.insertEvents(events, { tracking: { applicationName: 'upstream', notificationId: 7 } }),
    }
    for (const [of, insert] of Object.entries(inserts)) {
      const tag = of.endsWith('position') ? 'COMMIT' : undefined
      for (const shareStatements of [true, false]) {
        describe(`with the answer to an insert ${of}${shareStatements ? '' : ', which shares no statements,'}`, () => {
          it('leaves it to be found, by the insert that is repeated', async () => {
            const school = await behindProxy({ shareStatements, ...retrying })
            const happened = proxy.loseNextReply(tag)
            const events = storedEvents('dog', 1, 3)
            const ids = await insert(school, events)
            await happened
            await areStored(school, ids, events)
            await rejection(insert(school, events), RecordConflictError)
          })
        })
      }

      it(`with the answer to an insert ${of}, leaves it to be found once by who repeats it, and by no other`, async () => {
        const school = await behindProxy()
        const happened = proxy.loseNextReply(tag)
        const events = storedEvents('dog', 1, 3)
        const error = await rejection(insert(school, events), OperationalError)
        await happened
        expect([error.retryable, isOutcomeUnknown(error)]).to.deep.equal([true, true])
        // the same bytes
        await rejection(insert(school, storedEvents('dog', 1, 3)), RecordConflictError)
        await areStored(school, await insert(school, events), events)
        await rejection(insert(school, events), RecordConflictError)
      })
    }

    /** Expects that the first of these events are stored under these ids, and no others. */
    async function areStored(
      { recorder }: School,
      ids: readonly number[],
      events: readonly StoredEvent[],
    ): Promise<void> {
      const stored = await recorder.selectNotifications({ start: 2, limit: 10 })
      expect(stored.map(({ id }) => id)).to.deep.equal(ids)
      expect(versions(stored)).to.deep.equal(versions(events.slice(0, ids.length)))
    }

    it('does not make it its own what somebody else has stored meanwhile', async () => {
      const { recorder } = await place.school()
      const other = await place.school()
      for (const [id, changed] of [
        ['dog', { state: bytes('{"n":"another"}') }],
        ['cat', { topic: 'Cat.TrickAdded' }],
      ] as const) {
        const event = storedEvent(id, 1)
        let saving!: Promise<unknown>
        await dieWhileLocked('SHARE', () => {
          saving = recorder.insertEvents([event])
          saving.catch(() => undefined) // looked at below
        })
        await lostForNow(saving)
        await other.recorder.insertEvents([storedEvent(id, 1, changed)])
        await rejection(recorder.insertEvents([event]), RecordConflictError)
      }
    })

    it('makes nothing the own of an insert that was never sent', async () => {
      const { recorder } = await behindProxy({ poolTimeoutMs: 2000 })
      const events = [storedEvent('dog', 1)]
      await recorder.insertEvents(events)
      await proxy.down()
      await rejection(recorder.selectEvents('dog'), OperationalError) // the connection is seen to be gone
      const error = await rejection(recorder.insertEvents(events), OperationalError)
      expect(isOutcomeUnknown(error)).to.equal(false)
      await proxy.up()
      await rejection(recorder.insertEvents(events), RecordConflictError)
    })

    it('stores what is new beside what is found', async () => {
      const { recorder } = await behindProxy()
      const happened = proxy.loseNextReply()
      const [first, second] = storedEvents('dog', 1, 2) as [StoredEvent, StoredEvent]
      await lostForNow(recorder.insertEvents([first]))
      await happened
      const other = storedEvent('cat', 1)
      const ids = await recorder.insertEvents([other, first, second])
      const stored = await recorder.selectNotifications({ start: 2, limit: 10 })
      const idOf = ({ originatorId, originatorVersion }: StoredEvent) =>
        stored.find((each) => each.originatorId === originatorId && each.originatorVersion === originatorVersion)?.id
      expect(ids).to.deep.equal([idOf(other), idOf(first), idOf(second)])
      expect(stored).to.have.length(3)
    })

    it('finds both, what it had found before and what it has stored beside that', async () => {
      const { recorder } = await behindProxy()
      const [first, second] = storedEvents('dog', 1, 2) as [StoredEvent, StoredEvent]
      for (const events of [[first], [first, second]]) {
        const happened = proxy.loseNextReply('INSERT 0 1')
        await lostForNow(recorder.insertEvents(events))
        await happened
      }
      const ids = await recorder.insertEvents([first, second])
      const stored = await recorder.selectNotifications({ start: 2, limit: 10 })
      expect(stored.map(({ id }) => id)).to.deep.equal(ids)
      expect(versions(stored)).to.deep.equal([1, 2])
    })

    it('is an error of ours where it is lost again while looking for them', async () => {
      const { recorder } = await behindProxy()
      const events = storedEvents('dog', 1, 2)
      for (const lose of [() => proxy.loseNextReply(), () => proxy.loseNextStatement(/^SELECT .*encode\(state/)]) {
        const happened = lose()
        const error = await rejection(recorder.insertEvents(events), OperationalError)
        await happened
        expect([error.retryable, isOutcomeUnknown(error)]).to.deep.equal([true, true])
      }
      expect(await recorder.insertEvents(events)).to.have.length(2)
      expect(await place.stored()).to.deep.equal(['first 1', 'dog 1', 'dog 2'])
    })

    describe('with the answer to a save', () => {
      let school: Application<School['datastore']>

      beforeEach(async () => {
        const { datastore } = await behindProxy()
        school = new Application<typeof datastore>({ name: 'School', persistence: datastore })
        await school.save(new Dog('Rex'))
      })

      for (const [where, save, tag] of [
        ['', (dog: Dog) => school.save(dog), undefined],
        [' in a transaction', (dog: Dog) => school.transaction(() => school.save(dog)), 'COMMIT'],
        [
          ' in a savepoint',
          (dog: Dog) => school.transaction(() => school.transaction(() => school.save(dog))),
          'COMMIT',
        ],
        [
          ' in a transaction with autoflush off',
          (dog: Dog) => school.transaction(() => school.save(dog), { autoflush: false }),
          'COMMIT',
        ],
      ] as const) {
        it(`${where ? `made${where} ` : ''}gives the aggregate its events back, which are found when it is saved again`, async () => {
          const dog = new Dog('Fido')
          dog.addTrick('sit')
          const happened = proxy.loseNextReply(tag)
          const error = await rejection(save(dog), OperationalError)
          await happened
          expect(isOutcomeUnknown(error)).to.equal(true)
          expect(dog.pendingEvents).to.have.length(2)
          const recordings = await school.save(dog)
          const stored = await school.recorder.selectNotifications({ start: 3, limit: 10 })
          expect(recordings.map(({ notification }) => notification.id)).to.deep.equal(stored.map(({ id }) => id))
          expect(recordings.map(({ domainEvent }) => domainEvent.originatorVersion)).to.deep.equal([1, 2])
          expect(dog.pendingEvents).to.have.length(0)

          dog.addTrick('roll over')
          await school.save(dog)
          expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(['sit', 'roll over'])
          await rejection(school.save(...recordings.map(({ domainEvent }) => domainEvent)), RecordConflictError)
        })
      }

      it('to a save with snapshots that are due gives them back too, and both are there once they are saved again', async () => {
        class Snapshotting extends Application<School['datastore']> {
          static readonly snapshottingIntervals = [[Dog, 2]]
        }
        const persistence = school.factory.datastore as School['datastore']
        const snapshotting = new Snapshotting({ name: 'School', persistence })
        const rex = new Dog('Hasso')
        rex.addTrick('sit')
        await snapshotting.save(rex)
        const dog = new Dog('Fido')
        dog.addTrick('sit')
        const happened = proxy.loseNextReply('COMMIT')
        const error = await rejection(snapshotting.save(dog), OperationalError)
        await happened
        expect(isOutcomeUnknown(error)).to.equal(true)
        expect(dog.pendingEvents).to.have.length(2)
        for (const trick of ['bow', 'roll over']) dog.addTrick(trick)
        expect(await snapshotting.save(dog)).to.have.length(4)
        const snapshots = await snapshotting.snapshots.get(dog.id)
        expect(snapshots.map(({ originatorVersion }) => originatorVersion)).to.deep.equal([2, 4])
        expect((await snapshotting.repository.get(Dog, dog.id)).tricks).to.deep.equal(['sit', 'bow', 'roll over'])
        dog.addTrick('play dead')
        await snapshotting.save(dog)
      })

      it('lets it have newer events beside them', async () => {
        const dog = new Dog('Fido')
        const happened = proxy.loseNextReply()
        await rejection(school.save(dog), OperationalError)
        await happened
        dog.addTrick('sit')
        expect(await school.save(dog)).to.have.length(2)
        expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(['sit'])
      })

      it('stays a conflict inside of a transaction, whose other work would be done twice', async () => {
        const dog = new Dog('Fido')
        const work = () =>
          school.transaction(async (session) => {
            await session.insert(owners).values({ name: `owner ${Math.random()}` })
            await school.save(dog)
          })
        const happened = proxy.loseNextReply('COMMIT')
        await rejection(work(), OperationalError)
        await happened
        await rejection(work(), RecordConflictError)
        expect(await school.factory.datastore.transaction(() => [])).to.deep.equal([])
        expect(await rival`SELECT FROM owners`).to.have.length(1)
        expect(await school.save(dog)).to.have.length(1)
      })

      it('is told to transactionRetry, which repeats unless it is told not to', async () => {
        let calls = 0
        const unit = async () => {
          calls += 1
          await school.transaction((session) => session.insert(owners).values({ name: `owner ${calls}` }))
        }
        let happened = proxy.loseNextReply('COMMIT')
        await transactionRetry(unit)()
        await happened
        expect(await rival`SELECT FROM owners`).to.have.length(2)
        happened = proxy.loseNextReply('COMMIT')
        const retryOn = (error: unknown) => !isOutcomeUnknown(error)
        await rejection(transactionRetry(unit, { retryOn })(), OperationalError, 'not known')
        await happened
        expect(await rival`SELECT FROM owners`).to.have.length(3)
      })
    })
  })

  describePostgres(`A unit of work on PostgreSQL that is repeated, by ${poolOwner},`, () => {
    let place: Place

    beforeEach(async () => {
      place = await Place.open(poolOwner)
    })

    afterEach(() => place[Symbol.asyncDispose]())

    it('is done at last when its connection was killed, and nothing of the first attempt is there', async () => {
      const { datastore, recorder } = await place.school()
      let calls = 0
      await transactionRetry(() =>
        datastore.transaction(async (session) => {
          calls += 1
          await session.insert(owners).values({ name: `attempt ${calls}` })
          await recorder.insertEvents([storedEvent('dog', 1)])
          if (calls > 1) return
          const sleeping = Promise.resolve(session.execute(sql`SELECT pg_sleep(30)`))
          sleeping.catch(() => undefined) // awaited below
          while ((await place.end('PgSleep')) === 0) await pause(5)
          await sleeping
        }),
      )()
      expect(calls).to.equal(2)
      expect(await place.stored()).to.deep.equal(['dog 1'])
      expect((await datastore.db.select().from(owners)).map(({ name }) => name)).to.deep.equal(['attempt 2'])
    })

    it('is done by both who were in a deadlock with each other', async () => {
      const { datastore } = await place.school({ connection: { deadlock_timeout: '10ms' } })
      await datastore.db.insert(owners).values([{ name: 'Ann' }, { name: 'Bob' }])
      const first = gate()
      const second = gate()
      const calls = [0, 0]
      const locking = (n: 0 | 1, names: readonly string[]) =>
        transactionRetry(() =>
          datastore.transaction(async (session) => {
            calls[n] = (calls[n] as number) + 1
            for (const name of names) {
              await session.select().from(owners).where(eq(owners.name, name)).for('update')
              const [own, other] = n === 0 ? [first, second] : [second, first]
              own.open()
              await other.passed
            }
          }),
        )()
      await Promise.all([locking(0, ['Ann', 'Bob']), locking(1, ['Bob', 'Ann'])])
      expect([...calls].sort()).to.deep.equal([1, 2])
    })

    it('is done when it could not be serialized', async () => {
      const { datastore, recorder } = await place.school()
      await datastore.db.insert(owners).values({ name: 'Ann' })
      let calls = 0
      await transactionRetry(() =>
        datastore.transaction(
          async (session) => {
            calls += 1
            await session.select().from(owners)
            if (calls === 1) await datastore.outside(() => datastore.db.update(owners).set({ name: 'Bea' }))
            await session.update(owners).set({ name: 'Cid' })
            await recorder.insertEvents([storedEvent('dog', 1)])
          },
          { isolationLevel: 'repeatable read' },
        ),
      )()
      expect(calls).to.equal(2)
      expect((await datastore.db.select().from(owners)).map(({ name }) => name)).to.deep.equal(['Cid'])
      expect(await place.stored()).to.deep.equal(['dog 1'])
    })
  })
}

describe('The options retries and retryIntervalMs of postgres()', () => {
  it('are integers from 0', () => {
    for (const value of [-1, 0.5, NaN, Infinity, '1', null]) {
      for (const option of ['retries', 'retryIntervalMs']) {
        expect(() => postgres('postgresql://localhost/x', { [option]: value })).to.throw(ProgrammingError, option)
      }
    }
    expect(() => postgres('postgresql://localhost/x', { retries: 0, retryIntervalMs: 0 })).not.to.throw()
  })
})
