import { DrizzleQueryError, entityKind } from 'drizzle-orm'
import { EventSourcingError } from '../errors.js'

/** What our connections' drivers threw: an error with the same code from elsewhere is the user's own affair. */
const fromDriver = new WeakSet<object>()

/** Marks what a driver threw, and gives it back. */
export function markDriverError(error: unknown): unknown {
  if (typeof error === 'object' && error !== null) fromDriver.add(error)
  return error
}

/** What was thrown before anything was sent. */
const unsent = new WeakSet()

/** Marks what was thrown instead of sending anything: nothing has happened. Gives it back. */
export function markUnsent(error: unknown): unknown {
  if (typeof error === 'object' && error !== null) unsent.add(error)
  return error
}

/** Whether an error, or the driver's that it was made from, was thrown before anything was sent. */
export function isUnsent(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  const { cause } = error as { cause?: unknown }
  return unsent.has(error) || (typeof cause === 'object' && cause !== null && unsent.has(cause))
}

/**
 * Turns an error of a driver, also one that Drizzle has wrapped, into ours; any other comes back as it is.
 *
 * Told down the chain of Drizzle's wrappers. `cause` is the driver's own error: Drizzle's holds all parameters.
 *
 * @param meaning  The dialect's: what an error of its driver means, told by code.
 */
export function translateWith(meaning: (cause: object) => EventSourcingError, error: unknown): unknown {
  let cause: unknown = error
  for (let depth = 0; depth < 5 && typeof cause === 'object' && cause !== null; depth += 1) {
    // one of ours inside of Drizzle's: thrown by a guarded handle
    if (cause instanceof EventSourcingError) return cause
    if (fromDriver.has(cause)) return meaning(cause)
    if (!isDrizzles(cause)) return error
    cause = (cause as { cause?: unknown }).cause
  }
  return error
}

/** Whether Drizzle has put this error around another. */
function isDrizzles(error: object): boolean {
  const kind = (error.constructor as { [entityKind]?: unknown } | undefined)?.[entityKind]
  return kind === 'DrizzleError' || error instanceof DrizzleQueryError
}
