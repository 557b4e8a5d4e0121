import { types } from 'node:util'
import { hiddenMember } from './hidden-members.js'

/**
 * A deep copy of whatever an aggregate may hold: plain objects, arrays, `Map`, `Set`, `Date`, bytes and the like, and
 * instances of classes, own ones included, with their prototypes. What stands in several places, or holds itself, does so in the copy.
 *
 * Values of the platform that never change (`Temporal`, `Intl`) are kept as they are.
 *
 * @returns `undefined` where something can't be copied: a function (which may be bound to what holds it), an instance with
 *   `#private` members, a promise, a `WeakMap`.
 */
export function deepCopy<T extends object>(value: T): T | undefined {
  try {
    return copyOf(value, new Map()) as T
  } catch (error) {
    // too deep for the stack is no copy either
    if (error instanceof CantBeCopied || error instanceof RangeError) return undefined
    throw error
  }
}

class CantBeCopied extends Error {}

/** What was copied already, by what it is a copy of. */
type Copies = Map<object, object>

function copyOf(value: unknown, copies: Copies): unknown {
  if (typeof value === 'function') throw new CantBeCopied()
  return typeof value === 'object' && value !== null ? copyOfObject(value, copies) : value
}

function copyOfObject(value: object, copies: Copies): object {
  const known = copies.get(value)
  if (known !== undefined) return known
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Array.prototype) return copyOfArray(value as unknown[], copies)
  if (prototype === Object.prototype && Object.getOwnPropertySymbols(value).length === 0) {
    return copyOwn(value, Object.keys(value), {}, copies)
  }
  return copyOfInstance(value, prototype as object | null, copies)
}

function copyOfArray(value: unknown[], copies: Copies): unknown[] {
  // holes stay
  const copy = value.slice()
  copies.set(value, copy)
  for (let index = 0; index < copy.length; index++) {
    const item = copy[index]
    if (typeof item === 'object' || typeof item === 'function') copy[index] = copyOf(item, copies)
  }
  // most have nothing but their items
  const keys = Object.keys(value)
  if (keys.length > copy.length) copyOwn(value, keys.slice(copy.length), copy, copies)
  return like(value, copy)
}

function copyOfInstance(value: object, prototype: object | null, copies: Copies): object {
  const made = remake(value, copies)
  if (made === value) return value
  const copy = made ?? Object.create(prototype)
  if (Object.getPrototypeOf(copy) !== prototype) Object.setPrototypeOf(copy, prototype)
  return copyOwn(value, namesOf(value), copy as object, copies)
}

/** What has more to it than properties, anew; itself where it never changes; `undefined` where properties are all. */
function remake(value: object, copies: Copies): object | undefined {
  if (types.isDate(value)) return noted(value, new Date(value.getTime()), copies)
  if (types.isMap(value)) return copyOfMap(value, copies)
  if (types.isSet(value)) return copyOfSet(value, copies)
  if (Array.isArray(value)) return noted(value, copyItems(value, copies), copies)
  if (types.isAnyArrayBuffer(value))
    return types.isSharedArrayBuffer(value) ? value : noted(value, value.slice(0), copies)
  if (ArrayBuffer.isView(value)) return copyOfView(value, copies)
  if (types.isRegExp(value)) return noted(value, new RegExp(value.source, value.flags), copies)
  if (types.isBoxedPrimitive(value)) return noted(value, Object(value.valueOf()) as object, copies)
  if (value instanceof URL) return noted(value, new URL(value.href), copies)
  if (value instanceof URLSearchParams) return noted(value, new URLSearchParams(value), copies)
  if (isHidden(value)) throw new CantBeCopied()
  // one of its own, so that it is told for an error; what it says are properties
  if (types.isNativeError(value)) return noted(value, new Error(), copies)
  if (isOfPlatform(value) || isOfTemporal(value)) return value
  return undefined
}

function noted<T extends object>(value: object, copy: T, copies: Copies): T {
  copies.set(value, copy)
  return copy
}

function copyItems(value: readonly unknown[], copies: Copies): unknown[] {
  const copy = noted(value, [] as unknown[], copies)
  copy.length = value.length
  for (const key of Object.keys(value).slice(0, value.length)) {
    if (/^\d+$/.test(key)) copy[Number(key)] = copyOf(value[Number(key)], copies)
  }
  return copy
}

function copyOfMap(value: Map<unknown, unknown>, copies: Copies): Map<unknown, unknown> {
  const copy = noted(value, new Map<unknown, unknown>(), copies)
  // not by its own methods, which a subclass may have overridden
  Map.prototype.forEach.call(value, (item, key) => {
    Map.prototype.set.call(copy, copyOf(key, copies), copyOf(item, copies))
  })
  return copy
}

function copyOfSet(value: Set<unknown>, copies: Copies): Set<unknown> {
  const copy = noted(value, new Set(), copies)
  Set.prototype.forEach.call(value, (item) => {
    Set.prototype.add.call(copy, copyOf(item, copies))
  })
  return copy
}

/** Views of one buffer stay views of one buffer. */
function copyOfView(value: ArrayBufferView, copies: Copies): ArrayBufferView {
  // a small Buffer is a view of a pool that it has in common with others
  if (Buffer.isBuffer(value)) return noted(value, Buffer.from(value), copies)
  const buffer = copyOf(value.buffer, copies) as ArrayBuffer
  if (value instanceof DataView) return noted(value, new DataView(buffer, value.byteOffset, value.byteLength), copies)
  const view = value as Uint8Array
  const TypedArray = typedArrayOf(view)
  return noted(value, new TypedArray(buffer, view.byteOffset, view.length), copies)
}

function typedArrayOf(view: Uint8Array): Uint8ArrayConstructor {
  // the platform's class of it, whatever extends that
  for (let each: unknown = view; typeof each === 'object' && each !== null; each = Object.getPrototypeOf(each)) {
    const { constructor } = each as { constructor: unknown }
    if (typeof constructor === 'function' && isNative(constructor)) return constructor as Uint8ArrayConstructor
  }
  throw new CantBeCopied()
}

function isHidden(value: object): boolean {
  return (
    types.isProxy(value) ||
    types.isPromise(value) ||
    types.isWeakMap(value) ||
    types.isWeakSet(value) ||
    types.isGeneratorObject(value) ||
    value instanceof WeakRef ||
    hiddenMember(Object.getPrototypeOf(value) as object | null) !== undefined
  )
}

/** Also of a package's `Temporal`, which keeps what its values are beside them, where no copy has it. */
function isOfTemporal(value: object): boolean {
  return Object.prototype.toString.call(value).startsWith('[object Temporal.')
}

/** Whether it is an instance of a class that the engine brings, or of one that extends it. */
function isOfPlatform(value: object): boolean {
  for (
    let each: unknown = Object.getPrototypeOf(value);
    typeof each === 'object' && each !== null && each !== Object.prototype;
    each = Object.getPrototypeOf(each)
  ) {
    const { constructor } = each as { constructor?: unknown }
    if (Object.hasOwn(each, 'constructor') && typeof constructor === 'function' && isNative(constructor)) return true
  }
  return false
}

function isNative(aClass: Function): boolean {
  // bound functions and proxies look the same, but are no `constructor` of a prototype that the engine made
  return /\{\s*\[native code\]\s*\}$/.test(Function.prototype.toString.call(aClass)) && !types.isProxy(aClass)
}

/** The keys of what is not remade. */
function namesOf(value: object): PropertyKey[] {
  // some releases of Node keep what these are in symbols of their own
  if (value instanceof URL || value instanceof URLSearchParams) return []
  const keys = Reflect.ownKeys(value)
  const isIndexed = ArrayBuffer.isView(value) || Array.isArray(value) || types.isStringObject(value)
  if (!isIndexed) return keys
  return keys.filter((key) => typeof key === 'symbol' || !(/^\d+$/.test(key) || key === 'length'))
}

function copyOwn(value: object, keys: readonly PropertyKey[], copy: object, copies: Copies): object {
  copies.set(value, copy)
  for (const key of keys) {
    const property = Object.getOwnPropertyDescriptor(value, key)
    if (property === undefined) continue
    if ('value' in property) {
      const item: unknown = property.value
      // of some libraries' values it is an own property
      if (key !== 'constructor' && (typeof item === 'object' || typeof item === 'function')) {
        property.value = copyOf(item, copies)
      }
    }
    const isPlain = property.writable === true && property.enumerable === true && property.configurable === true
    // Assigning to this one key, or to what has a setter above, would set no property.
    if (isPlain && key !== '__proto__' && !(key in copy)) (copy as Record<PropertyKey, unknown>)[key] = property.value
    else Object.defineProperty(copy, key, property)
  }
  return like(value, copy)
}

/** As frozen as the other. */
function like<T extends object>(value: object, copy: T): T {
  if (Object.isExtensible(value)) return copy
  if (Object.isFrozen(value)) return Object.freeze(copy)
  return Object.isSealed(value) ? Object.seal(copy) : Object.preventExtensions(copy)
}
