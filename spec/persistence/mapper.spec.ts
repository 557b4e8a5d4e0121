import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import type { DomainEvent } from '../../lib/domain/event.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import { definitionOf } from '../../lib/domain/replay.js'
import { registerAggregate, registerTopicAlias, type EventDefinition } from '../../lib/domain/topics.js'
import type { Upcasts } from '../../lib/domain/upcasts.js'
import {
  MapperDeserialisationError,
  ProgrammingError,
  TopicError,
  TranscodingNotRegisteredError,
} from '../../lib/errors.js'
import { Mapper } from '../../lib/persistence/mapper.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import { Dog } from '../support/dogs.js'

const timestamp = new Date('2026-11-21T10:20:30.400Z')

describe('Mapper', function () {
  const mapper = new Mapper({ transcoder: new JsonTranscoder() })

  before(function () {
    // Naming the class registers its events; the import alone may be taken away by the compiler.
    expect(new Dog('Fido').pendingEvents[0]).to.include({ topic: 'Dog.Registered' })
  })

  // These bytes are in databases. A change here makes stored events unreadable.
  describe('has one stored form for ever', function () {
    const cases: readonly (readonly [title: string, event: Partial<DomainEvent>, state: string])[] = [
      [
        'plain data',
        { data: { trick: 'Männchen machen', times: [1, 2.5], done: true, by: null } },
        '"data":{"trick":"Männchen machen","times":[1,2.5],"done":true,"by":null}',
      ],
      ['no data', { data: {} }, '"data":{}'],
      [
        'every tagged type',
        {
          data: {
            at: new Date(0),
            no: new Date(NaN),
            n: 7n,
            bytes: new Uint8Array([1, 2]),
            map: new Map([['a', -0]]),
            set: new Set([NaN]),
            gone: undefined,
            far: [Infinity, -Infinity],
            _type_: 'mine',
          },
        },
        '"data":{"_type_":"object","_data_":{"at":{"_type_":"date","_data_":"1970-01-01T00:00:00.000Z"},' +
          '"no":{"_type_":"date","_data_":null},"n":{"_type_":"bigint","_data_":"7"},' +
          '"bytes":{"_type_":"bytes","_data_":"AQI="},' +
          '"map":{"_type_":"map","_data_":[["a",{"_type_":"number","_data_":"-0"}]]},' +
          '"set":{"_type_":"set","_data_":[{"_type_":"number","_data_":"NaN"}]},' +
          '"gone":{"_type_":"undefined","_data_":null},' +
          '"far":[{"_type_":"number","_data_":"Infinity"},{"_type_":"number","_data_":"-Infinity"}],"_type_":"mine"}}',
      ],
      [
        'metadata',
        { data: { trick: 'sit' }, metadata: { userId: 'ann', since: new Date(0) } },
        '"data":{"trick":"sit"},"metadata":{"userId":"ann","since":{"_type_":"date","_data_":"1970-01-01T00:00:00.000Z"}}',
      ],
    ]
    for (const [title, fields, state] of cases) {
      it(`of an event with ${title}`, function () {
        const event = anEvent(fields)
        const stored = mapper.toStoredEvent(event)
        expect(text(stored)).to.equal(`{"timestamp":"2026-11-21T10:20:30.400Z",${state}}`)
        expect(stored).to.include({ originatorId: 'fido', originatorVersion: 2, topic: 'Dog.TrickAdded' })
        expect(text(mapper.toStoredEvent(mapper.toDomainEvent(stored)))).to.equal(text(stored))
      })
    }

    it('of an event whose class has changed, with its class version at the end', function () {
      registerKennels()
      const event = anEvent({ topic: 'Kennels.Opened', data: { at: 7 }, metadata: { by: 1 } })
      const stored = mapper.toStoredEvent(event)
      expect(text(stored)).to.equal(
        '{"timestamp":"2026-11-21T10:20:30.400Z","data":{"at":7},"metadata":{"by":1},"classVersion":2}',
      )
      expect(isDeepStrictEqual(mapper.decode(stored), event)).to.equal(true)
    })

    it('of times far from now', function () {
      for (const time of [new Date(-8.64e15), new Date(8.64e15), new Date(0)]) {
        const stored = mapper.toStoredEvent(anEvent({ timestamp: time }))
        expect(text(stored)).to.include(`{"timestamp":"${time.toISOString()}",`)
        expect(mapper.toDomainEvent(stored).timestamp.getTime()).to.equal(time.getTime())
      }
    })
  })

  it('gives every event back equal', function () {
    fc.assert(
      fc.property(fc.record(anyEvent, { noNullPrototype: true }), (event) => {
        const stored = mapper.toStoredEvent(event)
        expect(isDeepStrictEqual(mapper.decode(stored), event)).to.equal(true)
        expect(isDeepStrictEqual(mapper.toDomainEvent(stored), event)).to.equal(true)
      }),
      { numRuns: 300 },
    )
  })

  it('stores several events as each of them, whatever their characters', function () {
    const tricks = ['sit', 'Männchen', '🐕', '\ud800', '"\\\n\0', '']
    for (const count of [0, 1, 2, 32, 33, 100]) {
      for (const some of [tricks, ['sit', 'beg'], ['Männchen']]) {
        const events = Array.from({ length: count }, (_, index) =>
          anEvent({
            originatorVersion: index + 1,
            data: { trick: some[index % some.length] },
            metadata: index % 3 === 0 ? { by: 'Ann' } : {},
            timestamp: new Date(index * 777),
          }),
        )
        const each = events.map((event) => mapper.toStoredEvent(event))
        const together = mapper.toStoredEvents(events)
        expect(together.map(text)).to.deep.equal(each.map(text))
        expect(isDeepStrictEqual(together, each)).to.equal(true)
        together[0]?.state.fill(0)
        expect(together.slice(1).map(text)).to.deep.equal(each.slice(1).map(text))
      }
    }
  })

  it('stores several events or none', function () {
    const events = [anEvent({}), anEvent({ data: { trick: () => 'sit' } }), anEvent({ timestamp: 'now' as never })]
    expect(() => mapper.toStoredEvents(events)).to.throw(TranscodingNotRegisteredError, 'Dog.TrickAdded')
    expect(() => mapper.toStoredEvents(events.slice(2))).to.throw(ProgrammingError, 'timestamp')
    expect(() => mapper.toStoredEvents([events[0]!, events[2]!])).to.throw(ProgrammingError, 'timestamp')
  })

  it('asks for each event where a subclass has its own way, and for all of it where a transcoder has', function () {
    class Marking extends Mapper {
      override toStoredEvent(event: DomainEvent): StoredEvent {
        return { ...super.toStoredEvent(event), topic: 'Marked' }
      }
    }
    const marking = new Marking({ transcoder: new JsonTranscoder() })
    expect(marking.toStoredEvents([anEvent({}), anEvent({})]).map(({ topic }) => topic)).to.deep.equal([
      'Marked',
      'Marked',
    ])
    class Reversing extends JsonTranscoder {
      override encode(value: unknown): Uint8Array {
        return super.encode(value).reverse()
      }
    }
    const reversing = new Mapper({ transcoder: new Reversing() })
    const stored = mapper.toStoredEvent(anEvent({ metadata: { by: 1 } }))
    for (const [reversed] of [
      reversing.toStoredEvents([anEvent({ metadata: { by: 1 } })]),
      reversing.toStoredEvents([anEvent({ metadata: { by: 1 } }), anEvent({})]),
    ]) {
      expect(text({ ...stored, state: Uint8Array.from(reversed!.state).reverse() })).to.equal(text(stored))
    }
  })

  it('stores data as deep as an event may have', function () {
    const data = Array.from({ length: 499 }).reduce<Record<string, unknown>>((inner) => ({ inner }), { deep: true })
    const event = anEvent({ data })
    expect(isDeepStrictEqual(mapper.decode(mapper.toStoredEvent(event)), event)).to.equal(true)
  })

  it('gives a frozen event for keeping, and one of its own for replay', function () {
    const stored = mapper.toStoredEvent(anEvent({ data: { deep: [{ a: 1 }] }, metadata: { by: { id: 1 } } }))
    const kept = mapper.toDomainEvent(stored)
    for (const frozen of [
      kept,
      kept.data,
      kept.data['deep'],
      (kept.data['deep'] as unknown[])[0],
      kept.metadata,
      kept.metadata['by'],
    ]) {
      expect(frozen).to.be.frozen
    }
    const owned = mapper.decode(stored)
    expect(owned).not.to.be.frozen
    expect(owned.data['deep']).not.to.be.frozen
    expect(owned.data).not.to.equal(mapper.decode(stored).data)
    expect(mapper.decode(mapper.toStoredEvent(anEvent({}))).metadata).to.deep.equal({})
  })

  it('gives the current topic where an alias is stored', function () {
    registerTopicAlias('Dog.LearnedTrickOnce', 'Dog.TrickAdded')
    const event = anEvent({ data: { trick: 'sit' } })
    const stored = { ...mapper.toStoredEvent(event), topic: 'Dog.LearnedTrickOnce' }
    expect(isDeepStrictEqual(mapper.decode(stored), event)).to.equal(true)
  })

  describe('upcasts', function () {
    const old = (data: Record<string, unknown>, fields: object = {}, version = 1) =>
      stored(
        JSON.stringify({
          timestamp: '2026-11-21T10:20:30.400Z',
          data,
          ...fields,
          ...(version > 1 && { classVersion: version }),
        }),
      )

    before(registerUpcasting)

    it('what was stored before the class changed, from the version that it has', function () {
      for (const [version, data] of [
        [1, { sum: 5 }],
        [2, { amount: 5 }],
        [3, { amount: { value: 5, unit: 'm' }, tags: ['old'] }],
      ] as const) {
        for (const text of [false, true]) {
          const state = { ...old(data, { metadata: { by: 1 } }, version), topic: 'Upcaster.Measured' }
          const given = text ? { ...state, state: Buffer.from(state.state).toString() } : state
          const expected = { ...anEvent({ topic: 'Upcaster.Measured', metadata: { by: 1 } }), data: current }
          expect(isDeepStrictEqual(mapper.decode(given), expected)).to.equal(true)
          const kept = mapper.toDomainEvent(given)
          expect(isDeepStrictEqual(kept, expected)).to.equal(true)
          for (const each of [kept.data, kept.data['amount'], kept.data['tags']]) expect(each).to.be.frozen
        }
      }
    })

    it('under a former name as well, and leaves each reader its own', function () {
      registerTopicAlias('OlderUpcaster', 'Upcaster')
      registerTopicAlias('OldUpcaster.Counted', 'OlderUpcaster.Measured')
      for (const topic of ['OlderUpcaster.Measured', 'OldUpcaster.Counted']) {
        const event = mapper.decode({ ...old({ sum: 5 }), topic })
        expect(event).to.deep.include({ topic: 'Upcaster.Measured', data: current })
        ;(event.data['tags'] as string[]).push('mine')
      }
      expect(mapper.decode({ ...old({ sum: 5 }), topic: 'Upcaster.Measured' }).data).to.deep.equal(current)
    })

    it('nothing that is stored now, which says its version', function () {
      const event = anEvent({ topic: 'Upcaster.Measured', data: { amount: { value: 1, unit: 'mm' }, tags: [] } })
      const [one, other] = mapper.toStoredEvents([event, event])
      for (const each of [mapper.toStoredEvent(event), one!, other!]) {
        expect(text(each)).to.match(/"tags":\[\]},"classVersion":3}$/)
        expect(isDeepStrictEqual(mapper.decode(each), event)).to.equal(true)
      }
    })

    it('or says why it can’t, naming the event and not its state', function () {
      const failing: [version: number, data: object, why: RegExp][] = [
        [4, { amount: 'Ann-1815' }, /class version is 4, this code knows 3: it is older than the event/],
        [1, { sum: 'throw Ann-1815' }, /step 1 of its upcasts failed with RangeError/],
        [1, { sum: 'promise Ann-1815' }, /step 1 of its upcasts returns a promise/],
        [2, { nothing: 'Ann-1815' }, /step 2 of its upcasts returns no plain object/],
      ]
      for (const [version, data, why] of failing) {
        const state = { ...old(data as Record<string, unknown>, {}, version), topic: 'Upcaster.Measured' }
        for (const read of [() => mapper.decode(state), () => mapper.toDomainEvent(state)]) {
          expect(read)
            .to.throw(MapperDeserialisationError, why)
            .that.satisfies((error: Error) => !error.message.includes('Ann-1815') && error.cause === undefined)
            .with.property('message')
            .that.includes('"Upcaster.Measured" of originator "fido", version 2')
        }
      }
    })
  })

  it('says what to do about a topic that nothing is registered for', function () {
    const stored = { ...mapper.toStoredEvent(anEvent({})), topic: 'Unicorn.Born' }
    for (const read of [() => mapper.decode(stored), () => mapper.toDomainEvent(stored)]) {
      expect(read)
        .to.throw(TopicError)
        .with.property('message')
        .that.includes('"Unicorn.Born"')
        .and.includes('"fido"')
        .and.includes('static aggregates')
        .and.includes('registerTopicAlias')
    }
  })

  describe('refuses to store', function () {
    const cases: readonly (readonly [title: string, fields: Record<string, unknown>, naming: string])[] = [
      ['an event without id', { originatorId: undefined }, 'originatorId'],
      ['an event with an empty id', { originatorId: '' }, 'originatorId'],
      ['an event without version', { originatorVersion: undefined }, 'originatorVersion'],
      ['a version below 1', { originatorVersion: 0 }, 'originatorVersion'],
      ['a version with a fraction', { originatorVersion: 1.5 }, 'originatorVersion'],
      ['an event without topic', { topic: undefined }, 'topic'],
      ['an event with an empty topic', { topic: '' }, 'topic'],
      ['a timestamp as text', { timestamp: timestamp.toISOString() }, 'timestamp'],
      ['a timestamp without a time', { timestamp: new Date(NaN) }, 'timestamp'],
      ['an event without data', { data: undefined }, 'data'],
      ['data as an array', { data: ['Ann-1815'] }, 'data'],
      ['data as an instance', { data: new Map([['name', 'Ann-1815']]) }, 'data'],
      ['metadata as text', { metadata: 'Ann-1815' }, 'metadata'],
    ]
    for (const [title, fields, naming] of cases) {
      it(title, function () {
        expect(() => mapper.toStoredEvent(anEvent(fields)))
          .to.throw(ProgrammingError)
          .with.property('message')
          .that.includes(`: ${naming} must be`)
          .and.does.not.include('Ann-1815')
      })
    }

    it('what is no object', function () {
      for (const event of [undefined, null, 'Ann-1815']) {
        expect(() => mapper.toStoredEvent(event as unknown as DomainEvent)).to.throw(
          ProgrammingError,
          'must be an object',
        )
      }
    })

    it('a type without a transcoding, naming topic and type', function () {
      expect(() => mapper.toStoredEvent(anEvent({ data: { link: new URLSearchParams('ann=1815') } })))
        .to.throw(TranscodingNotRegisteredError)
        .with.property('message')
        .that.includes('Dog.TrickAdded')
        .and.includes('URLSearchParams')
        .and.does.not.include('1815')
    })
  })

  describe('refuses to read', function () {
    const cases: readonly (readonly [state: string, why: RegExp])[] = [
      ['', /not JSON/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{"name":"Ann-1815"', /not JSON/],
      ['"Ann-1815"', /no object/],
      ['["Ann-1815"]', /no object/],
      ['{"data":{}}', /timestamp/],
      ['{"timestamp":"Ann-1815","data":{}}', /timestamp/],
      ['{"timestamp":"2026-11-21T10:20:30.400","data":{}}', /timestamp/],
      ['{"timestamp":"2026-11-21","data":{}}', /timestamp/],
      ['{"timestamp":"2026-99-21T10:20:30.400Z","data":{}}', /timestamp/],
      ['{"timestamp":1795256430400,"data":{}}', /timestamp/],
      ['{"timestamp":{"_type_":"date","_data_":"2026-11-21T10:20:30.400Z"},"data":{}}', /timestamp/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z"}', /no data/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":["Ann-1815"]}', /no data/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":null}', /no data/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{"_type_":"map","_data_":[]}}', /no data/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{},"metadata":"Ann-1815"}', /metadata/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{},"metadata":null}', /metadata/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{},"classVersion":1}', /no integer from 2/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{},"classVersion":2.5}', /no integer from 2/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{},"classVersion":"2"}', /no integer from 2/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{},"classVersion":99}', /older than the event/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{"a":{"_type_":"money","_data_":"Ann-1815"}}}', /"money"/],
      ['{"timestamp":"2026-11-21T10:20:30.400Z","data":{"a":{"_type_":"bigint","_data_":"Ann-1815"}}}', /'bigint'/],
    ]
    for (const [state, why] of cases) {
      it(`${JSON.stringify(state)}, naming the event and not its state`, function () {
        for (const read of [() => mapper.decode(stored(state)), () => mapper.toDomainEvent(stored(state))]) {
          expect(read)
            .to.throw(MapperDeserialisationError, why)
            .that.satisfies((error: Error) => !`${error.message} ${String(error.cause)}`.includes('Ann-1815'))
            .with.property('message')
            .that.includes('"Dog.TrickAdded" of originator "fido", version 2')
        }
      })
    }

    it('what is nested deeper than the stack goes', function () {
      const deep = (text: string) =>
        stored(`{"timestamp":"2026-11-21T10:20:30.400Z","data":{"a":${'['.repeat(2e5)}${text}${']'.repeat(2e5)}}}`)
      for (const text of ['', '"_type_"']) {
        expect(() => mapper.toDomainEvent(deep(text)))
          .to.throw(MapperDeserialisationError)
          .with.property('message')
          .that.includes('"Dog.TrickAdded" of originator "fido", version 2')
      }
    })

    it('every state that was cut short, and bytes that are not UTF-8', function () {
      const whole = mapper.toStoredEvent(anEvent({ data: { name: 'Ann-1815' } }))
      for (let length = 0; length < whole.state.length; length++) {
        const cut = { ...whole, state: whole.state.slice(0, length) }
        expect(() => mapper.decode(cut)).to.throw(MapperDeserialisationError)
      }
      expect(() => mapper.decode({ ...whole, state: new Uint8Array([0x22, 0xff, 0x22]) })).to.throw(
        MapperDeserialisationError,
        /UTF-8/,
      )
    })

    it("a value that a user's transcoding can't take, without what it says about it", function () {
      const transcoder = new JsonTranscoder()
      transcoder.register({
        type: URLSearchParams,
        name: 'search',
        encode: String,
        decode: (data: string): URLSearchParams => {
          throw new RangeError(`not a link: ${data}`)
        },
      })
      const reader = new Mapper({ transcoder })
      const linked = reader.toStoredEvent(anEvent({ data: { link: new URLSearchParams('ann=1815') } }))
      expect(() => reader.decode(linked))
        .to.throw(MapperDeserialisationError, /failed with RangeError/)
        .that.satisfies((error: Error) => !error.message.includes('1815') && error.cause === undefined)
    })
  })
})

const current = { amount: { value: 5, unit: 'm' }, tags: ['old'] }

/** An aggregate whose one event is at class version 3. */
function registerUpcasting(): void {
  const shared = Object.freeze(['old'])
  class Upcaster extends EventedAggregate<{ Measured: object }> {
    static readonly topic = 'Upcaster'
    static readonly evolve: Evolve<Upcaster, { Measured: object }> = { Measured() {} }
    static readonly upcasts: Upcasts = {
      Measured: {
        1: ({ sum }: { sum: unknown }) => {
          if (sum === 'promise Ann-1815') return Promise.reject(new Error('Ann-1815'))
          if (sum !== 5) throw new RangeError(`no number: ${String(sum)}`)
          return { amount: sum }
        },
        2: (data) => (data.amount === undefined ? [] : { amount: { value: data.amount, unit: 'm' }, tags: shared }),
      },
    }
  }
  definitionOf(Upcaster)
}

/** An aggregate whose one event is at class version 2. */
function registerKennels(): void {
  const unused = () => expect.fail('the mapper applies no events')
  const events = new Map<string, EventDefinition>()
  const aggregate = {
    name: 'Kennels',
    aggregateClass: class Kennels {},
    events,
    snapshotUpcasts: [],
    create: unused,
    apply: unused,
    requireState: unused,
    stateOf: unused,
    restore: unused,
  }
  const upcasts = [(data: Record<string, unknown>) => data]
  events.set('Opened', { topic: 'Kennels.Opened', name: 'Opened', classVersion: 2, upcasts, aggregate })
  registerAggregate(aggregate)
}

function anEvent(fields: Record<string, unknown> | Partial<DomainEvent>): DomainEvent {
  const event = {
    originatorId: 'fido',
    originatorVersion: 2,
    topic: 'Dog.TrickAdded',
    timestamp,
    data: {},
    metadata: {},
  }
  return { ...event, ...fields }
}

function stored(state: string): StoredEvent {
  return { originatorId: 'fido', originatorVersion: 2, topic: 'Dog.TrickAdded', state: Buffer.from(state) }
}

function text({ state }: StoredEvent): string {
  return Buffer.from(state).toString('utf8')
}

const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.jsonValue() as fc.Arbitrary<unknown>,
    fc.constantFrom(undefined, NaN, -0),
    fc.bigInt(),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array(),
    fc.array(tie('value'), { maxLength: 3 }).map((values) => new Set(values)),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.array(fc.tuple(fc.string(), tie('value')), { maxLength: 3 }).map((entries) => Object.fromEntries(entries)),
  ),
}))

const anyData = fc
  .array(fc.tuple(fc.oneof(fc.constantFrom('_type_', '__proto__', 'timestamp', 'data'), fc.string()), anyValue))
  .map((entries) => Object.fromEntries(entries))

const anyEvent = {
  originatorId: fc.string({ minLength: 1 }),
  originatorVersion: fc.integer({ min: 1 }),
  topic: fc.constantFrom('Dog.Registered', 'Dog.TrickAdded'),
  timestamp: fc.date({ noInvalidDate: true }),
  data: anyData,
  metadata: anyData,
}
