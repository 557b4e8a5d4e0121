import { endianness } from 'node:os'
import {
  type ErrorParts,
  errorClasses,
  errorOfParts,
  lastIndexOf,
  partsOfError,
  typedArrayClasses,
} from '../domain/built-ins.js'
import type { BuiltInTranscoding } from './transcoder.js'

/*
 * How values of JavaScript's own classes are stored, those that hardly any event has. Never change one: events are kept
 * for decades.
 *
 * Each gives `undefined` for data that can't be its own.
 */

export const builtInTranscodings: readonly BuiltInTranscoding[] = [
  {
    name: 'url',
    prototypes: [URL.prototype],
    encode: (value) => (value as URL).href,
    decode: (data) => (typeof data === 'string' && URL.canParse(data) ? new URL(data) : undefined),
  },
  {
    name: 'regexp',
    prototypes: [RegExp.prototype],
    // where it goes on is a part of what it is, and is hardly ever set
    encode(value) {
      const { source, flags } = value as RegExp
      const lastIndex = lastIndexOf(value as RegExp)
      return lastIndex === 0 ? [source, flags] : [source, flags, lastIndex]
    },
    decode: (data) => (Array.isArray(data) ? regExpOf(data) : undefined),
  },
  {
    name: 'arraybuffer',
    prototypes: [ArrayBuffer.prototype],
    encode: (value) => base64Of(value as ArrayBuffer),
    decode: bufferOf,
  },
  {
    name: 'dataview',
    prototypes: [DataView.prototype],
    encode: (value) => base64Of(value as DataView),
    decode(data) {
      const buffer = bufferOf(data)
      return buffer && new DataView(buffer)
    },
  },
  ...Array.from(typedArrayClasses, ([name, type]): BuiltInTranscoding => ({
    name: name.toLowerCase(),
    prototypes: [type.prototype],
    encode: (value) => base64Of(value as ArrayBufferView, type.BYTES_PER_ELEMENT),
    decode(data) {
      const buffer = bufferOf(data, type.BYTES_PER_ELEMENT)
      return buffer && new type(buffer)
    },
  })),
  {
    name: 'error',
    prototypes: Array.from(errorClasses.values(), ({ prototype }) => prototype),
    encode: (value) => partsOfError(value as Error, typeOfError(value)),
    decode: (data) =>
      typeof data === 'object' && data !== null && !Array.isArray(data) ? errorOfParts(data as ErrorParts) : undefined,
  },
]

function regExpOf([source, flags, lastIndex = 0]: unknown[]): RegExp | undefined {
  if (typeof source !== 'string' || typeof flags !== 'string' || typeof lastIndex !== 'number') return undefined
  try {
    const value = new RegExp(source, flags)
    value.lastIndex = lastIndex
    return value
  } catch {
    return undefined // its message quotes the source
  }
}

/** Numbers are stored with their lowest byte first, whatever the machine has them as. */
const isSwapped = endianness() === 'BE'

function base64Of(value: ArrayBuffer | ArrayBufferView, bytesEach = 1): string {
  const bytes = ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : Buffer.from(value)
  return (isSwapped ? swapped(Buffer.from(bytes), bytesEach) : bytes).toString('base64')
}

/** A buffer of its own, which nothing else shares. */
function bufferOf(data: unknown, bytesEach = 1): ArrayBuffer | undefined {
  if (typeof data !== 'string') return undefined
  const bytes = Buffer.from(data, 'base64')
  if (bytes.length % bytesEach !== 0) return undefined
  return new Uint8Array(isSwapped ? swapped(bytes, bytesEach) : bytes).buffer
}

function swapped(bytes: Buffer, bytesEach: number): Buffer {
  if (bytesEach === 2) return bytes.swap16()
  if (bytesEach === 4) return bytes.swap32()
  return bytesEach === 8 ? bytes.swap64() : bytes
}

function typeOfError(value: unknown): string {
  const prototype: unknown = Object.getPrototypeOf(value)
  for (const [type, errorClass] of errorClasses) if (errorClass.prototype === prototype) return type
  return 'Error'
}
