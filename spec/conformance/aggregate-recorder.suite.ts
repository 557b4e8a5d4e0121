import { expect } from 'chai'
import { DataError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import type { SelectEventsOptions } from '../../lib/persistence/recorders.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import type { DefineCase } from '../support/cases.js'
import { failure, rejection } from '../support/rejection.js'
import { bytes, freshId, plain, storedEvent, storedEvents, versions } from '../support/stored-events.js'

/** What every recorder of events does with one originator's events. */
export function aggregateRecorderSuite(define: DefineCase): void {
  describe('AggregateRecorder', () => {
    define('gives back what was recorded, oldest version first', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const id = freshId()
      const events = storedEvents(id, 1, 3)
      await recorder.insertEvents(events)
      expect((await recorder.selectEvents(id)).map(plain)).to.deep.equal(events.map(plain))
    })

    define('has no events of an unknown originator', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      await recorder.insertEvents([storedEvent(freshId(), 1)])
      expect(await recorder.selectEvents(freshId())).to.deep.equal([])
      expect(await recorder.selectEvents('')).to.deep.equal([])
    })

    define('selects by version: above gt, up to lte, at most limit, newest first', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const id = freshId()
      await recorder.insertEvents(storedEvents(id, 1, 12))
      const all = Array.from({ length: 12 }, (_, i) => i + 1)
      const bounds = [undefined, -1, 0, 1, 4, 9, 12, 99]
      for (const gt of bounds) {
        for (const lte of bounds) {
          for (const limit of [undefined, 0, 1, 3, 99]) {
            for (const desc of [undefined, false, true]) {
              const within = all.filter((n) => n > (gt ?? -Infinity) && n <= (lte ?? Infinity))
              const expected = (desc ? within.reverse() : within).slice(0, limit)
              const found = await recorder.selectEvents(id, { gt, lte, desc, limit })
              expect(versions(found), JSON.stringify({ gt, lte, desc, limit })).to.deep.equal(expected)
            }
          }
        }
      }
    })

    define('orders by version, not by when it was recorded', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const id = freshId()
      for (const version of [3, 10, 1, 2]) await recorder.insertEvents([storedEvent(id, version)])
      expect(versions(await recorder.selectEvents(id))).to.deep.equal([1, 2, 3, 10])
      expect(versions(await recorder.selectEvents(id, { desc: true }))).to.deep.equal([10, 3, 2, 1])
    })

    define('records nothing for an empty list', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      expect(await recorder.insertEvents([])).to.deep.equal([])
    })

    define('records several originators in one insert', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const [a, b] = [freshId(), freshId()]
      await recorder.insertEvents([storedEvent(a, 1), storedEvent(b, 1), storedEvent(a, 2)])
      expect(versions(await recorder.selectEvents(a))).to.deep.equal([1, 2])
      expect(versions(await recorder.selectEvents(b))).to.deep.equal([1])
    })

    define('refuses a version already recorded, and records nothing of that insert', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const [a, b] = [freshId(), freshId()]
      const first = storedEvents(a, 1, 3)
      await recorder.insertEvents(first)
      const again = storedEvent(a, 2, { state: bytes('another') })
      const error = await rejection(
        recorder.insertEvents([storedEvent(b, 1), again, storedEvent(b, 2)]),
        RecordConflictError,
      )
      expect(error.originatorId).to.equal(a)
      expect(error.originatorVersion).to.equal(2)
      expect(error.currentVersion).to.equal(3)
      expect(error.name).to.equal('RecordConflictError')
      expect(error.message).to.include(a).and.not.include('another')
      expect(await recorder.selectEvents(b)).to.deep.equal([])
      expect((await recorder.selectEvents(a)).map(plain)).to.deep.equal(first.map(plain))
      await recorder.insertEvents([storedEvent(a, 4), storedEvent(b, 1)])
      expect(versions(await recorder.selectEvents(a))).to.deep.equal([1, 2, 3, 4])
    })

    define('refuses the same version twice in one insert, and records nothing of it', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const [a, b] = [freshId(), freshId()]
      await recorder.insertEvents([storedEvent(a, 1)])
      const error = await rejection(
        recorder.insertEvents([storedEvent(b, 1), storedEvent(a, 2), storedEvent(a, 3), storedEvent(a, 2)]),
        RecordConflictError,
      )
      expect(error.originatorId).to.equal(a)
      expect(error.originatorVersion).to.equal(2)
      expect(error.currentVersion).to.equal(1)
      expect(await recorder.selectEvents(b)).to.deep.equal([])
      expect(versions(await recorder.selectEvents(a))).to.deep.equal([1])
    })

    define('says of a version that stands twice in one insert that it does, however long that is', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      for (const length of [2, 3, 50, 150, 1500]) {
        const id = freshId()
        const events = [...storedEvents(id, 1, length - 1), storedEvent(id, 1)]
        const error = await rejection(recorder.insertEvents(events), RecordConflictError, 'twice')
        expect([error.originatorId, error.originatorVersion, error.currentVersion]).to.deep.equal([id, 1, undefined])
        expect(error.retryable).to.equal(false)
        expect(await recorder.selectEvents(id)).to.deep.equal([])
      }
    })

    define('reports a conflict with a recorded version in the same words everywhere', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      await recorder.insertEvents(storedEvents('dog', 1, 3))
      for (const events of [[storedEvent('dog', 2)], [...storedEvents('cat', 1, 200), storedEvent('dog', 2)]]) {
        const error = await rejection(recorder.insertEvents(events), RecordConflictError)
        expect(error.message).to.equal('Version 2 of "dog" is already recorded; the last one is 3')
        expect(error.currentVersion).to.equal(3)
        expect(error.retryable).to.equal(false)
      }
    })

    define('refuses what is no list of events, and what is no text as an id, as its own errors', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const wrong: unknown[] = [null, undefined, 5, 'text', {}, [null], [undefined], [7]]
      for (const events of wrong) {
        expect(await failure(recorder.insertEvents(events as StoredEvent[]))).to.satisfy(isRefusal)
      }
      for (const id of [5, null, undefined, {}]) {
        expect(await failure(recorder.selectEvents(id as string))).to.satisfy(isRefusal)
      }
    })

    define('takes null for no bound', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      await recorder.insertEvents(storedEvents('dog', 1, 3))
      for (const options of [{ gt: null }, { lte: null }, { limit: null }, { gt: null, lte: null, limit: null }]) {
        const found = await recorder.selectEvents('dog', options)
        expect(versions(found), Object.keys(options).join()).to.deep.equal([1, 2, 3])
      }
    })

    define('gives events notification ids, as the recorder of the application does', async (opened) => {
      const recorder = await opened.factory('Kennel').aggregateRecorder('events')
      expect(await recorder.insertEvents(storedEvents('dog', 1, 2))).to.deep.equal([1, 2])
      const application = await opened.factory('Kennel').applicationRecorder()
      const found = await application.selectNotifications({ limit: 10 })
      expect(found.map(({ id }) => id)).to.deep.equal([1, 2])
    })

    define('lets exactly one of several concurrent inserts of one version win', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const id = freshId()
      const outcomes = await Promise.allSettled(
        Array.from({ length: 10 }, (_, i) => recorder.insertEvents([storedEvent(id, 1, { state: bytes(`${i}`) })])),
      )
      const winners = outcomes.flatMap(({ status }, i) => (status === 'fulfilled' ? [i] : []))
      expect(winners).to.have.length(1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).to.be.instanceOf(RecordConflictError)
      }
      const [stored] = await recorder.selectEvents(id)
      expect([...stored!.state]).to.deep.equal([...bytes(`${winners[0]}`)])
    })

    define('gives each of many concurrent inserts its own outcome', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      await recorder.insertEvents([storedEvent('taken', 1)])
      const outcomes = await Promise.allSettled(
        Array.from({ length: 40 }, (_, i) => {
          if (i % 5 === 1) return recorder.insertEvents([storedEvent(`dog ${i}`, 1), storedEvent('taken', 1)])
          if (i % 5 === 2) return recorder.insertEvents([storedEvent(`dog ${i}`, 1), storedEvent('', 1)])
          return recorder.insertEvents(storedEvents(`dog ${i}`, 1, 2))
        }),
      )
      for (const [i, outcome] of outcomes.entries()) {
        const reason: unknown = outcome.status === 'rejected' ? outcome.reason : undefined
        if (i % 5 === 1) expect(reason).to.be.instanceOf(RecordConflictError)
        else if (i % 5 === 2) expect(reason).to.be.instanceOf(DataError)
        else expect(reason).to.equal(undefined)
        const stored = versions(await recorder.selectEvents(`dog ${i}`))
        expect(stored, `dog ${i}`).to.deep.equal(reason === undefined ? [1, 2] : [])
      }
    })

    define('records thousands of events in one insert, all or none', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const events = storedEvents('dog', 1, 10_000)
      await rejection(recorder.insertEvents([...events, storedEvent('dog', 5_000)]), RecordConflictError)
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
      await recorder.insertEvents(events)
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal(versions(events))
      const last = await rejection(
        recorder.insertEvents([...storedEvents('cat', 1, 9_999), ...events.slice(-1)]),
        RecordConflictError,
      )
      expect(last.originatorVersion).to.equal(10_000)
      expect(await recorder.selectEvents('cat')).to.deep.equal([])
    })

    define('keeps the bytes of a state as they are', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const states = {
        empty: new Uint8Array(),
        zero: Uint8Array.of(0),
        zeros: Uint8Array.of(0, 0, 65, 0),
        all: Uint8Array.from({ length: 256 }, (_, i) => i),
        notUtf8: Uint8Array.of(0xff, 0xfe, 0xc3, 0x28),
        text: bytes('\\x4142 "quoted" \'quoted\' ü 😀'),
        part: new Uint8Array(Uint8Array.of(1, 2, 3, 4, 5).buffer, 1, 3),
        buffer: Buffer.from('from a pool'),
        large: Uint8Array.from({ length: 1024 * 1024 }, (_, i) => (i * 31) % 251),
      }
      for (const [name, state] of Object.entries(states)) {
        const id = freshId()
        await recorder.insertEvents([storedEvent(id, 1, { state })])
        const [found] = await recorder.selectEvents(id)
        expect(found!.state, name).to.be.instanceOf(Uint8Array)
        expect(Buffer.compare(found!.state, state), name).to.equal(0)
      }
    })

    define('keeps ids and topics as given, and tells ids apart by their bytes', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const texts = [
        '3F2504E0-4F89-41D3-9A0C-0305E82C3301',
        '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
        'dog',
        'Dog',
        'DOG',
        'dog ',
        ' dog',
        'a dog, two words',
        "it's",
        '"quoted"',
        '`; drop table dogs; --',
        '%',
        '_',
        '?',
        '$1',
        ':name',
        '\\',
        '\n\t',
        'é',
        'e\u0301',
        'ß',
        'ss',
        'Ä',
        'ä',
        '😀',
        '\uffff',
        '1',
        '01',
        '1.0',
        '1e0',
        'null',
        'true',
        'x'.repeat(2000),
      ]
      await recorder.insertEvents(texts.map((text, i) => storedEvent(text, i, { topic: text })))
      for (const [i, text] of texts.entries()) {
        const found = await recorder.selectEvents(text)
        expect(found.map(plain), JSON.stringify(text)).to.deep.equal([plain(storedEvent(text, i, { topic: text }))])
      }
    })

    define('accepts versions from 0 to 2^53 - 1', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const id = freshId()
      const given = [0, 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]
      await recorder.insertEvents(given.map((version) => storedEvent(id, version)))
      expect(versions(await recorder.selectEvents(id))).to.deep.equal(given)
      expect(versions(await recorder.selectEvents(id, { gt: 2 ** 32 }))).to.deep.equal(given.slice(3))
      expect(versions(await recorder.selectEvents(id, { lte: 2 ** 31 }))).to.deep.equal(given.slice(0, 3))
      const error = await rejection(recorder.insertEvents([storedEvent(id, 2 ** 32 + 1)]), RecordConflictError)
      expect(error.originatorVersion).to.equal(2 ** 32 + 1)
      expect(error.currentVersion).to.equal(Number.MAX_SAFE_INTEGER)
    })

    define(
      'keeps a copy: what a caller does later with its bytes or with those it was given changes nothing',
      async (opened) => {
        const recorder = await opened.factory().aggregateRecorder()
        const id = freshId()
        const state = Uint8Array.of(1, 2, 3)
        const event = { ...storedEvent(id, 1), state }
        const events = [event]
        const inserting = recorder.insertEvents(events)
        await inserting
        state.fill(9)
        event.topic = 'Dog.Changed'
        events.pop()
        const [first] = await recorder.selectEvents(id)
        expect([...first!.state]).to.deep.equal([1, 2, 3])
        expect(first!.topic).to.equal('Dog.TrickAdded')
        first!.state.fill(7)
        const [second] = await recorder.selectEvents(id)
        expect([...second!.state]).to.deep.equal([1, 2, 3])
      },
    )

    define(
      'refuses ids, topics, versions and states that can not be stored, and records nothing of the insert',
      async (opened) => {
        const recorder = await opened.factory().aggregateRecorder()
        const good = freshId()
        const bad: Record<string, object> = {
          'empty id': { originatorId: '' },
          'id with NUL': { originatorId: 'a\0b' },
          'id with half a pair': { originatorId: 'a\ud800' },
          'id that is no text': { originatorId: 7 },
          'no id': { originatorId: undefined },
          'empty topic': { topic: '' },
          'topic with NUL': { topic: 'Dog.\0' },
          'topic with half a pair': { topic: '\udc00Dog' },
          'topic that is no text': { topic: null },
          'negative version': { originatorVersion: -1 },
          'version with a fraction': { originatorVersion: 1.5 },
          'version NaN': { originatorVersion: NaN },
          'version above 2^53 - 1': { originatorVersion: 2 ** 53 },
          'version that is text': { originatorVersion: '1' },
          'state that is text': { state: 'SECRET-TEXT' },
          'no state': { state: undefined },
        }
        for (const [what, part] of Object.entries(bad)) {
          // callers without a compiler come by here too
          const event = { ...storedEvent(freshId(), 1, { state: bytes('SECRET-TEXT') }), ...part } as never
          const error = await rejection(recorder.insertEvents([storedEvent(good, 1), event]), DataError)
          expect(error.message, what).not.to.include('SECRET-TEXT')
          expect(await recorder.selectEvents(good), what).to.deep.equal([])
        }
        await recorder.insertEvents([storedEvent(good, 1)])
      },
    )

    define('refuses bounds that are no integers, and negative limits', async (opened) => {
      const recorder = await opened.factory().aggregateRecorder()
      const bad = [
        { gt: 0.5 },
        { gt: NaN },
        { lte: Infinity },
        { lte: '3' },
        { limit: -1 },
        { limit: 1.5 },
        { limit: NaN },
      ]
      for (const options of bad) {
        const [name] = Object.keys(options)
        await rejection(recorder.selectEvents('dog', options as SelectEventsOptions), ProgrammingError, name)
      }
    })

    define('keeps snapshots apart from events, and gives them no notification ids', async (opened) => {
      const factory = opened.factory('Kennel')
      const snapshots = await factory.aggregateRecorder('snapshots')
      const events = await factory.applicationRecorder()
      const id = freshId()
      const ids = await events.insertEvents(storedEvents(id, 1, 4))
      expect(await snapshots.selectEvents(id)).to.deep.equal([])
      expect(await snapshots.insertEvents([storedEvent(id, 2), storedEvent(id, 4)])).to.deep.equal([])
      expect(versions(await snapshots.selectEvents(id, { desc: true, limit: 1 }))).to.deep.equal([4])
      expect(versions(await snapshots.selectEvents(id, { desc: true, limit: 1, lte: 3 }))).to.deep.equal([2])
      expect(versions(await events.selectEvents(id))).to.deep.equal([1, 2, 3, 4])
      expect(await events.maxNotificationId()).to.equal(ids.at(-1))
      const error = await rejection(
        snapshots.insertEvents([storedEvent(id, 6), storedEvent(id, 4)]),
        RecordConflictError,
      )
      expect(error.currentVersion).to.equal(4)
      expect(versions(await snapshots.selectEvents(id))).to.deep.equal([2, 4])
    })

    define('shares events between recorders of one name, and keeps those of different names apart', async (opened) => {
      const id = freshId()
      const one = await opened.factory('Kennel').aggregateRecorder()
      await one.insertEvents([storedEvent(id, 1)])
      const same = await opened.factory('Kennel').applicationRecorder()
      const other = await opened.factory('Shelter').applicationRecorder()
      const nameless = await opened.factory().applicationRecorder()
      expect(versions(await same.selectEvents(id))).to.deep.equal([1])
      expect(await other.selectEvents(id)).to.deep.equal([])
      expect(await nameless.selectEvents(id)).to.deep.equal([])
      await rejection(same.insertEvents([storedEvent(id, 1)]), RecordConflictError)
      await other.insertEvents([storedEvent(id, 1)])
    })
  })
}

function isRefusal(error: unknown): boolean {
  return error instanceof ProgrammingError || error instanceof DataError
}
