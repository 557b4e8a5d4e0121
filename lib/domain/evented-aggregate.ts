import { v4 as uuidv4 } from 'uuid'
import { ProgrammingError } from '../errors.js'
import {
  Aggregate,
  Definition,
  checkId,
  construct,
  createNew,
  define,
  definitionOfInstance,
  isUnderConstruction,
  refuseWhileApplying,
  registeredDefinition,
  run,
  trigger,
  type AggregateEvent,
  type EventBody,
} from './aggregate.js'
import { frozenCopy, isPlainObject, ownCopy } from './copy.js'
import { isPlainFunction } from './signature.js'
import { checkEventName, checkName } from './topics.js'

declare const eventMap: unique symbol

/**
 * An aggregate without decorators: a map of its events' types, and a handler for each. The class has
 * `static readonly topic`, the first part of its events' topics, of its own, and `static readonly evolve`, which may be
 * inherited. Its constructor takes nothing. `static readonly upcasts` and `static readonly snapshotUpcasts` bring older class
 * versions to the current one: see `Upcasts` and `SnapshotUpcasts`.
 *
 * It is registered by its first `create` or `repository.get`, or by `static aggregates` of an application.
 *
 * @typeParam Events  The data, a plain object, of each event by name: `{ Napped: { minutes: number } }`.
 * @throws ProgrammingError  It is constructed with `new`.
 */
export abstract class EventedAggregate<Events extends EventMap<Events>> extends Aggregate {
  /** For the compiler alone: lets `create` find the events of a class. */
  declare readonly [eventMap]?: Events

  /**
   * Makes a new aggregate by its first event, which is then pending.
   *
   * @param data  A plain object; a copy is taken.
   * @param options.id  A UUID or any other non-empty text. Default: a random UUID (v4).
   * @throws ProgrammingError  The class has no topic of its own, no `evolve`, or not this event.
   * @throws TopicError  The topic belongs to another class.
   * @throws TypeError  The id is no text, is empty, or has a NUL character.
   */
  static create<A extends Aggregate, Name extends EventName<EventsOf<A>>>(
    this: { readonly prototype: A },
    name: Name,
    data: EventsOf<A>[Name],
    options: { readonly id?: string | undefined } = {},
  ): A {
    const definition = definitionOfEvented(this)
    const { id = uuidv4() } = options
    const event = eventOf(definition, name)
    const values = checkData(event, data)
    const checkedId = checkId(definition.name, id)
    return createNew(event, checkedId, frozenCopy(values, event.label), (happened) =>
      definition.create({ ...happened, data: ownCopy(happened.data) }),
    ) as A
  }

  constructor() {
    if (!isUnderConstruction(new.target)) {
      throw new ProgrammingError(
        `'${topicOf(new.target)}' can't be made with \`new\`, which says no event: use its create('…', data)`,
      )
    }
    super()
  }

  /**
   * Makes an event happen: applies it by its handler, and has it pending.
   *
   * @param data  A plain object; a copy is taken.
   * @throws ProgrammingError  The class has not this event, an event is being applied just now, or its handler returns a
   *   promise.
   */
  trigger<Name extends EventName<Events>>(name: Name, data: Events[Name]): void {
    const definition = definitionOfInstance(this)
    if (definition === undefined) throw new ProgrammingError(`trigger('${name}') was called without its aggregate`)
    const event = eventOf(definition, name)
    refuseWhileApplying(event.topic)
    trigger(this, event, frozenCopy(checkData(event, data), event.label))
  }
}

/**
 * One handler for each event: changes the aggregate as the event says, now and on every replay, so it must neither decide
 * nor read the clock. The data is its own to keep. What it returns is ignored.
 */
export type Evolve<A, Events> = {
  readonly [Name in keyof Events]: (aggregate: A, data: Events[Name]) => void
}

/** The type of each event's data, a plain object, by the event's name. */
export type EventMap<Events> = { readonly [Name in keyof Events]: object }

/** The events of an aggregate class. */
export type EventsOf<A> = A extends { readonly [eventMap]?: infer Events } ? NonNullable<Events> : never

/** The names of events. */
export type EventName<Events> = keyof Events & string

/**
 * The definition of an `EventedAggregate`, registered here if it has not been before.
 *
 * @throws ProgrammingError  It has no topic of its own, no `evolve` with handlers that can be ones, or upcasts that can't be.
 * @throws TopicError  Its topic belongs to another class.
 */
export function definitionOfEvented(aggregateClass: unknown): Definition {
  if (!isEventedClass(aggregateClass)) {
    throw new ProgrammingError('create(…) must be called on a class that extends EventedAggregate: Cat.create(…)')
  }
  return registeredDefinition(aggregateClass) ?? defineEvented(aggregateClass)
}

function defineEvented(aggregateClass: EventedClass): Definition {
  const name = topicOf(aggregateClass)
  if (aggregateClass.length > 0) {
    throw new ProgrammingError(
      `The constructor of '${name}' must take nothing: its values come from its events' handlers`,
    )
  }
  const { evolve } = aggregateClass
  if (!isPlainObject(evolve)) {
    throw new ProgrammingError(
      `'${name}' needs static readonly evolve, an object with a handler for each of its events`,
    )
  }
  const definition = new Definition(name, aggregateClass, (event, found) => {
    const aggregate = construct(definition, aggregateClass, [], event)
    run(found, aggregate, event)
    return aggregate
  })
  for (const [eventName, handler] of Object.entries(evolve)) {
    checkEventName(eventName)
    definition.add(eventName, checkHandler(`${name}.${eventName}`, handler).bind(evolve))
  }
  define(definition)
  return definition
}

interface EventedClass extends Function {
  readonly prototype: EventedAggregate<object>
  readonly topic?: unknown
  readonly evolve?: unknown
}

function isEventedClass(value: unknown): value is EventedClass {
  return typeof value === 'function' && value.prototype instanceof EventedAggregate
}

function topicOf(aggregateClass: EventedClass): string {
  // An inherited one would give two classes the same topics.
  const topic = Object.hasOwn(aggregateClass, 'topic') ? aggregateClass.topic : undefined
  if (topic === undefined) {
    const above: unknown = aggregateClass.topic
    throw new ProgrammingError(
      `A subclass of ${typeof above === 'string' ? `'${above}'` : 'EventedAggregate'} needs a static readonly topic of its own`,
    )
  }
  checkName('An aggregate', topic)
  return topic
}

function checkHandler(topic: string, handler: unknown): EventBody {
  if (typeof handler !== 'function' || !isPlainFunction(handler)) {
    throw new ProgrammingError(
      `The handler of '${topic}' in evolve must be a function that is neither async nor a generator: an event is applied at once`,
    )
  }
  // What it takes was checked by the compiler, where the class has a type for it.
  return handler as EventBody
}

function eventOf(definition: Definition, name: string): AggregateEvent {
  const event = definition.events.get(name)
  if (event !== undefined) return event
  throw new ProgrammingError(`'${definition.name}' has no event ${JSON.stringify(name)}: give evolve a handler for it`)
}

function checkData({ topic }: AggregateEvent, data: unknown): Record<string, unknown> {
  if (isPlainObject(data)) return data
  throw new ProgrammingError(`Event '${topic}' takes a plain object as its data`)
}
