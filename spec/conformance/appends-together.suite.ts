import { expect } from 'chai'
import { IntegrityError, OperationalError, RecordConflictError } from '../../lib/errors.js'
import type { DefineCase } from '../support/cases.js'
import { failure, rejection } from '../support/rejection.js'
import { storedEvent, storedEvents, versions } from '../support/stored-events.js'

/** What inserts that are started together promise: a backend may let them share a statement or a commit. */
export function appendsTogetherSuite(define: DefineCase): void {
  describe('inserts that are started together', () => {
    define('have each their own outcome: a conflict fails nobody else and stores nothing', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents(storedEvents('taken', 1, 3))
      const outcomes = await Promise.allSettled([
        ...Array.from({ length: 10 }, (_, i) => recorder.insertEvents([storedEvent(`single ${i}`, 1)])),
        recorder.insertEvents([storedEvent('taken', 2)]),
        ...Array.from({ length: 10 }, (_, i) => recorder.insertEvents(storedEvents(`several ${i}`, 1, 4))),
        recorder.insertEvents([storedEvent('half', 1), storedEvent('taken', 3), storedEvent('half', 2)]),
        recorder.insertEvents(storedEvents('many', 1, 250)),
        recorder.insertEvents([...storedEvents('many too', 1, 250), storedEvent('taken', 1)]),
      ])
      const refused = outcomes.flatMap((outcome, index) => (outcome.status === 'rejected' ? [index] : []))
      expect(refused).to.deep.equal([10, 21, 23])
      for (const index of refused) {
        expect((outcomes[index] as PromiseRejectedResult).reason).to.be.instanceOf(RecordConflictError)
      }
      const ids = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
      for (const own of ids) expect(own).to.deep.equal(own.map((_, index) => (own[0] as number) + index))
      expect(new Set(ids.flat()).size).to.equal(10 + 40 + 250)
      expect(versions(await recorder.selectEvents('half'))).to.deep.equal([])
      expect(versions(await recorder.selectEvents('many too'))).to.deep.equal([])
      expect(versions(await recorder.selectEvents('taken'))).to.deep.equal([1, 2, 3])
      for (let i = 0; i < 10; i += 1) {
        expect(versions(await recorder.selectEvents(`single ${i}`))).to.deep.equal([1])
        expect(versions(await recorder.selectEvents(`several ${i}`))).to.deep.equal([1, 2, 3, 4])
      }
    })

    define('of one key are one stored and the others refused', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const outcomes = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) =>
          recorder.insertEvents([storedEvent(`own ${i}`, 1), storedEvent('shared', 1)]),
        ),
      )
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).to.have.length(1)
      const stored = await recorder.selectNotifications({ limit: 100 })
      expect(stored).to.have.length(2) // the one that was stored has its own event beside it, no other has
    })

    define('record a position once, and refuse what comes with it the second time', async ({ factory }) => {
      const recorder = await factory().processRecorder()
      const position = { tracking: { applicationName: 'upstream', notificationId: 5 } }
      const [one, other, beside] = await Promise.allSettled([
        recorder.insertEvents([storedEvent('one', 1)], position),
        recorder.insertEvents([storedEvent('other', 1)], position),
        recorder.insertEvents([storedEvent('beside', 1)]),
      ])
      expect(beside.status).to.equal('fulfilled')
      // who comes first where there are many writers is anybody's guess
      const [stored, refused] = one.status === 'fulfilled' ? ['one', 'other'] : ['other', 'one']
      expect([one.status, other.status].sort()).to.deep.equal(['fulfilled', 'rejected'])
      const { reason } = [one, other].find(({ status }) => status === 'rejected') as PromiseRejectedResult
      expect(reason).to.be.instanceOf(IntegrityError)
      expect(versions(await recorder.selectEvents(stored))).to.deep.equal([1])
      expect(await recorder.selectEvents(refused)).to.deep.equal([])
      expect(versions(await recorder.selectEvents('beside'))).to.deep.equal([1])
    })

    define('take no part in a transaction that is open beside them, whatever its end', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      let beside!: Promise<number[][]>
      const undone = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('inside', 1)])
        beside = recorder.datastore.outside(() =>
          Promise.all(Array.from({ length: 5 }, (_, i) => recorder.insertEvents([storedEvent(`beside ${i}`, 1)]))),
        )
        throw new RangeError('undo')
      })
      await rejection(undone, RangeError)
      expect((await beside).flat()).to.have.length(5)
      expect(await recorder.selectEvents('inside')).to.deep.equal([])
      for (let i = 0; i < 5; i += 1) expect(await recorder.selectEvents(`beside ${i}`)).to.have.length(1)
    })

    define(
      'are each refused after their own time, with nothing stored, where the writer is not free',
      async (opened) => {
        if (opened.datastore.capabilities.concurrentWriters) return
        const recorder = await opened.factory().applicationRecorder()
        await using holding = await recorder.transaction()
        const refused = await Promise.all(
          Array.from({ length: 5 }, (_, i) => failure(recorder.insertEvents([storedEvent(`late ${i}`, 1)]))),
        )
        for (const error of refused) {
          expect(error).to.be.instanceOf(OperationalError)
          expect((error as OperationalError).retryable).to.equal(true)
        }
        await holding.rollback()
        expect(await recorder.maxNotificationId()).to.equal(null)
        expect(await recorder.insertEvents([storedEvent('late 0', 1)])).to.have.length(1)
      },
      { poolTimeoutMs: 300 },
    )

    define('settle all, ten thousand at once', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const ids = await Promise.all(
        Array.from({ length: 10_000 }, (_, i) => recorder.insertEvents([storedEvent(`one of many ${i}`, 1)])),
      )
      expect(new Set(ids.flat()).size).to.equal(10_000)
      expect(await recorder.maxNotificationId()).to.equal(Math.max(...ids.flat()))
    })
  })
}
