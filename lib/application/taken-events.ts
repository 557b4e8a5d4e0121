import { giveBack } from '../domain/aggregate.js'
import type { DomainEvent } from '../domain/event.js'
import { ProgrammingError } from '../errors.js'

/** What `save` takes: aggregates and domain events; `undefined` and `null` are passed over. */
export type Saved = Collectable | DomainEvent<object> | undefined | null

/** What has events to be saved: an aggregate. */
export interface Collectable {
  /** Takes the pending events, oldest first, and leaves none. */
  collectEvents(): readonly DomainEvent[]
}

/** What a save has taken to store, and from whom. */
export class TakenEvents {
  readonly domainEvents: DomainEvent[] = []
  readonly aggregates: object[] = []
  /** Those that had events. */
  readonly changed: object[] = []
  readonly #eventsOfChanged: (readonly DomainEvent[])[] = []
  #isGivenBack = false

  /** @throws ProgrammingError  One of them is neither aggregate nor domain event. */
  takeFrom(objects: readonly Saved[]): void {
    for (const object of objects) {
      if (object === undefined || object === null) continue
      if (isCollectable(object)) this.#take(object)
      else this.domainEvents.push(checkDomainEvent(object))
    }
  }

  /** Done once: a save may fail and its transaction be rolled back. */
  giveBack(): void {
    if (this.#isGivenBack) return
    this.#isGivenBack = true
    for (let index = this.changed.length - 1; index >= 0; index--) {
      giveBack(this.changed[index] as object, this.#eventsOfChanged[index] as readonly DomainEvent[])
    }
  }

  #take(aggregate: Collectable): void {
    const events = aggregate.collectEvents()
    this.aggregates.push(aggregate)
    if (events.length === 0) return
    this.changed.push(aggregate)
    this.#eventsOfChanged.push(events)
    // one by one: there may be more than a call takes as arguments
    for (const event of events) this.domainEvents.push(event)
  }
}

function isCollectable(object: object): object is Collectable {
  return typeof (object as { collectEvents?: unknown }).collectEvents === 'function'
}

function checkDomainEvent(object: unknown): DomainEvent {
  const { originatorId, originatorVersion, topic } = Object(object) as Partial<DomainEvent>
  if (originatorId !== undefined && originatorVersion !== undefined && topic !== undefined) return object as DomainEvent
  throw new ProgrammingError('save() takes aggregates and domain events; this is neither')
}
