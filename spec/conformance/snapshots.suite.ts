import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import type { AggregateClass } from '../../lib/application/repository.js'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import {
  AggregateNotFoundError,
  AggregateTypeError,
  MapperDeserialisationError,
  ProgrammingError,
  RecordConflictError,
  TranscodingNotRegisteredError,
} from '../../lib/errors.js'
import type { AggregateRecorder, SnapshotRecorder } from '../../lib/persistence/recorders.js'
import type { Backend, Opened } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Cat, Dog, Puppy } from '../support/dogs.js'
import { failure, rejection } from '../support/rejection.js'
import { extrasOf } from '../support/sessions.js'
import { bytes, plain, storedEvent, versions } from '../support/stored-events.js'
import { TrainingSchool } from '../support/training-school.js'

/** What snapshots promise: an aggregate is read from them and the events after them, and is the same as from all events. */
export function snapshotsSuite(define: DefineCase, _backend: Backend): void {
  describe('A snapshot', () => {
    define('is taken by hand, and the aggregate is the same from it', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 3)
      const taken = await school.takeSnapshot(Dog, dog.id)
      expect(taken).to.include({ originatorId: dog.id, originatorVersion: 3, topic: 'Dog', classVersion: 1 })
      expect(taken.timestamp).to.be.instanceOf(Date)
      const [snapshot] = await school.snapshots.get(dog.id)
      expect(snapshot).to.deep.equal(taken)
      await school.addTrick('Fido', 'bow')
      const fromEvents = await plainSchool(opened).repository.get(Dog, dog.id)
      const fromSnapshot = await school.repository.get(Dog, dog.id)
      expect(fromSnapshot.version).to.equal(4)
      expect(isDeepStrictEqual(fromSnapshot, fromEvents)).to.equal(true)
      expect(fromSnapshot.pendingEvents).to.deep.equal([])
    })

    define('is what is read, in place of the events before it', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 3)
      await school.takeSnapshot(Dog, dog.id)
      await change(opened, dog.id, 3, ({ state }) => ({ ...state, tricks: ['from the snapshot'] }), school)
      await school.addTrick('Fido', 'bow')
      expect(await school.tricks('Fido')).to.deep.equal(['from the snapshot', 'bow'])
      expect((await school.repository.get(Dog, dog.id, { version: 3 })).tricks).to.deep.equal(['from the snapshot'])
      expect((await school.repository.get(Dog, dog.id, { version: 2 })).tricks).to.deep.equal(['trick 2'])
      expect(await plainSchool(opened).tricks('Fido')).to.deep.equal(['trick 2', 'trick 3', 'bow'])
    })

    define('is of any version, the latest up to the one that is wanted is read', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 6)
      for (const version of [4, 2, 99]) await school.takeSnapshot(Dog, dog.id, { version })
      expect((await school.snapshots.get(dog.id)).map(({ originatorVersion }) => originatorVersion)).to.deep.equal([
        2, 4, 6,
      ])
      expect(await school.snapshots.get(dog.id, { desc: true, limit: 1, lte: 5 })) //
        .to.have.lengthOf(1)
        .and.have.nested.property('[0].originatorVersion', 4)
      for (const version of [1, 2, 3, 4, 5, 6, 7]) {
        const dogThen = await school.repository.get(Dog, dog.id, { version })
        expect(dogThen.version, `version ${version}`).to.equal(Math.min(version, 6))
        expect(dogThen.tricks).to.have.lengthOf(Math.min(version, 6) - 1)
      }
    })

    define('of every shape, and of a subclass', async (opened) => {
      const school = snapshottingSchool(opened)
      const puppy = new Puppy('Rex')
      puppy.giveToy({ name: 'bone', squeaks: true })
      const cat = Cat.register('Tom')
      cat.nap(5)
      const plainOne = new Aggregate()
      await school.save(puppy, cat, plainOne)
      for (const [aggregateClass, original] of [
        [Dog, puppy],
        [Cat, cat],
        [Aggregate, plainOne],
      ] as [AggregateClass<Aggregate>, Aggregate][]) {
        await school.takeSnapshot(aggregateClass, original.id)
        expect(isDeepStrictEqual(await school.repository.get(aggregateClass, original.id), original)).to.equal(true)
      }
      expect(await school.repository.get(Dog, puppy.id)).to.be.instanceOf(Puppy)
    })

    define('is never among the notifications', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await school.takeSnapshot(Dog, dog.id)
      const notifications = await school.recorder.selectNotifications({ limit: 10 })
      expect(versions(notifications)).to.deep.equal([1, 2])
    })

    define('is taken again without harm', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await Promise.all([1, 2, 3, 4].map(() => school.takeSnapshot(Dog, dog.id)))
      await school.takeSnapshot(Dog, dog.id)
      expect(await school.snapshots.get(dog.id)).to.have.lengthOf(1)
    })

    define('is none of what is not there, or of another class', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await rejection(school.takeSnapshot(Dog, 'nobody'), AggregateNotFoundError)
      await rejection(school.takeSnapshot(Dog, dog.id, { version: 0 }), AggregateNotFoundError)
      await rejection(school.takeSnapshot(Cat, dog.id), AggregateTypeError)
      await rejection(school.takeSnapshot(Dog, ''), ProgrammingError)
      await rejection(school.takeSnapshot(Dog, dog.id, { version: 1.5 }), ProgrammingError)
      expect(await school.snapshots.get(dog.id)).to.deep.equal([])
    })

    define('does not hide another class, or that nothing is there', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await school.takeSnapshot(Dog, dog.id)
      await rejection(school.repository.get(Cat, dog.id), AggregateTypeError)
      await rejection(school.repository.get(Dog, dog.id, { version: 0 }), AggregateNotFoundError)
    })

    define('that can’t be read is an error that shows nothing of it, and is replaced by the next', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await school.takeSnapshot(Dog, dog.id)
      const recorder = (await opened.factory('TrainingSchool').aggregateRecorder('snapshots')) as SnapshotRecorder
      await recorder.replaceSnapshot(storedEvent(dog.id, 2, { topic: 'Dog', state: bytes('{"Ann-1815') }))
      for (const reading of [school.repository.get(Dog, dog.id), school.snapshots.get(dog.id)]) {
        const { message } = await rejection(
          reading,
          MapperDeserialisationError,
          `"Dog" ${JSON.stringify(dog.id)} at version 2`,
        )
        expect(message).to.not.include('1815')
      }
      await school.takeSnapshot(Dog, dog.id)
      expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(['trick 2'])
    })

    define('is not there where a transaction is rolled back, and is seen inside of it', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await failure(
        school.transaction(async () => {
          await school.addTrick('Fido', 'bow')
          await school.takeSnapshot(Dog, dog.id)
          expect((await school.snapshots.get(dog.id)).map(({ originatorVersion }) => originatorVersion)).to.deep.equal([
            3,
          ])
          expect(await school.tricks('Fido')).to.deep.equal(['trick 2', 'bow'])
          throw new Error('no')
        }),
      )
      expect(await school.snapshots.get(dog.id)).to.deep.equal([])
      expect(await school.tricks('Fido')).to.deep.equal(['trick 2'])
    })

    define('that was replaced in a transaction is the former one again where that is rolled back', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await school.takeSnapshot(Dog, dog.id)
      const recorder = (await opened.factory('TrainingSchool').aggregateRecorder('snapshots')) as SnapshotRecorder
      const [before] = await recorder.selectEvents(dog.id)
      const other = storedEvent(dog.id, 2, { topic: 'Other', state: bytes('other') })
      await failure(
        recorder.transaction(async () => {
          await recorder.replaceSnapshot(other)
          await recorder.replaceSnapshot(storedEvent(dog.id, 1))
          expect((await recorder.selectEvents(dog.id)).map(plain)).to.deep.equal(
            [storedEvent(dog.id, 1), other].map(plain),
          )
          throw new Error('no')
        }),
      )
      expect((await recorder.selectEvents(dog.id)).map(plain)).to.deep.equal([plain(before!)])
      await recorder.transaction(() => recorder.replaceSnapshot(other))
      expect((await recorder.selectEvents(dog.id)).map(plain)).to.deep.equal([plain(other)])
    })
  })

  describe('Snapshots by intervals', () => {
    define('are taken of each version that the interval divides, of subclasses too', async (opened) => {
      const school = snapshottingSchool(opened, [
        [Dog, 2],
        [Puppy, 3],
      ])
      const dog = new Dog('Fido')
      const puppy = new Puppy('Rex')
      const cat = Cat.register('Tom')
      for (let version = 2; version <= 7; version++) {
        dog.addTrick(`trick ${version}`)
        puppy.addTrick(`trick ${version}`)
        cat.nap(1)
        await school.save(dog, puppy, cat)
      }
      expect(await snapshotVersions(school, dog)).to.deep.equal([2, 4, 6])
      expect(await snapshotVersions(school, puppy)).to.deep.equal([3, 6])
      expect(await snapshotVersions(school, cat)).to.deep.equal([])
      await expectSame(opened, school, dog, puppy)
    })

    define('hold the state of their version where a save goes beyond it, or has several', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 3]])
      const dog = new Dog('Fido')
      for (let version = 2; version <= 7; version++) dog.addTrick(`trick ${version}`)
      await school.save(dog)
      for (let version = 8; version <= 10; version++) dog.addTrick(`trick ${version}`)
      await school.save(dog)
      expect(await snapshotVersions(school, dog)).to.deep.equal([3, 6, 9])
      for (const snapshot of await school.snapshots.get(dog.id)) {
        const { tricks } = await plainSchool(opened).repository.get(Dog, dog.id, {
          version: snapshot.originatorVersion,
        })
        expect(snapshot.state, `at ${snapshot.originatorVersion}`).to.deep.equal({ name: 'Fido', tricks })
        const { domainEvent } = {
          domainEvent: (await school.events.get(dog.id, { lte: snapshot.originatorVersion })).at(-1)!,
        }
        expect(snapshot.modifiedOn).to.deep.equal(domainEvent.timestamp)
        expect(snapshot.createdOn).to.deep.equal(dog.createdOn)
      }
      await expectSame(opened, school, dog)
    })

    define('are taken where events alone are saved', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 2]])
      const dog = new Dog('Fido')
      for (let version = 2; version <= 5; version++) dog.addTrick(`trick ${version}`)
      const [first, second, third, ...others] = dog.collectEvents()
      await school.save(first)
      await school.save(second, third)
      await school.save(...others)
      expect(await snapshotVersions(school, dog)).to.deep.equal([2, 4])
      await expectSame(opened, school, dog)
    })

    define('are there with their events, or neither is', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 2]])
      const dog = await saved(school, 3)
      const other = await school.repository.get(Dog, dog.id)
      await school.addTrick('Fido', 'bow')
      other.addTrick('sit')
      await rejection(school.save(other), RecordConflictError)
      expect(other.pendingEvents).to.have.lengthOf(1)
      expect((await school.snapshots.get(dog.id)).at(-1)!.state)
        .to.have.property('tricks')
        .that.includes('bow')

      await failure(
        school.transaction(async () => {
          await school.addTrick('Fido', 'roll over')
          await school.addTrick('Fido', 'play dead')
          expect(await snapshotVersions(school, dog)).to.deep.equal([2, 4, 6])
          throw new Error('no')
        }),
      )
      expect(await snapshotVersions(school, dog)).to.deep.equal([2, 4])
    })

    define('that can’t be stored fail the save: nothing is stored, and events are given back', async (opened) => {
      const school = snapshottingSchool(opened, [[Holder, 2]])
      const holder = new Holder()
      holder.hold()
      const pending = holder.pendingEvents
      await rejection(school.save(holder), TranscodingNotRegisteredError, 'The snapshot of Holder')
      expect(holder.pendingEvents).to.deep.equal(pending)
      expect(await school.repository.has(holder.id)).to.equal(false)
      await school.transaction(async () => {
        await rejection(school.save(holder), TranscodingNotRegisteredError)
        await school.register('Fido')
      })
      expect(await school.tricks('Fido')).to.deep.equal([])
      expect(await school.repository.has(holder.id)).to.equal(false)
    })

    define('are undone with events that conflict, in a transaction that goes on', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 2]])
      await school.register('Fido')
      await school.transaction(async () => {
        const dog = new Dog('Rex')
        dog.addTrick('sit')
        const [registered] = dog.collectEvents()
        await school.save(registered)
        // the same version again
        await rejection(school.save(registered, ...trickOf(dog)), RecordConflictError)
      })
      expect(await school.tricks('Rex')).to.deep.equal([])
      expect(await snapshotVersions(school, { id: Dog.createId('Rex') })).to.deep.equal([])
    })

    define('of an aggregate that was read in a rolled-back transaction are made of what is stored', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 4]])
      const dog = await saved(school, 2)
      let doubtful: Dog | undefined
      await failure(
        school.transaction(async () => {
          await school.addTrick('Fido', 'never happened')
          doubtful = await school.repository.get(Dog, dog.id)
          throw new Error('no')
        }),
      )
      await school.addTrick('Fido', 'bow')
      doubtful!.addTrick('sit')
      await school.save(doubtful)
      expect(await school.tricks('Fido')).to.deep.equal(['trick 2', 'bow', 'sit'])
      await expectSame(opened, school, await plainSchool(opened).repository.get(Dog, dog.id))
      // that it was saved since says nothing of what it had before
      for (let version = 5; version <= 8; version++) doubtful!.addTrick(`trick ${version}`)
      await school.save(doubtful)
      expect(await snapshotVersions(school, dog)).to.deep.equal([4, 8])
      await expectSame(opened, school, dog)
    })

    define('wait with their events where autoflush is off', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 4]])
      const dog = new Dog('Fido')
      await school.transaction(
        async (session) => {
          dog.addTrick('trick 2')
          expect(await school.save(dog)).to.deep.equal([])
          dog.addTrick('trick 3')
          await school.save(dog)
          for (let version = 4; version <= 5; version++) dog.addTrick(`trick ${version}`)
          await school.save(dog)
          expect(await snapshotVersions(school, dog)).to.deep.equal([])
          await extrasOf(session).flush()
          expect(await snapshotVersions(school, dog)).to.deep.equal([4])
          for (let version = 6; version <= 9; version++) dog.addTrick(`trick ${version}`)
          await school.save(dog)
          expect(await snapshotVersions(school, dog)).to.deep.equal([4])
        },
        { autoflush: false },
      )
      expect(await snapshotVersions(school, dog)).to.deep.equal([4, 8])
      await expectSame(opened, school, dog)
    })

    define('that wait are gone with the events that can’t be flushed', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 2]])
      const dog = await saved(school, 1)
      const other = await school.repository.get(Dog, dog.id)
      await school.addTrick('Fido', 'bow')
      other.addTrick('sit')
      await rejection(
        school.transaction(async () => void (await school.save(other)), { autoflush: false }),
        RecordConflictError,
      )
      expect(other.pendingEvents).to.have.lengthOf(1)
      await expectSame(opened, school, await plainSchool(opened).repository.get(Dog, dog.id))
    })

    define('cost nothing where none is due: notification ids stay contiguous and saves shared', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 1000]])
      const dogs = Array.from({ length: 20 }, (_, i) => new Dog(`Dog ${i}`))
      await Promise.all(dogs.map((dog) => school.save(dog)))
      expect(await school.recorder.selectNotifications({ limit: 100 })).to.have.lengthOf(20)
      expect(await snapshotVersions(school, dogs[0]!)).to.deep.equal([])
    })

    define('are taken of saves that are started together', async (opened) => {
      const school = snapshottingSchool(opened, [[Dog, 2]])
      const dogs = Array.from({ length: 8 }, (_, i) => new Dog(`Dog ${i}`))
      for (const dog of dogs) dog.addTrick('sit')
      await Promise.all(dogs.map((dog) => school.save(dog)))
      await school.transaction(async () => {
        for (const dog of dogs) for (const trick of ['bow', 'roll over']) dog.addTrick(trick)
        await Promise.all(dogs.map((dog) => school.save(dog)))
      })
      for (const dog of dogs) expect(await snapshotVersions(school, dog)).to.deep.equal([2, 4])
      await expectSame(opened, school, ...dogs)
    })
  })

  describe('Applications without snapshots', () => {
    define('say how they are enabled', async (opened) => {
      const school = plainSchool(opened)
      await rejection(school.takeSnapshot(Dog, 'dog'), ProgrammingError, 'IS_SNAPSHOTTING_ENABLED=yes')
      await rejection(school.snapshots.get('dog'), ProgrammingError, 'snapshottingIntervals')
    })

    define('read events, where others have taken snapshots', async (opened) => {
      const school = snapshottingSchool(opened)
      const dog = await saved(school, 2)
      await school.takeSnapshot(Dog, dog.id)
      await change(opened, dog.id, 2, ({ state }) => ({ ...state, tricks: [] }), school)
      expect(await plainSchool(opened).tricks('Fido')).to.deep.equal(['trick 2'])
    })
  })
}

/** Holds something that no transcoding is registered for. */
@aggregate('Holder')
class Holder extends Aggregate {
  held: unknown = undefined
  @event('Held')
  hold() {
    this.held = new (class Unknown {})()
  }
}

type Intervals = [AggregateClass, number][]

function snapshottingSchool(opened: Opened, intervals?: Intervals): TrainingSchool {
  class School extends TrainingSchool {
    static isSnapshottingEnabled = true
    static snapshottingIntervals = intervals
  }
  return new School({ persistence: opened.persistence('TrainingSchool') })
}

/** The same events, without snapshots. */
function plainSchool(opened: Opened): TrainingSchool {
  return new TrainingSchool({ persistence: opened.persistence('TrainingSchool') })
}

/** Fido, saved at that version. */
async function saved(school: TrainingSchool, version: number): Promise<Dog> {
  const dog = new Dog('Fido')
  for (let next = 2; next <= version; next++) dog.addTrick(`trick ${next}`)
  await school.save(dog)
  return dog
}

function trickOf(dog: Dog) {
  dog.addTrick('bow')
  return dog.collectEvents()
}

async function snapshotVersions(school: TrainingSchool, { id }: { id: string }): Promise<number[]> {
  return (await school.snapshots.get(id)).map(({ originatorVersion }) => originatorVersion)
}

/** From snapshots these are the same as from events alone. */
async function expectSame(opened: Opened, school: TrainingSchool, ...aggregates: Aggregate[]): Promise<void> {
  for (const { id } of aggregates) {
    const expected = await plainSchool(opened).repository.get(Dog, id)
    const found = await school.repository.get(Dog, id)
    expect(isDeepStrictEqual(found, expected), id).to.equal(true)
  }
}

/** Stores another snapshot in the place of one. */
async function change(
  opened: Opened,
  id: string,
  version: number,
  edit: (values: { state: Record<string, unknown> }) => object,
  school: TrainingSchool,
): Promise<void> {
  const factory = opened.factory('TrainingSchool')
  const recorder: AggregateRecorder = await factory.aggregateRecorder('snapshots')
  const mapper = await factory.mapper()
  const snapshot = (await school.snapshots.get(id)).find(({ originatorVersion }) => originatorVersion === version)!
  const state = edit(snapshot) as Record<string, unknown>
  await (recorder as SnapshotRecorder).replaceSnapshot(await mapper.toStoredSnapshot({ ...snapshot, state }))
}
