import type { DomainEvent } from '../../lib/domain/event.js'

/** The versions of an aggregate's pending events, in their order. */
export function pendingVersions(aggregate: { pendingEvents: readonly DomainEvent[] }): number[] {
  return aggregate.pendingEvents.map(({ originatorVersion }) => originatorVersion)
}
