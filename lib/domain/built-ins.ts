/*
 * Values of JavaScript's own classes that can be changed, so that an event needs copies of its own; `Date`, `Map`, `Set`
 * and bytes are where most events have them, in copy.ts.
 */

/** Typed arrays by name, but for `Uint8Array`. */
export const typedArrayClasses: ReadonlyMap<string, TypedArrayClass> = new Map<string, TypedArrayClass>(
  Object.entries({
    Int8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    BigInt64Array,
    BigUint64Array,
    Float32Array,
    Float64Array,
    // from Node 24 on
    ...('Float16Array' in globalThis && {
      Float16Array: (globalThis as unknown as { Float16Array: TypedArrayClass }).Float16Array,
    }),
  }),
)

/** The standard classes of errors, by name. */
export const errorClasses: ReadonlyMap<string, ErrorClass> = new Map<string, ErrorClass>(
  Object.entries({
    Error,
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
    AggregateError: AggregateError as unknown as ErrorClass,
  }),
)

export interface TypedArrayClass {
  readonly prototype: ArrayBufferView
  readonly BYTES_PER_ELEMENT: number
  new (buffer: ArrayBufferLike): ArrayBufferView
}

export interface ErrorClass {
  readonly prototype: Error
  new (message?: string): Error
}

/** What there is to keep of an error. The stack is not: it says where the code was that day, by paths of that machine. */
export interface ErrorParts {
  /** A name among `errorClasses`. */
  readonly type: string
  /** Absent where it has none of its own. */
  readonly message?: unknown
  /** Its own, where it was given one. */
  readonly name?: unknown
  readonly cause?: unknown
  /** Those of an `AggregateError`. */
  readonly errors?: unknown
  /** Its own enumerable values, such as the `code` of Node's errors. */
  readonly properties?: Readonly<Record<string, unknown>>
}

/** A copy of a value of one of these classes; `undefined` for any other, which is taken for immutable. */
export function copyOfBuiltIn(
  value: object,
  prototype: unknown,
  copyItem: (item: unknown) => unknown,
): object | undefined {
  return copiers.get(prototype)?.(value, copyItem)
}

/** What there is to keep of an error of that type; the values are the error's own. */
export function partsOfError(error: Error, type: string): ErrorParts {
  const properties: Record<string, unknown> = {}
  for (const key of Object.getOwnPropertyNames(error)) {
    // not looked at: the platform makes its text then, of whatever name and message are, and fails where they make none
    if (key === 'stack') continue
    // with what they are, so that an accessor is found to be one
    const property = Object.getOwnPropertyDescriptor(error, key)
    if (property?.enumerable) Object.defineProperty(properties, key, property)
  }
  const parts: Record<string, unknown> = { type }
  for (const key of hiddenParts) {
    const property = Object.getOwnPropertyDescriptor(error, key)
    if (property && !property.enumerable) Object.defineProperty(parts, key, { ...property, enumerable: true })
  }
  if (Object.keys(properties).length > 0) parts['properties'] = properties
  return parts as unknown as ErrorParts
}

/** The error of these parts; `undefined` where they are none. Its stack is its name and message. */
export function errorOfParts(parts: ErrorParts): Error | undefined {
  const { type, properties = {} } = parts
  const errorClass = errorClasses.get(type)
  if (errorClass === undefined || typeof properties !== 'object' || properties === null) return undefined
  const error = errorClass === errorClasses.get('AggregateError') ? new AggregateError([]) : new errorClass()
  hide(error, 'stack', '') // before the platform makes one, of name and message
  for (const key of hiddenParts) if (Object.hasOwn(parts, key)) hide(error, key, parts[key])
  for (const [key, value] of Object.entries(properties)) {
    Object.defineProperty(error, key, { value, writable: true, enumerable: true, configurable: true })
  }
  error.stack = [error.name, error.message].filter(isSomeText).join(': ')
  return error
}

/** Where a pattern goes on. What is no number, as anybody can set it, is the beginning. */
export function lastIndexOf({ lastIndex }: { readonly lastIndex: unknown }): number {
  return typeof lastIndex === 'number' ? lastIndex : 0
}

/** In the order in which they are stored. */
const hiddenParts = ['message', 'name', 'cause', 'errors'] as const

type Copier = (value: object, copyItem: (item: unknown) => unknown) => object

const copiers = new Map<unknown, Copier>([
  [URL.prototype, (value) => new URL((value as URL).href)],
  [RegExp.prototype, (value) => copyOfRegExp(value as RegExp)],
  [ArrayBuffer.prototype, (value) => (value as ArrayBuffer).slice(0)],
  [DataView.prototype, (value) => new DataView(bufferOf(value as DataView))],
  ...Array.from(typedArrayClasses.values(), (type): [unknown, Copier] => [
    type.prototype,
    (value) => new type(bufferOf(value as ArrayBufferView)),
  ]),
  ...Array.from(errorClasses, ([type, { prototype }]): [unknown, Copier] => [
    prototype,
    (value, copyItem) => copyOfError(value, type, copyItem),
  ]),
])

function copyOfRegExp(value: RegExp): RegExp {
  const copy = new RegExp(value.source, value.flags)
  copy.lastIndex = lastIndexOf(value)
  return copy
}

/** A buffer of its own with what the view shows. */
function bufferOf({ buffer, byteOffset, byteLength }: ArrayBufferView): ArrayBuffer {
  return new Uint8Array(buffer, byteOffset, byteLength).slice().buffer
}

function copyOfError(value: object, type: string, copyItem: (item: unknown) => unknown): object {
  // a cast: of what an error is made, one can be made
  return errorOfParts(copyItem(partsOfError(value as Error, type)) as ErrorParts) as Error
}

function isSomeText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function hide(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, { value, writable: true, enumerable: false, configurable: true })
}
