import { ProgrammingError } from '../errors.js'
import { Aggregate, registeredDefinition, type Definition } from './aggregate.js'
import type { DomainEvent } from './event.js'
import { EventedAggregate, definitionOfEvented } from './evented-aggregate.js'
import { resolveEvent, type AggregateDefinition } from './topics.js'

/**
 * The definition of an aggregate class. An `EventedAggregate` is registered here, if it has not been before.
 *
 * @throws ProgrammingError  It is no aggregate class, or has no `@aggregate` or `static topic` of its own.
 * @throws TopicError  Its topic belongs to another class.
 */
export function definitionOf(aggregateClass: unknown): Definition {
  const definition = registeredDefinition(aggregateClass)
  if (definition !== undefined) return definition
  if (typeof aggregateClass === 'function') {
    const { prototype } = aggregateClass as { prototype: unknown }
    if (prototype instanceof EventedAggregate) return definitionOfEvented(aggregateClass)
    if (prototype instanceof Aggregate) {
      throw new ProgrammingError(`A subclass of Aggregate needs its own @aggregate('…'), directly above the class`)
    }
  }
  throw new ProgrammingError('This is no aggregate class: give one that extends Aggregate or EventedAggregate')
}

/**
 * The aggregate that events of one originator make, oldest first; `undefined` where there are none.
 *
 * Uses the events up: their values become the aggregate's own, without a copy.
 *
 * @throws TopicError  Nothing is registered for a topic; names it and the originator.
 * @throws OriginatorIdError  An event is of another originator than the first.
 * @throws OriginatorVersionError  An event is not the next one, or can't be the first.
 */
export function replay(events: Iterable<DomainEvent>): Aggregate | undefined {
  let definition: AggregateDefinition | undefined
  let aggregate: object | undefined
  for (const event of events) {
    if (definition !== undefined && aggregate !== undefined) definition.apply(aggregate, event)
    else {
      definition = resolveEvent(event).aggregate
      aggregate = definition.create(event)
    }
  }
  return aggregate as Aggregate | undefined
}
