import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import { MapperDeserialisationError, ProgrammingError, TranscodingNotRegisteredError } from '../../lib/errors.js'
import { JsonTranscoder, formatTimestamp, parseTimestamp } from '../../lib/persistence/transcoder.js'

class Money {
  constructor(readonly cents: bigint) {}
}

class Price {
  constructor(
    readonly money: Money,
    readonly since: Date,
  ) {}
}

describe('JSON transcoder', function () {
  describe('any value', function () {
    it('comes back equal, whatever is nested in what', function () {
      fc.assert(
        fc.property(anyValue, (value) => {
          const decoded = roundTrip(value)
          expect(isDeepStrictEqual(decoded, value), JSON.stringify(encode(value))).to.equal(true)
        }),
        { numRuns: 500 },
      )
    })

    it('gives the same bytes each time, also after it came back', function () {
      fc.assert(
        fc.property(anyValue, (value) => {
          expect(encode(roundTrip(value))).to.equal(encode(value))
        }),
        { numRuns: 500 },
      )
    })

    it('is not changed by being encoded', function () {
      fc.assert(
        fc.property(anyValue, (value) => {
          const before = structuredClone(value)
          encode(value)
          expect(isDeepStrictEqual(value, before)).to.equal(true)
        }),
      )
    })
  })

  // These bytes are in databases. A change here makes stored events unreadable.
  describe('has one form for ever', function () {
    const cases: readonly (readonly [title: string, value: unknown, text: string])[] = [
      ['plain values', { b: [1, 'zwölf', true, null], a: {} }, '{"b":[1,"zwölf",true,null],"a":{}}'],
      ['a date', new Date(0), '{"_type_":"date","_data_":"1970-01-01T00:00:00.000Z"}'],
      ['a date without a time', new Date(NaN), '{"_type_":"date","_data_":null}'],
      ['a bigint', -12345678901234567890n, '{"_type_":"bigint","_data_":"-12345678901234567890"}'],
      ['bytes', new Uint8Array([0, 255, 128]), '{"_type_":"bytes","_data_":"AP+A"}'],
      [
        'a map',
        new Map<unknown, unknown>([
          ['a', 1],
          [{ b: 2 }, []],
        ]),
        '{"_type_":"map","_data_":[["a",1],[{"b":2},[]]]}',
      ],
      ['a set', new Set(['a', 1n]), '{"_type_":"set","_data_":["a",{"_type_":"bigint","_data_":"1"}]}'],
      ['undefined', [undefined], '[{"_type_":"undefined","_data_":null}]'],
      ['not a number', NaN, '{"_type_":"number","_data_":"NaN"}'],
      ['infinity', Infinity, '{"_type_":"number","_data_":"Infinity"}'],
      ['minus infinity', -Infinity, '{"_type_":"number","_data_":"-Infinity"}'],
      ['minus zero', -0, '{"_type_":"number","_data_":"-0"}'],
      [
        'an object that looks tagged',
        { _type_: 'date', _data_: 1 },
        '{"_type_":"object","_data_":{"_type_":"date","_data_":1}}',
      ],
      ['half a surrogate pair', '\ud800', '"\\ud800"'],
    ]
    for (const [title, value, text] of cases) {
      it(`of ${title}`, function () {
        expect(encode(value)).to.equal(text)
        expect(encode(decode(text))).to.equal(text)
      })
    }

    it('of an own key __proto__, which never becomes a prototype', function () {
      const text = '{"__proto__":{"admin":{"_type_":"bigint","_data_":"1"}}}'
      const decoded = decode(text) as Record<string, unknown>
      expect(Object.keys(decoded)).to.deep.equal(['__proto__'])
      expect(Object.getPrototypeOf(decoded)).to.equal(Object.prototype)
      expect(decoded['admin']).to.equal(undefined)
      expect(encode(decoded)).to.equal(text)
    })
  })

  it('keeps keys in their order', function () {
    expect(Object.keys(roundTrip({ z: 1n, a: 2, m: undefined }) as object)).to.deep.equal(['z', 'a', 'm'])
  })

  it('gives a Buffer back as a Uint8Array of its own', function () {
    const decoded = roundTrip(Buffer.from('Fido')) as Uint8Array
    expect(Object.getPrototypeOf(decoded)).to.equal(Uint8Array.prototype)
    expect(decoded.byteOffset).to.equal(0)
    expect([...decoded]).to.deep.equal([70, 105, 100, 111])
  })

  it('gives a date without a time back', function () {
    const decoded = roundTrip(new Date(NaN))
    expect(decoded).to.be.instanceOf(Date)
    expect((decoded as Date).getTime()).to.be.NaN
  })

  it('gives holes in arrays back as undefined, and objects without prototype as plain ones', function () {
    expect(roundTrip([, 1])).to.deep.equal([undefined, 1])
    expect(roundTrip(Object.assign(Object.create(null), { a: 1 }))).to.deep.equal({ a: 1 })
  })

  it('reads from the middle of a buffer', function () {
    const bytes = Buffer.from('xx{"a":1}yy').subarray(2, 9)
    expect(new JsonTranscoder().decode(new Uint8Array(bytes.buffer, bytes.byteOffset, 7))).to.deep.equal({ a: 1 })
  })

  it('leaves alone what only half looks tagged, as others may have stored it', function () {
    for (const text of ['{"_type_":"date"}', '{"_type_":1,"_data_":2}', '{"_type_":"date","_data_":"x","c":1}']) {
      expect(decode(text)).to.deep.equal(JSON.parse(text))
    }
  })

  describe('timestamps', function () {
    const anyTime = fc.oneof(
      fc.date({ noInvalidDate: true }),
      fc.date({ noInvalidDate: true, min: new Date(-5000), max: new Date(5000) }),
      fc.date({ noInvalidDate: true, min: new Date('1990-01-01'), max: new Date('2100-01-01') }),
    )

    it('are written as Date writes them', function () {
      fc.assert(
        fc.property(anyTime, (time) => {
          expect(formatTimestamp(time)).to.equal(time.toISOString())
        }),
        { numRuns: 1000 },
      )
    })

    it('are read as Date reads them', function () {
      fc.assert(
        fc.property(anyTime, (time) => {
          expect(parseTimestamp(time.toISOString())?.getTime()).to.equal(time.getTime())
        }),
        { numRuns: 1000 },
      )
    })

    it('are read where Date reads them, and nowhere else', function () {
      const form = /^(\d{4}|[+-]\d{6})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
      const digits = (length: number) =>
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: length, maxLength: length }).map((each) => each.join(''))
      const field = (max: number) =>
        fc.oneof(
          fc.integer({ min: 0, max }).map((each) => String(each).padStart(2, '0')),
          digits(2),
        )
      const anyText = fc.oneof(
        fc
          .tuple(digits(4), field(13), field(32), field(25), field(61), field(61), digits(3))
          .map(([year, month, day, hour, minute, second, ms]) => {
            return `${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`
          }),
        fc
          .tuple(fc.integer({ min: 0, max: 23 }), fc.constantFrom(...'0129-+:.TZ /a²'))
          .map(
            ([at, sign]) => `2024-02-29T10:20:30.400Z`.slice(0, at) + sign + `2024-02-29T10:20:30.400Z`.slice(at + 1),
          ),
      )
      fc.assert(
        fc.property(anyText, (text) => {
          const expected = form.test(text) ? new Date(text).getTime() : NaN
          expect(parseTimestamp(text)?.getTime() ?? NaN).to.deep.equal(expected)
        }),
        { numRuns: 3000 },
      )
    })
  })

  describe('registered types', function () {
    it('come back as instances, nested in each other too', function () {
      const transcoder = new JsonTranscoder()
      transcoder.register({
        type: Money,
        name: 'money',
        encode: ({ cents }) => cents,
        decode: (cents) => new Money(cents),
      })
      transcoder.register({
        type: Price,
        name: 'price',
        encode: ({ money, since }) => ({ money, since }),
        decode: ({ money, since }) => new Price(money, since),
      })
      const price = new Price(new Money(250n), new Date(0))
      const bytes = transcoder.encode({ price })
      expect(Buffer.from(bytes).toString()).to.equal(
        '{"price":{"_type_":"price","_data_":{"money":{"_type_":"money","_data_":{"_type_":"bigint","_data_":"250"}},' +
          '"since":{"_type_":"date","_data_":"1970-01-01T00:00:00.000Z"}}}}',
      )
      expect(isDeepStrictEqual(transcoder.decode(bytes), { price })).to.equal(true)
    })

    it('are refused under a name or for a type in use, built-in ones included', function () {
      const transcoder = new JsonTranscoder()
      const money = { type: Money, name: 'money', encode: () => 0, decode: () => new Money(0n) }
      transcoder.register(money)
      class Other {}
      const other = { type: Other, name: 'other', encode: () => 0, decode: () => new Other() }
      for (const name of [
        'money',
        'date',
        'bigint',
        'bytes',
        'map',
        'set',
        'undefined',
        'number',
        'object',
        'url',
        'error',
        '',
      ]) {
        expect(() => transcoder.register({ ...other, name }), name).to.throw(ProgrammingError)
      }
      for (const type of [
        Money,
        Date,
        Map,
        Set,
        Uint8Array,
        Buffer,
        URL,
        RegExp,
        RangeError,
        Int8Array,
        Object,
        Array,
        {} as typeof Other,
      ]) {
        expect(() => transcoder.register<unknown, number>({ ...other, type })).to.throw(ProgrammingError)
      }
      transcoder.register(other)
    })

    it('belong to one transcoder', function () {
      new JsonTranscoder().register({ type: Money, name: 'money', encode: () => 0, decode: () => new Money(0n) })
      expect(() => encode(new Money(1n))).to.throw(TranscodingNotRegisteredError)
    })
  })

  describe('refuses to encode', function () {
    const secret = 'Ann-1815'
    const cases: readonly (readonly [title: string, value: unknown, naming: string])[] = [
      ['instances of a class', new Price(new Money(1n), new Date(0)), 'Price'],
      ['instances of a subclass of a known type', new (class Birthday extends Date {})(0), 'Birthday'],
      ['subclasses of Array', new (class Pack extends Array<number> {})(), 'Pack'],
      ['errors of a class of one’s own', new (class Timeout extends Error {})(secret), 'Timeout'],
      ['functions', { name: () => secret }, 'function'],
      ['symbols', { name: Symbol(secret) }, 'symbol'],
      ['symbols as keys', { [Symbol('key')]: secret }, 'symbol'],
      ['boxed primitives', { name: Object(secret) as unknown }, 'String'],
      ['shared memory', new SharedArrayBuffer(1), 'SharedArrayBuffer'],
      ['an own toJSON', { name: secret, toJSON: () => ({}) }, 'function'],
      ['a hidden toJSON', Object.defineProperty({ name: secret }, 'toJSON', { value: () => ({}) }), 'function'],
      ['a toJSON of an array', Object.assign([secret], { toJSON: () => ({}) }), 'function'],
    ]
    for (const [title, value, naming] of cases) {
      it(title, function () {
        for (const nested of [value, { deep: [value] }, new Map([[1, value]])]) {
          expect(() => encode(nested))
            .to.throw(TranscodingNotRegisteredError)
            .with.property('message')
            .that.includes(naming)
            .and.includes('register(')
            .and.does.not.include(secret)
        }
      })
    }

    it('what holds itself, or is nested too deep, with a clear error', function () {
      const itself: Record<string, unknown> = {}
      itself['me'] = [itself]
      expect(() => encode(itself)).to.throw(ProgrammingError, /holds itself/)
      const map = new Map<string, unknown>()
      map.set('me', map)
      expect(() => encode(map)).to.throw(ProgrammingError, /holds itself/)
      expect(() => encode(nest(501))).to.throw(ProgrammingError, /500 levels/)
      expect(() => encode(nest(100_000))).to.throw(ProgrammingError, /500 levels/)
      expect(isDeepStrictEqual(roundTrip(nest(500)), nest(500))).to.equal(true)
    })
  })

  describe('refuses to decode', function () {
    it('a name that is not registered', function () {
      expect(() => decode('[{"_type_":"money","_data_":"Ann-1815"}]'))
        .to.throw(TranscodingNotRegisteredError)
        .with.property('message')
        .that.includes('"money"')
        .and.does.not.include('Ann-1815')
      expect(() => decode('{"_type_":"__proto__","_data_":{}}')).to.throw(TranscodingNotRegisteredError)
    })

    const damaged = [
      '',
      '{"name":"Ann-1815"',
      'Ann-1815',
      '\ufeff{}',
      '{"_type_":"date","_data_":"Ann-1815"}',
      '{"_type_":"date","_data_":7}',
      '{"_type_":"bigint","_data_":"Ann-1815"}',
      '{"_type_":"bigint","_data_":7}',
      '{"_type_":"bytes","_data_":[1]}',
      '{"_type_":"map","_data_":[["Ann-1815"]]}',
      '{"_type_":"set","_data_":"Ann-1815"}',
      '{"_type_":"number","_data_":"12"}',
    ]
    for (const text of damaged) {
      it(`${JSON.stringify(text)}, without quoting it`, function () {
        expect(() => decode(text))
          .to.throw(MapperDeserialisationError)
          .that.satisfies((error: Error) => !error.message.includes('Ann') && error.cause === undefined)
      })
    }

    it('bytes that are not UTF-8, instead of replacing them', function () {
      for (const bytes of [
        [0x22, 0xff, 0x22],
        [0x22, 0xc3, 0x22],
        [0x22, 0xed, 0xa0, 0x80, 0x22],
      ]) {
        expect(() => new JsonTranscoder().decode(new Uint8Array(bytes))).to.throw(MapperDeserialisationError, /UTF-8/)
      }
    })
  })
})

const anyKey = fc.oneof(
  fc.constantFrom('__proto__', '_type_', '_data_', 'constructor', 'toString', '0', ''),
  fc.string({ unit: 'binary' }),
)

const { value: anyValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, undefined, NaN, Infinity, -Infinity, -0, 0, '', '_type_', '"_type_"'),
    fc.boolean(),
    fc.double(),
    fc.integer(),
    fc.bigInt(),
    // UTF-16 code units, halves of surrogate pairs among them
    fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
    fc.string({ unit: 'binary' }),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array(),
    fc.array(tie('value')),
    // own keys, `__proto__` too
    fc.array(fc.tuple(anyKey, tie('value'))).map((entries) => Object.fromEntries(entries)),
    fc.record(
      { _type_: fc.oneof(fc.constantFrom('date', 'object', 'map'), tie('value')), _data_: tie('value') },
      { noNullPrototype: true },
    ),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 3 }).map((entries) => new Map(entries)),
    fc.array(tie('value'), { maxLength: 3 }).map((values) => new Set(values)),
  ),
}))

function nest(levels: number): unknown {
  let value: unknown = 1n
  for (let level = 0; level < levels; level++) value = level % 2 === 0 ? [value] : { value }
  return value
}

function encode(value: unknown): string {
  return Buffer.from(new JsonTranscoder().encode(value)).toString('utf8')
}

function decode(text: string): unknown {
  return new JsonTranscoder().decode(Buffer.from(text, 'utf8'))
}

function roundTrip(value: unknown): unknown {
  const transcoder = new JsonTranscoder()
  return transcoder.decode(transcoder.encode(value))
}
