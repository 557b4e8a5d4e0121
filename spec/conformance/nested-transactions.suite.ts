import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { InterfaceError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import type { AnyDatastore } from '../../lib/persistence/datastore.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { pendingVersions } from '../support/pending-versions.js'
import { random } from '../support/random.js'
import { failure, rejection } from '../support/rejection.js'
import { storedEvent, storedEvents, versions } from '../support/stored-events.js'
import { ticks } from '../support/ticks.js'
import { schoolOn } from '../support/training-school.js'

/** What a transaction inside a transaction promises: a savepoint of its own, in turn with its siblings. */
export function nestedTransactionsSuite(define: DefineCase): void {
  describe('nested transactions', () => {
    define('commit with the outermost one, and return what their work returns', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const returned = await recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('outer', 1)])
        return recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('inner', 1)])
          return 'inner'
        })
      })
      expect(returned).to.equal('inner')
      expect(await recorder.selectNotifications({ limit: 10 })).to.have.length(2)
    })

    define('are undone with the outermost one', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const outcome = recorder.transaction(async () => {
        await recorder.transaction(() => recorder.insertEvents([storedEvent('inner', 1)]))
        expect(versions(await recorder.selectEvents('inner'))).to.deep.equal([1])
        throw new RangeError('undo')
      })
      await rejection(outcome, RangeError)
      expect(await recorder.selectEvents('inner')).to.deep.equal([])
    })

    define(
      'are undone alone where their error is caught outside of them, and the outer one goes on',
      async ({ factory }) => {
        const recorder = await factory().processRecorder()
        await recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('outer', 1)], {
            tracking: { applicationName: 'upstream', notificationId: 1 },
          })
          const thrown = new RangeError('undo the inner one')
          const inner = recorder.transaction(async () => {
            await recorder.insertEvents([storedEvent('outer', 2), storedEvent('inner', 1)], {
              tracking: { applicationName: 'upstream', notificationId: 2 },
            })
            expect(versions(await recorder.selectEvents('outer'))).to.deep.equal([1, 2])
            throw thrown
          })
          expect(await failure(inner)).to.equal(thrown)
          expect(versions(await recorder.selectEvents('outer'))).to.deep.equal([1])
          expect(await recorder.maxTrackingId('upstream')).to.equal(1)
          await recorder.insertEvents([storedEvent('outer', 2)])
        })
        expect(versions(await recorder.selectEvents('outer'))).to.deep.equal([1, 2])
        expect(await recorder.selectEvents('inner')).to.deep.equal([])
        expect(await recorder.maxTrackingId('upstream')).to.equal(1)
      },
    )

    define('let the outer one go on after a conflict in the inner one', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      await recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('outer', 1)])
        const inner = recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('inner', 1)])
          await recorder.insertEvents([storedEvent('dog', 1)])
        })
        await rejection(inner, RecordConflictError)
        await recorder.insertEvents([storedEvent('dog', 2)])
      })
      const found = await recorder.selectNotifications({ limit: 10 })
      expect(found.map(({ originatorId }) => originatorId)).to.deep.equal(['dog', 'outer', 'dog'])
    })

    define('go deep: each level is undone or kept on its own', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const depth = 12
      const undone = (level: number) => level % 3 === 2
      const descend = async (level: number): Promise<void> => {
        await recorder.insertEvents([storedEvent(`before ${level}`, 1)])
        if (level < depth) {
          const inner = recorder.transaction(() => descend(level + 1))
          if (undone(level + 1)) await rejection(inner, RangeError, `${level + 1}`)
          else await inner
        }
        await recorder.insertEvents([storedEvent(`after ${level}`, 1)])
        if (undone(level)) throw new RangeError(`undo ${level}`)
      }
      await recorder.transaction(() => descend(0))
      const found = await recorder.selectNotifications({ limit: 100 })
      // level 2 is undone, and all that is deeper stands inside of it
      expect(found.map(({ originatorId }) => originatorId)).to.deep.equal([
        'before 0',
        'before 1',
        'after 1',
        'after 0',
      ])
    })

    define('take turns with siblings that are started together, one of which fails', async ({ factory, owners }) => {
      const recorder = await factory().applicationRecorder()
      let inside = 0
      await recorder.transaction(async () => {
        const outcomes = await Promise.allSettled(
          Array.from({ length: 9 }, (_, i) =>
            recorder.transaction(async (session) => {
              expect((inside += 1), 'siblings inside at a time').to.equal(1)
              await recorder.insertEvents([storedEvent(`sibling ${i}`, 1)])
              await random(i).yield()
              if (owners) await owners.insert(session, `owner ${i}`)
              await recorder.insertEvents([storedEvent(`sibling ${i}`, 2)])
              inside -= 1
              if (i % 4 === 1) throw new RangeError(`undo ${i}`)
            }),
          ),
        )
        expect(outcomes.map(({ status }) => status === 'rejected')).to.deep.equal(outcomes.map((_, i) => i % 4 === 1))
      })
      const kept = [0, 2, 3, 4, 6, 7, 8]
      const found = await recorder.selectNotifications({ limit: 100 })
      expect(found.map(({ originatorId }) => originatorId)).to.deep.equal(
        kept.flatMap((i) => Array(2).fill(`sibling ${i}`)),
      )
      if (owners) expect(await owners.names()).to.deep.equal(kept.map((i) => `owner ${i}`))
    })

    define('take turns with calls of the outer one that are started beside them', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async () => {
        const failing = recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('inner', 1)])
          await nextTurn()
          await recorder.insertEvents([storedEvent('inner', 2)])
          throw new RangeError('undo')
        })
        // a statement between the inner one's savepoint and its rollback would be undone with it
        const beside = recorder.insertEvents([storedEvent('beside', 1)])
        const read = recorder.selectEvents('inner')
        await Promise.all([rejection(failing, RangeError), beside])
        expect(await read).to.deep.equal([])
      })
      expect(versions(await recorder.selectEvents('beside'))).to.deep.equal([1])
      expect(await recorder.selectEvents('inner')).to.deep.equal([])
    })

    define('are waited for at the outer commit where nobody awaited them', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const [begun, release] = [gate(), gate()]
      const order: string[] = []
      let dangling!: Promise<unknown>
      const outer = recorder
        .transaction(async () => {
          await recorder.insertEvents([storedEvent('outer', 1)])
          dangling = recorder.transaction(async () => {
            await recorder.insertEvents([storedEvent('dangling', 1)])
            begun.open()
            await release.passed
            await recorder.insertEvents([storedEvent('dangling', 2)])
            order.push('dangling')
          })
          await begun.passed
        })
        .then(() => order.push('outer'))
      await begun.passed
      for (let i = 0; i < 5; i += 1) await nextTurn()
      release.open()
      await Promise.all([outer, dangling])
      expect(order).to.deep.equal(['dangling', 'outer'])
      expect(versions(await recorder.selectEvents('dangling'))).to.deep.equal([1, 2])
      expect(versions(await recorder.selectEvents('outer'))).to.deep.equal([1])
    })

    define(
      'are refused where they wait for a turn when the outer one commits, which waits for the one that has it',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        const [begun, release] = [gate(), gate()]
        let dangling!: Promise<unknown>
        const waiting: Promise<unknown>[] = []
        const outer = recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('outer', 1)])
          dangling = recorder.transaction(async () => {
            begun.open()
            await release.passed
            await recorder.insertEvents([storedEvent('dangling', 1)])
          })
          await begun.passed
          // in line behind that one, and before the commit
          for (const name of ['second', 'third']) {
            waiting.push(
              rejection(
                recorder.transaction(() => recorder.insertEvents([storedEvent(name, 1)])),
                InterfaceError,
              ),
            )
          }
          return 'committed'
        })
        await begun.passed
        for (let i = 0; i < 5; i += 1) await nextTurn()
        release.open()
        expect(await outer).to.equal('committed')
        await Promise.all([dangling, ...waiting])
        const found = await recorder.selectNotifications({ limit: 10 })
        expect(found.map(({ originatorId }) => originatorId)).to.deep.equal(['outer', 'dangling'])
      },
      { poolTimeoutMs: 1000 }, // a turn that is lost is waited for
    )

    define('end with an outer one that rolls back: what they go on to do is refused', async ({ factory, owners }) => {
      const recorder = await factory().applicationRecorder()
      const [begun, ended] = [gate(), gate()]
      const refused: Promise<unknown>[] = []
      let dangling!: Promise<unknown>
      const outer = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('outer', 1)])
        dangling = rejection(
          recorder.transaction(async (session) => {
            await recorder.insertEvents([storedEvent('dangling', 1)])
            begun.open()
            await ended.passed
            refused.push(
              rejection(recorder.insertEvents([storedEvent('dangling', 2)]), InterfaceError),
              rejection(recorder.selectEvents('dangling'), InterfaceError),
              rejection(
                recorder.transaction(() => undefined),
                InterfaceError,
              ),
            )
            if (owners) refused.push(rejection(owners.insert(session, 'late'), InterfaceError))
            await Promise.all(refused)
          }),
          InterfaceError,
        )
        await begun.passed
        throw new RangeError('undo')
      })
      await rejection(outer, RangeError)
      ended.open()
      await dangling
      expect(refused).to.have.length(owners ? 4 : 3)
      expect(await recorder.selectNotifications({ limit: 10 })).to.deep.equal([])
      if (owners) expect(await owners.names()).to.deep.equal([])
      await recorder.insertEvents([storedEvent('dog', 1)])
      expect(await recorder.selectNotifications({ limit: 10 })).to.have.length(1)
    })

    for (const [how, rollBack] of Object.entries(waysToRollBack)) {
      define(`are refused where the outer one is rolled back while they are being opened, ${how}`, async (opened) => {
        const { datastore, owners } = opened
        const school = schoolOn(opened)
        await school.ready()
        for (let count = 0; count <= 6; count += 1) {
          const [undone, late] = [new Dog(`undone ${count}`), new Dog(`late ${count}`)]
          const [stranger, strangerNested] = [new Dog(`stranger ${count}`), new Dog(`stranger nested ${count}`)]
          const strangerInside = gate()
          let inner!: Promise<unknown>
          await rollBack(
            datastore,
            () => {
              inner = rejection(
                datastore.transaction(async (session) => {
                  await school.save(undone)
                  if (owners) await owners.insert(session, undone.name)
                  await strangerInside.passed
                  await school.save(late)
                  throw new RangeError('undo')
                }),
                InterfaceError,
              )
              inner.catch(() => undefined) // awaited below
            },
            count,
          )
          await datastore.transaction(async () => {
            await school.save(stranger)
            await datastore.transaction(async () => {
              await school.save(strangerNested)
              strangerInside.open()
              for (let i = 0; i < 5; i += 1) await nextTurn()
            })
          })
          await inner
          for (const dog of [undone, late]) {
            expect(pendingVersions(dog), dog.name).to.deep.equal([1])
            expect(await school.repository.has(dog.id), dog.name).to.equal(false)
          }
          for (const dog of [stranger, strangerNested]) {
            expect(await school.repository.has(dog.id), dog.name).to.equal(true)
          }
        }
        if (owners) expect(await owners.names()).to.deep.equal([])
      })
    }

    define('run every callback of a rollback although one fails, and the outer one goes on', async (opened) => {
      const { datastore } = opened
      const school = schoolOn(opened)
      const [kept, undone] = [new Dog('Fido'), new Dog('Rex')]
      const ran: string[] = []
      await datastore.transaction(async () => {
        datastore.onRollback(() => ran.push('outer'))
        const thrown = new RangeError('undo')
        const inner = datastore.transaction(async () => {
          datastore.onRollback(() => ran.push('first'))
          await school.save(undone)
          datastore.onRollback(() => {
            throw new TypeError('of the callback')
          })
          datastore.onRollback(() => ran.push('last'))
          throw thrown
        })
        expect(await failure(inner)).to.equal(thrown)
        expect(ran).to.deep.equal(['last', 'first'])
        expect(pendingVersions(undone)).to.deep.equal([1])
        await school.save(kept)
      })
      expect(ran).to.deep.equal(['last', 'first'])
      expect(await school.repository.has(kept.id)).to.equal(true)
      expect(await school.repository.has(undone.id)).to.equal(false)
    })

    define('are refused with all that waits for a turn when the outer one rolls back', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const [begun, ended] = [gate(), gate()]
      const waiting: Promise<unknown>[] = []
      const outer = recorder.transaction(async () => {
        const first = recorder.transaction(async () => {
          begun.open()
          await ended.passed
        })
        waiting.push(rejection(first, InterfaceError))
        await begun.passed
        waiting.push(
          rejection(
            recorder.transaction(() => recorder.insertEvents([storedEvent('second', 1)])),
            InterfaceError,
          ),
          rejection(recorder.insertEvents([storedEvent('third', 1)]), InterfaceError),
        )
        throw new RangeError('undo')
      })
      await rejection(outer, RangeError)
      ended.open()
      await Promise.all(waiting)
      expect(await recorder.selectNotifications({ limit: 10 })).to.deep.equal([])
      await recorder.insertEvents([storedEvent('dog', 1)])
    })

    define('may be started with commit: false inside a committing one, and are undone alone', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        const seen = await recorder.transaction(
          async () => {
            await rejection(
              recorder.insertEvents([storedEvent('dog', 2)]),
              ProgrammingError,
              'Transaction already started with commit=False',
            )
            return recorder.selectEvents('dog')
          },
          { commit: false },
        )
        expect(versions(seen)).to.deep.equal([1])
        await recorder.insertEvents([storedEvent('dog', 2)])
      })
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
    })

    define('may be handles', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('outer', 1)])
        {
          await using tx = await recorder.transaction()
          await tx.run(() => recorder.insertEvents([storedEvent('left', 1)]))
        }
        const kept = await recorder.transaction()
        await kept.run(() => recorder.insertEvents([storedEvent('kept', 1)]))
        await kept.commit()
        const undone = await recorder.transaction()
        await undone.run(() => recorder.insertEvents([storedEvent('undone', 1)]))
        await undone.rollback()
        await recorder.insertEvents([storedEvent('outer', 2)])
      })
      const found = await recorder.selectNotifications({ limit: 10 })
      expect(found.map(({ originatorId }) => originatorId)).to.deep.equal(['outer', 'kept', 'outer'])
    })

    define('work inside a handle’s run', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await using tx = await recorder.transaction()
      await tx.run(async () => {
        await rejection(
          recorder.transaction(async () => {
            await recorder.insertEvents([storedEvent('undone', 1)])
            throw new RangeError('undo')
          }),
          RangeError,
        )
        await recorder.transaction(() => recorder.insertEvents([storedEvent('kept', 1)]))
      })
      await tx.commit()
      expect(await recorder.selectEvents('undone')).to.deep.equal([])
      expect(versions(await recorder.selectEvents('kept'))).to.deep.equal([1])
    })

    define('do not reach concurrent requests', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await Promise.all(
        Array.from({ length: 20 }, async (_, i) => {
          const chance = random(i)
          await recorder.transaction(async () => {
            await recorder.insertEvents(storedEvents(`request ${i}`, 1, 2))
            await chance.yield()
            const inner = recorder.transaction(async () => {
              await recorder.insertEvents([storedEvent(`request ${i}`, 3)])
              await chance.yield()
              if (i % 2 === 1) throw new RangeError('undo')
            })
            if (i % 2 === 1) await rejection(inner, RangeError)
            else await inner
            await recorder.insertEvents([storedEvent(`request ${i}`, 4)])
          })
        }),
      )
      for (let i = 0; i < 20; i += 1) {
        const expected = i % 2 === 1 ? [1, 2, 4] : [1, 2, 3, 4]
        expect(versions(await recorder.selectEvents(`request ${i}`))).to.deep.equal(expected)
      }
    })
  })
}

/** Starts something inside a transaction, and rolls that back so many ticks later. */
type RollBack = (datastore: AnyDatastore, start: () => void, count: number) => Promise<unknown>

const waysToRollBack: Record<string, RollBack> = {
  async 'by its handle'(datastore, start, count) {
    const tx = await datastore.transaction()
    tx.run(start)
    await ticks(count)
    await tx.rollback()
  },
  'by leaving its block': (datastore, start, count) =>
    rejection(
      (async () => {
        await using tx = await datastore.transaction()
        tx.run(start)
        await ticks(count)
        throw new RangeError('undo')
      })(),
      RangeError,
    ),
  'by work that rejects': (datastore, start, count) =>
    rejection(
      datastore.transaction(() => {
        start()
        const undo = new RangeError('undo')
        return count === 0 ? Promise.reject(undo) : ticks(count).then(() => Promise.reject(undo))
      }),
      RangeError,
    ),
}
