import type { StoredEvent } from './stored-event.js'

/*
 * Of what was sent when a connection was lost nobody knows whether it has happened: it is remembered here until it is known.
 */

const errors = new WeakSet()

/** Notes that an error leaves open whether what it was thrown for has happened, and gives it back. */
export function markOutcomeUnknown<E extends object>(error: E): E {
  errors.add(error)
  return error
}

/**
 * Whether an error leaves open if what was asked for has happened: the connection was lost at a COMMIT, or while an insert of
 * events or of a position outside of transactions was under way.
 */
export function isOutcomeUnknown(error: unknown): boolean {
  return typeof error === 'object' && error !== null && errors.has(error)
}

/** Events that may be stored, each with what they were inserted with. */
const inDoubt = new WeakMap<StoredEvent, string>()
let isAnyInDoubt = false

/** Notes that these very events may be stored, with that position if there was one. */
export function doubt(events: readonly StoredEvent[], insertedWith = ''): void {
  isAnyInDoubt = true
  for (const event of events) inDoubt.set(event, insertedWith)
}

/** Which of these events may be stored, by an insert with the same position. */
export function doubtful(events: readonly StoredEvent[], insertedWith = ''): StoredEvent[] {
  if (!isAnyInDoubt) return none // on the way of every save
  return events.filter((event) => inDoubt.get(event) === insertedWith)
}

/** It is known of these events now. */
export function settle(events: readonly StoredEvent[]): void {
  for (const event of events) inDoubt.delete(event)
}

const none: StoredEvent[] = []
