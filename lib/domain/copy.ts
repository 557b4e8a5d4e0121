import { ProgrammingError } from '../errors.js'

/**
 * A deep copy of an event's values that its owner may change.
 *
 * Copied are plain objects (those without prototype become ordinary ones), arrays (holes become `undefined`), `Date`,
 * `Map`, `Set` and bytes (a `Buffer` becomes a `Uint8Array`). Instances of other classes are kept as they are: they are
 * taken to be immutable values, as `Decimal` and `URL` are meant to be used.
 *
 * @param owner  Whose values, for the message: `Event 'Dog.TrickAdded'`.
 * @throws ProgrammingError  A function, a symbol, a symbol as a key, an accessor, or more than 500 levels (as of an object
 *   that holds itself). Names `owner`, never a value.
 */
export function copyData<T>(data: T, owner: string): T {
  return copy(data, owner, 0, false) as T
}

/** As `copyData`, with plain objects and arrays frozen at every level. */
export function frozenCopy<T>(data: T, owner: string): T {
  return copy(data, owner, 0, true) as T
}

/** Whether it is an object as `{}` makes it, or one without prototype. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** As deep as the transcoder goes: far more than an event should have, and far from the end of the stack. */
const maxDepth = 500

function copy(value: unknown, owner: string, depth: number, frozen: boolean): unknown {
  if (typeof value === 'function' || typeof value === 'symbol') refuse(owner, `a ${typeof value}`)
  if (typeof value !== 'object' || value === null) return value
  if (depth >= maxDepth) refuse(owner, `more than ${maxDepth} levels, or itself`)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return copyObject(value, owner, depth, frozen)
  if (Array.isArray(value)) return copyArray(value, owner, depth, frozen)
  switch (prototype) {
    case Date.prototype:
      return new Date((value as Date).getTime())
    case Uint8Array.prototype:
    case Buffer.prototype:
      return new Uint8Array(value as Uint8Array)
    case Map.prototype:
      return new Map(
        Array.from(value as Map<unknown, unknown>, ([key, item]) => [
          copy(key, owner, depth + 1, frozen),
          copy(item, owner, depth + 1, frozen),
        ]),
      )
    case Set.prototype:
      return new Set(Array.from(value as Set<unknown>, (item) => copy(item, owner, depth + 1, frozen)))
    default:
      return value
  }
}

function copyObject(value: object, owner: string, depth: number, frozen: boolean): object {
  const result: Record<string, unknown> = {}
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key === 'symbol') refuse(owner, 'a symbol as a key')
    const property = Object.getOwnPropertyDescriptor(value, key)
    if (property === undefined || !property.enumerable) continue
    if (!('value' in property)) refuse(owner, 'an accessor (get or set)')
    const item = copy(property.value, owner, depth + 1, frozen)
    // Assigning to this one key would set a prototype instead.
    if (key === '__proto__') {
      Object.defineProperty(result, key, { value: item, writable: true, enumerable: true, configurable: true })
    } else result[key] = item
  }
  return frozen ? Object.freeze(result) : result
}

function copyArray(value: readonly unknown[], owner: string, depth: number, frozen: boolean): unknown[] {
  // By index, since `map` would keep holes.
  const result = Array.from(value, (item) => copy(item, owner, depth + 1, frozen))
  return frozen ? (Object.freeze(result) as unknown[]) : result
}

function refuse(owner: string, what: string): never {
  throw new ProgrammingError(`${owner} holds ${what}: give it plain values`)
}
