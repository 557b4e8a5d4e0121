import { AsyncLocalStorage } from 'node:async_hooks'
import { ProgrammingError } from '../errors.js'
import { frozenCopy, isPlainObject } from './copy.js'

/**
 * Adds metadata to every event caused inside `work`, across its awaits. Nested calls add to what is there; the innermost
 * value of a key counts.
 *
 * @param metadata  A plain object; a copy is taken, frozen as an event's data is.
 * @returns What `work` returns.
 * @throws ProgrammingError  `metadata` is no plain object, or holds functions, symbols, accessors or itself.
 */
export function withMetadata<T>(metadata: Readonly<Record<string, unknown>>, work: () => T): T {
  if (!isPlainObject(metadata)) throw new ProgrammingError('withMetadata takes a plain object: { userId: … }')
  const merged = { ...current.getStore(), ...frozenCopy(metadata, 'The metadata') }
  if (typeof work !== 'function') throw new ProgrammingError('withMetadata takes a function: its second argument')
  return current.run(Object.freeze(merged), work)
}

/** The metadata of an event that happens now. Frozen; `{}` outside of `withMetadata`. */
export function currentMetadata(): Record<string, unknown> {
  return current.getStore() ?? none
}

const current = new AsyncLocalStorage<Record<string, unknown>>()
const none: Record<string, unknown> = Object.freeze({})
