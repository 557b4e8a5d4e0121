import type { DomainEvent } from '../domain/event.js'
import type { EventStore } from '../persistence/event-store.js'
import type { Recording } from '../persistence/stored-event.js'
import type { AggregateCache, CachedSave, Place } from './cache.js'

/** Tells a cache of a save that begins, and of how the transaction ends that it is in. */
export function beginCaching(
  cache: AggregateCache,
  place: Place,
  aggregates: readonly object[],
  domainEvents: readonly DomainEvent[],
): CachedSave | undefined {
  const caching = cache.beginSave(aggregates, domainEvents, place)
  if (caching && place.isOwn) {
    place.transaction?.afterCommit(() => {
      caching.committed()
    })
    place.transaction?.onRollback((isOutcomeUnknown) => {
      caching.rolledBack(isOutcomeUnknown)
    })
  }
  return caching
}

/** Stores events of no aggregate in hand, of which the cache may have some. */
export async function putWithCache(
  events: EventStore,
  cache: AggregateCache,
  place: Place,
  domainEvents: readonly DomainEvent[],
): Promise<Recording[]> {
  const caching = beginCaching(cache, place, [], domainEvents)
  try {
    const recordings = await events.put(domainEvents)
    caching?.stored(recordings.length === 0)
    return recordings
  } catch (error) {
    caching?.failed()
    throw error
  }
}
