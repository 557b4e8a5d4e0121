import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { IntegrityError, InterfaceError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import type { ApplicationRecorder } from '../../lib/persistence/recorders.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import type { Backend } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { lazy } from '../support/lazy.js'
import { failure, rejection } from '../support/rejection.js'
import { extrasOf } from '../support/sessions.js'
import { bytes, plain, storedEvent, storedEvents, versions } from '../support/stored-events.js'
import { schoolOn } from '../support/training-school.js'

/** What `autoflush` promises: with it a save is written at once, without it saved events wait in the session. */
export function autoflushSuite(define: DefineCase, backend: Backend): void {
  const off = { autoflush: false }

  describe('autoflush', () => {
    define('is on unless it is turned off, and then nothing waits', async ({ factory, datastore }) => {
      const recorder = await factory().applicationRecorder()
      expect(datastore.autoflush).to.equal(true)
      await recorder.transaction(async (session) => {
        expect(extrasOf(session).autoflush).to.equal(true)
        expect(await recorder.insertEvents([storedEvent('dog', 1)])).to.have.length(1)
        expect(await versionsOf(recorder)).to.deep.equal([1])
        await extrasOf(session).flush()
        expect(await versionsOf(recorder)).to.deep.equal([1])
      })
      const session = await recorder.transaction((given) => given)
      await rejection(extrasOf(session).flush(), InterfaceError)
    })

    define('off: saved events wait, unseen by reads, until the commit', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const snapshots = await factory().aggregateRecorder('snapshots')
      await recorder.transaction(async () => {
        expect(await recorder.insertEvents(storedEvents('dog', 1, 2))).to.deep.equal([])
        expect(await recorder.insertEvents([storedEvent('cat', 1)])).to.deep.equal([])
        expect(await recorder.insertEvents([storedEvent('dog', 3)])).to.deep.equal([])
        expect(await snapshots.insertEvents([storedEvent('dog', 3)])).to.deep.equal([])
        expect(await recorder.selectEvents('dog')).to.deep.equal([])
        expect(await recorder.selectNotifications({ limit: 10 })).to.deep.equal([])
        expect(await recorder.maxNotificationId()).to.equal(null)
        expect(await snapshots.selectEvents('dog')).to.deep.equal([])
      }, off)
      const stored = await recorder.selectNotifications({ limit: 10 })
      expect(stored.map(({ originatorId, originatorVersion }) => [originatorId, originatorVersion])).to.deep.equal([
        ['dog', 1],
        ['dog', 2],
        ['cat', 1],
        ['dog', 3],
      ])
      const first = stored[0]!.id
      expect(
        stored.map(({ id }) => id),
        'of one insert',
      ).to.deep.equal([first, first + 1, first + 2, first + 3])
      expect(await versionsOf(snapshots)).to.deep.equal([3])
    })

    define('off: flush() writes what waits, and what is saved later waits again', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async (session) => {
        const { flush } = extrasOf(session)
        await flush()
        await recorder.insertEvents([storedEvent('dog', 1)])
        await recorder.insertEvents([storedEvent('dog', 2)])
        await flush()
        expect(await versionsOf(recorder)).to.deep.equal([1, 2])
        await recorder.insertEvents([storedEvent('dog', 3)])
        expect(await versionsOf(recorder)).to.deep.equal([1, 2])
      }, off)
      expect(await versionsOf(recorder)).to.deep.equal([1, 2, 3])
    })

    define('off: save() resolves to [], and aggregates go on as saved', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      await school.transaction(async (session) => {
        expect(await school.save(dog, new Dog('Rex'))).to.deep.equal([])
        expect(dog.pendingEvents).to.deep.equal([])
        expect(await school.repository.has(dog.id)).to.equal(false)
        dog.addTrick('roll over')
        expect(await school.save(dog)).to.deep.equal([])
        await extrasOf(session).flush()
        expect(await school.tricks('Fido')).to.deep.equal(['roll over'])
        dog.addTrick('beg')
        await school.save(dog)
      }, off)
      expect(await school.tricks('Fido')).to.deep.equal(['roll over', 'beg'])
      expect(await school.tricks('Rex')).to.deep.equal([])
      dog.addTrick('sit')
      expect(await school.save(dog)).to.have.length(1)
    })

    define('off: what waits is lost to nobody when the transaction is rolled back', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      const undone = school.transaction(async () => {
        await school.save(dog)
        dog.addTrick('roll over')
        await school.save(dog)
        throw new RangeError('undo')
      }, off)
      await rejection(undone, RangeError)
      expect(versions(dog.pendingEvents as never)).to.deep.equal([1, 2])
      expect(await school.recorder.maxNotificationId()).to.equal(null)
      await school.save(dog)
      expect(await school.tricks('Fido')).to.deep.equal(['roll over'])
    })

    define('off: a conflict comes at the commit, which rolls back, and events are given back', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const [fido, rex] = [new Dog('Fido'), new Dog('Rex')]
      let isSaved = false
      const outcome = school.transaction(async () => {
        await school.save(rex)
        await school.save(fido)
        isSaved = true
      }, off)
      const conflict = await rejection(outcome, RecordConflictError)
      expect(isSaved).to.equal(true)
      expect([conflict.originatorId, conflict.originatorVersion, conflict.currentVersion]).to.deep.equal([
        fido.id,
        1,
        1,
      ])
      expect([fido, rex].map(({ pendingEvents }) => pendingEvents.length)).to.deep.equal([1, 1])
      expect(await school.repository.has(rex.id)).to.equal(false)
      await school.save(rex)
    })

    define('off: two saves of one version wait beside each other, and are a conflict then', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const outcome = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        await recorder.insertEvents([storedEvent('dog', 1)])
      }, off)
      const conflict = await rejection(outcome, RecordConflictError, 'twice')
      expect([conflict.originatorId, conflict.originatorVersion]).to.deep.equal(['dog', 1])
      expect(await recorder.maxNotificationId()).to.equal(null)
    })

    define('off: after a flush that failed the commit fails as well, and the transaction reads on', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const [fido, rex] = [new Dog('Fido'), new Dog('Rex')]
      const outcome = school.transaction(async (session) => {
        const extras = extrasOf(session)
        await school.save(rex)
        await school.save(fido)
        await rejection(extras.flush(), RecordConflictError)
        expect(await school.tricks('Fido')).to.deep.equal([])
        expect(await school.repository.has(rex.id)).to.equal(false)
        await rejection(extras.flush(), RecordConflictError)
        extras.autoflush = true
        await rejection(school.register('Bello'), RecordConflictError)
      }, off)
      await rejection(outcome, RecordConflictError)
      expect([fido, rex].map(({ pendingEvents }) => pendingEvents.length)).to.deep.equal([1, 1])
      expect(await school.repository.has(rex.id)).to.equal(false)
    })

    define('off: what was flushed goes with a commit that fails on what came after', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      const outcome = recorder.transaction(async (session) => {
        await recorder.insertEvents([storedEvent('cat', 1)])
        await extrasOf(session).flush()
        await recorder.insertEvents([storedEvent('dog', 1)])
      }, off)
      await rejection(outcome, RecordConflictError)
      expect(await recorder.selectEvents('cat')).to.deep.equal([])
    })

    define('off: what can’t be is refused by the save itself', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async () => {
        await rejection(recorder.insertEvents([storedEvent('', 1)]), Error)
        await recorder.insertEvents([storedEvent('dog', 1)])
      }, off)
      const reading = { commit: false, autoflush: false }
      await recorder.transaction(async (session) => {
        await rejection(recorder.insertEvents([storedEvent('dog', 2)]), ProgrammingError, 'commit=False')
        await extrasOf(session).flush()
      }, reading)
      expect(await versionsOf(recorder)).to.deep.equal([1])
    })

    define('off: what waits is what was given, whatever becomes of the objects', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const event = { ...storedEvent('dog', 1), state: Buffer.from('first') } as StoredEvent & { originatorId: string }
      const events = [event]
      const expected = plain(event)
      await recorder.transaction(async () => {
        await recorder.insertEvents(events)
        event.state.fill(0)
        Object.assign(event, { originatorId: 'cat', topic: 'Cat.Napped' })
        events.push(storedEvent('cow', 1))
      }, off)
      expect((await recorder.selectEvents('dog')).map(plain)).to.deep.equal([expected])
      expect(await recorder.selectEvents('cow')).to.deep.equal([])
    })

    define('off: hundreds of saves are all there, in order', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async () => {
        for (let version = 1; version <= 250; version++) {
          const event = storedEvent(version % 2 ? 'odd' : 'even', version, { state: bytes(`"${version}"`) })
          await recorder.insertEvents([event])
        }
      }, off)
      const stored = await recorder.selectNotifications({ limit: 1000 })
      expect(versions(stored)).to.deep.equal(Array.from({ length: 250 }, (_, index) => index + 1))
      expect(stored.at(-1)!.id - stored[0]!.id).to.equal(249)
    })

    define('off: tracking waits with its events, and comes after them all', async ({ factory }) => {
      const recorder = await factory().processRecorder()
      const position = (notificationId: number) => ({ tracking: { applicationName: 'upstream', notificationId } })
      await recorder.transaction(async (session) => {
        const given = position(5)
        expect(await recorder.insertEvents([storedEvent('dog', 1)], given)).to.deep.equal([])
        given.tracking.notificationId = 99
        await recorder.insertEvents([], position(6))
        expect(await recorder.maxTrackingId('upstream')).to.equal(null)
        await extrasOf(session).flush()
        expect(await recorder.maxTrackingId('upstream')).to.equal(6)
        await recorder.insertEvents([storedEvent('dog', 2)], position(7))
        // a position by itself is written at once, after what waits
        await recorder.insertTracking(position(8).tracking)
        expect(await recorder.maxTrackingId('upstream')).to.equal(8)
        expect(await versionsOf(recorder)).to.deep.equal([1, 2])
      }, off)
      const again = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('cat', 1)])
        await recorder.insertEvents([storedEvent('cat', 2)], position(8))
      }, off)
      await rejection(again, IntegrityError)
      expect(await recorder.selectEvents('cat')).to.deep.equal([])
      expect(await recorder.maxTrackingId('upstream')).to.equal(8)
    })

    define('off: several tables go together', async ({ factory }) => {
      const [dogs, cats] = [await factory('dogs').applicationRecorder(), await factory('cats').applicationRecorder()]
      const save = async () => {
        await dogs.insertEvents([storedEvent('one', 1)])
        await cats.insertEvents([storedEvent('one', 1)])
        await dogs.insertEvents([storedEvent('one', 2)])
      }
      await cats.insertEvents([storedEvent('one', 1)])
      await rejection(dogs.transaction(save, off), RecordConflictError)
      expect(await dogs.selectEvents('one')).to.deep.equal([])
      const outcome = dogs.transaction(async (session) => {
        await save()
        // what is written stays, what is not goes on waiting
        await rejection(extrasOf(session).flush(), RecordConflictError)
        const conflict = await rejection(extrasOf(session).flush(), RecordConflictError)
        expect(conflict.originatorVersion).to.equal(1)
      }, off)
      await rejection(outcome, RecordConflictError)
      expect(await dogs.selectEvents('one')).to.deep.equal([])
      expect(await versionsOf(cats, 'one')).to.deep.equal([1])
    })

    define('is the handle’s, too', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      {
        await using tx = await recorder.transaction(off)
        expect(await tx.run(() => recorder.insertEvents([storedEvent('dog', 1)]))).to.deep.equal([])
        await extrasOf(tx.session).flush()
        expect(await tx.run(() => versionsOf(recorder))).to.deep.equal([1])
        await tx.run(() => recorder.insertEvents([storedEvent('dog', 2)]))
        await tx.commit()
      }
      {
        await using tx = await recorder.transaction(off)
        await tx.run(() => recorder.insertEvents([storedEvent('dog', 3)]))
      }
      expect(await versionsOf(recorder)).to.deep.equal([1, 2])
    })

    define('after-commit work sees what waited', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const seen: number[][] = []
      await recorder.transaction(async (session) => {
        extrasOf(session).afterCommit(async () => seen.push(await versionsOf(recorder)))
        await recorder.insertEvents([storedEvent('dog', 1)])
      }, off)
      expect(seen).to.deep.equal([[1]])
    })

    define('turned on again, the next save writes what waits before itself', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async (session) => {
        const extras = extrasOf(session)
        extras.autoflush = false
        expect(extras.autoflush).to.equal(false)
        await recorder.insertEvents([storedEvent('dog', 1)])
        extras.autoflush = true
        expect(await versionsOf(recorder)).to.deep.equal([])
        expect(await recorder.insertEvents([storedEvent('dog', 2)])).to.have.length(1)
        expect(versions(await recorder.selectNotifications({ limit: 10 }))).to.deep.equal([1, 2])
      })
      expect(versions(await recorder.selectNotifications({ limit: 10 }))).to.deep.equal([1, 2])
    })

    define('two flushes at once both resolve when all is written', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async (session) => {
        const { flush } = extrasOf(session)
        await recorder.insertEvents(storedEvents('dog', 1, 30))
        const seen = await Promise.all([flush(), flush()].map((each) => each.then(() => versionsOf(recorder))))
        expect(seen.map(({ length }) => length)).to.deep.equal([30, 30])
      }, off)
      expect(await versionsOf(recorder)).to.have.length(30)
    })

    define('takes true or false, and says so', async ({ factory, datastore }) => {
      const recorder = await factory().applicationRecorder()
      for (const value of ['no', 0, null]) {
        const options = { autoflush: value as never }
        await rejection(
          recorder.transaction(() => undefined, options),
          ProgrammingError,
          'autoflush must be true or false',
        )
        expect(() => (datastore.autoflush = value as never)).to.throw(ProgrammingError, 'true or false')
        await recorder.transaction((session) => {
          const extras = extrasOf(session)
          expect(() => (extras.autoflush = value as never)).to.throw(ProgrammingError, 'true or false')
          expect(() => extras.noAutoflush(value as never)).to.throw(ProgrammingError, 'function')
          expect(extras.autoflush).to.equal(true)
        })
      }
      expect(datastore.autoflush).to.equal(true)
    })

    define('is nobody’s to set once the transaction has ended', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const extras = extrasOf(await recorder.transaction((session) => session))
      expect(() => (extras.autoflush = false)).to.throw(InterfaceError)
      expect(() => extras.noAutoflush(() => undefined)).to.throw(InterfaceError)
    })
  })

  describe('noAutoflush(fn)', () => {
    define('lets saves wait while fn runs, and gives what fn gives', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async (session) => {
        const extras = extrasOf(session)
        const result = await extras.noAutoflush(async () => {
          await nextTurn()
          expect(extras.autoflush).to.equal(false)
          return recorder.insertEvents([storedEvent('dog', 1)])
        })
        expect(result).to.deep.equal([])
        expect(extras.autoflush).to.equal(true)
        expect(await versionsOf(recorder), 'not flushed at its end').to.deep.equal([])
        expect(await recorder.insertEvents([storedEvent('dog', 2)])).to.have.length(1)
        expect(await versionsOf(recorder)).to.deep.equal([1, 2])
        expect(extras.noAutoflush(() => extras.autoflush)).to.equal(false)
        expect(extras.autoflush).to.equal(true)
        expect(
          await extras.noAutoflush(() => lazy(() => recorder.insertEvents([storedEvent('dog', 3)]))),
        ).to.deep.equal([])
      })
      expect(await versionsOf(recorder)).to.deep.equal([1, 2, 3])
    })

    define('ends where fn throws or rejects, and passes that very error on', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async (session) => {
        const extras = extrasOf(session)
        const thrown = new RangeError('the user’s own')
        const fail = () => {
          throw thrown
        }
        expect(() => extras.noAutoflush(fail)).to.throw(thrown)
        expect(extras.autoflush).to.equal(true)
        expect(await failure(extras.noAutoflush(async () => fail()))).to.equal(thrown)
        expect(extras.autoflush).to.equal(true)
      })
    })

    define('of several at a time, holds until the last has ended', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async (session) => {
        const extras = extrasOf(session)
        const [first, last] = [gate(), gate()]
        const runs = [first, last].map(({ passed }) => extras.noAutoflush(() => passed))
        first.open()
        await runs[0]
        expect(extras.autoflush).to.equal(false)
        extras.autoflush = false // for when they have ended
        expect(await recorder.insertEvents([storedEvent('dog', 1)]), 'of whoever saves meanwhile').to.deep.equal([])
        last.open()
        await runs[1]
        expect(extras.autoflush).to.equal(false)
        extras.autoflush = true
        expect(extras.autoflush).to.equal(true)
      })
      expect(await versionsOf(recorder)).to.deep.equal([1])
    })
  })

  describe('autoflush of nested transactions', () => {
    define('is that of the one around at their start, unless they say so themselves', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const inner = (options?: { autoflush: boolean }) =>
        recorder.transaction((session) => extrasOf(session).autoflush, options)
      await recorder.transaction(async (session) => {
        const extras = extrasOf(session)
        expect(await inner()).to.equal(false)
        expect(await inner({ autoflush: true })).to.equal(true)
        extras.autoflush = true
        expect(await inner()).to.equal(true)
        expect(await inner({ autoflush: false })).to.equal(false)
        expect(await extras.noAutoflush(() => inner())).to.equal(false)
        const own = session as Pick<typeof recorder, 'transaction'>
        expect(await own.transaction((nested) => extrasOf(nested).autoflush, { autoflush: false })).to.equal(false)
        expect(extras.autoflush).to.equal(true)
      }, off)
    })

    define(
      'off: what waits is flushed when they begin, and what is saved inside when they end',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        await recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('dog', 1)])
          await recorder.transaction(async () => {
            expect(await versionsOf(recorder)).to.deep.equal([1])
            await recorder.insertEvents([storedEvent('dog', 2)])
            expect(await versionsOf(recorder)).to.deep.equal([1])
          })
          expect(await versionsOf(recorder)).to.deep.equal([1, 2])
          await recorder.insertEvents([storedEvent('dog', 3)])
        }, off)
        // in the order of the saves: who follows a stream meets its versions one after the other
        expect(versions(await recorder.selectNotifications({ limit: 10 }))).to.deep.equal([1, 2, 3])
      },
    )

    define('off: what waits inside goes with the inner one that is rolled back', async (opened) => {
      const school = schoolOn(opened)
      const [fido, rex] = [new Dog('Fido'), new Dog('Rex')]
      await school.transaction(async () => {
        await school.save(fido)
        const undone = school.transaction(async () => {
          fido.addTrick('roll over')
          await school.save(fido, rex)
          throw new RangeError('undo')
        })
        await rejection(undone, RangeError)
        expect([fido, rex].map(({ pendingEvents }) => pendingEvents.length)).to.deep.equal([1, 1])
      }, off)
      expect(await school.tricks('Fido')).to.deep.equal([])
      expect(await school.repository.has(rex.id)).to.equal(false)
      await school.save(fido, rex)
      expect(await school.tricks('Fido')).to.deep.equal(['roll over'])
    })

    define('off: a conflict at the end of the inner one undoes that, and the outer one goes on', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const fido = new Dog('Fido')
      await school.transaction(async () => {
        await school.register('Rex')
        await rejection(
          school.transaction(() => school.save(fido)),
          RecordConflictError,
        )
        await school.register('Bello')
      }, off)
      expect(fido.pendingEvents).to.have.length(1)
      for (const name of ['Rex', 'Bello']) expect(await school.tricks(name)).to.deep.equal([])
    })

    define('off: a conflict of what waits keeps the inner one from beginning', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      let hasBegun = false
      const outcome = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        const inner = recorder.transaction(() => {
          hasBegun = true
        })
        await rejection(inner, RecordConflictError)
        expect(await versionsOf(recorder)).to.deep.equal([1])
      }, off)
      await rejection(outcome, RecordConflictError)
      expect(hasBegun).to.equal(false)
    })

    define(
      'off: the outer one’s flush from inside is refused where it would wait for the inner one, and waits beside it',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        const tx = await recorder.transaction(off)
        const outer = extrasOf(tx.session)
        const [hasBegun, mayEnd] = [gate(), gate()]
        const inner = tx.run(() =>
          recorder.transaction(async () => {
            hasBegun.open()
            await mayEnd.passed
            await outer.flush().then(
              () => expect.fail('Should have been refused'),
              (error: unknown) => expect(error).to.be.instanceOf(InterfaceError),
            )
          }),
        )
        await hasBegun.passed
        expect(await tx.run(() => recorder.insertEvents([storedEvent('dog', 1)]))).to.deep.equal([])
        const flushed = outer.flush()
        mayEnd.open()
        await Promise.all([inner, flushed])
        expect(await tx.run(() => versionsOf(recorder))).to.deep.equal([1])
        await tx.commit()
      },
      { poolTimeoutMs: 2000 },
    )
  })

  describe('autoflush of a datastore', () => {
    define(
      'given as an option, holds for its transactions',
      async (opened) => {
        const school = schoolOn(opened)
        expect(opened.datastore.autoflush).to.equal(false)
        await school.ready()
        expect(school.recorder.datastore.autoflush).to.equal(false)
        await school.transaction(async (session) => {
          expect(extrasOf(session).autoflush).to.equal(false)
          expect(await school.save(new Dog('Fido'))).to.deep.equal([])
        })
        await school.transaction(
          async () => {
            expect(await school.save(new Dog('Rex'))).to.have.length(1)
          },
          { autoflush: true },
        )
        expect(await school.tricks('Fido')).to.deep.equal([])
      },
      { autoflush: false },
    )

    define('assigned, holds for transactions that begin from then on', async ({ factory, datastore }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async (session) => {
        datastore.autoflush = false
        expect(extrasOf(session).autoflush).to.equal(true)
      })
      await recorder.transaction((session) => {
        expect(extrasOf(session).autoflush).to.equal(false)
      })
    })

    define(
      'changes nothing outside of transactions: there a save is written at once',
      async (opened) => {
        const school = schoolOn(opened)
        const recordings = await school.save(new Dog('Fido'))
        expect(recordings).to.have.length(1)
        expect(await school.tricks('Fido')).to.deep.equal([])
        await rejection(school.register('Fido'), RecordConflictError)
      },
      { autoflush: false },
    )
  })

  if (!backend.capabilities.ownTables) return

  describe('autoflush beside own tables', () => {
    define('is for events alone: rows are written when their statement runs', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const owners = opened.owners!
      const outcome = recorder.transaction(async (session) => {
        await owners.insert(session, 'Ann')
        await recorder.insertEvents([storedEvent('dog', 1)])
        await owners.insert(session, 'Bea')
        expect(await owners.names(session)).to.deep.equal(['Ann', 'Bea'])
        expect(await recorder.selectEvents('dog')).to.deep.equal([])
        await recorder.insertEvents([storedEvent('dog', 1)])
      }, off)
      await rejection(outcome, RecordConflictError)
      expect(await owners.names()).to.deep.equal([])
    })
  })
}

async function versionsOf(
  recorder: Pick<ApplicationRecorder, 'selectEvents'>,
  originatorId = 'dog',
): Promise<number[]> {
  return versions(await recorder.selectEvents(originatorId))
}
