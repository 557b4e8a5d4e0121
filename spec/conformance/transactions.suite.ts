import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import {
  EventSourcingError,
  InterfaceError,
  OperationalError,
  ProgrammingError,
  RecordConflictError,
} from '../../lib/errors.js'
import type { ProcessRecorder } from '../../lib/persistence/recorders.js'
import type { TransactionOptions } from '../../lib/persistence/transactional.js'
import type { Backend } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { lazy } from '../support/lazy.js'
import { random } from '../support/random.js'
import { failure, rejection } from '../support/rejection.js'
import { extrasOf } from '../support/sessions.js'
import { storedEvent, storedEvents, versions } from '../support/stored-events.js'
import { schoolOn } from '../support/training-school.js'

/** What `transaction()` promises, on events. Own tables and nesting have suites of their own. */
export function transactionsSuite(define: DefineCase, backend: Backend): void {
  describe('transaction(work)', () => {
    define('commits what was recorded inside, and returns what work returns', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const result = { an: 'object' }
      const returned = await recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        await recorder.insertEvents([storedEvent('dog', 2), storedEvent('cat', 1)])
        return result
      })
      expect(returned).to.equal(result)
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
      expect(versions(await recorder.selectEvents('cat'))).to.deep.equal([1])
    })

    define('rolls everything back when work rejects, and passes that very error on', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      for (const thrown of [new RangeError('the user’s own'), 'text', undefined, Object.freeze({ a: 'thing' })]) {
        const error = await failure(
          recorder.transaction(async () => {
            await recorder.insertEvents([storedEvent('dog', 2)])
            await recorder.insertEvents([storedEvent('cat', 1)])
            throw thrown
          }),
        )
        expect(error).to.equal(thrown)
        expect(await recorder.selectNotifications({ limit: 10 })).to.have.length(1)
      }
    })

    define('takes a work function that is not asynchronous', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      expect(await recorder.transaction(() => 7)).to.equal(7)
      const thrown = new RangeError('at once')
      expect(
        await failure(
          recorder.transaction(() => {
            throw thrown
          }),
        ),
      ).to.equal(thrown)
      await recorder.insertEvents([storedEvent('dog', 1)])
    })

    define(
      'takes work that starts only when it is awaited',
      async (opened) => {
        const { datastore } = opened
        const school = schoolOn(opened)
        await school.ready()
        const dogs = ['work', 'nested work', 'run'].map((name) => new Dog(name))
        const [inWork, nested, inRun] = dogs as [Dog, Dog, Dog]
        await datastore.transaction(() => lazy(() => school.save(inWork)))
        expect(await school.repository.has(inWork.id)).to.equal(true)
        const undone = datastore.transaction(async () => {
          await datastore.transaction(() => lazy(() => school.save(nested)))
          throw new RangeError('undo')
        })
        await rejection(undone, RangeError)
        const tx = await datastore.transaction()
        await tx.run(() => lazy(() => school.save(inRun)))
        await tx.rollback()
        for (const dog of [nested, inRun]) {
          expect(dog.pendingEvents, dog.name).to.have.length(1)
          expect(await school.repository.has(dog.id), dog.name).to.equal(false)
        }
      },
      { poolTimeoutMs: 300 },
    )

    define('passes an error of the user’s own on that only looks like one of a database', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      const conflict = await rejection(recorder.insertEvents([storedEvent('dog', 1)]), RecordConflictError)
      const errors = [
        { code: 'SQLITE_FAKE' },
        Object.assign(new Error('the user’s own'), { code: 'SQLITE_BUSY' }),
        Object.assign(new Error('the user’s own'), { code: '40001' }),
        new RangeError('the user’s own', { cause: conflict }),
        new RangeError('the user’s own', { cause: { code: 'SQLITE_CONSTRAINT_UNIQUE' } }),
      ]
      for (const thrown of errors) {
        const outcome = recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('cat', 1)])
          throw thrown
        })
        expect(await failure(outcome)).to.equal(thrown)
      }
      const inside = recorder.transaction(async () => {
        const cause = await failure(recorder.insertEvents([storedEvent('dog', 1)]))
        throw new RangeError('the user’s own', { cause })
      })
      expect((await rejection(inside, RangeError)).cause).to.be.instanceOf(RecordConflictError)
      expect(await recorder.selectEvents('cat')).to.deep.equal([])
    })

    define('runs every callback of a rollback although one fails', async ({ factory, datastore }) => {
      const recorder = await factory().applicationRecorder()
      const ran: string[] = []
      const thrown = new RangeError('undo')
      const outcome = datastore.transaction(async () => {
        datastore.onRollback(() => ran.push('first'))
        datastore.onRollback(() => {
          throw new TypeError('of the callback')
        })
        datastore.onRollback(() => ran.push('last'))
        await recorder.insertEvents([storedEvent('dog', 1)])
        throw thrown
      })
      expect(await failure(outcome)).to.equal(thrown)
      expect(ran).to.deep.equal(['last', 'first'])
      await recorder.insertEvents([storedEvent('dog', 1)])
      expect(ran).to.have.length(2)
    })

    define('shows inside what was recorded inside', async ({ factory }) => {
      const recorder = await factory().processRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      await recorder.transaction(async () => {
        const [id] = await recorder.insertEvents([storedEvent('dog', 2)], {
          tracking: { applicationName: 'upstream', notificationId: 1 },
        })
        expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
        expect(await recorder.selectNotifications({ limit: 10 })).to.have.length(2)
        expect(await recorder.maxNotificationId()).to.equal(id)
        expect(await recorder.maxTrackingId('upstream')).to.equal(1)
      })
    })

    define(
      'is the same whether recorder, another recorder’s, or datastore opens it',
      async ({ datastore, factory }) => {
        const events = await factory().applicationRecorder()
        const tracking = await factory().trackingRecorder()
        const openers = [events, tracking, datastore]
        for (const [i, opener] of openers.entries()) {
          const undo = new Error('undo')
          const outcome = opener.transaction(async () => {
            await events.insertEvents([storedEvent('dog', 1)])
            await tracking.insertTracking({ applicationName: 'upstream', notificationId: 1 })
            throw undo
          })
          expect(await failure(outcome)).to.equal(undo)
          expect(await events.selectEvents('dog')).to.deep.equal([])
          expect(await tracking.maxTrackingId('upstream')).to.equal(null)
          await opener.transaction(() => events.insertEvents([storedEvent(`cat ${i}`, 1)]))
          expect(versions(await events.selectEvents(`cat ${i}`))).to.deep.equal([1])
        }
      },
    )

    define('joins calls made through awaits, timers, callbacks and Promise.all', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const undo = new Error('undo')
      const deep = async (depth: number): Promise<void> => {
        await nextTurn()
        await (depth > 0 ? deep(depth - 1) : recorder.insertEvents([storedEvent('deep', 1)]))
      }
      const outcome = recorder.transaction(async () => {
        await deep(10)
        await new Promise<void>((resolve, reject) => {
          setTimeout(() => {
            recorder.insertEvents([storedEvent('timer', 1)]).then(() => resolve(), reject)
          }, 0)
        })
        await new Promise<void>((resolve, reject) => {
          process.nextTick(() => {
            queueMicrotask(() => {
              recorder.insertEvents([storedEvent('microtask', 1)]).then(() => resolve(), reject)
            })
          })
        })
        await Promise.all(Array.from({ length: 5 }, (_, i) => recorder.insertEvents([storedEvent(`one of ${i}`, 1)])))
        const thenable = {
          then: (next: (value: unknown) => void) => void recorder.insertEvents([storedEvent('then', 1)]).then(next),
        }
        await thenable
        expect(await recorder.selectNotifications({ limit: 100 })).to.have.length(9)
        throw undo
      })
      expect(await failure(outcome)).to.equal(undo)
      expect(await recorder.selectNotifications({ limit: 100 })).to.deep.equal([])
    })

    define('commits several applications’ events together, or none of them', async ({ factory, datastore }) => {
      const recorders = await Promise.all(
        ['School', 'Kennel', 'Shelter'].map((name) => factory(name).applicationRecorder()),
      )
      const conflicting = recorders[2]!
      await conflicting.insertEvents([storedEvent('dog', 1)])
      const all = () =>
        datastore.transaction(async () => {
          for (const recorder of recorders) await recorder.insertEvents([storedEvent('dog', 1)])
        })
      await rejection(all(), RecordConflictError)
      for (const recorder of recorders.slice(0, 2)) expect(await recorder.selectEvents('dog')).to.deep.equal([])
      await datastore.transaction(async () => {
        for (const recorder of recorders) await recorder.insertEvents([storedEvent('cat', 1)])
      })
      for (const recorder of recorders) expect(versions(await recorder.selectEvents('cat'))).to.deep.equal([1])
    })

    define('goes on after a conflict that is caught inside', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      await recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('cat', 1)])
        const error = await rejection(
          recorder.insertEvents([storedEvent('fox', 1), storedEvent('dog', 1), storedEvent('fox', 2)]),
          RecordConflictError,
        )
        expect(error.originatorId).to.equal('dog')
        expect(await recorder.selectEvents('fox')).to.deep.equal([])
        await recorder.insertEvents([storedEvent('dog', 2)])
      })
      expect(versions(await recorder.selectEvents('cat'))).to.deep.equal([1])
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
      expect(await recorder.selectEvents('fox')).to.deep.equal([])
    })

    define('rolls back for a conflict that leaves it', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      const outcome = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('cat', 1)])
        await recorder.insertEvents([storedEvent('dog', 1)])
      })
      await rejection(outcome, RecordConflictError)
      expect(await recorder.selectEvents('cat')).to.deep.equal([])
    })

    define('refuses a call that is made after its end, and records nothing of it', async ({ factory }) => {
      const recorder = await factory().processRecorder()
      for (const end of ['commit', 'rollback']) {
        const ended = gate()
        const late: Promise<unknown>[] = []
        const outcome = recorder.transaction(async () => {
          const afterwards = async (call: () => Promise<unknown>) => {
            await ended.passed
            return call()
          }
          late.push(
            afterwards(() => recorder.insertEvents([storedEvent('late', 1)])),
            afterwards(() => recorder.selectEvents('late')),
            afterwards(() => recorder.selectNotifications({ limit: 1 })),
            afterwards(() => recorder.maxNotificationId()),
            afterwards(() => recorder.insertTracking({ applicationName: 'late', notificationId: 1 })),
            afterwards(() => recorder.maxTrackingId('late')),
            afterwards(() => recorder.transaction(() => recorder.insertEvents([storedEvent('late', 1)]))),
            afterwards(() => recorder.transaction()),
          )
          if (end === 'rollback') throw new RangeError('undo')
        })
        if (end === 'rollback') await rejection(outcome, RangeError)
        else await outcome
        ended.open()
        for (const call of late) await rejection(call, InterfaceError, 'ended')
        expect(await recorder.selectEvents('late')).to.deep.equal([])
        expect(await recorder.maxTrackingId('late')).to.equal(null)
      }
    })

    define('either records a call that nobody awaited, or refuses it', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      let forgotten!: Promise<unknown>
      await recorder.transaction(() => {
        forgotten = recorder.insertEvents(storedEvents('dog', 1, 2))
        forgotten.catch(() => undefined) // looked at below
      })
      const error = await forgotten.then(
        () => undefined,
        (refused: unknown) => refused,
      )
      if (error !== undefined) expect(error).to.be.instanceOf(InterfaceError)
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal(error === undefined ? [1, 2] : [])
    })
  })

  describe('transaction() as a handle', () => {
    define('commits by hand what was recorded in run', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const tx = await recorder.transaction()
      const result = await tx.run(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        return 'result'
      })
      expect(result).to.equal('result')
      await tx.run(() => recorder.insertEvents([storedEvent('dog', 2)]))
      expect(await tx.run(() => recorder.selectEvents('dog'))).to.have.length(2)
      await tx.commit()
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
    })

    define('rolls back by hand, and again without harm', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const tx = await recorder.transaction()
      await tx.run(() => recorder.insertEvents([storedEvent('dog', 1)]))
      await tx.rollback()
      await tx.rollback()
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
      await recorder.insertEvents([storedEvent('dog', 1)])
    })

    define('rolls back when it is left without a commit, and passes the error on', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      {
        await using tx = await recorder.transaction()
        await tx.run(() => recorder.insertEvents([storedEvent('dog', 1)]))
      }
      const thrown = new RangeError('the user’s own')
      const leaves = async () => {
        await using tx = await recorder.transaction()
        await tx.run(() => recorder.insertEvents([storedEvent('dog', 1)]))
        throw thrown
      }
      expect(await failure(leaves())).to.equal(thrown)
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
      {
        await using tx = await recorder.transaction()
        await tx.run(() => recorder.insertEvents([storedEvent('dog', 1)]))
        await tx.commit()
      }
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
    })

    define('goes on after an error in run', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await using tx = await recorder.transaction()
      const thrown = new RangeError('the user’s own')
      expect(
        await failure(
          tx.run(async () => {
            await recorder.insertEvents([storedEvent('dog', 1)])
            throw thrown
          }),
        ),
      ).to.equal(thrown)
      await tx.run(() => recorder.insertEvents([storedEvent('dog', 2)]))
      await tx.commit()
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
    })

    define('refuses everything after its end', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const committed = await recorder.transaction()
      await committed.commit()
      const rolledBack = await recorder.transaction()
      await rolledBack.rollback()
      for (const tx of [committed, rolledBack]) {
        await rejection((async () => tx.run(() => recorder.insertEvents([storedEvent('dog', 1)])))(), InterfaceError)
        await rejection(tx.commit(), InterfaceError)
      }
      await rejection(committed.rollback(), InterfaceError)
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
    })

    define('does not draw in calls made beside it', async ({ factory, datastore }) => {
      const recorder = await factory().applicationRecorder()
      const tx = await datastore.transaction()
      // not in `run`, so this insert is a transaction of its own, which may have to wait for the writer
      const beside = recorder.insertEvents([storedEvent('beside', 1)])
      await tx.run(() => recorder.insertEvents([storedEvent('inside', 1)]))
      await tx.rollback()
      await beside
      expect(versions(await recorder.selectEvents('beside'))).to.deep.equal([1])
      expect(await recorder.selectEvents('inside')).to.deep.equal([])
    })
  })

  describe('concurrent transactions', () => {
    define('keeps a bystander’s write when another transaction rolls back', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const [recorded, written] = [gate(), gate()]
      const failing = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('failing', 1)])
        recorded.open()
        await written.passed
        throw new RangeError('undo')
      })
      const failed = rejection(failing, RangeError)
      await recorded.passed
      const bystander = recorder.insertEvents([storedEvent('bystander', 1)])
      await nextTurn()
      written.open()
      await Promise.all([failed, bystander])
      expect(await recorder.selectEvents('failing')).to.deep.equal([])
      expect(versions(await recorder.selectEvents('bystander'))).to.deep.equal([1])
    })

    define('keeps two units of work apart that take their steps in turn', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const steps = [gate(), gate(), gate()]
      const reads: Record<string, number[]> = { one: [], other: [] }
      const unit = async (name: string, end: () => void) =>
        recorder.transaction(async () => {
          for (const [i, step] of steps.entries()) {
            await step.passed
            await recorder.insertEvents([storedEvent(name, i + 1)])
            await nextTurn()
            const all = await recorder.selectNotifications({ limit: 10 })
            reads[name]!.push(all.filter(({ originatorId }) => originatorId !== name).length)
          }
          end()
        })
      const one = unit('one', () => undefined)
      const other = rejection(
        unit('other', () => {
          throw new RangeError('undo')
        }),
        RangeError,
      )
      for (const step of steps) {
        step.open()
        for (let i = 0; i < 5; i += 1) await nextTurn()
      }
      await Promise.all([one, other])
      expect(versions(await recorder.selectEvents('one'))).to.deep.equal([1, 2, 3])
      expect(await recorder.selectEvents('other')).to.deep.equal([])
      // `other` never committed, so `one` must not have seen it; it may have seen all of `one`, or nothing
      expect(reads.one).to.deep.equal([0, 0, 0])
      for (const seen of reads.other!) expect(seen).to.be.oneOf([0, 3])
    })

    define('keeps 50 concurrent requests apart, of which some fail', async ({ factory, owners }) => {
      const recorder = await factory().applicationRecorder()
      const requests = Array.from({ length: 50 }, (_, i) => ({
        name: `request ${i}`,
        fails: i % 3 === 1,
        chance: random(i),
      }))
      await Promise.all(
        requests.map(async ({ name, fails, chance }) => {
          const wrong = new RangeError(name)
          await chance.yield()
          const outcome = recorder.transaction(async (session) => {
            for (let version = 1; version <= 3; version += 1) {
              await chance.yield()
              await recorder.insertEvents([storedEvent(name, version)])
              if (owners && version === 2) await owners.insert(session, name)
              if (fails && version === 1 + chance.below(3)) throw wrong
              await chance.yield()
              expect(versions(await recorder.selectEvents(name))).to.have.length(version)
            }
            if (fails) throw wrong
          })
          if (fails) expect(await failure(outcome)).to.equal(wrong)
          else await outcome
        }),
      )
      const succeeded = requests.filter(({ fails }) => !fails).map(({ name }) => name)
      for (const { name, fails } of requests) {
        expect(versions(await recorder.selectEvents(name)), name).to.deep.equal(fails ? [] : [1, 2, 3])
      }
      const all = await recorder.selectNotifications({ limit: 1000 })
      expect(all).to.have.length(succeeded.length * 3)
      if (owners) expect(await owners.names()).to.deep.equal([...succeeded].sort())
    })

    define('shows readers outside only what is committed, all of it or nothing', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      for (const end of ['commit', 'rollback'] as const) {
        const tx = await recorder.transaction()
        await tx.run(() => recorder.insertEvents([storedEvent(end, 1)]))
        // where readers take turns with the transaction these end after it, elsewhere before
        const reads = [recorder.selectEvents(end), recorder.selectNotifications({ start: 1, limit: 10 })]
        await nextTurn()
        await tx.run(() => recorder.insertEvents([storedEvent(end, 2)]))
        await tx[end]()
        for (const read of reads) {
          const seen = (await read).filter(({ originatorId }) => originatorId === end)
          expect(seen.length).to.be.oneOf(end === 'commit' ? [0, 2] : [0])
        }
        expect(await recorder.selectEvents(end)).to.have.length(end === 'commit' ? 2 : 0)
      }
    })

    define(
      'leaves calls on another datastore out: they are transactions of their own',
      async ({ factory, datastore }) => {
        const opened = await backend.open()
        try {
          const here = await factory('School').applicationRecorder()
          const there = await opened.factory('School').applicationRecorder()
          const undo = new RangeError('undo')
          await rejection(
            datastore.transaction(async () => {
              await here.insertEvents([storedEvent('here', 1)])
              await there.insertEvents([storedEvent('there', 1)])
              await opened.datastore.transaction(async () => {
                await there.insertEvents([storedEvent('there', 2)])
                await here.insertEvents([storedEvent('here', 2)])
              })
              expect(await there.selectEvents('here')).to.deep.equal([])
              expect(await here.selectEvents('there')).to.deep.equal([])
              throw undo
            }),
            RangeError,
          )
          expect(await here.selectNotifications({ limit: 10 })).to.deep.equal([])
          expect(versions(await there.selectEvents('there'))).to.deep.equal([1, 2])
          expect(await there.selectEvents('here')).to.deep.equal([])
        } finally {
          await opened.close()
        }
      },
    )

    define('runs outside(fn) outside: what it records is not rolled back', async ({ factory, datastore }) => {
      const recorder = await factory().applicationRecorder()
      let beside!: Promise<unknown>
      await rejection(
        datastore.transaction(async () => {
          await recorder.insertEvents([storedEvent('inside', 1)])
          // not awaited here: where there is one writer it has its turn after this transaction
          beside = datastore.outside(() => recorder.insertEvents([storedEvent('outside', 1)]))
          expect(datastore.outside(() => 'result')).to.equal('result')
          expect(versions(await recorder.selectEvents('inside'))).to.deep.equal([1])
          throw new RangeError('undo')
        }),
        RangeError,
      )
      await beside
      expect(versions(await recorder.selectEvents('outside'))).to.deep.equal([1])
      expect(await recorder.selectEvents('inside')).to.deep.equal([])
    })

    if (!backend.capabilities.concurrentWriters) {
      define(
        'sends a writer away that waited too long, with nothing stored, and works afterwards',
        async ({ factory, datastore }) => {
          const recorder = await factory().applicationRecorder()
          await recorder.maxNotificationId()
          const tx = await datastore.transaction()
          const waiting = [
            recorder.insertEvents([storedEvent('insert', 1)]),
            recorder.transaction(() => recorder.insertEvents([storedEvent('transaction', 1)])),
            recorder.transaction(),
          ].map((call) => rejection(call, OperationalError))
          for (const error of await Promise.all(waiting)) expect(error.retryable).to.equal(true)
          await tx.run(() => recorder.insertEvents([storedEvent('dog', 1)]))
          await tx.commit()
          await recorder.insertEvents([storedEvent('dog', 2)])
          const found = await recorder.selectNotifications({ limit: 10 })
          expect(found.map(({ originatorId }) => originatorId)).to.deep.equal(['dog', 'dog'])
        },
        { poolTimeoutMs: 200 },
      )

      define(
        'ends a wait for oneself with an error: work that awaits outside(fn) writing',
        async ({ factory, datastore }) => {
          const recorder = await factory().applicationRecorder()
          await recorder.maxNotificationId()
          await datastore.transaction(async () => {
            await recorder.insertEvents([storedEvent('dog', 1)])
            const outside = datastore.outside(() => recorder.insertEvents([storedEvent('cat', 1)]))
            await rejection(outside, OperationalError)
          })
          expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
          expect(await recorder.selectEvents('cat')).to.deep.equal([])
        },
        { poolTimeoutMs: 200 },
      )
    }

    define('waits at close for an open transaction, then refuses everything', async ({ factory, datastore }) => {
      const recorder = await factory().applicationRecorder()
      const order: string[] = []
      const [begun, release] = [gate(), gate()]
      const open = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        begun.open()
        await release.passed
        await recorder.insertEvents([storedEvent('dog', 2)])
        order.push('work')
      })
      await begun.passed
      const closing = datastore.close().then(() => order.push('close'))
      await nextTurn()
      release.open()
      await Promise.all([open, closing])
      expect(order).to.deep.equal(['work', 'close'])
      await rejection(recorder.insertEvents([storedEvent('dog', 3)]), InterfaceError)
      await rejection(recorder.selectEvents('dog'), InterfaceError)
      await rejection(recorder.selectNotifications({ limit: 1 }), InterfaceError)
      await rejection(recorder.maxNotificationId(), InterfaceError)
      await rejection(
        recorder.transaction(() => undefined),
        InterfaceError,
      )
      await rejection(recorder.transaction(), InterfaceError)
      await rejection(datastore.ready(), InterfaceError)
    })

    define(
      'gives up closing while a transaction is open, and closes once it has ended',
      async ({ factory, datastore }) => {
        const recorder = await factory().applicationRecorder()
        await recorder.insertEvents([storedEvent('dog', 1)])
        const tx = await datastore.transaction()
        await rejection(datastore.close(), OperationalError)
        await tx.rollback()
        await datastore.close()
        await rejection(datastore.ready(), InterfaceError)
        await rejection(recorder.selectEvents('dog'), InterfaceError)
        await rejection(recorder.insertEvents([storedEvent('dog', 2)]), InterfaceError)
        await rejection(recorder.transaction(), InterfaceError)
      },
      { poolTimeoutMs: 300 },
    )

    define('closes twice, and at the same time, without harm', async ({ datastore, factory }) => {
      await (await factory().applicationRecorder()).insertEvents([storedEvent('dog', 1)])
      await Promise.all([datastore.close(), datastore.close()])
      await datastore.close()
    })

    define('closes without ever having been used', async ({ datastore }) => {
      await datastore.close()
      await rejection(datastore.ready(), InterfaceError)
    })
  })

  describe('transaction options', () => {
    define('rolls back what is started with commit: false, and returns the value', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      const seen = await recorder.transaction(() => recorder.selectEvents('dog'), { commit: false })
      expect(versions(seen)).to.deep.equal([1])
      await using tx = await recorder.transaction({ commit: false })
      expect(versions(await tx.run(() => recorder.selectEvents('dog')))).to.deep.equal([1])
      await rejection(tx.commit(), ProgrammingError, 'Transaction already started with commit=False')
    })

    define('refuses to record anything inside commit: false, which goes on', async ({ factory }) => {
      const recorder = await factory().processRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      const message = 'Transaction already started with commit=False'
      await recorder.transaction(
        async () => {
          await rejection(recorder.insertEvents([storedEvent('dog', 2)]), ProgrammingError, message)
          await rejection(
            recorder.transaction(() => 'not reached'),
            ProgrammingError,
            message,
          )
          await rejection(recorder.transaction(), ProgrammingError, message)
          const tracking = { applicationName: 'upstream', notificationId: 1 }
          await rejection(recorder.insertTracking(tracking), ProgrammingError, message)
          await rejection(recorder.insertEvents([], { tracking }), ProgrammingError, message)
          await recorder.transaction(
            async () => {
              await rejection(recorder.insertEvents([storedEvent('dog', 2)]), ProgrammingError, message)
            },
            { commit: false },
          )
          expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
        },
        { commit: false },
      )
      await recorder.insertEvents([storedEvent('dog', 2)])
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
    })

    define('takes an isolation level', async ({ factory }) => {
      const recorder = await factory().aggregateRecorder()
      for (const isolationLevel of ['read uncommitted', 'read committed', 'repeatable read', 'serializable'] as const) {
        await recorder.transaction(() => recorder.insertEvents([storedEvent(isolationLevel, 1)]), {
          isolationLevel,
          accessMode: 'read write',
        })
        expect(versions(await recorder.selectEvents(isolationLevel))).to.deep.equal([1])
      }
    })

    define('refuses unknown values', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const bad: object[] = [{ isolationLevel: 'chaos' }, { isolationLevel: 1 }, { accessMode: 'write only' }]
      for (const options of bad) {
        const [name] = Object.keys(options)
        await rejection(
          recorder.transaction(() => undefined, options as TransactionOptions),
          ProgrammingError,
          name,
        )
      }
      await recorder.insertEvents([storedEvent('dog', 1)])
    })

    define(
      'refuses options that it does not know, and a commit that is neither true nor false',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        const bad: object[] = [
          { comit: false },
          { isolation: 'serializable' },
          { commit: 0 },
          { commit: 'false' },
          { commit: null },
        ]
        for (const options of bad) {
          const [name] = Object.keys(options)
          const open = () => recorder.transaction(() => expect.fail('Has begun'), options as TransactionOptions)
          await rejection(open(), ProgrammingError, name)
          await rejection(recorder.transaction(options as TransactionOptions), ProgrammingError, name)
          await recorder.transaction(() => rejection(open(), ProgrammingError, name))
        }
        await recorder.insertEvents([storedEvent('dog', 1)])
      },
    )

    define('refuses isolation level and access mode for a nested transaction', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async () => {
        for (const options of [{ isolationLevel: 'serializable' }, { accessMode: 'read write' }] as const) {
          await rejection(
            recorder.transaction(() => undefined, options),
            ProgrammingError,
            'outermost',
          )
          await rejection(recorder.transaction(options), ProgrammingError, 'outermost')
        }
        await recorder.insertEvents([storedEvent('dog', 1)])
      })
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
    })
  })

  describe('session.afterCommit', () => {
    define('runs what it was given in order, after the commit, before transaction() resolves', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const order: string[] = []
      await recorder.transaction(async (session) => {
        const extras = extrasOf(session)
        extras.afterCommit(async () => {
          order.push(`first sees ${(await recorder.selectEvents('dog')).length}`)
        })
        extras.afterCommit(() => order.push('second'))
        await recorder.insertEvents(storedEvents('dog', 1, 2))
        order.push('work')
      })
      expect(order).to.deep.equal(['work', 'first sees 2', 'second'])
    })

    define('runs outside of the transaction: what it saves is on its own', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const wrong = new RangeError('the hook’s own')
      const outcome = recorder.transaction(async (session) => {
        extrasOf(session).afterCommit(async () => {
          await recorder.insertEvents([storedEvent('hook', 1)])
          await recorder.transaction(() => recorder.insertEvents([storedEvent('hook', 2)]))
          throw wrong
        })
        await recorder.insertEvents([storedEvent('dog', 1)])
      })
      const error = await rejection(outcome, EventSourcingError, 'committed')
      expect(error.cause).to.equal(wrong)
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
      expect(versions(await recorder.selectEvents('hook'))).to.deep.equal([1, 2])
    })

    define('runs outside also where a handle is committed inside its own run', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const tx = await recorder.transaction()
      await tx.run(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        extrasOf(tx.session).afterCommit(() => recorder.insertEvents([storedEvent('hook', 1)]))
        await tx.commit()
      })
      expect(versions(await recorder.selectEvents('hook'))).to.deep.equal([1])
    })

    define('runs the others although one fails, and says that all is committed', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const ran: number[] = []
      const outcome = recorder.transaction(async (session) => {
        for (const n of [1, 2, 3]) {
          extrasOf(session).afterCommit(() => {
            ran.push(n)
            if (n < 3) throw new RangeError(`hook ${n}`)
          })
        }
        await recorder.insertEvents([storedEvent('dog', 1)])
      })
      const { cause } = await rejection(outcome, EventSourcingError, 'committed')
      expect(cause).to.be.instanceOf(AggregateError)
      expect(ran).to.deep.equal([1, 2, 3])
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
    })

    define('never runs after a rollback', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      let ran = 0
      const leave = (session: unknown) => extrasOf(session).afterCommit(() => (ran += 1))
      await rejection(
        recorder.transaction((session) => {
          leave(session)
          throw new RangeError('undo')
        }),
        RangeError,
      )
      await recorder.transaction(leave, { commit: false })
      const tx = await recorder.transaction()
      leave(tx.session)
      await tx.rollback()
      {
        await using disposed = await recorder.transaction()
        leave(disposed.session)
      }
      await recorder.insertEvents([storedEvent('dog', 1)])
      expect(ran).to.equal(0)
    })

    define('runs after a handle’s commit', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      let ran = 0
      await using tx = await recorder.transaction()
      extrasOf(tx.session).afterCommit(() => (ran += 1))
      await tx.commit()
      expect(ran).to.equal(1)
    })

    define('runs only after the outermost commit, and nothing of a rolled-back savepoint', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const order: string[] = []
      const leave = (session: unknown, what: string) => extrasOf(session).afterCommit(() => order.push(what))
      await recorder.transaction(async (outer) => {
        leave(outer, 'before')
        await recorder.transaction(async (inner) => {
          leave(inner, 'inner')
          await recorder.transaction((innermost) => leave(innermost, 'innermost'))
        })
        await rejection(
          recorder.transaction(async (undone) => {
            leave(undone, 'undone')
            await recorder.transaction((inside) => leave(inside, 'inside of undone'))
            throw new RangeError('undo')
          }),
          RangeError,
        )
        leave(outer, 'after')
        order.push('end of work')
      })
      expect(order).to.deep.equal(['end of work', 'before', 'inner', 'innermost', 'after'])
    })

    define('refuses a hook that is given after the end', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const session = await recorder.transaction((given) => given)
      expect(() => extrasOf(session).afterCommit(() => undefined)).to.throw(InterfaceError)
    })
  })

  describe('tables made inside a transaction', () => {
    define('are forgotten if it rolls back: the next call makes them again', async ({ factory, datastore }) => {
      let recorder!: ProcessRecorder
      await rejection(
        datastore.transaction(async () => {
          recorder = await factory('Late School').processRecorder()
          await recorder.insertEvents([storedEvent('dog', 1)])
          await recorder.insertTracking({ applicationName: 'upstream', notificationId: 1 })
          throw new RangeError('undo')
        }),
        RangeError,
      )
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
      await recorder.insertEvents([storedEvent('dog', 1)])
      expect(await recorder.maxTrackingId('upstream')).to.equal(null)
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 1 })
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
    })

    define('are forgotten with a savepoint too', async ({ factory, datastore }) => {
      let recorder!: ProcessRecorder
      await datastore.transaction(async () => {
        await rejection(
          datastore.transaction(async () => {
            recorder = await factory('Late School').processRecorder()
            await recorder.insertEvents([storedEvent('dog', 1)])
            throw new RangeError('undo')
          }),
          RangeError,
        )
        await recorder.insertEvents([storedEvent('dog', 1)])
      })
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
      expect(await recorder.maxTrackingId('upstream')).to.equal(null)
    })

    define('are forgotten by every recorder that used them', async ({ factory, datastore }) => {
      let recorders: ProcessRecorder[] = []
      await rejection(
        datastore.transaction(async () => {
          recorders = [await factory('Late School').processRecorder(), await factory('Late School').processRecorder()]
          for (const [i, recorder] of recorders.entries()) await recorder.insertEvents([storedEvent('dog', i + 1)])
          throw new RangeError('undo')
        }),
        RangeError,
      )
      for (const [i, recorder] of recorders.entries()) await recorder.insertEvents([storedEvent('dog', i + 1)])
      expect(versions(await recorders[0]!.selectEvents('dog'))).to.deep.equal([1, 2])
    })

    define('are not needed to read inside commit: false', async ({ factory, datastore }) => {
      let recorder!: ProcessRecorder
      const seen = await datastore.transaction(
        async () => {
          recorder = await factory('Late School').processRecorder()
          return [
            await recorder.selectNotifications({ limit: 1 }),
            await recorder.selectEvents('dog'),
            await recorder.maxNotificationId(),
            await recorder.maxTrackingId('upstream'),
          ]
        },
        { commit: false },
      )
      expect(seen).to.deep.equal([[], [], null, null])
      await recorder.insertEvents([storedEvent('dog', 1)])
      expect(await recorder.maxNotificationId()).to.equal(1)
    })
  })
}
