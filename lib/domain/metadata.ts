import { AsyncLocalStorage } from 'node:async_hooks'
import { ProgrammingError } from '../errors.js'
import { frozenCopy, isPlainObject } from './copy.js'
import type { DomainEvent } from './event.js'

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

/**
 * Adds to the metadata of every event caused inside `work`, across its awaits, what caused it: `causationId`, the id of
 * `event`, and `correlationId`, which `event` has in its own metadata, or its id where it has none and so is where
 * everything began.
 *
 * Begin a correlation with an id of your own by `withMetadata({ correlationId: requestId }, …)`.
 *
 * @param event  What `work` is done because of: stored, or pending, or of another application.
 * @returns What `work` returns.
 * @throws ProgrammingError  `event` is no domain event.
 */
export function causedBy<T>(event: CausingEvent, work: () => T): T {
  const id = eventId(event)
  const { correlationId = id } = event.metadata ?? {}
  return withMetadata({ correlationId, causationId: id }, work)
}

/**
 * An event's id, as `causedBy` uses it: `<originator id>@<originator version>`. No other event of its application has it.
 *
 * @throws ProgrammingError  It is no domain event.
 */
export function eventId(event: CausingEvent): string {
  const { originatorId, originatorVersion } = Object(event) as Partial<CausingEvent>
  if (typeof originatorId !== 'string' || originatorId === '' || !isVersion(originatorVersion)) {
    throw new ProgrammingError('This is no domain event: it needs an originatorId, and an originatorVersion from 1')
  }
  return `${originatorId}@${originatorVersion}`
}

/**
 * Where the event is stored that caused this one, so that it can be read: `app.events.get(cause.originatorId, { gt:
 * cause.originatorVersion - 1, limit: 1 })`. `undefined` where none is known, or `causationId` is an id of another kind.
 */
export function causeOf({
  metadata,
}: Pick<DomainEvent, 'metadata'>): Pick<DomainEvent, 'originatorId' | 'originatorVersion'> | undefined {
  const id = metadata?.['causationId']
  // the last one: an originator's id may be any text
  const at = typeof id === 'string' ? id.lastIndexOf('@') : -1
  if (at < 1) return undefined
  const version = (id as string).slice(at + 1)
  const originatorVersion = Number(version)
  if (!/^[1-9]\d*$/.test(version) || !isVersion(originatorVersion)) return undefined
  return { originatorId: (id as string).slice(0, at), originatorVersion }
}

/** What of an event says which one it is, and what it belongs to. */
export type CausingEvent = Pick<DomainEvent<unknown>, 'originatorId' | 'originatorVersion'> &
  Partial<Pick<DomainEvent, 'metadata'>>

function isVersion(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1
}

/** The metadata of an event that happens now. Frozen; `{}` outside of `withMetadata`. */
export function currentMetadata(): Record<string, unknown> {
  return current.getStore() ?? none
}

const current = new AsyncLocalStorage<Record<string, unknown>>()
const none: Record<string, unknown> = Object.freeze({})
