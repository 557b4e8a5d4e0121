import { deserialize, serialize } from 'node:v8'
import { expect } from 'chai'
import { MapperDeserialisationError } from '../../lib/errors.js'
import type { AggregateRecorder, ApplicationRecorder } from '../../lib/persistence/recorders.js'
import { Mapper } from '../../lib/persistence/mapper.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { textsOf, bytes, plain, storedEvent, storedEvents } from '../support/stored-events.js'
import { schoolOn, TrainingSchool } from '../support/training-school.js'

/** What comes of states that are not what the library has written, or that something else writes and reads. */
export function storedStateSuite(define: DefineCase): void {
  describe('stored states', () => {
    define('may hold any character, also the one that stands for damaged text', async (opened) => {
      const school = schoolOn(opened)
      const tricks = ['\uFFFD', 'sitz, 座れ, 🐕', '\u0000', '\ud83d', '"\\\n']
      const dog = new Dog('Fido')
      for (const trick of tricks) dog.addTrick(trick)
      await school.save(dog)
      expect(await school.tricks('Fido')).to.deep.equal(tricks)
      expect((await school.events.get(dog.id)).slice(1).map(({ data }) => data['trick'])).to.deep.equal(tricks)
    })

    define('are refused where they are damaged, by name, without what is in them', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const damaged = [
        Buffer.concat([
          bytes('{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET'),
          Buffer.of(0xff),
          bytes('"}}'),
        ]),
        bytes('{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET"'),
        bytes('"SECRET"'),
        new Uint8Array(0),
        bytes('1],[2'),
        bytes('{"timestamp":"2026-01-01T00:00:00.000Z","data":{}},{"SECRET":1}'),
        bytes('{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET\x1e"}}'),
        bytes('\x1e{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET"}}'),
        bytes('{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET"}}\0'),
        bytes('\uFEFF{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET"}}'),
      ]
      for (const [index, state] of damaged.entries()) {
        const id = `damaged ${index}`
        const [first] = await school.recorder.selectEvents(Dog.createId('Fido'))
        await school.recorder.insertEvents([{ ...first!, originatorId: id }, storedEvent(id, 2, { state })])
        const refuses = async () => {
          for (const read of [() => school.repository.get(Dog, id), () => school.events.get(id)]) {
            const error = await rejection(read(), MapperDeserialisationError, JSON.stringify(id))
            expect(error.message).to.include('Dog.TrickAdded').and.include('version 2').and.not.include('SECRET')
          }
        }
        await refuses()
        await school.transaction(refuses)
      }
      // and nobody else is
      expect(await school.tricks('Fido')).to.deep.equal([])
    })

    define('may be any bytes: they come as they were stored, beside any others', async (opened) => {
      const factory = opened.factory('Bytes')
      const [recorder, snapshots] = [await factory.applicationRecorder(), await factory.aggregateRecorder('snapshots')]
      const states = [...anyBytes, bytes('{}')]
      const events = states.map((state, index) => storedEvent('any', index + 1, { state }))
      await snapshots.insertEvents(events)
      // each by itself, so that what the others are like is never the same
      await recorder.insertEvents(storedEvents('text', 1, 60))
      for (const event of events)
        await recorder.insertEvents([event, ...storedEvents(`text ${event.originatorVersion}`, 1, 60)])
      const reads = async () => {
        for (const from of [recorder, snapshots]) await readsStream(from, 'any', events)
        await readsPages(recorder)
      }
      await reads()
      await opened.datastore.transaction(async () => {
        await recorder.insertEvents([storedEvent('own', 1, { state: Buffer.of(0xff, 0) })])
        await reads()
      })
    })

    define('are one’s own to change: nobody else’s change with them', async (opened) => {
      const { recorder } = schoolOn(opened)
      await recorder.insertEvents(storedEvents('dog', 1, 100))
      const before = await recorder.selectNotifications({ limit: 100 })
      const found = await recorder.selectNotifications({ limit: 100 })
      for (const [index, { state }] of found.entries()) if (index % 2 === 0) state.fill(0)
      for (const [index, notification] of found.entries()) {
        if (index % 2 === 1) expect(plain(notification)).to.deep.equal(plain(before[index]!))
      }
      expect((await recorder.selectNotifications({ limit: 100 })).map(plain)).to.deep.equal(before.map(plain))
    })

    define('stand beside ids and topics of any characters', async (opened) => {
      const recorder = await opened.factory('Characters').applicationRecorder()
      const texts = [
        '\x1e',
        'a\x1eb',
        '"',
        '\\',
        "'",
        '1],[2',
        ',',
        '🐕',
        '\uFFFD',
        '\uFEFFa',
        'null',
        '\n\x7f',
        'x'.repeat(2000),
      ]
      const events = texts.map((text, index) => storedEvent(text, index + 1, { topic: text }))
      for (const event of events) await recorder.insertEvents([event])
      await recorder.insertEvents(storedEvents('dog', 1, 60))
      for (const event of events) await readsStream(recorder, event.originatorId, [event])
      await readsPages(recorder)
      await opened.datastore.transaction(() => readsPages(recorder))
    })

    define('are written and read by a transcoder of one’s own, bytes or text', async (opened) => {
      class Reversed extends JsonTranscoder {
        override encode(value: unknown): Uint8Array {
          return super.encode(value).slice().reverse()
        }
        override decode(state: Uint8Array): unknown {
          return super.decode(state.slice().reverse())
        }
      }
      class Marked extends Mapper {
        override decode(...[stored]: Parameters<Mapper['decode']>) {
          const event = super.decode(stored)
          return { ...event, data: { ...event.data, trick: `${String(event.data['trick'])}!` } }
        }
      }
      class Seen extends Mapper {
        override toDomainEvent(stored: StoredEvent) {
          expect(stored.state).to.be.instanceOf(Uint8Array)
          return super.toDomainEvent(stored)
        }
      }
      const ways: [Record<string, unknown>, string][] = [
        [{ MAPPER_TOPIC: Seen }, 'sit'],
        [{ TRANSCODER_TOPIC: { encode: serialize, decode: deserialize } }, 'sit'],
        [{ TRANSCODER_TOPIC: Reversed }, 'sit'],
        [{ MAPPER_TOPIC: Marked }, 'sit!'],
      ]
      for (const [index, [env, expected]] of ways.entries()) {
        const factory = opened.factory(`Own ${index}`, env)
        const school = new TrainingSchool({ persistence: factory, name: `Own ${index}` })
        const dog = new Dog('Fido')
        dog.addTrick('sit')
        await school.save(dog)
        expect(await school.tricks('Fido')).to.deep.equal([expected])
        const [, added] = await school.events.get(dog.id)
        expect(added?.data).to.deep.equal({ trick: expected })
      }
    })
  })
}

/** What states may be, other than JSON. */
const anyBytes: readonly Uint8Array[] = [
  new Uint8Array(0),
  Buffer.of(0),
  Buffer.of(0xff, 0xfe, 0, 0x80),
  // half a character each, which together would be one
  Buffer.of(0xc3),
  Buffer.of(0xa9),
  Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  ...[
    '1],[2',
    '","',
    '\\',
    '\\x41',
    '\\134',
    "'",
    '"',
    'null',
    '\x1e',
    '{"a":1}\x1e{"b":2}',
    '{"a":"\0"}',
    '{"name":"Zoë 🐶 座れ"}',
    '\uFFFD',
    '\uFEFF{}',
    '\n\r\u2028',
    '{"timestamp":"2026-01-01T00:00:00.000Z","data":{}},{"timestamp":"2026-01-01T00:00:00.000Z","data":{}}',
  ].map(bytes),
  // longer than what is read together
  Buffer.alloc(40_000, 'é'),
  Buffer.alloc(40_000, 0xff),
]

async function readsStream(recorder: AggregateRecorder, id: string, events: readonly StoredEvent[]): Promise<void> {
  expect((await recorder.selectEvents(id)).map(plain)).to.deep.equal(events.map(plain))
  for (const event of events) {
    const only = { gt: event.originatorVersion - 1, lte: event.originatorVersion }
    expect((await recorder.selectEvents(id, only)).map(plain)).to.deep.equal([plain(event)])
    // texts there need not be; what is given as text is that of the bytes
    const [asText] = (await textsOf(recorder, id, only)) ?? [undefined]
    if (asText) expect({ ...asText, state: [...bytes(asText.state)] }).to.deep.equal(plain(event))
  }
}

/** Pages of every size give the same notifications as pages of one. */
async function readsPages(recorder: ApplicationRecorder): Promise<void> {
  const all = await recorder.selectNotifications({ limit: 100_000 })
  const single: StoredEvent[] = []
  for (const { id } of all) single.push(...(await recorder.selectNotifications({ start: id, limit: 1 })))
  expect(all.map(plain)).to.deep.equal(single.map(plain))
  for (const limit of [7, 50, 61, 4000]) {
    const paged: StoredEvent[] = []
    for (let start = 1; ;) {
      const page = await recorder.selectNotifications({ start, limit })
      paged.push(...page)
      if (page.length < limit) break
      start = page.at(-1)!.id + 1
    }
    expect(paged.map(plain), `pages of ${limit}`).to.deep.equal(all.map(plain))
    expect(paged).to.deep.equal(all, `pages of ${limit}`)
  }
}
