import { expect } from 'chai'
import { AggregateNotFoundError, AggregateTypeError, RecordConflictError } from '../../lib/errors.js'
import {
  everyGetIsTheReplay,
  expectLast,
  keepsNothingDoubtful,
  manyAtOnce,
  rolledBack,
} from '../support/cache-model.js'
import { cachedSchool, waysOfCaching } from '../support/cached-schools.js'
import type { DefineCase } from '../support/cases.js'
import { Cat, Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { openSession } from '../support/sessions.js'
import { versions } from '../support/stored-events.js'
import { schoolOn, type TrainingSchool } from '../support/training-school.js'

const fido = Dog.createId('Fido')

/** What a repository with a cache promises: what its events say, whatever is rolled back, and with less reading. */
export function cacheSuite(define: DefineCase): void {
  // without copies no database makes a difference: spec/application/cache.spec.ts has those
  for (const { title, switches } of waysOfCaching.filter(({ switches: { deepCopy } }) => deepCopy !== false)) {
    describe(`a cache ${title}`, () => {
      define('keeps nothing of a transaction that is rolled back', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await school.register('Fido')
        for (const isCached of [false, true]) {
          const { version } = isCached ? await school.repository.get(Dog, fido) : { version: 1 }
          await rolledBack(school, async () => {
            await school.addTrick('Fido', 'never')
            expect(await school.tricks('Fido')).to.deep.equal(['never'])
          })
          expect([version, await school.tricks('Fido')]).to.deep.equal([1, []])
        }
        await rolledBack(school, () => school.addTrick('Fido', 'never'))
        await school.addTrick('Fido', 'sit')
        expect(versions(await school.recorder.selectEvents(fido))).to.deep.equal([1, 2])
        await expectLast(opened, school)
      })

      define('keeps nothing of a savepoint that is rolled back, and what the others commit', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await school.register('Fido')
        await school.tricks('Fido')
        await school.transaction(async () => {
          await school.addTrick('Fido', 'sit')
          await rolledBack(school, () => school.addTrick('Fido', 'never'))
          expect(await school.tricks('Fido')).to.deep.equal(['sit'])
          await school.transaction(() => school.addTrick('Fido', 'stay'))
          expect(await school.tricks('Fido')).to.deep.equal(['sit', 'stay'])
        })
        await expectLast(opened, school)
        expect(await school.tricks('Fido')).to.deep.equal(['sit', 'stay'])
      })

      define('keeps nothing that was read in a transaction that is rolled back, and saved after it', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await keepsNothingDoubtful(opened, school)
      })

      define('shows nobody else what is not committed', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await school.register('Fido')
        await school.tricks('Fido')
        let outside: Promise<string[]> | undefined
        await rolledBack(school, async () => {
          await school.addTrick('Fido', 'never')
          // with one connection, who reads outside waits for the end
          outside = school.recorder.datastore.outside(() => school.tricks('Fido'))
          expect(await school.tricks('Fido')).to.deep.equal(['never'])
        })
        expect(await outside).to.deep.equal([])
      })

      define('goes by what sessions by hand commit and roll back', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await school.register('Fido')
        await school.tricks('Fido')
        await using session = await openSession(opened)
        await session.run(() => school.addTrick('Fido', 'never'))
        expect(await session.run(() => school.tricks('Fido'))).to.deep.equal(['never'])
        await session.rollback()
        expect(await school.tricks('Fido')).to.deep.equal([])
        await session.run(() => school.addTrick('Fido', 'sit'))
        await session.commit()
        await school.repository.forget()
        expect(await session.run(() => school.tricks('Fido'))).to.deep.equal(['sit'])
        await session.commit()
        await school.addTrick('Fido', 'stay')
        await expectLast(opened, school)
      })

      define('gives what saves that wait for their flush have made once they are committed', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await school.register('Fido')
        const dog = await school.repository.get(Dog, fido)
        dog.addTrick('sit')
        await school.transaction(() => school.save(dog), { autoflush: false })
        await expectLast(opened, school)
        const stale = await school.repository.get(Dog, fido)
        await schoolOn(opened).addTrick('Fido', 'stay')
        stale.addTrick('never')
        await rejection(
          school.transaction(() => school.save(stale), { autoflush: false }),
          RecordConflictError,
        )
        await expectLast(opened, school)
      })

      define('reads anew after a conflict', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await school.register('Fido')
        const dog = await school.repository.get(Dog, fido)
        await schoolOn(opened).addTrick('Fido', 'sit')
        dog.addTrick('never')
        await rejection(school.save(dog), RecordConflictError)
        await school.addTrick('Fido', 'stay')
        expect(await school.tricks('Fido')).to.deep.equal(['sit', 'stay'])
        await expectLast(opened, school)
      })

      define('knows neither what is not there nor what is of another class', async (opened) => {
        const { school } = cachedSchool(opened, switches)
        await rejection(school.repository.get(Dog, fido), AggregateNotFoundError)
        await rejection(
          school.transaction(() => school.repository.get(Dog, fido)),
          AggregateNotFoundError,
        )
        await school.register('Fido')
        expect(await school.tricks('Fido')).to.deep.equal([])
        const withoutCache = await rejection(schoolOn(opened).repository.get(Cat, fido), AggregateTypeError)
        for (let time = 0; time < 2; time += 1) {
          await rejection(school.repository.get(Cat, fido), AggregateTypeError, withoutCache.message)
          await rejection(
            school.transaction(() => school.repository.get(Cat, fido)),
            AggregateTypeError,
            withoutCache.message,
          )
        }
      })

      define('gives what replay gives, whatever happens in whichever order', async (opened) => {
        await everyGetIsTheReplay(opened, switches, 3)
      })

      define('gives what replay gives to many at once', async (opened) => {
        await manyAtOnce(opened, switches, 1)
      })
    })
  }

  describe('a cache with fast-forward', () => {
    define('reads the newer events, and no others', async (opened) => {
      const { school, eventsRead } = cachedSchool(opened)
      await teach(school, 30)
      expect(await school.tricks('Fido')).to.have.length(30)
      expect(eventsRead()).to.equal(31)
      await school.tricks('Fido')
      expect(eventsRead()).to.equal(0)
      await schoolOn(opened).addTrick('Fido', 'by another')
      expect(await school.tricks('Fido')).to.have.length(31)
      expect(eventsRead()).to.equal(1)
      await school.addTrick('Fido', 'sit')
      eventsRead()
      expect(await school.tricks('Fido')).to.have.length(32)
      expect(eventsRead()).to.equal(1)
    })

    define('begins with what is cached inside of transactions too, from its last event on', async (opened) => {
      const { school, eventsRead } = cachedSchool(opened)
      await teach(school, 30)
      await school.transaction(async () => {
        expect(await school.tricks('Fido')).to.have.length(30)
        expect(eventsRead()).to.equal(31)
      })
      await school.transaction(async () => {
        expect(await school.tricks('Fido')).to.have.length(30)
        expect(eventsRead()).to.equal(1)
        await school.addTrick('Fido', 'sit')
        eventsRead()
        expect(await school.tricks('Fido')).to.have.length(31)
        expect(eventsRead()).to.equal(2)
      })
      expect(await school.tricks('Fido')).to.have.length(31)
      expect(eventsRead()).to.equal(1)
    })

    define('has what a transaction has read once that is committed, and not before', async (opened) => {
      const { school, eventsRead } = cachedSchool(opened)
      await teach(school, 30)
      await rolledBack(school, () => school.tricks('Fido'))
      eventsRead()
      await school.tricks('Fido')
      expect(eventsRead()).to.equal(31)
      await schoolOn(opened).repository.get(Dog, fido)
      await teachMore(schoolOn(opened), 40)
      await school.transaction(() => school.tricks('Fido'))
      expect(eventsRead()).to.equal(41)
      await school.transaction(() => school.tricks('Fido'))
      expect(eventsRead()).to.equal(1)
    })

    define('gives each caller a copy of his own', async (opened) => {
      const { school } = cachedSchool(opened)
      await school.register('Fido')
      const [first, second] = await Promise.all([1, 2].map(() => school.repository.get(Dog, fido)))
      first!.addTrick('never')
      second!.tricks.push('by hand')
      const third = await school.repository.get(Dog, fido)
      expect([third.version, third.tricks, third.pendingEvents]).to.deep.equal([1, [], []])
      await school.transaction(async () => {
        ;(await school.repository.get(Dog, fido)).tricks.push('by hand')
      })
      await expectLast(opened, school)
    })

    define('leaves earlier versions to replay', async (opened) => {
      const { school } = cachedSchool(opened)
      await teach(school, 3)
      await school.tricks('Fido')
      expect((await school.repository.get(Dog, fido, { version: 2 })).tricks).to.deep.equal(['trick 1'])
      expect(await school.tricks('Fido')).to.have.length(3)
    })

    define('reads once for many who ask at the same time, who see what was saved before they asked', async (opened) => {
      const { school, eventsRead } = cachedSchool(opened)
      await teach(school, 10)
      const dogs = await Promise.all(Array.from({ length: 20 }, () => school.repository.get(Dog, fido)))
      expect(eventsRead()).to.equal(11)
      expect(new Set(dogs).size).to.equal(20)
      const callers = Array.from({ length: 5 }, async (_, caller) => {
        for (let turn = 0; turn < 3; turn += 1) {
          const trick = `${caller}-${turn}`
          for (;;) {
            const dog = await school.repository.get(Dog, fido)
            dog.addTrick(trick)
            const error = await school.save(dog).then(
              () => undefined,
              (reason: unknown) => reason,
            )
            if (!error) break
            expect(error).to.be.instanceOf(RecordConflictError)
          }
          expect(await school.tricks('Fido')).to.include(trick)
        }
      })
      await Promise.all(callers)
      await expectLast(opened, school)
      expect(await school.tricks('Fido')).to.have.length(25)
    })
  })

  describe('a cache without fast-forward', () => {
    const switches = { fastForward: false }

    define('reads nothing for what is there, and has what is saved', async (opened) => {
      const { school, eventsRead } = cachedSchool(opened, switches)
      await teach(school, 5)
      await school.addTrick('Fido', 'sit')
      await school.transaction(() => school.addTrick('Fido', 'stay'))
      eventsRead()
      expect(await school.tricks('Fido')).to.have.length(7)
      expect(eventsRead()).to.equal(0)
      await expectLast(opened, school)
    })

    define('moves on with domain events that are saved by themselves', async (opened) => {
      const { school, eventsRead } = cachedSchool(opened, switches)
      await school.register('Fido')
      for (const put of ['save', 'events.put']) {
        const dog = await school.repository.get(Dog, fido)
        dog.addTrick(put)
        const events = dog.collectEvents()
        await (put === 'save' ? school.save(...events) : school.events.put(events))
        eventsRead()
        await school.tricks('Fido')
        expect(eventsRead()).to.equal(0)
        await expectLast(opened, school)
      }
    })

    define('stays as it was where a transaction is rolled back', async (opened) => {
      const { school, eventsRead } = cachedSchool(opened, switches)
      await school.register('Fido')
      await rolledBack(school, () => school.addTrick('Fido', 'never'))
      eventsRead()
      expect(await school.tricks('Fido')).to.deep.equal([])
      expect(eventsRead()).to.equal(0)
    })

    define('has its own state, whatever is done to what was saved', async (opened) => {
      const { school } = cachedSchool(opened, switches)
      const dog = new Dog('Fido')
      const saving = school.save(dog)
      dog.addTrick('later')
      dog.tricks.push('by hand')
      await saving
      expect(await school.tricks('Fido')).to.deep.equal([])
      await expectLast(opened, school)
    })
  })
}

async function teach(school: TrainingSchool, tricks: number): Promise<void> {
  const dog = new Dog('Fido')
  for (let trick = 1; trick <= tricks; trick += 1) dog.addTrick(`trick ${trick}`)
  await school.save(dog)
}

async function teachMore(school: TrainingSchool, tricks: number): Promise<void> {
  const dog = await school.repository.get(Dog, fido)
  for (let trick = 1; trick <= tricks; trick += 1) dog.addTrick(`more ${trick}`)
  await school.save(dog)
}
