import { expect } from 'chai'
import { DataError, ProgrammingError } from '../../lib/errors.js'
import {
  checkSelect,
  checkSelectNotifications,
  checkStoredEvents,
  checkTopicsFilter,
  checkTracking,
} from '../../lib/persistence/checks.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'

const good: StoredEvent = {
  originatorId: 'fido',
  originatorVersion: 1,
  topic: 'Dog.Registered',
  state: Buffer.from('"Ann-1815"'),
}

// What callers without a compiler may hand over.
type Wrong<T> = { [K in keyof T]?: unknown }

describe('Checks of recorders', function () {
  describe('stored events', function () {
    it('pass with any well-formed text, and versions from 0 to the last safe integer', function () {
      checkStoredEvents([])
      checkStoredEvents([
        good,
        { ...good, originatorId: '犬/🐕 "\'', originatorVersion: 0, state: new Uint8Array() },
        { ...good, originatorVersion: Number.MAX_SAFE_INTEGER },
      ])
    })

    const cases: readonly (readonly [title: string, wrong: Wrong<StoredEvent>, naming: string])[] = [
      ['an empty id', { originatorId: '' }, 'originatorId is empty'],
      ['an id with a NUL character', { originatorId: 'fi\0do' }, 'originatorId is text with a NUL character'],
      ['an id with half a surrogate pair', { originatorId: 'fido\ud800' }, 'half a surrogate pair'],
      ['an id that is no text', { originatorId: 7 }, 'originatorId is of type number, not text'],
      ['an id that is missing', { originatorId: undefined }, 'originatorId is undefined, not text'],
      ['an empty topic', { topic: '' }, 'topic is empty'],
      ['a topic with a NUL character', { topic: 'Dog\0' }, 'topic is text with a NUL character'],
      ['a topic with half a surrogate pair', { topic: '\udc00' }, 'topic is text with half a surrogate pair'],
      ['a topic that is no text', { topic: null }, 'topic is null, not text'],
      ['a negative version', { originatorVersion: -1 }, 'originatorVersion'],
      ['a version with a fraction', { originatorVersion: 1.5 }, 'originatorVersion'],
      ['a version that is not safe', { originatorVersion: 2 ** 53 }, 'originatorVersion'],
      ['a version that is not a number', { originatorVersion: NaN }, 'originatorVersion'],
      ['a version as text', { originatorVersion: '1' }, 'originatorVersion'],
      ['a state as text', { state: 'Ann-1815' }, 'state must be a Uint8Array'],
      ['a state as an array', { state: [1] }, 'state must be a Uint8Array, not an array'],
    ]
    for (const [title, wrong, naming] of cases) {
      it(`refuse ${title}, without quoting the state`, function () {
        expect(() => checkStoredEvents([good, { ...good, ...wrong } as StoredEvent]))
          .to.throw(DataError)
          .with.property('message')
          .that.includes(naming)
          .and.does.not.include('Ann-1815')
      })
    }

    it('name the event in one short line', function () {
      expect(() =>
        checkStoredEvents([{ ...good, originatorId: `fido\n${'x'.repeat(1000)}`, originatorVersion: 3, topic: '' }]),
      )
        .to.throw(DataError)
        .with.property('message')
        .that.matches(/^Event of originator "fido\\nx{55}…", version 3: topic is empty$/)
    })
  })

  describe('tracking', function () {
    it('passes with a name of any length, and ids from 1', function () {
      checkTracking({ applicationName: 'x'.repeat(100_000), notificationId: 1 })
      checkTracking({ applicationName: 'é', notificationId: Number.MAX_SAFE_INTEGER })
    })

    for (const wrong of [
      { applicationName: '' },
      { applicationName: 'a\0' },
      { applicationName: '\ud800' },
      { applicationName: undefined },
      { notificationId: 0 },
      { notificationId: -1 },
      { notificationId: 1.5 },
      { notificationId: 2 ** 53 },
      { notificationId: '1' },
      { notificationId: null },
    ]) {
      it(`refuses ${JSON.stringify(wrong)}`, function () {
        const tracking = { applicationName: 'school', notificationId: 1, ...wrong } as Parameters<
          typeof checkTracking
        >[0]
        expect(() => checkTracking(tracking)).to.throw(DataError, Object.keys(wrong)[0])
      })
    }
  })

  describe('bounds within a stream', function () {
    it('pass when absent, and with any safe integer', function () {
      checkSelect('dog')
      checkSelect('dog', {})
      checkSelect('dog', { gt: undefined, lte: null as unknown as undefined, limit: undefined })
      checkSelect('dog', { gt: -1, lte: Number.MAX_SAFE_INTEGER, limit: 0, desc: true })
    })

    for (const wrong of [
      { gt: 1.5 },
      { gt: NaN },
      { lte: '3' },
      { lte: 2 ** 53 },
      { limit: -1 },
      { limit: Infinity },
      { limit: 1n },
    ]) {
      const [bound] = Object.keys(wrong) as [string]
      it(`refuse a ${bound} of ${String(Object.values(wrong)[0])}`, function () {
        expect(() => checkSelect('dog', wrong as Parameters<typeof checkSelect>[1])).to.throw(
          ProgrammingError,
          `\`${bound}\``,
        )
      })
    }
  })

  describe('bounds of notifications', function () {
    it('pass when absent, but for the limit', function () {
      checkSelectNotifications({ limit: 0 })
      checkSelectNotifications({ start: null, stop: undefined, limit: 10, topics: [] })
      checkSelectNotifications({ start: -5, stop: 7, limit: 10, topics: ['Dog.Registered'], inclusiveOfStart: false })
    })

    for (const wrong of [
      { start: 1.5 },
      { stop: '1' },
      { limit: undefined },
      { limit: null },
      { limit: -1 },
      { limit: 0.5 },
      { topics: 'Dog.Registered' },
      { topics: [7] },
    ]) {
      const [bound] = Object.keys(wrong) as [string]
      it(`refuse ${JSON.stringify(wrong)}`, function () {
        const options = { limit: 1, ...wrong } as Parameters<typeof checkSelectNotifications>[0]
        expect(() => checkSelectNotifications(options)).to.throw(ProgrammingError, `\`${bound}\``)
      })
    }

    it('refuse no options at all', function () {
      expect(() => checkSelectNotifications(undefined as unknown as { limit: number })).to.throw(
        ProgrammingError,
        '`limit`',
      )
    })
  })

  it('a filter of topics passes with none, and refuses what no topic can be', function () {
    checkTopicsFilter(undefined)
    checkTopicsFilter(null)
    checkTopicsFilter([])
    checkTopicsFilter(['Dog.Registered', ''])
    for (const wrong of ['Dog', {}, 7, [null], ['Dog\0'], ['\ud800']]) {
      expect(() => checkTopicsFilter(wrong as string[])).to.throw(ProgrammingError, '`topics`')
    }
  })
})
