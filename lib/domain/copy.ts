import { ProgrammingError } from '../errors.js'
import { copyOfBuiltIn } from './built-ins.js'

/**
 * A deep copy of an event's values, frozen: plain objects and arrays at every level.
 *
 * Copied are plain objects (those without prototype become ordinary ones), arrays (holes become `undefined`), `Date`,
 * `Map`, `Set`, bytes (a `Buffer` becomes a `Uint8Array`), and JavaScript's own classes of values that can be changed: `URL`,
 * `RegExp`, `ArrayBuffer`, `DataView`, typed arrays and the standard errors, whose stack becomes their name and message. Instances
 * of other classes are kept as they are: they are taken to be immutable values, as `Decimal` and those of `Temporal` are.
 *
 * @param owner  Whose values, for the message: `Event 'Dog.TrickAdded'`.
 * @throws ProgrammingError  A function, a symbol, a symbol as a key, an accessor, or more than 500 levels (as of an object
 *   that holds itself). Names `owner`, never a value.
 */
export function frozenCopy<T>(data: T, owner: string): T {
  return copy(data, owner, 0) as T
}

/** As `frozenCopy`, for one of the values in the data. */
export function frozenValue(value: unknown, owner: string): unknown {
  return isPrimitive(value) ? value : copy(value, owner, 1)
}

/** A deep copy of what `frozenCopy` gave, for an owner that may change it. */
export function ownCopy<T>(frozen: T): T {
  return (isPrimitive(frozen) ? frozen : thawed(frozen as object)) as T
}

/** Whether it is an object as `{}` makes it, or one without prototype. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** As deep as the transcoder goes: far more than an event should have, and far from the end of the stack. */
const maxDepth = 500

/** Whether it is a value that nobody can change. */
function isPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case 'object':
      return value === null
    case 'function':
    case 'symbol':
      return false
    default:
      return true
  }
}

function copy(value: unknown, owner: string, depth: number): unknown {
  if (typeof value === 'function' || typeof value === 'symbol') refuse(owner, `a ${typeof value}`)
  if (typeof value !== 'object' || value === null) return value
  if (depth >= maxDepth) refuse(owner, `more than ${maxDepth} levels, or itself`)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return copyObject(value, owner, depth)
  // By index, since `map` would keep holes.
  if (Array.isArray(value)) return Object.freeze(Array.from(value, (item) => copy(item, owner, depth + 1)))
  return copyInstance(value, prototype, (item) => copy(item, owner, depth + 1))
}

function copyObject(value: object, owner: string, depth: number): object {
  const result: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    const property = Object.getOwnPropertyDescriptor(value, key)
    if (property === undefined) continue
    if (!('value' in property)) refuse(owner, 'an accessor (get or set)')
    const item = isPrimitive(property.value) ? (property.value as unknown) : copy(property.value, owner, depth + 1)
    // Assigning to this one key would set a prototype instead.
    if (key === '__proto__') {
      Object.defineProperty(result, key, { value: item, writable: true, enumerable: true, configurable: true })
    } else result[key] = item
  }
  // Apart from the other keys: Reflect.ownKeys costs three times as much as both.
  if (Object.getOwnPropertySymbols(value).length > 0) refuse(owner, 'a symbol as a key')
  return Object.freeze(result)
}

/** What is no plain object and no array. */
function copyInstance(value: object, prototype: unknown, copyItem: (item: unknown) => unknown): object {
  switch (prototype) {
    case Date.prototype:
      return new Date((value as Date).getTime())
    case Uint8Array.prototype:
    case Buffer.prototype:
      return new Uint8Array(value as Uint8Array)
    case Map.prototype:
      return new Map(
        Array.from(value as Map<unknown, unknown>, ([key, item]) => [copyItem(key), copyItem(item)] as const),
      )
    case Set.prototype:
      return new Set(Array.from(value as Set<unknown>, copyItem))
    default:
      return copyOfBuiltIn(value, prototype, copyItem) ?? value
  }
}

/** Without the checks: what was copied before has passed them. */
function thawed(value: object): unknown {
  if (Array.isArray(value)) return value.map(ownCopy)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype) return copyInstance(value, prototype, ownCopy)
  // A spread makes own properties, `__proto__` among them; writing to one then sets no prototype.
  const result: Record<string, unknown> = { ...value }
  for (const key of Object.keys(result)) {
    const item = result[key]
    if (typeof item === 'object' && item !== null) result[key] = thawed(item)
  }
  return result
}

function refuse(owner: string, what: string): never {
  throw new ProgrammingError(`${owner} holds ${what}: give it plain values`)
}
