import { expect } from 'chai'
import {
  DataError,
  IntegrityError,
  ProgrammingError,
  RecordConflictError,
  WaitInterruptedError,
  WaitTimeoutError,
} from '../../lib/errors.js'
import type { Tracking } from '../../lib/persistence/stored-event.js'
import type { DefineCase } from '../support/cases.js'
import { failure, rejection } from '../support/rejection.js'
import { freshId, storedEvent, versions } from '../support/stored-events.js'

/** What every recorder of positions does, alone and together with events. */
export function trackingRecorderSuite(define: DefineCase): void {
  describe('TrackingRecorder', () => {
    define('has no position at first, and then the last one recorded', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      expect(await recorder.maxTrackingId('upstream')).to.equal(null)
      expect(await recorder.hasTrackingId('upstream', 1)).to.equal(false)
      expect(await recorder.hasTrackingId('upstream', null)).to.equal(true)
      for (const notificationId of [3, 4, 21]) {
        await recorder.insertTracking({ applicationName: 'upstream', notificationId })
        expect(await recorder.maxTrackingId('upstream')).to.equal(notificationId)
      }
      for (const reached of [null, 1, 4, 20, 21]) {
        expect(await recorder.hasTrackingId('upstream', reached), String(reached)).to.equal(true)
      }
      expect(await recorder.hasTrackingId('upstream', 22)).to.equal(false)
    })

    define('only moves forward: refuses an equal or a lower position', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 5 })
      for (const notificationId of [5, 4, 1]) {
        await rejection(recorder.insertTracking({ applicationName: 'upstream', notificationId }), IntegrityError)
        expect(await recorder.maxTrackingId('upstream')).to.equal(5)
      }
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 6 })
    })

    define('keeps the positions of each application name apart, whatever its length and letters', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      const names = [
        'upstream',
        'Upstream',
        'upstream ',
        'ü',
        'u\u0308',
        "it's",
        '%',
        '😀',
        'x'.repeat(33),
        'x'.repeat(2000),
      ]
      for (const [i, applicationName] of names.entries()) {
        await recorder.insertTracking({ applicationName, notificationId: i + 1 })
      }
      for (const [i, name] of names.entries()) expect(await recorder.maxTrackingId(name), name).to.equal(i + 1)
    })

    define('holds positions up to 2^53 - 1', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      for (const notificationId of [2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
        await recorder.insertTracking({ applicationName: 'upstream', notificationId })
        expect(await recorder.maxTrackingId('upstream')).to.equal(notificationId)
      }
    })

    define('refuses names and positions that can not be stored', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      const bad: object[] = [
        { applicationName: '', notificationId: 1 },
        { applicationName: 'a\0b', notificationId: 1 },
        { applicationName: 'a\ud800', notificationId: 1 },
        { notificationId: 1 },
        { applicationName: 'upstream', notificationId: 0 },
        { applicationName: 'upstream', notificationId: 1.5 },
        { applicationName: 'upstream', notificationId: 2 ** 53 },
        { applicationName: 'upstream', notificationId: '1' },
        { applicationName: 'upstream' },
      ]
      for (const tracking of bad) await rejection(recorder.insertTracking(tracking as Tracking), DataError)
      expect(await recorder.maxTrackingId('upstream')).to.equal(null)
    })

    define('lets exactly one of several workers record a position', async (opened) => {
      const factories = [opened.factory('Worker'), opened.factory('Worker')]
      for (const notificationId of [1, 2, 3]) {
        const outcomes = await Promise.allSettled(
          Array.from({ length: 8 }, async (_, i) => {
            const recorder = await factories[i % 2]!.trackingRecorder()
            await recorder.insertTracking({ applicationName: 'upstream', notificationId })
          }),
        )
        const refused = outcomes.flatMap((outcome) =>
          outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
        )
        expect(refused).to.have.length(7)
        for (const error of refused) expect(error).to.be.instanceOf(IntegrityError)
      }
      expect(await (await factories[0]!.trackingRecorder()).maxTrackingId('upstream')).to.equal(3)
    })

    define('is rolled back with its transaction', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 1 })
      const tx = await recorder.transaction()
      await tx.run(async () => {
        await recorder.insertTracking({ applicationName: 'upstream', notificationId: 9 })
        expect(await recorder.maxTrackingId('upstream')).to.equal(9)
      })
      await tx.rollback()
      expect(await recorder.maxTrackingId('upstream')).to.equal(1)
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 2 })
    })

    define('lets a transaction go on after a refused position', async (opened) => {
      const recorder = await opened.factory().processRecorder()
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 5 })
      await recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        await rejection(recorder.insertTracking({ applicationName: 'upstream', notificationId: 5 }), IntegrityError)
        await recorder.insertTracking({ applicationName: 'upstream', notificationId: 6 })
      })
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
      expect(await recorder.maxTrackingId('upstream')).to.equal(6)
    })

    define('waits until a position is reached', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      await recorder.wait('upstream', null, { timeoutMs: 0 })
      const waiting = recorder.wait('upstream', 2, { timeoutMs: 10_000 })
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 1 })
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 2 })
      await waiting
      await recorder.wait('upstream', 2, { timeoutMs: 0 })
    })

    define('gives up waiting after the timeout, and says for what it waited', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      const error = await rejection(recorder.wait('upstream', 7, { timeoutMs: 20 }), WaitTimeoutError, 'upstream')
      expect(error.message).to.include('7')
      await rejection(recorder.wait('upstream', 7, { timeoutMs: 0 }), WaitTimeoutError)
    })

    define('refuses to wait for what can never come', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      const wrong: [unknown, unknown, object?][] = [
        ['upstream', '1'],
        ['upstream', 1.5],
        ['upstream', NaN],
        [5, 1],
        [null, null],
        ['upstream', 1, { timeoutMs: 'x' }],
        ['upstream', 1, { timeoutMs: -1 }],
        ['upstream', 1, { timeoutMs: NaN }],
        ['upstream', null, { timeoutMs: -1 }],
      ]
      for (const [name, id, options] of wrong) {
        const waiting = recorder.wait(name as string, id as number, { timeoutMs: 20, ...options })
        const error = await failure(waiting)
        expect(
          error instanceof ProgrammingError || error instanceof DataError,
          `${String(name)} ${String(id)}`,
        ).to.equal(true)
      }
    })

    define('refuses tracking that is none', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      for (const tracking of [null, undefined, 5, 'upstream', {}]) {
        const error = await failure(recorder.insertTracking(tracking as never))
        expect(error instanceof ProgrammingError || error instanceof DataError, String(tracking)).to.equal(true)
      }
    })

    define('stops waiting when the signal is aborted, also beforehand', async (opened) => {
      const recorder = await opened.factory().trackingRecorder()
      await rejection(recorder.wait('upstream', 1, { signal: AbortSignal.abort() }), WaitInterruptedError)
      const controller = new AbortController()
      const waiting = recorder.wait('upstream', 1, { signal: controller.signal, timeoutMs: 10_000 })
      const interrupted = rejection(waiting, WaitInterruptedError)
      await recorder.maxTrackingId('upstream')
      controller.abort()
      await interrupted
    })
  })

  describe('ProcessRecorder', () => {
    define('records events and the position they came from', async (opened) => {
      const recorder = await opened.factory().processRecorder()
      const tracking = { applicationName: 'upstream', notificationId: 3 }
      const ids = await recorder.insertEvents([storedEvent('dog', 1), storedEvent('dog', 2)], { tracking })
      expect(ids).to.have.length(2)
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
      expect(await recorder.maxTrackingId('upstream')).to.equal(3)
    })

    define('records a position without events, and events without a position', async (opened) => {
      const recorder = await opened.factory().processRecorder()
      const tracking = { applicationName: 'upstream', notificationId: 1 }
      expect(await recorder.insertEvents([], { tracking })).to.deep.equal([])
      expect(await recorder.maxTrackingId('upstream')).to.equal(1)
      expect(await recorder.insertEvents([storedEvent('dog', 1)])).to.have.length(1)
      expect(await recorder.insertEvents([], {})).to.deep.equal([])
      expect(await recorder.maxTrackingId('upstream')).to.equal(1)
    })

    define('records neither where the position is not above the last', async (opened) => {
      const recorder = await opened.factory().processRecorder()
      await recorder.insertTracking({ applicationName: 'upstream', notificationId: 3 })
      for (const notificationId of [3, 2]) {
        const tracking = { applicationName: 'upstream', notificationId }
        const error = await rejection(recorder.insertEvents([storedEvent('dog', 1)], { tracking }), IntegrityError)
        expect(error).not.to.be.instanceOf(RecordConflictError)
        await rejection(recorder.insertEvents([], { tracking }), IntegrityError)
      }
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
      expect(await recorder.maxNotificationId()).to.equal(null)
      expect(await recorder.maxTrackingId('upstream')).to.equal(3)
    })

    define('records neither where a version is already recorded', async (opened) => {
      const recorder = await opened.factory().processRecorder()
      const id = freshId()
      await recorder.insertEvents([storedEvent(id, 1)])
      const tracking = { applicationName: 'upstream', notificationId: 1 }
      await rejection(
        recorder.insertEvents([storedEvent(id, 2), storedEvent(id, 1)], { tracking }),
        RecordConflictError,
      )
      expect(versions(await recorder.selectEvents(id))).to.deep.equal([1])
      expect(await recorder.maxTrackingId('upstream')).to.equal(null)
    })

    define('records neither where the position or an event can not be stored', async (opened) => {
      const recorder = await opened.factory().processRecorder()
      const good = { applicationName: 'upstream', notificationId: 1 }
      await rejection(recorder.insertEvents([storedEvent('', 1)], { tracking: good }), DataError)
      const bad = { applicationName: 'upstream', notificationId: -1 }
      await rejection(recorder.insertEvents([storedEvent('dog', 1)], { tracking: bad }), DataError)
      expect(await recorder.maxTrackingId('upstream')).to.equal(null)
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
    })

    define('shares positions with the tracking recorder of the same name', async (opened) => {
      const process = await opened.factory('Worker').processRecorder()
      const tracking = await opened.factory('Worker').trackingRecorder()
      const other = await opened.factory('Another').trackingRecorder()
      await process.insertEvents([], { tracking: { applicationName: 'upstream', notificationId: 4 } })
      expect(await tracking.maxTrackingId('upstream')).to.equal(4)
      expect(await other.maxTrackingId('upstream')).to.equal(null)
    })
  })
}
