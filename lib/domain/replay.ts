import { ProgrammingError } from '../errors.js'
import { Aggregate, definitionOfInstance, registeredDefinition } from './aggregate.js'
import { definitionOfDecided, definitionOfDecider } from './decider-definition.js'
import type { DomainEvent } from './event.js'
import { EventedAggregate, definitionOfEvented } from './evented-aggregate.js'
import { resolveEvent, type AggregateDefinition } from './topics.js'

/**
 * The definition of an aggregate class or a decider. An `EventedAggregate` is registered here, if it has not been before.
 *
 * @throws ProgrammingError  It is neither, or has no `@aggregate` or `static topic` of its own.
 * @throws TopicError  Its topic belongs to another class.
 */
export function definitionOf(aggregateClass: unknown): AggregateDefinition {
  const definition = registeredDefinition(aggregateClass) ?? definitionOfDecider(aggregateClass)
  if (definition !== undefined) return definition
  if (typeof aggregateClass === 'function') {
    const { prototype } = aggregateClass as { prototype: unknown }
    if (prototype instanceof EventedAggregate) return definitionOfEvented(aggregateClass)
    if (prototype instanceof Aggregate) {
      throw new ProgrammingError(`A subclass of Aggregate needs its own @aggregate('…'), directly above the class`)
    }
  }
  throw new ProgrammingError(
    'This is no aggregate class: give one that extends Aggregate or EventedAggregate, or a decider with events(…)',
  )
}

/** The definition that an aggregate was made by, of whatever shape; `undefined` for any other value. */
export function definitionOfMade(aggregate: unknown): AggregateDefinition | undefined {
  return definitionOfInstance(aggregate) ?? definitionOfDecided(aggregate)
}

/** Whether an aggregate is of that class, a subclass counted, or of that decider. */
export function isOf(aggregate: object, aggregateClass: object): boolean {
  if (typeof aggregateClass === 'function') return aggregate instanceof aggregateClass
  return definitionOfDecided(aggregate) === definitionOfDecider(aggregateClass)
}

/** What aggregates of every shape have. */
export interface Replayed {
  readonly id: string
  readonly version: number
  readonly createdOn: Date
  readonly modifiedOn: Date
}

/** Makes an aggregate of the events of one originator, as they come. */
export class Replay {
  #definition: AggregateDefinition | undefined
  #aggregate: object | undefined
  /** The first event's. */
  topic: string | undefined

  /** @param begun  What to go on with: an aggregate, and what made it. Default: nothing, so that it begins with a first event. */
  constructor(begun?: { readonly definition: AggregateDefinition; readonly aggregate: object }) {
    this.#definition = begun?.definition
    this.#aggregate = begun?.aggregate
    this.topic = begun?.definition.name
  }

  /** What makes it; `undefined` as long as nothing has. */
  get definition(): AggregateDefinition | undefined {
    return this.#definition
  }

  /** What the events have made so far; `undefined` where there was none. */
  get aggregate(): Replayed | undefined {
    return this.#aggregate as Replayed | undefined
  }

  /**
   * The next event, oldest first. Uses it up: its values become the aggregate's own, without a copy.
   *
   * @throws TopicError  Nothing is registered for its topic; names it and the originator.
   * @throws OriginatorIdError  It is of another originator than the first.
   * @throws OriginatorVersionError  It is not the next one, or can't be the first.
   */
  take(event: DomainEvent): void {
    if (this.#definition !== undefined && this.#aggregate !== undefined) {
      this.#definition.apply(this.#aggregate, event)
      return
    }
    this.topic = event.topic
    this.#definition = resolveEvent(event).aggregate
    this.#aggregate = this.#definition.create(event)
  }
}
