import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { EventSourcingError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { pendingVersions } from '../support/pending-versions.js'
import { rejection } from '../support/rejection.js'
import { versions } from '../support/stored-events.js'
import { schoolOn } from '../support/training-school.js'

/** What `save` promises where saves of one aggregate meet, in transactions and beside them: no gap, nothing lost. */
export function concurrentSavesSuite(define: DefineCase): void {
  describe('saves of one aggregate', () => {
    const ends = ['commit', 'rollback'] as const
    for (const innerEnd of ends) {
      for (const outerEnd of ends) {
        const how = `${innerEnd} of the nested transaction, then ${outerEnd} of the outer one`

        define(
          `leave no gap where a nested transaction has saved before the outer one: ${how}`,
          async (opened) => {
            const school = schoolOn(opened)
            await school.ready()
            const dog = new Dog('Fido')
            const [saved, release] = [gate(), gate()]
            let beside: unknown
            const outer = school.transaction(async () => {
              const inner = school.transaction(async () => {
                await school.save(dog)
                saved.open()
                await release.passed
                if (innerEnd === 'rollback') throw new RangeError('undo the nested one')
              })
              await saved.passed
              dog.addTrick('beside')
              const saving = outcomeOf(school.save(dog))
              await nextTurn()
              release.open()
              if (innerEnd === 'rollback') await rejection(inner, RangeError)
              else await inner
              beside = await saving
              if (outerEnd === 'rollback') throw new RangeError('undo the outer one')
            })
            if (outerEnd === 'rollback') await rejection(outer, RangeError)
            else await outer
            if (beside !== undefined) expect(beside).to.be.instanceOf(ProgrammingError)
            const stored = versions(await school.recorder.selectEvents(dog.id))
            expect([...stored, ...pendingVersions(dog)]).to.deep.equal([1, 2])
            await school.save(dog)
            expect(await school.tricks('Fido')).to.deep.equal(['beside'])
          },
          { poolTimeoutMs: 300 },
        )
      }
    }

    define(
      'are refused, and wait for no timeout, where nested and outer transaction wait for each other',
      async (opened) => {
        const school = schoolOn(opened)
        await school.ready()
        const dog = new Dog('Fido')
        const [inside, release] = [gate(), gate()]
        await school.transaction(async () => {
          const inner = outcomeOf(
            school.transaction(async () => {
              inside.open()
              await release.passed
              dog.addTrick('nested')
              await school.save(dog)
            }),
          )
          await inside.passed
          const outer = outcomeOf(school.save(dog)) // has its turn after the nested transaction
          release.open()
          const outcomes = (await Promise.all([inner, outer])).filter((outcome) => outcome !== undefined)
          expect(outcomes).not.to.deep.equal([])
          for (const outcome of outcomes) expect(outcome).to.be.instanceOf(ProgrammingError)
        })
        const stored = versions(await school.recorder.selectEvents(dog.id))
        expect([...stored, ...pendingVersions(dog)]).to.deep.equal([1, 2])
        await school.save(dog)
        expect(await school.tricks('Fido')).to.deep.equal(['nested'])
      },
      { poolTimeoutMs: 300 },
    )

    for (const when of ['before', 'after'] as const) {
      define(`store nothing on top of a version that it had not seen: next event ${when} the end`, async (opened) => {
        const school = schoolOn(opened)
        const [stale, other] = [new Dog('Fido'), new Dog('Rex')]
        await school.save(stale, other)
        await school.addTrick('Fido', 'of a rival')

        const tx = await opened.datastore.transaction() // holds the writer, where there is one
        other.addTrick('first')
        const first = outcomeOf(school.save(other))
        other.addTrick('second')
        const both = outcomeOf(school.save(stale, other)) // waits for the first one
        stale.addTrick('unseen')
        const conflicting = outcomeOf(school.save(stale))
        if (when === 'before') stale.addTrick('on top')
        await tx.rollback()
        await first
        if (when === 'after') stale.addTrick('on top')
        await Promise.all([both, conflicting])

        expect(await school.tricks('Fido')).to.deep.equal(['of a rival'])
        expect(pendingVersions(stale)).to.deep.equal([2, 3])
        const stored = versions(await school.recorder.selectEvents(other.id))
        expect([...stored, ...pendingVersions(other)]).to.deep.equal([1, 2, 3])
      })
    }

    define(
      'are refused inside a transaction at once where one outside waits, the application’s first ones too',
      async (opened) => {
        const school = schoolOn(opened)
        const dog = new Dog('Fido')
        let outside!: Promise<unknown>
        await opened.datastore.transaction(async () => {
          outside = outcomeOf(opened.datastore.outside(() => school.save(dog)))
          dog.addTrick('inside')
          await rejection(school.save(dog), ProgrammingError)
        })
        expect(await outside).to.equal(undefined)
        expect(pendingVersions(dog)).to.deep.equal([2])
        await school.save(dog)
        expect(await school.tricks('Fido')).to.deep.equal(['inside'])
      },
      { poolTimeoutMs: 300 },
    )

    define('are free again after a conflict that was caught inside a transaction', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const stale = await school.repository.get(Dog, Dog.createId('Fido'))
      await school.addTrick('Fido', 'first')
      stale.addTrick('second')
      let outside!: Promise<unknown>
      await school.transaction(async () => {
        await rejection(school.save(stale), RecordConflictError)
        outside = outcomeOf(opened.datastore.outside(() => school.save(stale)))
        await nextTurn()
      })
      // refused for what it is, and not for being in a transaction that never had it
      expect(await outside).to.be.instanceOf(RecordConflictError)
      expect(pendingVersions(stale)).to.deep.equal([2])
    })
  })

  describe('an aggregate that was got inside a transaction', () => {
    define('can’t be saved once events that it has seen are rolled back: it is to be got again', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const id = Dog.createId('Fido')
      let seen!: Dog
      const undone = school.transaction(async () => {
        await school.addTrick('Fido', 'undone')
        seen = await school.repository.get(Dog, id)
        throw new RangeError('undo')
      })
      await rejection(undone, RangeError)
      seen.addTrick('on top')
      for (const _ of [1, 2]) {
        await rejection(school.save(seen), ProgrammingError, 'again')
        expect(pendingVersions(seen)).to.deep.equal([3])
      }
      await school.transaction(() => rejection(school.save(seen), ProgrammingError, 'again'))
      expect(versions(await school.recorder.selectEvents(id))).to.deep.equal([1])
      const again = await school.repository.get(Dog, id)
      again.addTrick('sit')
      await school.save(again)
      expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    })

    define('can’t be saved by the outer transaction once the nested one is rolled back', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const id = Dog.createId('Fido')
      await school.transaction(async () => {
        let seen!: Dog
        const undone = school.transaction(async () => {
          await school.addTrick('Fido', 'undone')
          // committed into the one that is rolled back
          seen = await school.transaction(() => school.repository.get(Dog, id))
          throw new RangeError('undo')
        })
        await rejection(undone, RangeError)
        seen.addTrick('on top')
        await rejection(school.save(seen), ProgrammingError, 'again')
        await school.addTrick('Fido', 'sit')
      })
      expect(versions(await school.recorder.selectEvents(id))).to.deep.equal([1, 2])
      expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    })

    define('can be saved after a rollback where nothing of it was rolled back', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      let seen!: Dog
      const undone = school.transaction(async () => {
        await school.register('Rex')
        seen = await school.repository.get(Dog, Dog.createId('Fido'))
        throw new RangeError('undo')
      })
      await rejection(undone, RangeError)
      seen.addTrick('sit')
      await school.save(seen)
      expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    })

    define('can be saved inside it and after its commit', async (opened) => {
      const school = schoolOn(opened)
      const seen = await school.transaction(async () => {
        await school.register('Fido')
        const dog = await school.transaction(() => school.repository.get(Dog, Dog.createId('Fido')))
        dog.addTrick('inside')
        await school.save(dog)
        return dog
      })
      seen.addTrick('after')
      await school.save(seen)
      expect(await school.tricks('Fido')).to.deep.equal(['inside', 'after'])
    })
  })
}

/** What a save failed with, one of ours; `undefined` where it did not. */
async function outcomeOf(saving: Promise<unknown>): Promise<unknown> {
  const error = await saving.then(
    () => undefined,
    (refused: unknown) => refused,
  )
  if (error !== undefined) expect(error).to.be.instanceOf(EventSourcingError)
  return error
}
