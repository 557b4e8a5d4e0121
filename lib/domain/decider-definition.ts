import { ProgrammingError, TopicError } from '../errors.js'
import { checkId, checkNext, described, firstVersion, newEvent, refuseVersion, whileApplying } from './aggregate.js'
import { frozenCopy, isPlainObject, ownCopy } from './copy.js'
import type { DomainEvent } from './event.js'
import { isPlainFunction } from './signature.js'
import { checkEventName, findEvent, type AggregateDefinition, type EventDefinition } from './topics.js'
import { checkedSnapshotUpcasts, checkedUpcasts, noUpcasts, type Upcast } from './upcasts.js'

/** What a decider's events have made, as `repository.get` gives it. */
export interface DeciderAggregate<State> {
  /** Whose events: a UUID as text, or any other non-empty text. */
  readonly id: string
  /** The version of its last event; the first is 1. */
  readonly version: number
  /** What the handlers made of the events. */
  readonly state: State
  /** When its first event happened. */
  readonly createdOn: Date
  /** When its last event happened. */
  readonly modifiedOn: Date
}

/** An event that a command has decided, and that is to happen. */
export interface DecidedEvent<Name extends PropertyKey = string, Data = unknown> {
  /** `<decider's name>.<event name>`. */
  readonly topic: string
  /** The event's name: `'Ran'`. */
  readonly name: Name
  /** A plain object; copied and frozen when the event happens. */
  readonly data: Data
}

/** What a decider is, without its types. */
export class DeciderDefinition implements AggregateDefinition {
  readonly events = new Map<string, DeciderEvent>()
  /** Makes each event, by its name, as commands decide it. */
  readonly makers: Readonly<Record<string, EventMaker>>
  snapshotUpcasts: readonly (Upcast | undefined)[] = noUpcasts
  readonly #initial: () => unknown
  readonly #said = new Set<string>()
  #inHand: object | undefined

  /**
   * @throws ProgrammingError  An event's name can't be one, or what handles it is no function that is done when it returns.
   */
  constructor(
    readonly name: string,
    initial: () => unknown,
    handlers: unknown,
  ) {
    this.#initial = initial
    if (!isPlainObject(handlers)) {
      throw new ProgrammingError(`Decider '${name}': events(…) takes an object with a handler for each event`)
    }
    const makers: [string, EventMaker][] = []
    for (const [eventName, handler] of Object.entries(handlers)) {
      checkEventName(eventName)
      const checked = checkFunction<Handler>(`The handler of '${name}.${eventName}'`, handler)
      const event = this.#add(eventName, checked.bind(handlers))
      makers.push([eventName, (data = {}) => decided(event, data)])
    }
    this.makers = Object.freeze(Object.fromEntries(makers))
  }

  /** The decider that users have in hand; the last of them. */
  get aggregateClass(): object {
    return this.#inHand ?? this
  }

  /** Notes what users have in hand. */
  isInHandAs(decider: object): void {
    this.#inHand = decider
    deciders.set(decider, this)
  }

  /** The state before any event. @throws ProgrammingError  There is none, or it is a promise. */
  initial(): unknown {
    return checkState(this.#initial(), `initial of decider '${this.name}'`)
  }

  /**
   * The state after an event.
   *
   * @throws TopicError  It is no event of this decider.
   * @throws ProgrammingError  Its handler returns no state, or a promise.
   */
  evolve(state: unknown, { topic, data }: Pick<DecidedEvent, 'topic' | 'data'>): unknown {
    const found = findEvent(topic)
    if (found?.aggregate === this) return evolved(found as DeciderEvent, state, data)
    throw new TopicError(`${JSON.stringify(topic)} is no event of decider '${this.name}'`)
  }

  /** @throws ProgrammingError  It was said before, of an event that is not there, or steps can't be ones. */
  sayUpcasts(upcasts: unknown): void {
    this.#sayOnce('upcasts')
    if (!isPlainObject(upcasts)) {
      throw new ProgrammingError(`Decider '${this.name}': upcasts(…) takes an object: { Ran: { 1: (data) => … } }`)
    }
    const steps = Object.entries(upcasts).map(([name, each]) => {
      const event = Object.hasOwn(this.makers, name) ? this.events.get(name) : undefined
      if (event) return { event, upcasts: checkedUpcasts(`upcasts of '${event.topic}'`, each) }
      throw new ProgrammingError(`Decider '${this.name}' has no event ${JSON.stringify(name)} to give upcasts to`)
    })
    for (const { event, upcasts } of steps) Object.assign(event, { upcasts, classVersion: upcasts.length + 1 })
  }

  /** @throws ProgrammingError  It was said before, or steps can't be ones. */
  saySnapshotUpcasts(steps: unknown): void {
    this.#sayOnce('snapshotUpcasts')
    this.snapshotUpcasts = checkedSnapshotUpcasts(`snapshotUpcasts of '${this.name}'`, steps).map(onState)
  }

  /** The events in what a command returned. @throws ProgrammingError  There is something else in it. */
  decided(command: string, result: unknown): DecidedEvent[] {
    const events: unknown[] = result === undefined ? [] : Array.isArray(result) ? result : [result]
    if (events.every((event) => this.#isDecided(event))) return events
    refusePromise(result, `The command '${command}' of decider '${this.name}'`)
    throw new ProgrammingError(
      `The command '${command}' of decider '${this.name}' must return events of that decider, made by what commands(…) ` +
        'is given: one, several in an array, or undefined for none',
    )
  }

  /**
   * The aggregate after events have happened now, which are pending then. What is given stays as it is.
   *
   * @param aggregate  `undefined` where nothing has happened yet.
   * @returns `undefined` where nothing was decided.
   */
  happen(
    aggregate: DeciderAggregate<unknown> | undefined,
    id: string,
    decided: readonly DecidedEvent[],
  ): MadeByDecider | undefined {
    if (decided.length === 0) return undefined
    let next = aggregate && new MadeByDecider(this, aggregate, aggregate.state)
    const pending: DomainEvent[] = []
    for (const { topic, data } of decided) {
      const version = next ? next.version + 1 : firstVersion
      const event = newEvent(id, version, topic, frozenCopy(data as Record<string, unknown>, `Event '${topic}'`))
      pending.push(event)
      const own = { ...event, timestamp: new Date(event.timestamp), data: ownCopy(event.data) }
      if (next) this.apply(next, own)
      else next = this.create(own)
    }
    next?.pend(pending)
    return next
  }

  create(event: DomainEvent): MadeByDecider {
    const found = this.#eventOf(event)
    const { originatorId: id, originatorVersion: version, timestamp } = event
    if (version !== firstVersion) refuseVersion(event, firstVersion)
    checkId(this.name, id)
    const origin = { id, version, createdOn: timestamp, modifiedOn: timestamp }
    return new MadeByDecider(this, origin, evolved(found, this.initial(), event.data))
  }

  apply(aggregate: object, event: DomainEvent): void {
    const found = this.#eventOf(event)
    // what a definition is given to apply to, it has made
    const made = aggregate as MadeByDecider
    checkNext(this.name, made, event)
    made.state = evolved(found, made.state, event.data)
    made.version = event.originatorVersion
    made.modifiedOn = event.timestamp
  }

  /** A decider's state can always be had: it is a value. */
  requireState(): void {
    // nothing can be wrong
  }

  /** Its state, whatever that is, under one key. */
  stateOf(aggregate: object): Record<string, unknown> {
    return { state: (aggregate as MadeByDecider).state }
  }

  restore(origin: Origin, { state }: Record<string, unknown>): MadeByDecider {
    return new MadeByDecider(this, origin, checkState(state, `the state that decider '${this.name}' is restored with`))
  }

  #sayOnce(what: string): void {
    if (this.#said.has(what)) throw new ProgrammingError(`Decider '${this.name}': ${what}(…) is said once`)
    this.#said.add(what)
  }

  #add(name: string, handler: Handler): DeciderEvent {
    const topic = `${this.name}.${name}`
    const event = { name, topic, classVersion: 1, upcasts: noUpcasts, aggregate: this, handler }
    this.events.set(name, event)
    return event
  }

  #eventOf(event: DomainEvent): DeciderEvent {
    const found = findEvent(event.topic)
    // all events of a DeciderDefinition are DeciderEvents
    if (found?.aggregate === this) return found as DeciderEvent
    throw new TopicError(`${described(event)} is no event of decider '${this.name}'`)
  }

  #isDecided(event: unknown): event is DecidedEvent {
    const { topic, name, data } = Object(event) as Partial<DecidedEvent>
    return typeof name === 'string' && this.events.get(name)?.topic === topic && isPlainObject(data)
  }
}

/** The definition of a decider that has events; `undefined` for any other value. */
export function definitionOfDecider(decider: unknown): DeciderDefinition | undefined {
  return typeof decider === 'object' && decider !== null ? deciders.get(decider) : undefined
}

/** The definition of the decider that made an aggregate; `undefined` for any other value. */
export function definitionOfDecided(aggregate: unknown): DeciderDefinition | undefined {
  return aggregate instanceof MadeByDecider ? aggregate.definition : undefined
}

/** Checks a handler, a command or `initial`. @throws ProgrammingError  It is no function, or one that is not done when it returns. */
export function checkFunction<Fn extends (...args: never[]) => unknown>(what: string, fn: unknown): Fn {
  if (typeof fn === 'function' && isPlainFunction(fn)) return fn as Fn
  throw new ProgrammingError(
    `${what} must be a function that is neither async nor a generator: find out before what it needs, and hand it over`,
  )
}

/** Where an aggregate stands, apart from its state. */
type Origin = Omit<DeciderAggregate<unknown>, 'state'>

type Handler = (state: unknown, data: unknown) => unknown
type EventMaker = (data?: unknown) => DecidedEvent

interface DeciderEvent extends EventDefinition {
  readonly aggregate: DeciderDefinition
  readonly handler: Handler
}

/** What `repository.get` gives; `save` finds the events in it that are pending. */
class MadeByDecider implements DeciderAggregate<unknown> {
  readonly id: string
  version: number
  state: unknown
  readonly createdOn: Date
  modifiedOn: Date
  readonly #definition: DeciderDefinition
  #pending: readonly DomainEvent[] = []

  constructor(definition: DeciderDefinition, { id, version, createdOn, modifiedOn }: Origin, state: unknown) {
    this.id = id
    this.version = version
    this.state = state
    // dates of their own: changing one must reach neither the other nor the event
    this.createdOn = new Date(createdOn)
    this.modifiedOn = new Date(modifiedOn)
    this.#definition = definition
  }

  get definition(): DeciderDefinition {
    return this.#definition
  }

  pend(events: readonly DomainEvent[]): void {
    this.#pending = events
  }

  collectEvents(): readonly DomainEvent[] {
    const events = this.#pending
    this.#pending = []
    return events
  }
}

/** Steps are of the decider's own state, which `stateOf` keeps under a key. */
function onState(step: Upcast | undefined): Upcast | undefined {
  if (!step) return undefined
  return ({ state }) => {
    const made: unknown = step(state as Record<string, unknown>)
    // whoever runs the steps refuses what is no object
    return (made === undefined || isPromise(made) ? made : { state: made }) as Record<string, unknown>
  }
}

const deciders = new WeakMap<object, DeciderDefinition>()

function decided({ topic, name }: DeciderEvent, data: unknown): DecidedEvent {
  if (!isPlainObject(data)) throw new ProgrammingError(`Event '${topic}' takes a plain object as its data`)
  return Object.freeze({ topic, name, data })
}

function evolved({ topic, handler }: DeciderEvent, state: unknown, data: unknown): unknown {
  return checkState(
    whileApplying(topic, () => handler(state, data)),
    `the handler of '${topic}'`,
  )
}

function checkState(state: unknown, whose: string): unknown {
  if (state === undefined) throw new ProgrammingError(`There is no state: ${whose} must return it`)
  refusePromise(state, `What returns a state, ${whose},`)
  return state
}

function refusePromise(result: unknown, what: string): void {
  if (!isPromise(result)) return
  // nobody will await it; refused here, its failure must not end the process as well
  Promise.resolve(result).catch(() => undefined)
  throw new ProgrammingError(
    `${what} returns a promise, but must be done at once: find out before what it needs, and hand it over`,
  )
}

function isPromise(result: unknown): boolean {
  return typeof result === 'object' && result !== null && typeof (result as { then?: unknown }).then === 'function'
}
