import { DataError, ProgrammingError } from '../errors.js'
import type { SelectEventsOptions, SelectNotificationsOptions } from './recorders.js'
import type { StoredEvent, Tracking } from './stored-event.js'

/**
 * Refuses stored events that some database could not hold, so that every recorder refuses the same ones.
 *
 * @throws DataError  An id or topic that is no text, is empty, or holds a NUL character or half a surrogate pair; a
 *   version that is no integer from 0 to 2^53 - 1; a state that is no `Uint8Array`. Names the event, never its state.
 */
export function checkStoredEvents(events: readonly StoredEvent[]): void {
  if (!Array.isArray(events)) throw new ProgrammingError(`Events come as an array, not ${kind(events)}`)
  for (const event of events as readonly StoredEvent[]) {
    if (typeof event !== 'object' || event === null)
      throw new ProgrammingError(`An event is an object, not ${kind(event)}`)
    const { originatorId, originatorVersion, topic, state } = event
    if (!isStorable(originatorId)) refuseEvent(event, 'originatorId', `is ${fault(originatorId)}`)
    if (!isStorable(topic)) refuseEvent(event, 'topic', `is ${fault(topic)}`)
    if (!Number.isSafeInteger(originatorVersion) || originatorVersion < 0) {
      refuseEvent(event, 'originatorVersion', 'must be an integer from 0 to 2^53 - 1')
    }
    if (!(state instanceof Uint8Array)) refuseEvent(event, 'state', `must be a Uint8Array, not ${kind(state)}`)
  }
}

/**
 * Refuses tracking that some database could not hold.
 *
 * @throws DataError  A name that is no text, is empty, or holds a NUL character or half a surrogate pair; a notification
 *   id that is no integer from 1 to 2^53 - 1.
 */
export function checkTracking(tracking: Tracking): void {
  if (typeof tracking !== 'object' || tracking === null) {
    throw new ProgrammingError(`Tracking is an object, not ${kind(tracking)}`)
  }
  const { applicationName, notificationId } = tracking
  if (!isStorable(applicationName)) {
    throw new DataError(`Tracking of ${shown(applicationName)}: applicationName is ${fault(applicationName)}`)
  }
  if (!Number.isSafeInteger(notificationId) || notificationId < 1) {
    throw new DataError(
      `Tracking of ${shown(applicationName)}: notificationId must be an integer from 1 to 2^53 - 1, not ` +
        shown(notificationId),
    )
  }
}

/**
 * Refuses bounds within one stream that mean nothing. `undefined` and `null` are no bound.
 *
 * @throws ProgrammingError  An id that is no text, a `gt`, `lte` or `limit` that is no safe integer, or a negative `limit`.
 */
export function checkSelect(originatorId: string, { gt, lte, limit }: SelectEventsOptions = {}): void {
  if (typeof originatorId !== 'string')
    throw new ProgrammingError(`An originator's id is text, not ${kind(originatorId)}`)
  checkBound('gt', gt)
  checkBound('lte', lte)
  if (limit !== undefined && limit !== null) checkLimit(limit)
}

/**
 * Refuses bounds within the order of all events that mean nothing. `undefined` and `null` are no bound, but `limit` has
 * to be given: the log of an application grows without end.
 *
 * @throws ProgrammingError  A `start`, `stop` or `limit` that is no safe integer, a missing or negative `limit`, or
 *   `topics` that are no array of texts; names the bound.
 */
export function checkSelectNotifications(options: SelectNotificationsOptions): void {
  const { start, stop, limit, topics }: Partial<SelectNotificationsOptions> = options ?? {}
  checkBound('start', start)
  checkBound('stop', stop)
  checkLimit(limit)
  checkTopicsFilter(topics)
}

/**
 * Refuses a position to ask or wait for that can't be. `null` is one that is always reached.
 *
 * @throws ProgrammingError  The name is no text, the id no integer from 1, or the timeout no number of milliseconds.
 */
export function checkPosition(applicationName: string, notificationId: number | null, timeoutMs = 0): void {
  if (typeof applicationName !== 'string') {
    throw new ProgrammingError(`An application's name is text, not ${kind(applicationName)}`)
  }
  if (notificationId !== null && !(Number.isSafeInteger(notificationId) && notificationId >= 0)) {
    throw new ProgrammingError(`A notification id is an integer or null, not ${shown(notificationId)}`)
  }
  if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0)) {
    throw new ProgrammingError('The option timeoutMs is a number of milliseconds from 0')
  }
}

/**
 * Refuses topics to filter by that no event can have. `undefined`, `null` and `[]` mean all topics.
 *
 * @throws ProgrammingError  Not an array, or not of texts; a text with a NUL character or half a surrogate pair.
 */
export function checkTopicsFilter(topics: readonly string[] | null | undefined): void {
  if (topics === undefined || topics === null) return
  if (!Array.isArray(topics)) throw new ProgrammingError(`\`topics\` must be an array of texts, not ${kind(topics)}`)
  for (const topic of topics as readonly unknown[]) {
    if (typeof topic !== 'string') {
      throw new ProgrammingError(`\`topics\` must be an array of texts, but holds ${kind(topic)}`)
    }
    if (topic !== '' && !isStorable(topic)) {
      throw new ProgrammingError(`\`topics\`: no event can have the topic ${shown(topic)}, which is ${fault(topic)}`)
    }
  }
}

function checkBound(name: string, bound: number | null | undefined): void {
  if (bound === undefined || bound === null || Number.isSafeInteger(bound)) return
  throw new ProgrammingError(`\`${name}\` must be an integer, not ${shown(bound)}`)
}

function checkLimit(limit: number | undefined): void {
  if (Number.isSafeInteger(limit) && (limit as number) >= 0) return
  throw new ProgrammingError(`\`limit\` must be an integer from 0, not ${shown(limit)}`)
}

// The types promise text, but callers without a compiler come by here too. PostgreSQL refuses NUL characters, and both
// databases would store half a surrogate pair as something else, so that the event could not be found again.
function isStorable(text: unknown): boolean {
  return typeof text === 'string' && text !== '' && !text.includes('\0') && isWellFormed(text)
}

// Node 20 has it; the library files of ES2022 don't know it.
function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed()
}

function fault(text: unknown): string {
  if (typeof text !== 'string') return `${kind(text)}, not text`
  if (text === '') return 'empty'
  return text.includes('\0') ? 'text with a NUL character' : 'text with half a surrogate pair'
}

function refuseEvent(event: StoredEvent, field: string, why: string): never {
  throw new DataError(
    `Event of originator ${shown(event.originatorId)}, version ${shown(event.originatorVersion)}: ${field} ${why}`,
  )
}

function kind(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`
}

/** Short and quoted, so that a message stays one line whatever is in the text. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  return typeof value === 'number' ? String(value) : kind(value)
}
