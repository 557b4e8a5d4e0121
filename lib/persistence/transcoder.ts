import { MapperDeserialisationError, ProgrammingError, TranscodingNotRegisteredError } from '../errors.js'
import { builtInTranscodings } from './built-in-transcodings.js'

/** Turns an event's values into bytes, and back. `TRANSCODER_TOPIC` may name another than `JsonTranscoder`. */
export interface Transcoder {
  /** @returns The same bytes for the same value, always. @throws TranscodingNotRegisteredError  A type it does not know. */
  encode(value: unknown): Uint8Array
  /**
   * @returns A value of its own, which the caller may change.
   * @throws MapperDeserialisationError  The bytes are damaged. @throws TranscodingNotRegisteredError  A type it does not know.
   */
  decode(state: Uint8Array): unknown
  /** As `decode`, given the text that the bytes are in UTF-8. Absent where states are no text. */
  decodeText?(state: string): unknown
}

/**
 * How values of one class are stored.
 *
 * @typeParam Data  What stands for the value: anything that the transcoder can encode, registered types included.
 */
export interface Transcoding<T = unknown, Data = unknown> {
  /** The class. Only its own instances, not those of subclasses: a subclass may have more to store. */
  readonly type: { readonly prototype: T }
  /** Stored with each value: never change it. */
  readonly name: string
  /** What stands for the value. */
  encode(value: T): Data
  /** The value again. */
  decode(data: Data): T
}

/**
 * Values as JSON in UTF-8, without spaces. What JSON has no form for is tagged, `{"_type_":"date","_data_":"…"}`: `Date`,
 * `bigint`, `Uint8Array` (a `Buffer` comes back as one), `Map`, `Set`, `undefined`, `NaN`, the infinities, -0, `URL`, `RegExp`,
 * `ArrayBuffer`, `DataView`, typed arrays, the standard errors (without their stacks), and every type given to `register`. Any such
 * value comes back equal, with these keys in its own data too; holes in arrays come back as `undefined`, objects without prototype
 * as plain ones.
 *
 * Keys stay in their order: sorting them would change the order in which replayed code walks over them.
 *
 * @see Python eventsourcing, `JSONTranscoder`: same tags.
 */
export class JsonTranscoder implements Transcoder {
  readonly #byName = new Map<string, AnyTranscoding>(builtIn.map((transcoding) => [transcoding.name, transcoding]))
  readonly #byPrototype = new Map<unknown, AnyTranscoding>(
    builtIn.flatMap((transcoding) => transcoding.prototypes.map((prototype) => [prototype, transcoding])),
  )

  /**
   * Teaches it a type: before the first event with such a value is written or read.
   *
   * @throws ProgrammingError  That type or name is in use, built-in ones included, or is no class or no text.
   */
  register<T, Data>(transcoding: Transcoding<T, Data>): void {
    const { type, name } = transcoding
    // A cast, since the type alone lets pass what only has a `prototype`.
    const prototype = typeof (type as unknown) === 'function' ? (type.prototype as unknown) : undefined
    if (typeof prototype !== 'object' || prototype === null) {
      throw new ProgrammingError(`The type of transcoding ${shown(name)} must be a class`)
    }
    if (typeof name !== 'string' || name === '') {
      throw new ProgrammingError('The name of a transcoding must be text that is not empty')
    }
    if (reservedNames.has(name) || this.#byName.has(name)) {
      throw new ProgrammingError(`A transcoding named ${shown(name)} is registered already: choose another name`)
    }
    if (plainPrototypes.has(prototype) || this.#byPrototype.has(prototype)) {
      throw new ProgrammingError(`A transcoding for the type of ${shown(name)} is registered already`)
    }
    this.#byName.set(name, transcoding)
    this.#byPrototype.set(prototype, transcoding)
  }

  encode(value: unknown): Uint8Array {
    return Buffer.from(this.encodeText(value), 'utf8')
  }

  /** The text that `encode` gives in UTF-8. */
  encodeText(value: unknown): string {
    return JSON.stringify(this.#tagged(value, 0))
  }

  decode(state: Uint8Array): unknown {
    return this.decodeText(textOf(state))
  }

  decodeText(text: string): unknown {
    const parsed = parse(text)
    // Most events hold no tag, and searching the text costs less than walking what it says. Without the quotes first:
    // they are in every text many times, where a search stops (a quarter of the time).
    return text.includes('_type_') && text.includes('"_type_"') ? this.#untagged(parsed) : parsed
  }

  /** The value itself where JSON can hold it as it is; otherwise a copy down to what had to be tagged. */
  #tagged(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return value
      case 'number':
        return Number.isFinite(value) && !Object.is(value, -0)
          ? value
          : tag('number', Object.is(value, -0) ? '-0' : `${value}`)
      case 'bigint':
        return tag('bigint', value.toString())
      case 'undefined':
        return tag('undefined', null)
      case 'object':
        break
      default:
        return refuse(`a ${typeof value}`)
    }
    if (value === null) return null
    if (depth >= maxDepth) {
      throw new ProgrammingError(
        `A value is nested more than ${maxDepth} levels deep, or holds itself: store less of it`,
      )
    }
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype === Object.prototype || prototype === null) return this.#taggedObject(value as PlainObject, depth)
    if (prototype === Array.prototype) return this.#taggedArray(value as unknown[], depth)
    const transcoding = this.#byPrototype.get(prototype)
    if (transcoding === undefined) return refuse(`the type ${typeName(prototype)}`)
    return tag(transcoding.name, this.#tagged(transcoding.encode(value), depth + 1))
  }

  #taggedObject(value: PlainObject, depth: number): unknown {
    // JSON would put what it returns in the object's place; non-enumerable ones too, so that the walk would miss them.
    if (typeof value['toJSON'] === 'function') refuse('a function')
    if (Object.getOwnPropertySymbols(value).length > 0) refuse('a symbol as a key')
    let copy: PlainObject | undefined
    let hasTypeKey = false
    for (const key of Object.keys(value)) {
      if (key === '_type_') hasTypeKey = true
      const before = value[key]
      if (typeof before === 'string') continue // most values are
      const after = this.#tagged(before, depth + 1)
      // A spread makes own properties, `__proto__` among them, in the same order; writing to one then sets no prototype.
      if (after !== before) (copy ??= { ...value })[key] = after
    }
    return hasTypeKey ? tag('object', copy ?? value) : (copy ?? value)
  }

  #taggedArray(value: unknown[], depth: number): unknown {
    if (typeof (value as unknown as PlainObject)['toJSON'] === 'function') refuse('a function')
    let copy: unknown[] | undefined
    for (let index = 0; index < value.length; index++) {
      const before = value[index]
      const after = this.#tagged(before, depth + 1)
      if (after !== before) (copy ??= value.slice())[index] = after
    }
    return copy ?? value
  }

  /** In place, from the inside out: what JSON.parse made is nobody else's. */
  #untagged(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return this.#untaggedValues(value)
    const object = value as PlainObject
    if (typeof object['_type_'] !== 'string' || !Object.hasOwn(object, '_data_') || Object.keys(object).length !== 2) {
      return this.#untaggedValues(object)
    }
    const name = object['_type_']
    const data = object['_data_']
    if (name === 'object' && isPlainObject(data)) return this.#untaggedValues(data)
    const transcoding = this.#byName.get(name)
    if (transcoding === undefined) {
      throw new TranscodingNotRegisteredError(
        `A transcoding named ${shown(name)} is stored, but not registered: register(…) it with the transcoder`,
      )
    }
    return transcoding.decode(this.#untagged(data))
  }

  #untaggedValues<T extends PlainObject | unknown[]>(values: T): T {
    const items = values as PlainObject
    for (const key of Object.keys(items)) {
      const before = items[key]
      if (typeof before === 'object' && before !== null) items[key] = this.#untagged(before)
    }
    return values
  }
}

// Fatal: otherwise it puts U+FFFD for what is damaged and says nothing.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function textOf(state: Uint8Array): string {
  try {
    return utf8.decode(state)
  } catch {
    throw new MapperDeserialisationError('the state is not UTF-8')
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Without the cause, which quotes the text.
    throw new MapperDeserialisationError('the state is not JSON')
  }
}

/** As `toISOString`, which takes as long as the rest of a small event: called for many times of the same second. */
export function formatTimestamp(date: Date): string {
  const time = date.getTime()
  const second = Math.floor(time / 1000)
  if (second !== lastSecond) {
    untilSecond = date.toISOString().slice(0, -'000Z'.length)
    lastSecond = second
  }
  const ms = time - second * 1000
  return `${untilSecond}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z`
}

let lastSecond = NaN
/** The text of that second, with the point behind it. */
let untilSecond = ''

/**
 * A `Date` from ISO 8601 text in UTC with milliseconds, as `toISOString` writes it; `undefined` for anything else. `Date`
 * alone takes 'Ann-1815' for one, and text without Z for local time.
 */
export function parseTimestamp(text: unknown): Date | undefined {
  if (typeof text !== 'string') return undefined
  const time = timeOf(text)
  // not a number where `timeOf` does not know: years of more digits, a 30th of February, what is no timestamp
  if (!Number.isNaN(time)) return new Date(time)
  if (!isoTimestamp.test(text)) return undefined
  const date = new Date(text)
  return Number.isNaN(date.getTime()) ? undefined : date
}

const isoTimestamp = /^(\d{4}|[+-]\d{6})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** The time of most timestamps, in half of the time that the expression and `new Date(text)` take; otherwise NaN. */
function timeOf(text: string): number {
  if (text.length !== 24 || !hasIsoSigns(text)) return NaN
  const year = digits(text, 0) * 100 + digits(text, 2)
  const month = digits(text, 5)
  const day = digits(text, 8)
  const hour = digits(text, 11)
  const minute = digits(text, 14)
  const second = digits(text, 17)
  const ms = digits(text, 20) * 10 + digit(text, 22)
  const isDate = year >= 100 && month >= 1 && month <= 12 && day >= 1 && day <= 31
  const isTime = hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59 && second >= 0 && second <= 59 && ms >= 0
  if (!isDate || !isTime) return NaN
  // a third faster than Date.UTC, which takes years below 100 for others; a 30th of February is a day in March for all
  return daysSince1970(year, month, day) * 86_400_000 + hour * 3_600_000 + minute * 60_000 + second * 1000 + ms
}

/** Counted in years from March to February, so that a leap day is the last of its year. */
function daysSince1970(year: number, month: number, day: number): number {
  const years = month > 2 ? year : year - 1
  const leapDays = Math.floor(years / 4) - Math.floor(years / 100) + Math.floor(years / 400)
  return years * 365 + leapDays + Math.floor((month > 2 ? month - 3 : month + 9) * 30.6 + 0.5) + day - 719_469
}

function hasIsoSigns(text: string): boolean {
  return (
    text.charCodeAt(4) === 0x2d &&
    text.charCodeAt(7) === 0x2d &&
    text.charCodeAt(10) === 0x54 &&
    text.charCodeAt(13) === 0x3a &&
    text.charCodeAt(16) === 0x3a &&
    text.charCodeAt(19) === 0x2e &&
    text.charCodeAt(23) === 0x5a
  )
}

/** The number that two digits make; far below 0 where they are none. */
function digits(text: string, index: number): number {
  return digit(text, index) * 10 + digit(text, index + 1)
}

function digit(text: string, index: number): number {
  const value = text.charCodeAt(index) - 0x30
  return value >= 0 && value <= 9 ? value : -100_000
}

type PlainObject = Record<string, unknown>
/** Of whatever type: the values given to one are found by that type's prototype, the data by its name. */
type AnyTranscoding = Pick<Transcoding, 'name' | 'encode' | 'decode'>

/** Of one of JavaScript's own types. */
export type BuiltInTranscoding = AnyTranscoding & { readonly prototypes: readonly object[] }

/** Levels as JSON has them: a `Set` is two, a `Map` three. Deeper than events should be, and far from the stack's end. */
const maxDepth = 500

const plainPrototypes = new Set<unknown>([Object.prototype, Array.prototype])
/** `object` marks a plain object that has a `_type_` of its own. */
const reservedNames = new Set(['object'])

const numbers = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
  ['-0', -0],
])

// Never change one: events are kept for decades. Primitives are tagged where they are met, so these have no prototypes.
const builtIn: readonly BuiltInTranscoding[] = [
  {
    name: 'date',
    prototypes: [Date.prototype],
    encode: (value) => (Number.isNaN((value as Date).getTime()) ? null : (value as Date).toISOString()),
    decode(data) {
      if (data === null) return new Date(NaN)
      return parseTimestamp(data) ?? damaged('date')
    },
  },
  {
    name: 'bytes',
    prototypes: [Uint8Array.prototype, Buffer.prototype],
    encode(value) {
      const { buffer, byteOffset, byteLength } = value as Uint8Array
      return Buffer.from(buffer, byteOffset, byteLength).toString('base64')
    },
    // Copied out of the pool that Buffer.from takes small ones from.
    decode: (data) => new Uint8Array(Buffer.from(text('bytes', data), 'base64')),
  },
  {
    name: 'map',
    prototypes: [Map.prototype],
    encode: (value) => [...(value as Map<unknown, unknown>)],
    decode: (data) => (isEntries(data) ? new Map(data) : damaged('map')),
  },
  {
    name: 'set',
    prototypes: [Set.prototype],
    encode: (value) => [...(value as Set<unknown>)],
    decode: (data) => (Array.isArray(data) ? new Set(data as unknown[]) : damaged('set')),
  },
  { name: 'undefined', prototypes: [], encode: () => null, decode: () => undefined },
  {
    name: 'bigint',
    prototypes: [],
    encode: String,
    decode: (data) => (/^-?\d+$/.test(text('bigint', data)) ? BigInt(data as string) : damaged('bigint')),
  },
  {
    name: 'number',
    prototypes: [],
    encode: String,
    decode: (data) => numbers.get(text('number', data)) ?? damaged('number'),
  },
  ...builtInTranscodings.map((transcoding) => ({
    ...transcoding,
    decode: (data: unknown) => transcoding.decode(data) ?? damaged(transcoding.name),
  })),
]

function tag(name: string, data: unknown): PlainObject {
  return { _type_: name, _data_: data }
}

function text(name: string, data: unknown): string {
  return typeof data === 'string' ? data : damaged(name)
}

function isEntries(data: unknown): data is [unknown, unknown][] {
  return Array.isArray(data) && data.every((entry) => Array.isArray(entry) && entry.length === 2)
}

function isPlainObject(value: unknown): value is PlainObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function damaged(name: string): never {
  throw new MapperDeserialisationError(`the state holds a '${name}' that can't be read`)
}

function refuse(what: string): never {
  throw new TranscodingNotRegisteredError(
    `No transcoding is registered for ${what}: put plain values into events, or register({ type, name, encode, decode }) ` +
      'it with the transcoder',
  )
}

function typeName(prototype: unknown): string {
  const { constructor } = prototype as { constructor?: unknown }
  return (typeof constructor === 'function' && constructor.name) || 'without a name'
}

function shown(name: unknown): string {
  return JSON.stringify(typeof name === 'string' && name.length > 100 ? `${name.slice(0, 100)}…` : name)
}
