import { ProgrammingError } from '../errors.js'
import { isPlainObject } from './copy.js'
import { hiddenMember } from './hidden-members.js'

/** How the state of a class's aggregates is had: from their fields, or by methods of the class's own. */
export interface StateAccess {
  stateOf(aggregate: object): Record<string, unknown>
  /** Makes the aggregate by the class's own `fromSnapshot`; absent where fields are set on one that is there. */
  readonly fromSnapshot?: (state: Record<string, unknown>) => unknown
}

/**
 * How the state of a class is had.
 *
 * @param target  The class as written. @param base  The prototype of the class of ours that it extends.
 * @throws ProgrammingError  It has `#private` members and no methods of its own for its state, or one of the two.
 */
export function stateAccess(name: string, aggregateClass: Function, target: Function, base: object): StateAccess {
  const prototype = target.prototype as { toSnapshot?: unknown }
  const { toSnapshot } = prototype
  const { fromSnapshot } = aggregateClass as { fromSnapshot?: unknown }
  if (typeof toSnapshot === 'function' && typeof fromSnapshot === 'function') {
    return {
      stateOf: (aggregate) => checkState(name, Reflect.apply(toSnapshot, aggregate, [])),
      fromSnapshot: (state) => Reflect.apply(fromSnapshot, aggregateClass, [state]) as unknown,
    }
  }
  if (toSnapshot !== undefined || fromSnapshot !== undefined) {
    throw new ProgrammingError(
      `'${name}' needs both a method toSnapshot(), which returns its state, and static fromSnapshot(state), or neither`,
    )
  }
  const hidden = hiddenMember(prototype, base)
  if (hidden === undefined) return { stateOf: (aggregate) => fieldsOf(name, aggregate) }
  throw new ProgrammingError(
    `The state of '${name}' can't be had from outside, since its class has ${hidden}: give it a method toSnapshot() that ` +
      'returns its state as a plain object, and static fromSnapshot(state) that makes it again with `new this(…)`',
  )
}

/** Gives an aggregate the fields that `fieldsOf` found. */
export function setFields(aggregate: object, state: Record<string, unknown>): void {
  for (const key of Object.keys(state)) {
    if (originFields.has(key)) continue
    // defined, not assigned, which would call a setter of that name, and for `__proto__` set something else
    Object.defineProperty(aggregate, key, { value: state[key], writable: true, enumerable: true, configurable: true })
  }
}

const originFields = new Set<PropertyKey>(['id', 'version', 'createdOn', 'modifiedOn'])

function fieldsOf(name: string, aggregate: object): Record<string, unknown> {
  const state: Record<string, unknown> = {}
  for (const key of Reflect.ownKeys(aggregate)) {
    if (originFields.has(key)) continue
    const property = Object.getOwnPropertyDescriptor(aggregate, key)
    if (typeof key === 'symbol' || property?.enumerable !== true || !('value' in property)) {
      throw new ProgrammingError(
        `The field '${String(key)}' of '${name}' can't be in a snapshot, being a symbol's, an accessor or not enumerable: make ` +
          'it an ordinary field, or give the class toSnapshot() and static fromSnapshot(state)',
      )
    }
    Object.defineProperty(state, key, { ...property, writable: true, configurable: true })
  }
  return state
}

function checkState(name: string, state: unknown): Record<string, unknown> {
  if (isPlainObject(state)) return state
  throw new ProgrammingError(`toSnapshot() of '${name}' must return its state as a plain object, at once`)
}
