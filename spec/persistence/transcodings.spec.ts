import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import { Decimal } from 'decimal.js'
import fc from 'fast-check'
import { Temporal } from 'temporal-polyfill/full'
import { frozenCopy } from '../../lib/domain/copy.js'
import { MapperDeserialisationError, ProgrammingError, TranscodingNotRegisteredError } from '../../lib/errors.js'
import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import { decimalTranscoding, temporalTranscodings } from '../../lib/persistence/value-transcodings.js'
import { anyBuiltIn } from '../support/built-in-values.js'

describe('Values of JavaScript’s own classes', () => {
  it('come back equal, nested in each other too', () => {
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom<unknown>(1, 'text', undefined, 1n),
        anyBuiltIn(tie('value')),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.string(), tie('value'), { noNullPrototype: true }),
      ),
    }))
    fc.assert(
      fc.property(value, (value) => {
        const text = encode(value)
        const decoded = decode(text)
        expect(isDeepStrictEqual(decoded, value), text).to.equal(true)
        // which also says what Node does not compare: it takes any two URLs for the same
        expect(encode(decoded)).to.equal(text)
      }),
      { numRuns: 500 },
    )
  })

  // These bytes are in databases. A change here makes stored events unreadable.
  describe('have one form for ever:', () => {
    const sticky = Object.assign(/a\/b/gy, { lastIndex: 3 })
    const enoent = Object.assign(new Error('not there'), { code: 'ENOENT', errno: -2 })
    const cases: readonly (readonly [title: string, value: object, text: string])[] = [
      [
        'URL',
        new URL('https://ann@example.com/a b?q=ü#f'),
        '{"_type_":"url","_data_":"https://ann@example.com/a%20b?q=%C3%BC#f"}',
      ],
      ['RegExp', /^\d+$/i, '{"_type_":"regexp","_data_":["^\\\\d+$","i"]}'],
      ['RegExp that goes on', sticky, '{"_type_":"regexp","_data_":["a\\\\/b","gy",3]}'],
      ['ArrayBuffer', Uint8Array.of(0, 255, 128).buffer, '{"_type_":"arraybuffer","_data_":"AP+A"}'],
      [
        'DataView',
        new DataView(Uint8Array.of(9, 0, 255, 128, 9).buffer, 1, 3),
        '{"_type_":"dataview","_data_":"AP+A"}',
      ],
      ['Int8Array', Int8Array.of(0, -1, -128), '{"_type_":"int8array","_data_":"AP+A"}'],
      ['Uint8ClampedArray', Uint8ClampedArray.of(0, 255, 128), '{"_type_":"uint8clampedarray","_data_":"AP+A"}'],
      ['Int16Array', Int16Array.of(1, -2), '{"_type_":"int16array","_data_":"AQD+/w=="}'],
      ['Uint16Array', Uint16Array.of(1, 0xfffe), '{"_type_":"uint16array","_data_":"AQD+/w=="}'],
      ['Int32Array', Int32Array.of(-2), '{"_type_":"int32array","_data_":"/v///w=="}'],
      ['Uint32Array', Uint32Array.of(1), '{"_type_":"uint32array","_data_":"AQAAAA=="}'],
      ['BigInt64Array', BigInt64Array.of(-2n), '{"_type_":"bigint64array","_data_":"/v////////8="}'],
      ['BigUint64Array', BigUint64Array.of(1n), '{"_type_":"biguint64array","_data_":"AQAAAAAAAAA="}'],
      ['Float32Array', Float32Array.of(1.5), '{"_type_":"float32array","_data_":"AADAPw=="}'],
      ['Float64Array', Float64Array.of(1.5, NaN), '{"_type_":"float64array","_data_":"AAAAAAAA+D8AAAAAAAD4fw=="}'],
      ['Error', new Error('no'), '{"_type_":"error","_data_":{"type":"Error","message":"no"}}'],
      ['Error with nothing', new RangeError(), '{"_type_":"error","_data_":{"type":"RangeError"}}'],
      [
        'Error with a cause',
        new TypeError('no', { cause: 1n }),
        '{"_type_":"error","_data_":{"type":"TypeError","message":"no","cause":{"_type_":"bigint","_data_":"1"}}}',
      ],
      [
        'Error with properties',
        enoent,
        '{"_type_":"error","_data_":{"type":"Error","message":"not there","properties":{"code":"ENOENT","errno":-2}}}',
      ],
      [
        'AggregateError',
        new AggregateError([new Error('a'), 2], 'both'),
        '{"_type_":"error","_data_":{"type":"AggregateError","message":"both","errors":' +
          '[{"_type_":"error","_data_":{"type":"Error","message":"a"}},2]}}',
      ],
    ]
    for (const [title, value, text] of cases) {
      it(title, () => {
        expect(encode(value)).to.equal(text)
        expect(encode(decode(text))).to.equal(text)
        expect(Object.getPrototypeOf(decode(text))).to.equal(Object.getPrototypeOf(value))
      })
    }
  })

  it('keep an error’s name, message and cause, and no stack, which tells of a machine and its paths', () => {
    const decoded = decode(encode({ why: new RangeError('too far', { cause: 'wind' }) })) as { why: RangeError }
    expect(decoded.why).to.be.instanceOf(RangeError)
    expect([decoded.why.name, decoded.why.message, decoded.why.cause]).to.deep.equal(['RangeError', 'too far', 'wind'])
    expect(decoded.why.stack).to.equal('RangeError: too far')
    expect(Object.keys(decoded.why)).to.deep.equal([])
  })

  it('can be read again where somebody has put other things in the places of text and numbers', () => {
    const error = new Error('no')
    for (const key of ['message', 'name', 'stack']) Object.assign(error, { [key]: { toString: 1, valueOf: 1 } })
    const pattern = Object.assign(/a/g, { lastIndex: { valueOf: 1 } })
    for (const copy of [frozenCopy({ error, pattern }, 'Event'), decode(encode({ error, pattern }))]) {
      const { error: read, pattern: found } = copy as { error: Error; pattern: RegExp }
      expect(read.message).to.deep.equal({ toString: 1, valueOf: 1 })
      expect([read.stack, found.lastIndex]).to.deep.equal(['', 0])
    }
  })

  it('keep errors whose name or message makes no text', () => {
    const message = Object.create(null) as object
    const error = Object.assign(new Error('gone'), { message })
    expect((decode(encode(error)) as Error).message).to.deep.equal({})
    const unnamed = Object.assign(new Error('Ann'), { name: Symbol('Ann') })
    expect(() => encode(unnamed)).to.throw(TranscodingNotRegisteredError, 'a symbol')
  })

  it('are what the bytes of a view say, not of all that it is a view of', () => {
    const bytes = Uint8Array.of(7, 7, 7, 7, 1, 0, 2, 0, 7, 7)
    const view = new Uint16Array(bytes.buffer, 4, 2)
    const decoded = decode(encode(view)) as Uint16Array
    expect([...decoded]).to.deep.equal([1, 2])
    expect(decoded.buffer.byteLength).to.equal(4)
  })

  it('are refused where they are of a subclass, which may have more to store', () => {
    class Timeout extends Error {}
    class Link extends URL {}
    for (const value of [new Timeout('secret'), new Link('https://example.com/secret')]) {
      expect(() => encode(value))
        .to.throw(TranscodingNotRegisteredError, /Timeout|Link/)
        .with.property('message')
        .not.include('secret')
    }
  })

  const damaged = [
    '{"_type_":"url","_data_":"Ann-1815"}',
    '{"_type_":"url","_data_":7}',
    '{"_type_":"regexp","_data_":["(Ann-1815",""]}',
    '{"_type_":"regexp","_data_":["a","Ann"]}',
    '{"_type_":"regexp","_data_":"Ann"}',
    '{"_type_":"regexp","_data_":["a","g","Ann"]}',
    '{"_type_":"arraybuffer","_data_":[1]}',
    '{"_type_":"float64array","_data_":"AAAA"}',
    '{"_type_":"int16array","_data_":{}}',
    '{"_type_":"error","_data_":"Ann-1815"}',
    '{"_type_":"error","_data_":{"type":"Ann-1815"}}',
    '{"_type_":"error","_data_":{"type":"__proto__"}}',
    '{"_type_":"error","_data_":{"type":"Error","properties":"Ann"}}',
  ]
  for (const text of damaged) {
    it(`are refused as ${text}, without quoting it`, () => {
      expect(() => decode(text))
        .to.throw(MapperDeserialisationError)
        .that.satisfies((error: Error) => !error.message.includes('Ann') && error.cause === undefined)
    })
  }

  it('never set a prototype, whatever the stored properties of an error are called', () => {
    const text = '{"_type_":"error","_data_":{"type":"Error","properties":{"__proto__":{"admin":true}}}}'
    const decoded = decode(text) as Record<string, unknown>
    expect(Object.getPrototypeOf(decoded)).to.equal(Error.prototype)
    expect(decoded['admin']).to.equal(undefined)
    expect(encode(decoded)).to.equal(text)
  })
})

describe('decimalTranscoding', () => {
  const transcoder = new JsonTranscoder()
  transcoder.register(decimalTranscoding(Decimal))
  const roundTrip = (value: Decimal) => transcoder.decode(transcoder.encode(value)) as Decimal

  it('keeps every digit, whatever the precision of calculations', () => {
    fc.assert(
      fc.property(fc.bigInt(), fc.integer({ min: -60, max: 60 }), (digits, exponent) => {
        const value = new Decimal(`${digits}e${exponent}`)
        const decoded = roundTrip(value)
        expect(isDeepStrictEqual(decoded, value)).to.equal(true)
        expect(decoded).to.be.instanceOf(Decimal)
      }),
      { numRuns: 300 },
    )
  })

  it('keeps minus zero, what is no number, and the infinities', () => {
    for (const text of ['-0', '0', 'NaN', 'Infinity', '-Infinity', '1e+9000', '0.1']) {
      expect(roundTrip(new Decimal(text)).valueOf()).to.equal(new Decimal(text).valueOf())
    }
  })

  it('has one form for ever', () => {
    const text = Buffer.from(transcoder.encode(new Decimal('19.90'))).toString()
    expect(text).to.equal('{"_type_":"decimal","_data_":"19.9"}')
  })

  it('takes a second class of decimals under a name of its own', () => {
    class Cents {
      constructor(readonly text: string) {}
      valueOf() {
        return this.text
      }
    }
    const both = new JsonTranscoder()
    both.register(decimalTranscoding(Decimal))
    expect(() => both.register(decimalTranscoding(Cents))).to.throw(ProgrammingError, 'decimal')
    both.register(decimalTranscoding(Cents, 'cents'))
    const values = [new Decimal(1), new Cents('2')]
    expect(isDeepStrictEqual(both.decode(both.encode(values)), values)).to.equal(true)
  })

  it('refuses what is no class, and stored text that is no number, without quoting it', () => {
    expect(() => decimalTranscoding(undefined as never)).to.throw(ProgrammingError, 'Decimal')
    for (const data of ['"Ann-1815"', '7', 'null']) {
      expect(() => transcoder.decode(Buffer.from(`{"_type_":"decimal","_data_":${data}}`)))
        .to.throw(MapperDeserialisationError, "'decimal'")
        .that.satisfies((error: Error) => !error.message.includes('Ann') && error.cause === undefined)
    }
  })
})

describe('temporalTranscodings', () => {
  const transcoder = new JsonTranscoder()
  for (const each of temporalTranscodings(Temporal)) transcoder.register(each)
  const textOf = (value: unknown) => Buffer.from(transcoder.encode(value)).toString()
  const parse = (text: string) => transcoder.decode(Buffer.from(text))

  const anyEpoch = fc.bigInt({ min: -8_640_000_000_000_000_000_000n, max: 8_640_000_000_000_000_000_000n })
  const anyCalendar = fc.constantFrom('iso8601', 'gregory', 'hebrew', 'japanese', 'islamic-civil', 'chinese')
  const anyZone = fc.constantFrom(
    'UTC',
    'Europe/Paris',
    'Asia/Kolkata',
    'America/St_Johns',
    '+05:45',
    'Africa/Monrovia',
  )

  it('keep an instant to the nanosecond, with its zone and calendar', () => {
    fc.assert(
      fc.property(anyEpoch, anyZone, anyCalendar, (epoch, zone, calendar) => {
        const instant = new Temporal.Instant(epoch)
        expect((parse(textOf(instant)) as Temporal.Instant).equals(instant)).to.equal(true)
        const zoned = new Temporal.ZonedDateTime(epoch, zone, calendar)
        const decoded = parse(textOf(zoned)) as Temporal.ZonedDateTime
        expect(decoded).to.be.instanceOf(Temporal.ZonedDateTime)
        expect([decoded.epochNanoseconds, decoded.timeZoneId, decoded.calendarId]).to.deep.equal([
          epoch,
          zoned.timeZoneId,
          calendar,
        ])
      }),
      { numRuns: 300 },
    )
  })

  it('keep dates and times without a zone, in any calendar', () => {
    const anyDate = fc.date({ noInvalidDate: true, min: new Date('1900-01-01'), max: new Date('2099-12-31') })
    fc.assert(
      fc.property(anyDate, anyCalendar, fc.nat(999), (date, calendar, nanosecond) => {
        const iso = date.toISOString().slice(0, -1)
        const dateTime = Temporal.PlainDateTime.from(iso).with({ nanosecond }).withCalendar(calendar)
        const plain = dateTime.toPlainDate()
        const values = [dateTime, plain, dateTime.toPlainTime(), plain.toPlainYearMonth(), plain.toPlainMonthDay()]
        const decoded = parse(textOf(values)) as { equals(other: unknown): boolean; toString(): string }[]
        for (const [index, value] of values.entries()) {
          expect(decoded[index]).to.be.instanceOf(value.constructor)
          expect(decoded[index]!.equals(value), `${value.toString()} ${decoded[index]!.toString()}`).to.equal(true)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('keep the units of a duration as they were given', () => {
    const anyUnits = fc.record({
      years: fc.nat(99),
      months: fc.nat(99),
      weeks: fc.nat(99),
      days: fc.nat(999),
      hours: fc.nat(99),
      minutes: fc.nat(999),
      seconds: fc.nat(9999),
      milliseconds: fc.nat(9999),
      microseconds: fc.nat(9999),
      nanoseconds: fc.nat(9999),
    })
    fc.assert(
      fc.property(anyUnits, fc.boolean(), (units, isNegative) => {
        const duration = isNegative ? Temporal.Duration.from(units).negated() : Temporal.Duration.from(units)
        const decoded = parse(textOf(duration)) as Temporal.Duration
        expect(decoded).to.be.instanceOf(Temporal.Duration)
        for (const unit of Object.keys(units) as (keyof typeof units)[]) {
          expect(decoded[unit], unit).to.equal(duration[unit])
        }
      }),
      { numRuns: 300 },
    )
  })

  it('have one form for ever', () => {
    const paris = Temporal.ZonedDateTime.from('2030-06-01T10:00[Europe/Paris]')
    const cases: readonly (readonly [value: object, name: string, data: string])[] = [
      [Temporal.Instant.from('2026-11-22T10:00:00.123456789Z'), 'Instant', '"2026-11-22T10:00:00.123456789Z"'],
      [paris, 'ZonedDateTime', '"2030-06-01T08:00:00Z[Europe/Paris]"'],
      [paris.withCalendar('hebrew'), 'ZonedDateTime', '"2030-06-01T08:00:00Z[Europe/Paris][u-ca=hebrew]"'],
      [Temporal.PlainDateTime.from('2026-11-22T10:00:00.5'), 'PlainDateTime', '"2026-11-22T10:00:00.5"'],
      [Temporal.PlainDate.from('2026-11-22'), 'PlainDate', '"2026-11-22"'],
      [Temporal.PlainDate.from('2026-11-22[u-ca=hebrew]'), 'PlainDate', '"2026-11-22[u-ca=hebrew]"'],
      [Temporal.PlainTime.from('10:00'), 'PlainTime', '"10:00:00"'],
      [Temporal.PlainYearMonth.from('2026-11'), 'PlainYearMonth', '"2026-11"'],
      [Temporal.PlainMonthDay.from('11-22'), 'PlainMonthDay', '"11-22"'],
      [Temporal.Duration.from({ hours: 30, milliseconds: 1500 }), 'Duration', '{"hours":30,"milliseconds":1500}'],
      [new Temporal.Duration(), 'Duration', '{}'],
    ]
    for (const [value, name, data] of cases) {
      const text = `{"_type_":"Temporal.${name}","_data_":${data}}`
      expect(textOf(value)).to.equal(text)
      expect(textOf(parse(text))).to.equal(text)
    }
  })

  it('keep the instant where the rules of a zone have changed since, or its offset is no whole minute', () => {
    // the clocks of Paris were 9 minutes and 21 seconds ahead then
    const old = Temporal.ZonedDateTime.from('1880-01-01T00:00:00[Europe/Paris]')
    expect((parse(textOf(old)) as Temporal.ZonedDateTime).equals(old)).to.equal(true)
    expect(textOf(old)).to.include('1879-12-31T23:50:39Z')
  })

  it('refuse what is not Temporal, and stored text that can’t be read, without quoting it', () => {
    expect(() => temporalTranscodings(undefined as never)).to.throw(ProgrammingError, 'Temporal')
    expect(() => temporalTranscodings({ Instant: Date } as never)).to.throw(ProgrammingError, 'ZonedDateTime')
    for (const [name, data] of [
      ['PlainDate', '"Ann-1815"'],
      ['PlainDate', '7'],
      ['ZonedDateTime', '"2030-06-01T08:00:00Z[Ann]"'],
      ['Duration', '{"hours":1,"minutes":-1}'],
      ['Duration', '{"hours":"Ann"}'],
      ['Duration', '["Ann"]'],
      ['Duration', '"PT1H"'],
    ]) {
      expect(() => parse(`{"_type_":"Temporal.${name}","_data_":${data}}`), `${name} ${data}`)
        .to.throw(MapperDeserialisationError, `Temporal.${name}`)
        .that.satisfies((error: Error) => !error.message.includes('Ann') && error.cause === undefined)
    }
  })
})

function encode(value: unknown): string {
  return Buffer.from(new JsonTranscoder().encode(value)).toString('utf8')
}

function decode(text: string): unknown {
  return new JsonTranscoder().decode(Buffer.from(text, 'utf8'))
}
