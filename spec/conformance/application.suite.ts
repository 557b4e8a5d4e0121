import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import { NotificationLog } from '../../lib/application/notification-log.js'
import type { Saved } from '../../lib/application/taken-events.js'
import { withMetadata } from '../../lib/domain/metadata.js'
import {
  AggregateNotFoundError,
  AggregateTypeError,
  DataError,
  InterfaceError,
  NotSupportedError,
  ProgrammingError,
  RecordConflictError,
} from '../../lib/errors.js'
import type { Backend } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Cat, Dog, Puppy } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { pendingVersions } from '../support/pending-versions.js'
import { random } from '../support/random.js'
import { rejection } from '../support/rejection.js'
import { freshId, storedEvent, storedEvents, versions } from '../support/stored-events.js'
import { schoolOn, TrainingSchool } from '../support/training-school.js'

/** What an application promises: saving, getting back, the notification log, and its life from first use to close. */
export function applicationSuite(define: DefineCase, backend: Backend): void {
  describe('Application.save', () => {
    define('stores aggregates, which the repository gets back', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      await school.addTrick('Fido', 'roll over')
      await school.addTrick('Fido', 'play dead')
      expect(await school.tricks('Fido')).to.deep.equal(['roll over', 'play dead'])
    })

    define('gives back a recording for each event, in order', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Rex')
      const dog = new Dog('Fido')
      dog.addTrick('roll over')
      const pending = dog.pendingEvents
      const recordings = await school.save(dog)
      expect(recordings.map(({ domainEvent }) => domainEvent)).to.deep.equal(pending)
      const first = recordings[0]!.notification.id
      for (const [i, { domainEvent, notification }] of recordings.entries()) {
        expect(notification).to.have.all.keys('id', 'originatorId', 'originatorVersion', 'topic', 'state')
        expect(notification.id)
          .to.be.a('number')
          .and.equal(first + i)
        expect(notification.originatorId).to.equal(dog.id)
        expect(notification.originatorVersion).to.equal(i + 1)
        expect(notification.topic).to.equal(domainEvent.topic)
        expect(notification.state).to.be.instanceOf(Uint8Array)
      }
      const stored = await school.recorder.selectNotifications({ start: first, limit: 10 })
      expect(stored).to.have.length(2)
      for (const [i, { id, state, topic }] of stored.entries()) {
        const { notification } = recordings[i]!
        expect({ id, topic, state: [...state] }).to.deep.equal({
          id: notification.id,
          topic: notification.topic,
          state: [...notification.state],
        })
      }
    })

    define('stores nothing for nothing, and gives back []', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      expect(await school.save()).to.deep.equal([])
      expect(await school.save(undefined)).to.deep.equal([])
      expect(await school.save(dog)).to.have.length(1)
      expect(await school.save(dog, undefined)).to.deep.equal([])
      expect(await school.recorder.selectNotifications({ limit: 10 })).to.have.length(1)
    })

    define(
      'takes aggregates of every shape, domain events and undefined in any mix, and keeps their order',
      async (opened) => {
        const school = schoolOn(opened)
        const dog = new Dog('Fido')
        dog.addTrick('roll over')
        const cat = Cat.register('Tom')
        const [registered, taught] = taughtDog('Rex').collectEvents()
        const recordings = await school.save(cat, undefined, registered, dog, taught)
        const topics = ['Cat.Registered', 'Dog.Registered', 'Dog.Registered', 'Dog.TrickAdded', 'Dog.TrickAdded']
        expect(recordings.map(({ domainEvent }) => domainEvent.topic)).to.deep.equal(topics)
        const stored = await school.notificationLog.select()
        expect(stored.map(({ topic }) => topic)).to.deep.equal(topics)
        expect(stored.map(({ id }) => id)).to.deep.equal(recordings.map(({ notification }) => notification.id))
        expect(await school.tricks('Rex')).to.deep.equal(['sit'])
      },
    )

    define(
      'refuses what is neither aggregate nor domain event, and takes no events from the others',
      async (opened) => {
        const school = schoolOn(opened)
        const wrong: unknown[] = [{}, 7, 'text', [], () => undefined, new Date(), true, { originatorId: 'dog' }]
        for (const object of wrong) {
          const dog = new Dog('Fido')
          await rejection(school.save(dog, object as Saved), ProgrammingError)
          expect(dog.pendingEvents).to.have.length(1)
        }
        expect(await school.recorder.maxNotificationId()).to.equal(null)
      },
    )

    define('stores several aggregates together, or none of them', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const [one, other] = [await school.repository.get(Dog, Dog.createId('Fido')), new Dog('Rex')]
      await school.addTrick('Fido', 'first')
      one.addTrick('second')
      const error = await rejection(school.save(other, one), RecordConflictError)
      expect(error.originatorId).to.equal(one.id)
      expect(error.originatorVersion).to.equal(2)
      expect(error.currentVersion).to.equal(2)
      expect(await school.repository.has(other.id)).to.equal(false)
      expect(versions(await school.recorder.selectEvents(one.id))).to.deep.equal([1, 2])
      expect(pendingVersions(one)).to.deep.equal([2])
      expect(pendingVersions(other)).to.deep.equal([1])
      await school.save(other)
      expect(await school.tricks('Rex')).to.deep.equal([])
    })

    define('gives the events of a refused save back, so that saving again reports again', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const stale = await school.repository.get(Dog, Dog.createId('Fido'))
      await school.addTrick('Fido', 'first')
      stale.addTrick('second')
      const pending = stale.pendingEvents
      for (const _ of [1, 2]) {
        await rejection(school.save(stale), RecordConflictError)
        expect(stale.pendingEvents).to.deep.equal(pending)
      }
      const reloaded = await school.repository.get(Dog, stale.id)
      reloaded.addTrick('second')
      await school.save(reloaded)
      expect(await school.tricks('Fido')).to.deep.equal(['first', 'second'])
    })

    define('gives events back before newer ones', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const stale = await school.repository.get(Dog, Dog.createId('Fido'))
      await school.addTrick('Fido', 'first')
      stale.addTrick('second')
      const saving = school.save(stale)
      stale.addTrick('third')
      await rejection(saving, RecordConflictError)
      expect(pendingVersions(stale)).to.deep.equal([2, 3])
    })

    define('gives events back when the transaction they were saved in rolls back', async (opened) => {
      const school = schoolOn(opened)
      const [dog, cat] = [taughtDog('Fido'), Cat.register('Tom')]
      await rejection(
        school.transaction(async () => {
          await school.save(dog)
          dog.addTrick('roll over')
          await school.save(cat)
          await school.save(dog)
          expect(dog.pendingEvents).to.have.length(0)
          expect(await school.tricks('Fido')).to.deep.equal(['sit', 'roll over'])
          dog.addTrick('play dead')
          throw new RangeError('undo')
        }),
        RangeError,
      )
      expect(pendingVersions(dog)).to.deep.equal([1, 2, 3, 4])
      expect(pendingVersions(cat)).to.deep.equal([1])
      expect(await school.repository.has(dog.id)).to.equal(false)
      await school.save(dog, cat)
      expect(await school.tricks('Fido')).to.deep.equal(['sit', 'roll over', 'play dead'])
    })

    define('gives events back that were saved in a rolled-back savepoint, and those alone', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      await school.transaction(async () => {
        await school.save(dog)
        await rejection(
          school.transaction(async () => {
            dog.addTrick('roll over')
            await school.save(dog)
            // released into the one that is rolled back
            await school.transaction(async () => {
              dog.addTrick('play dead')
              await school.save(dog)
            })
            throw new RangeError('undo')
          }),
          RangeError,
        )
        expect(pendingVersions(dog)).to.deep.equal([2, 3])
        await school.save(dog)
      })
      expect(dog.pendingEvents).to.have.length(0)
      expect(await school.tricks('Fido')).to.deep.equal(['roll over', 'play dead'])
    })

    define('gives events back when a handle rolls back, or commits nothing', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      {
        await using tx = await school.transaction()
        await tx.run(() => school.save(dog))
      }
      expect(pendingVersions(dog)).to.deep.equal([1])
      const tx = await school.recorder.transaction()
      await tx.run(() => school.save(dog))
      await tx.commit()
      expect(dog.pendingEvents).to.have.length(0)
      expect(await school.repository.has(dog.id)).to.equal(true)
    })

    define('gives events back that a nested transaction had saved which was left open', async (opened) => {
      const school = schoolOn(opened)
      await school.ready()
      const dog = taughtDog('Fido')
      const [saved, ended] = [gate(), gate()]
      let dangling!: Promise<unknown>
      const outer = school.transaction(async () => {
        dangling = rejection(
          school.transaction(async () => {
            await school.save(dog)
            saved.open()
            await ended.passed
          }),
          InterfaceError,
        )
        await saved.passed
        throw new RangeError('undo')
      })
      await rejection(outer, RangeError)
      expect(pendingVersions(dog)).to.deep.equal([1, 2])
      ended.open()
      await dangling
      expect(pendingVersions(dog)).to.deep.equal([1, 2])
      await school.save(dog)
      expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    })

    define('leaves no gap where newer events are saved outside of a transaction that rolls back', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      await school.save(dog)
      let outside!: Promise<unknown>
      const undone = school.transaction(async () => {
        dog.addTrick('inside')
        await school.save(dog)
        dog.addTrick('outside')
        outside = opened.datastore.outside(() => school.save(dog))
        outside.catch(() => undefined) // whether it waits or is refused, nothing must be lost
        await nextTurn()
        throw new RangeError('undo')
      })
      await rejection(undone, RangeError)
      await Promise.allSettled([outside])
      const stored = versions(await school.recorder.selectEvents(dog.id))
      expect([...stored, ...pendingVersions(dog)]).to.deep.equal([1, 2, 3])
      await school.save(dog)
      expect(await school.tricks('Fido')).to.deep.equal(['inside', 'outside'])
    })

    define('refuses inside a transaction to wait for a save outside that waits for the transaction', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      await school.save(dog)
      let outside!: Promise<unknown>
      await school.transaction(async () => {
        await school.register('Rex') // takes the writer, where there is one
        dog.addTrick('outside')
        outside = opened.datastore.outside(() => school.save(dog))
        outside.catch(() => undefined)
        dog.addTrick('inside')
        await rejection(school.save(dog), ProgrammingError)
      })
      await outside
      expect(pendingVersions(dog)).to.deep.equal([3])
      await school.save(dog)
      expect(await school.tricks('Fido')).to.deep.equal(['outside', 'inside'])
    })

    define('gives events back after a conflict that is caught inside a transaction, once', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const stale = await school.repository.get(Dog, Dog.createId('Fido'))
      await school.addTrick('Fido', 'first')
      stale.addTrick('second')
      await rejection(
        school.transaction(async () => {
          await rejection(school.save(stale), RecordConflictError)
          expect(pendingVersions(stale)).to.deep.equal([2])
          throw new RangeError('undo')
        }),
        RangeError,
      )
      expect(pendingVersions(stale)).to.deep.equal([2])
    })

    define('refuses to save inside commit: false, and gives the events back', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Rex')
      const dog = new Dog('Fido')
      await school.transaction(
        async () => {
          await rejection(school.save(dog), ProgrammingError, 'Transaction already started with commit=False')
          expect(pendingVersions(dog)).to.deep.equal([1])
          expect(await school.tricks('Rex')).to.deep.equal([])
        },
        { commit: false },
      )
      expect(pendingVersions(dog)).to.deep.equal([1])
      await school.save(dog)
    })

    define('stores one aggregate once that is saved twice at the same time', async (opened) => {
      const school = schoolOn(opened)
      // the first saves also connect, the second ones don't
      for (const name of ['Fido', 'Rex']) {
        const dog = taughtDog(name)
        const saved = await Promise.all([school.save(dog), school.save(dog)])
        expect(saved.map(({ length }) => length)).to.deep.equal([2, 0])
        expect(versions(await school.recorder.selectEvents(dog.id))).to.deep.equal([1, 2])
        expect(await school.save(dog, dog)).to.deep.equal([])
      }
    })

    define('leaves events pending that are caused during a save', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      const saving = school.save(dog)
      dog.addTrick('during')
      expect(await saving).to.have.length(1)
      expect(pendingVersions(dog)).to.deep.equal([2])
      expect(await school.save(dog)).to.have.length(1)
      expect(await school.tricks('Fido')).to.deep.equal(['during'])
    })

    define('stores both of two saves under way of one aggregate, in order', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      const saves: Promise<unknown[]>[] = []
      for (let i = 0; i < 10; i += 1) {
        saves.push(school.save(dog))
        dog.addTrick(`trick ${i}`)
        if (i % 3 === 0) await nextTurn()
      }
      saves.push(school.save(dog))
      const counts = (await Promise.all(saves)).map(({ length }) => length)
      expect(counts.reduce((sum, count) => sum + count)).to.equal(11)
      expect(dog.pendingEvents).to.have.length(0)
      const stored = await school.recorder.selectNotifications({ limit: 100 })
      expect(versions(stored)).to.deep.equal(Array.from({ length: 11 }, (_, i) => i + 1))
      expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(dog.tricks)
    })

    define('leaves no gap where the first of two saves under way fails', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const stale = await school.repository.get(Dog, Dog.createId('Fido'))
      await school.addTrick('Fido', 'first')
      stale.addTrick('second')
      const one = rejection(school.save(stale), RecordConflictError)
      stale.addTrick('third')
      const other = rejection(school.save(stale), RecordConflictError)
      stale.addTrick('fourth')
      await Promise.all([one, other])
      expect(pendingVersions(stale)).to.deep.equal([2, 3, 4])
      expect(versions(await school.recorder.selectEvents(stale.id))).to.deep.equal([1, 2])
    })

    define('lets exactly one of several concurrent deciders win', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const id = Dog.createId('Fido')
      const dogs = await Promise.all(Array.from({ length: 8 }, () => school.repository.get(Dog, id)))
      const outcomes = await Promise.allSettled(
        dogs.map((dog, i) => {
          dog.addTrick(`trick ${i}`)
          return school.save(dog)
        }),
      )
      const winner = outcomes.findIndex(({ status }) => status === 'fulfilled')
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).to.have.length(1)
      expect(await school.tricks('Fido')).to.deep.equal([`trick ${winner}`])
    })

    define('loses nothing of concurrent requests that repeat after a conflict', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const wanted = Array.from({ length: 12 }, (_, i) => `trick ${i}`)
      await Promise.all(
        wanted.map(async (trick, i) => {
          const chance = random(i)
          for (;;) {
            await chance.yield()
            try {
              return await school.addTrick('Fido', trick)
            } catch (error) {
              expect(error).to.be.instanceOf(RecordConflictError)
            }
          }
        }),
      )
      expect((await school.tricks('Fido')).sort()).to.deep.equal([...wanted].sort())
    })

    define('commits several applications’ saves together, or none of them', async (opened) => {
      const [school, kennel] = [schoolOn(opened, 'School'), schoolOn(opened, 'Kennel')]
      const dog = new Dog('Fido')
      const again = new Dog('Fido')
      await rejection(
        school.transaction(async () => {
          await school.save(dog)
          await kennel.save(again)
          expect(await kennel.tricks('Fido')).to.deep.equal([])
          throw new RangeError('undo')
        }),
        RangeError,
      )
      for (const application of [school, kennel]) expect(await application.repository.has(dog.id)).to.equal(false)
      await kennel.transaction(async () => {
        await school.save(dog)
        await kennel.save(again)
      })
      for (const application of [school, kennel]) expect(await application.repository.has(dog.id)).to.equal(true)
    })

    define('joins through the methods of the application, however deep', async (opened) => {
      const school = schoolOn(opened)
      const work = async () => {
        await school.register('Fido')
        await Promise.all([school.register('Rex'), school.register('Bello')])
        await school.addTrick('Fido', 'roll over')
        expect(await school.tricks('Fido')).to.deep.equal(['roll over'])
      }
      await rejection(
        opened.datastore.transaction(async () => {
          await work()
          throw new RangeError('undo')
        }),
        RangeError,
      )
      expect(await school.recorder.maxNotificationId()).to.equal(null)
      await opened.datastore.transaction(work)
      expect(await school.notificationLog.select()).to.have.length(4)
    })

    define('stores metadata with the event', async (opened) => {
      const school = schoolOn(opened)
      const dog = await withMetadata({ userId: 'ann' }, async () => {
        await nextTurn()
        const made = new Dog('Fido')
        withMetadata({ source: 'spec' }, () => made.addTrick('roll over'))
        return made
      })
      dog.addTrick('play dead')
      await school.save(dog)
      const stored = await school.events.get(dog.id)
      expect(stored.map(({ metadata }) => metadata)).to.deep.equal([
        { userId: 'ann' },
        { userId: 'ann', source: 'spec' },
        {},
      ])
    })

    define('gives domain events back as they were', async (opened) => {
      const school = schoolOn(opened)
      const dog = taughtDog('Fido')
      const pending = dog.pendingEvents
      await school.save(dog)
      const stored = await school.events.get(dog.id)
      expect(isDeepStrictEqual(stored, pending)).to.equal(true)
      for (const event of stored) expect(Object.isFrozen(event)).to.equal(true)
      expect(versions((await school.events.get(dog.id, { gt: 1 })) as never)).to.deep.equal([2])
      const [next] = [{ ...stored[1]!, originatorVersion: 3 }]
      const recordings = await school.events.put([next])
      expect(recordings).to.have.length(1)
      expect(await school.tricks('Fido')).to.deep.equal(['sit', 'sit'])
    })

    define('refuses domain events that can not be stored, and gives the others back', async (opened) => {
      const school = schoolOn(opened)
      const [event] = new Dog('Fido').collectEvents()
      const dog = new Dog('Rex')
      await rejection(school.save(dog, { ...event!, originatorId: 'a\0b' }), DataError)
      await rejection(school.save(dog, { ...event!, originatorVersion: 0.5 }), ProgrammingError)
      await rejection(school.save(dog, { ...event!, timestamp: 'today' } as never), ProgrammingError)
      expect(pendingVersions(dog)).to.deep.equal([1])
      expect(await school.recorder.maxNotificationId()).to.equal(null)
    })
  })

  describe('Repository', () => {
    define('gets an aggregate that equals the one saved', async (opened) => {
      const school = schoolOn(opened)
      const dog = taughtDog('Fido')
      const cat = Cat.register('Tom')
      cat.nap(20)
      const puppy = new Puppy('Bello')
      puppy.giveToy({ name: 'ball', squeaks: true })
      await school.save(dog, cat, puppy)
      const got = [
        await school.repository.get(Dog, dog.id),
        await school.repository.get(Cat, cat.id),
        await school.repository.get(Puppy, puppy.id),
      ]
      for (const [i, original] of [dog, cat, puppy].entries()) {
        expect(isDeepStrictEqual(got[i], original), original.constructor.name).to.equal(true)
        expect(got[i]!.pendingEvents).to.have.length(0)
        expect(got[i]!.version).to.equal(2)
        expect(got[i]!.modifiedOn).to.deep.equal(original.modifiedOn)
      }
    })

    define('gives each caller an aggregate of its own', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const id = Dog.createId('Fido')
      const [one, other] = await Promise.all([school.repository.get(Dog, id), school.repository.get(Dog, id)])
      one.addTrick('roll over')
      expect(other.tricks).to.deep.equal([])
      expect(await school.tricks('Fido')).to.deep.equal([])
    })

    define('gets an aggregate as it was at a version', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      for (const trick of ['a', 'b', 'c']) dog.addTrick(trick)
      await school.save(dog)
      const at = async (version: number) => (await school.repository.get(Dog, dog.id, { version })).tricks
      expect(await at(1)).to.deep.equal([])
      expect(await at(3)).to.deep.equal(['a', 'b'])
      expect(await at(4)).to.deep.equal(['a', 'b', 'c'])
      expect(await at(99)).to.deep.equal(['a', 'b', 'c'])
      await rejection(at(0), AggregateNotFoundError)
      await rejection(at(1.5), ProgrammingError, 'version')
    })

    define('knows whether there is one', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
      expect(await school.repository.has(Dog.createId('Rex'))).to.equal(false)
    })

    define('says which one is not there', async (opened) => {
      const school = schoolOn(opened)
      const id = freshId()
      await rejection(school.repository.get(Dog, id), AggregateNotFoundError, id)
      const error = await rejection(school.repository.get(Dog, id, { version: 7 }), AggregateNotFoundError, id)
      expect(error.message).to.include('7')
    })

    define('gives the subclass’s instance where the stream is one’s, and refuses other classes', async (opened) => {
      const school = schoolOn(opened)
      const [dog, puppy, cat] = [new Dog('Fido'), new Puppy('Bello'), Cat.register('Tom')]
      await school.save(dog, puppy, cat)
      expect(await school.repository.get(Dog, puppy.id)).to.be.instanceOf(Puppy)
      await rejection(school.repository.get(Puppy, dog.id), AggregateTypeError)
      await rejection(school.repository.get(Cat, dog.id), AggregateTypeError)
      await rejection(school.repository.get(Dog, cat.id), AggregateTypeError)
    })

    define('sees inside a transaction what was saved inside, and outside nothing of it', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      await rejection(
        school.transaction(async () => {
          await school.addTrick('Fido', 'roll over')
          await school.register('Rex')
          expect(await school.tricks('Fido')).to.deep.equal(['roll over'])
          expect(await school.repository.has(Dog.createId('Rex'))).to.equal(true)
          throw new RangeError('undo')
        }),
        RangeError,
      )
      expect(await school.tricks('Fido')).to.deep.equal([])
      expect(await school.repository.has(Dog.createId('Rex'))).to.equal(false)
      // an aggregate got before and after is usable: nothing of the rolled-back transaction is kept
      await school.addTrick('Fido', 'play dead')
      expect(versions(await school.recorder.selectEvents(Dog.createId('Fido')))).to.deep.equal([1, 2])
    })
  })

  describe('NotificationLog', () => {
    define('has an empty section at first', async (opened) => {
      const school = schoolOn(opened)
      expect(await school.notificationLog.section('1,10')).to.deep.equal({ id: null, items: [], nextId: null })
      expect(await school.notificationLog.select()).to.deep.equal([])
      expect(await collect(school.notificationLog.read())).to.deep.equal([])
    })

    define('gives sections, each with the id of the next while they are full', async (opened) => {
      const school = schoolOn(opened)
      await saveDogs(school, 25)
      const log = school.notificationLog
      const at = async (id: string) => {
        const { items, ...ids } = await log.section(id)
        return { ...ids, ids: items.map((item) => item.id) }
      }
      expect(await at('1,10')).to.deep.equal({ id: '1,10', nextId: '11,20', ids: range(1, 10) })
      expect(await at('11,20')).to.deep.equal({ id: '11,20', nextId: '21,30', ids: range(11, 20) })
      expect(await at('21,30')).to.deep.equal({ id: '21,25', nextId: null, ids: range(21, 25) })
      expect(await at('31,40')).to.deep.equal({ id: null, nextId: null, ids: [] })
      expect(await at('6,8')).to.deep.equal({ id: '6,8', nextId: '9,11', ids: range(6, 8) })
      expect(await at('1,100')).to.deep.equal({ id: '1,10', nextId: '11,20', ids: range(1, 10) })
      expect(await at('-5,3')).to.deep.equal({ id: '1,3', nextId: '4,6', ids: range(1, 3) })
      expect(await at('9,3')).to.deep.equal({ id: null, nextId: null, ids: [] })
      for (const id of ['', '1', '1,', 'a,b', '1,2,3', '1.5,2']) {
        await rejection(log.section(id), ProgrammingError)
      }
    })

    define('selects up to its section size, and refuses more', async (opened) => {
      const school = schoolOn(opened)
      await saveDogs(school, 12)
      const log = school.notificationLog
      const ids = async (options?: Parameters<typeof log.select>[0]) => (await log.select(options)).map(({ id }) => id)
      expect(await ids()).to.deep.equal(range(1, 10))
      expect(await ids({ start: 5, limit: 3 })).to.deep.equal([5, 6, 7])
      expect(await ids({ start: 5, limit: 10 })).to.deep.equal(range(5, 12))
      expect(await ids({ start: 11, stop: 11 })).to.deep.equal([11])
      expect(await ids({ start: 11, inclusiveOfStart: false })).to.deep.equal([12])
      expect(await ids({ topics: ['Dog.Registered'] })).to.deep.equal(range(1, 10))
      expect(await ids({ topics: ['Dog.TrickAdded'] })).to.deep.equal([])
      await rejection(log.select({ limit: 20 }), ProgrammingError, 'Requested limit 20 greater than section size 10')
      await rejection(log.select({ limit: -1 }), ProgrammingError, 'limit')
    })

    define('reads all notifications, from a start on', async (opened) => {
      const school = schoolOn(opened)
      await saveDogs(school, 31)
      const ids = async (options?: { start?: number }) =>
        (await collect(school.notificationLog.read(options))).map(({ id }) => id)
      expect(await ids()).to.deep.equal(range(1, 31))
      expect(await ids({ start: 22 })).to.deep.equal(range(22, 31))
      expect(await ids({ start: 32 })).to.deep.equal([])
      for await (const { id } of school.notificationLog.read()) if (id === 3) break
    })

    define('reads all notifications of a long log, also those that come meanwhile', async (opened) => {
      const school = schoolOn(opened)
      await school.recorder.insertEvents(storedEvents('long', 1, 1200))
      const ids: number[] = []
      for await (const { id } of school.notificationLog.read({ start: 2 })) {
        ids.push(id)
        if (id === 900) await school.recorder.insertEvents(storedEvents('late', 1, 20))
      }
      expect(ids).to.deep.equal(range(2, 1220))
    })

    define('reads a long log in pages that grow, but not to more than is good to hold at once', async (opened) => {
      const { recorder } = schoolOn(opened)
      await recorder.insertEvents(storedEvents('short', 1, 1300))
      const state = Buffer.alloc(200_000, 'x')
      for (let n = 1; n <= 60; n += 1) await recorder.insertEvents([storedEvent('long', n, { state })])
      const limits: number[] = []
      const log = new NotificationLog(
        {
          selectNotifications(options) {
            limits.push(options.limit)
            return recorder.selectNotifications(options)
          },
        },
        10,
      )
      expect((await collect(log.read())).map(({ id }) => id)).to.deep.equal(range(1, 1360))
      expect(limits.slice(0, 5)).to.deep.equal([10, 40, 160, 640, 1000])
      limits.length = 0
      expect((await collect(log.read({ start: 1301 }))).map(({ id }) => id)).to.deep.equal(range(1301, 1360))
      expect(limits).to.deep.equal([10, 20, 20, 20, 20])
    })

    define('reads on across ids that are missing', async (opened) => {
      const school = schoolOn(opened)
      await saveDogs(school, 9)
      const tx = await school.transaction()
      await tx.run(() => school.register('Undone'))
      await tx.rollback()
      await saveDogs(school, 9, 'More')
      const all = await school.recorder.selectNotifications({ limit: 100 })
      expect(all).to.have.length(18)
      const read = await collect(school.notificationLog.read())
      expect(read.map(({ id }) => id)).to.deep.equal(all.map(({ id }) => id))
    })
  })

  describe('an application’s life', () => {
    define('begins with its first operation, whichever it is', async (opened) => {
      const id = Dog.createId('Fido')
      const firsts: ((school: TrainingSchool) => Promise<unknown>)[] = [
        (school) => school.repository.has(id),
        (school) => school.notificationLog.section('1,10'),
        (school) => school.recorder.maxNotificationId(),
        (school) => school.recorder.selectEvents(id),
        (school) => school.events.get(id),
        (school) => school.transaction(() => undefined),
        (school) => school.recorder.transaction(() => undefined),
        (school) => school.ready(),
        (school) => school.register('Fido'),
      ]
      for (const [i, first] of firsts.entries()) {
        const school = schoolOn(opened, `School${i}`)
        await first(school)
        await school.register('Rex')
        expect(await school.tricks('Rex')).to.deep.equal([])
        await school.close()
      }
    })

    define('shares one attempt to connect between concurrent first operations', async (opened) => {
      const school = schoolOn(opened)
      await Promise.all([
        ...['Fido', 'Rex', 'Bello'].map((name) => school.register(name)),
        school.ready(),
        school.recorder.maxNotificationId(),
        school.ready(),
      ])
      expect(await school.notificationLog.select()).to.have.length(3)
    })

    define('can begin inside a transaction that rolls back', async (opened) => {
      const school = schoolOn(opened)
      await rejection(
        opened.datastore.transaction(async () => {
          await school.register('Fido')
          throw new RangeError('undo')
        }),
        RangeError,
      )
      expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
      await school.register('Fido')
      await school.addTrick('Fido', 'roll over')
      expect(await school.tricks('Fido')).to.deep.equal(['roll over'])
    })

    define('can begin by reading inside commit: false', async (opened) => {
      const school = schoolOn(opened)
      const there = await opened.datastore.transaction(() => school.repository.has(Dog.createId('Fido')), {
        commit: false,
      })
      expect(there).to.equal(false)
      await school.register('Fido')
      expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
    })

    define('connects in create, which gives an instance of the class', async (opened) => {
      const school = await TrainingSchool.create({ persistence: opened.persistence('School'), name: 'School' })
      expect(school).to.be.instanceOf(TrainingSchool)
      expect(school.name).to.equal('School')
      await school.register('Fido')
      expect(await school.tricks('Fido')).to.deep.equal([])
    })

    define('ends with close: every later call is refused, and the datastore stays open', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      await school.close()
      await school.close()
      const dog = new Dog('Rex')
      await rejection(school.save(dog), InterfaceError)
      expect(pendingVersions(dog)).to.deep.equal([1])
      await rejection(school.tricks('Fido'), InterfaceError)
      await rejection(school.repository.has(dog.id), InterfaceError)
      await rejection(school.recorder.maxNotificationId(), InterfaceError)
      await rejection(school.notificationLog.section('1,10'), InterfaceError)
      await rejection(school.events.get(dog.id), InterfaceError)
      await rejection(
        school.transaction(() => undefined),
        InterfaceError,
      )
      await rejection(school.ready(), InterfaceError)
      const next = schoolOn(opened)
      expect(await next.tricks('Fido')).to.deep.equal([])
    })

    define('ends with its block', async (opened) => {
      let left!: TrainingSchool
      {
        await using school = schoolOn(opened)
        await school.register('Fido')
        left = school
      }
      await rejection(left.tricks('Fido'), InterfaceError)
    })

    define('closes an application that was never used', async (opened) => {
      const school = schoolOn(opened)
      await school.close()
      await rejection(school.register('Fido'), InterfaceError)
    })

    define('shares events with applications of its name, and not with others', async (opened) => {
      const [one, same, other] = [schoolOn(opened, 'School'), schoolOn(opened, 'School'), schoolOn(opened, 'Kennel')]
      await one.register('Fido')
      await same.addTrick('Fido', 'roll over')
      expect(await one.tricks('Fido')).to.deep.equal(['roll over'])
      await rejection(other.tricks('Fido'), AggregateNotFoundError)
      await other.register('Fido')
      await rejection(same.register('Fido'), RecordConflictError)
    })

    define('serves two datastores with two applications, each on its own', async (opened) => {
      const another = await backend.open()
      try {
        const [here, there] = [schoolOn(opened), schoolOn(another)]
        const [saved, release] = [gate(), gate()]
        const undone = rejection(
          here.transaction(async () => {
            await here.register('Fido')
            await there.register('Fido')
            saved.open()
            await release.passed
            throw new RangeError('undo')
          }),
          RangeError,
        )
        await saved.passed
        expect(await there.tricks('Fido')).to.deep.equal([])
        release.open()
        await undone
        expect(await there.tricks('Fido')).to.deep.equal([])
        expect(await here.repository.has(Dog.createId('Fido'))).to.equal(false)
      } finally {
        await another.close()
      }
    })

    define('gives access to its factory, whose recorders see the same events', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const recorder = await school.factory.applicationRecorder()
      expect(await recorder.maxNotificationId()).to.equal(1)
      await recorder.insertEvents([storedEvent('other', 1)])
      expect(await school.recorder.maxNotificationId()).to.be.above(1)
      expect(school.recorder.datastore).to.equal(school.factory.datastore)
    })
  })

  describe('what comes later', () => {
    define('is refused by name where it is called', async (opened) => {
      const school = schoolOn(opened)
      const later = school as unknown as Record<string, (...args: unknown[]) => unknown>
      await rejection((async () => later.subscribe!({ gt: 1 }))(), NotSupportedError, 'subscribe')
    })
  })
}

function taughtDog(name: string): Dog {
  const dog = new Dog(name)
  dog.addTrick('sit')
  return dog
}

async function saveDogs(school: TrainingSchool, count: number, name = 'Dog'): Promise<void> {
  await school.save(...Array.from({ length: count }, (_, i) => new Dog(`${name} ${i}`)))
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = []
  for await (const item of items) collected.push(item)
  return collected
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}
