import { MapperDeserialisationError, ProgrammingError } from '../errors.js'
import type { Transcoding } from './transcoder.js'

/** A decimal number: its value is text, with all digits. */
export interface DecimalNumber {
  /** Its text: `'19.9'`. */
  valueOf(): string
}

/** A class of decimal numbers: `Decimal` of decimal.js, `Big` of big.js, `BigNumber` of bignumber.js. */
export interface DecimalClass<D extends DecimalNumber> {
  readonly prototype: D
  new (value: string): D
}

/**
 * How decimal numbers are stored: `{"_type_":"decimal","_data_":"19.9"}`, all digits, the sign of zero, NaN and the
 * infinities included.
 *
 * @param decimalClass  The class as you use it: `transcoder.register(decimalTranscoding(Decimal))`.
 * @param name  What is stored with each, for a second class of decimals. Never change it.
 * @throws ProgrammingError  It is no class.
 */
export function decimalTranscoding<D extends DecimalNumber>(
  decimalClass: DecimalClass<D>,
  name = 'decimal',
): Transcoding<D, string> {
  if (typeof decimalClass !== 'function') {
    throw new ProgrammingError('decimalTranscoding takes a class of decimals, such as Decimal of decimal.js')
  }
  return {
    type: decimalClass,
    name,
    encode: (value) => value.valueOf(),
    decode: (data) => read(name, data, (text) => new decimalClass(text)),
  }
}

/** The `Temporal` of a platform that has it, or of a package: what is used of it here. */
export interface TemporalNamespace {
  readonly Instant: TemporalClass<object>
  readonly ZonedDateTime: TemporalClass<ZonedDateTime>
  readonly PlainDateTime: TemporalClass<object>
  readonly PlainDate: TemporalClass<object>
  readonly PlainTime: TemporalClass<object>
  readonly PlainYearMonth: TemporalClass<object>
  readonly PlainMonthDay: TemporalClass<object>
  readonly Duration: DurationClass
}

/** Its class of durations, which are made of units. */
export interface DurationClass {
  readonly prototype: object
  /** Makes a duration of so many of each unit. */
  from(fields: Partial<Record<Unit, number>>): object
}

/** One of its classes whose values are text. */
export interface TemporalClass<T> {
  readonly prototype: T
  /** Makes a value of its text. */
  from(text: string): T
}

/** What of a date and time with a zone has to be known. */
export interface ZonedDateTime {
  /** The instant that it is, in any zone. */
  toInstant(): object
  readonly timeZoneId: string
  readonly calendarId: string
}

/**
 * How the values of Temporal are stored, each class under its own name: `{"_type_":"Temporal.PlainDate","_data_":"2026-11-22"}`.
 *
 * A `ZonedDateTime` is kept as the instant that it is, with zone and calendar: where a zone's rules are changed later, it
 * is still that instant, and another time on the clock. A `Duration` keeps its units as they were given.
 *
 * @param temporal  As you use it, the platform's or a package's. What one has stored the other reads.
 * @returns One transcoding for each class: `for (const each of temporalTranscodings(Temporal)) transcoder.register(each)`.
 * @throws ProgrammingError  It is no Temporal.
 */
export function temporalTranscodings(temporal: TemporalNamespace): Transcoding[] {
  const missing = ['ZonedDateTime', 'Duration', ...textClasses].find(
    (name) => typeof (temporal as unknown as Record<string, unknown> | undefined)?.[name] !== 'function',
  )
  if (missing !== undefined) {
    throw new ProgrammingError(`temporalTranscodings takes Temporal; what it was given has no ${missing}`)
  }
  return [
    ...textClasses.map((className) => textTranscoding(className, temporal[className])),
    zonedDateTimeTranscoding(temporal),
    durationTranscoding(temporal),
  ]
}

/** Those whose text says all that they are. */
const textClasses = ['Instant', 'PlainDateTime', 'PlainDate', 'PlainTime', 'PlainYearMonth', 'PlainMonthDay'] as const

const units = [
  'years',
  'months',
  'weeks',
  'days',
  'hours',
  'minutes',
  'seconds',
  'milliseconds',
  'microseconds',
  'nanoseconds',
] as const

type Unit = (typeof units)[number]

function textTranscoding(className: string, type: TemporalClass<object>): Transcoding {
  const name = `Temporal.${className}`
  return { type, name, encode: String, decode: (data) => read(name, data, (text) => type.from(text)) }
}

/**
 * Its own text has the clock's time and the offset of the day: refused on reading where the zone has another offset by
 * then, and rounded to minutes for old dates. An instant with the zone behind it is read as that instant.
 */
function zonedDateTimeTranscoding({ ZonedDateTime: type }: TemporalNamespace): Transcoding {
  const name = 'Temporal.ZonedDateTime'
  return {
    type,
    name,
    encode(value) {
      const { timeZoneId, calendarId } = value as ZonedDateTime
      const calendar = calendarId === 'iso8601' ? '' : `[u-ca=${calendarId}]`
      return `${String((value as ZonedDateTime).toInstant())}[${timeZoneId}]${calendar}`
    },
    decode: (data) => read(name, data, (text) => type.from(text)),
  }
}

/** By units, since its text makes seconds of 1,500 milliseconds. */
function durationTranscoding({ Duration: type }: TemporalNamespace): Transcoding {
  const name = 'Temporal.Duration'
  return {
    type,
    name,
    encode(value) {
      const given = value as Record<Unit, number>
      return Object.fromEntries(units.filter((unit) => given[unit] !== 0).map((unit) => [unit, given[unit]]))
    },
    decode(data) {
      if (typeof data !== 'object' || data === null || Array.isArray(data)) return refuse(name)
      // `from` refuses an object without any unit
      return reading(name, () => type.from({ seconds: 0, ...data }))
    },
  }
}

function read<T>(name: string, data: unknown, make: (text: string) => T): T {
  return typeof data === 'string' ? reading(name, () => make(data)) : refuse(name)
}

/** Without the error of the class, which quotes what it could not read. */
function reading<T>(name: string, make: () => T): T {
  try {
    return make()
  } catch {
    return refuse(name)
  }
}

function refuse(name: string): never {
  throw new MapperDeserialisationError(`the state holds a '${name}' that can't be read`)
}
