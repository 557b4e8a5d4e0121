import type { Aggregate } from '../../lib/domain/aggregate.js'
import { ownCopy } from '../../lib/domain/copy.js'
import type { DomainEvent } from '../../lib/domain/event.js'
import { Replay } from '../../lib/domain/replay.js'

/** The aggregate that events of one originator make, oldest first; `undefined` where there are none. Uses them up. */
export function replay(events: Iterable<DomainEvent>): Aggregate | undefined {
  const making = new Replay()
  for (const event of events) making.take(event)
  // these are of classes
  return making.aggregate as Aggregate | undefined
}

/** The aggregate that its pending events make, as if they had been stored and read again. */
export function replayed(aggregate: Aggregate): Aggregate | undefined {
  return replay(readAgain(aggregate.pendingEvents))
}

/** Events as they come from a recorder: nobody else has their values. */
export function readAgain(events: readonly DomainEvent[]): DomainEvent[] {
  return events.map((event) => ({
    ...event,
    timestamp: new Date(event.timestamp),
    data: ownCopy(event.data),
    metadata: ownCopy(event.metadata),
  }))
}
