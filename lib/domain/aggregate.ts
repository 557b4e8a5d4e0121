import { v4 as uuidv4 } from 'uuid'
import { OriginatorIdError, OriginatorVersionError, ProgrammingError, TopicError } from '../errors.js'
import { ownCopy } from './copy.js'
import type { DomainEvent } from './event.js'
import { tellClass } from './hidden-members.js'
import { currentMetadata } from './metadata.js'
import { setFields, stateAccess, type StateAccess } from './state-fields.js'
import {
  registerAggregate,
  resolveEvent,
  type AggregateDefinition,
  type AggregateOrigin,
  type EventDefinition,
} from './topics.js'
import { noUpcasts, snapshotUpcastsOfClass, upcastsOfClass, type Upcast } from './upcasts.js'

// Given by the class below, which alone sees its private fields.
let addPending: (aggregate: Aggregate, event: DomainEvent) => void
let giveBackPending: (aggregate: Aggregate, events: readonly DomainEvent[]) => void
let findDefinition: (value: unknown) => Definition | undefined

/**
 * What decides: it has an id and a version, and its events say what it decided. Extend it, with `@aggregate` on the class
 * and `@event` on the methods that change it. `new Aggregate()` itself works too; its event is `Aggregate.Created`.
 *
 * Two are equal (`isDeepStrictEqual`) when class and state are; pending events don't count.
 *
 * @throws ProgrammingError  The class that is constructed has no `@aggregate` of its own.
 */
export class Aggregate {
  /** Whose events: a UUID as text, or other text that `static createId` of the class gave. Never changes. */
  readonly id: string
  /** The version of its last event; the first is 1. */
  readonly version: number
  /** When its first event happened. */
  readonly createdOn: Date
  /** When its last event happened. */
  readonly modifiedOn: Date

  readonly #definition: Definition
  #pending: DomainEvent[] = []

  constructor() {
    const construction = constructionOf(new.target)
    const { definition, event, saves } = construction
    this.id = event.originatorId
    this.version = event.originatorVersion
    // Dates of their own: changing one must reach neither the other nor the event.
    this.createdOn = new Date(event.timestamp)
    this.modifiedOn = new Date(event.timestamp)
    this.#definition = definition
    if (saves) this.#pending.push(event)
    construction.aggregate = this
  }

  /** What was decided and is not saved yet, oldest first. A frozen copy: it stays what it was. */
  get pendingEvents(): readonly DomainEvent[] {
    return Object.freeze([...this.#pending])
  }

  /** Takes the pending events, oldest first, and leaves none. Saving does this. */
  collectEvents(): DomainEvent[] {
    const events = this.#pending
    this.#pending = []
    return events
  }

  static {
    addPending = (aggregate, event) => aggregate.#pending.push(event)
    giveBackPending = (aggregate, events) =>
      (aggregate.#pending = [...events, ...aggregate.#pending].sort(
        (a, b) => a.originatorVersion - b.originatorVersion,
      ))
    findDefinition = (value) =>
      typeof value === 'object' && value !== null && #definition in value ? value.#definition : undefined
  }
}

/** What an aggregate class is: as decorated, or with a map of events. */
export class Definition implements AggregateDefinition {
  readonly events = new Map<string, AggregateEvent>()
  snapshotUpcasts: readonly (Upcast | undefined)[] = noUpcasts
  readonly #make: MakeAggregate
  #access: StateAccess | undefined

  /**
   * @param make  Makes the aggregate from its first event, which is `found` among `events` and has the first version.
   * @param target  The class as written, where a decorator put something in its place.
   */
  constructor(
    readonly name: string,
    readonly aggregateClass: Function,
    make: MakeAggregate,
    readonly target: Function = aggregateClass,
  ) {
    this.#make = make
    if (target !== aggregateClass) tellClass(target.prototype as object, target)
  }

  /** @param body  What applies it to an aggregate that is there; absent for an event that only makes one. */
  add(name: string, body?: EventBody): AggregateEvent {
    const topic = `${this.name}.${name}`
    const label = `Event '${topic}'`
    const event = { name, topic, classVersion: 1, upcasts: noUpcasts, aggregate: this, body, label }
    this.events.set(name, event)
    return event
  }

  /**
   * Takes what the class says of former versions. The static fields have to be there.
   *
   * @throws ProgrammingError  Its upcasts can't be ones, or are of an event that it has not.
   */
  takeUpcasts(): void {
    this.snapshotUpcasts = snapshotUpcastsOfClass(this.name, this.aggregateClass)
    for (const [name, upcasts] of upcastsOfClass(this.name, this.aggregateClass, this.events)) {
      // in place: methods hold on to their events
      const event = this.events.get(name) as { -readonly [Key in keyof AggregateEvent]: AggregateEvent[Key] }
      event.upcasts = upcasts
      event.classVersion = upcasts.length + 1
    }
  }

  create(event: DomainEvent): Aggregate {
    const found = eventOf(this, event)
    if (event.originatorVersion !== firstVersion) refuseVersion(event, firstVersion)
    return this.#make(event, found)
  }

  apply(aggregate: object, event: DomainEvent): void {
    const found = eventOf(this, event)
    // What a definition is given to apply to, it has made.
    checkNext(this.name, aggregate as Aggregate, event)
    run(found, aggregate as Aggregate, event)
    moveOn(aggregate as Aggregate, event.originatorVersion, event.timestamp)
  }

  requireState(): void {
    this.#stateAccess()
  }

  stateOf(aggregate: object): Record<string, unknown> {
    return this.#stateAccess().stateOf(aggregate)
  }

  restore(origin: AggregateOrigin, state: Record<string, unknown>): Aggregate {
    const { fromSnapshot } = this.#stateAccess()
    if (fromSnapshot !== undefined) return reconstruct(this, origin, () => fromSnapshot(state))
    // the constructor of Aggregate alone: nothing of the class's own runs
    const aggregate = reconstruct(this, origin, () => Reflect.construct(Aggregate, [], this.target))
    setFields(aggregate, state)
    return aggregate
  }

  #stateAccess(): StateAccess {
    return (this.#access ??= stateAccess(this.name, this.aggregateClass, this.target, Aggregate.prototype))
  }
}

/** Makes an aggregate from its first event. */
export type MakeAggregate = (event: DomainEvent, found: AggregateEvent) => Aggregate

/** One kind of event, and what it does. */
export interface AggregateEvent extends EventDefinition {
  readonly aggregate: Definition
  /** Absent for an event that only makes an aggregate. */
  readonly body: EventBody | undefined
  /** As it appears in errors: `Event 'Dog.TrickAdded'`. */
  readonly label: string
}

/** Changes the aggregate as the event says; the data is its own to keep. */
export type EventBody = (aggregate: Aggregate, data: Record<string, unknown>) => unknown

/**
 * Registers a class, under its name and its events' topics, or nothing.
 *
 * @throws TopicError  One of them is taken.
 * @throws ProgrammingError  Its upcasts can't be ones, or are of an event that it has not.
 */
export function define(definition: Definition): void {
  definition.takeUpcasts()
  registerAggregate(definition)
  definitions.set(definition.aggregateClass, definition)
}

/** The definition of a registered class; `undefined` for any other value. */
export function registeredDefinition(aggregateClass: unknown): Definition | undefined {
  return typeof aggregateClass === 'function' ? definitions.get(aggregateClass) : undefined
}

/** The definition that an aggregate was made by; `undefined` for any other value. */
export function definitionOfInstance(value: unknown): Definition | undefined {
  return findDefinition(value)
}

/**
 * Makes a new aggregate, with its first event pending.
 *
 * @param data  The event's data, frozen, and nobody else's.
 * @param make  Makes the aggregate from the event, whose data is not its own.
 */
export function createNew(
  { topic }: AggregateEvent,
  id: string,
  data: Record<string, unknown>,
  make: (event: DomainEvent) => Aggregate,
): Aggregate {
  const event = newEvent(id, firstVersion, topic, data)
  const aggregate = make(event)
  addPending(aggregate, event)
  return aggregate
}

/** @throws TypeError  The id of a new aggregate is no text, is empty, or has a NUL character. */
export function checkId(name: string, id: unknown): string {
  if (typeof id === 'string' && id !== '' && !id.includes('\0')) return id
  throw new TypeError(
    `The id of a new '${name}' must be a UUID or other text that is not empty and has no NUL character: see createId`,
  )
}

/**
 * Makes an event happen: applies it, and has it pending.
 *
 * @param data  The event's data, frozen, and nobody else's.
 * @param change  What the event's body does, with values of its own; absent: the body does it, with a copy of the data.
 * @returns What that returns.
 * @throws ProgrammingError  That is a promise.
 */
export function trigger(
  aggregate: Aggregate,
  event: AggregateEvent,
  data: Record<string, unknown>,
  change?: () => unknown,
): unknown {
  const happened = newEvent(aggregate.id, aggregate.version + 1, event.topic, data)
  let result: unknown
  try {
    result =
      change === undefined
        ? run(event, aggregate, { ...happened, data: ownCopy(data) })
        : whileApplying(event.topic, change)
  } catch (error) {
    halfChanged.add(aggregate)
    throw error
  }
  moveOn(aggregate, happened.originatorVersion, new Date(happened.timestamp))
  addPending(aggregate, happened)
  return result
}

/**
 * Whether an event failed to be applied to it when it was to happen: it may have changed what its events don't say, and is good
 * for no snapshot and no cache.
 */
export function isHalfChanged(aggregate: object): boolean {
  return halfChanged.has(aggregate)
}

/**
 * Runs an aggregate's constructor for its first event.
 *
 * @param target  The class itself, not what a decorator put in its place, which would make another event.
 * @throws ProgrammingError  The constructor sets one of the fields that are ours, or returns another object.
 */
export function construct(definition: Definition, target: Function, args: unknown[], event: DomainEvent): Aggregate {
  // not with the decorated class as new.target: a Proxy there makes each instance several times as slow
  return whileConstructing(definition, target, event, false, () => Reflect.construct(target, args) as unknown)
}

function whileConstructing(
  definition: Definition,
  target: Function,
  event: DomainEvent,
  restores: boolean,
  make: () => unknown,
): Aggregate {
  const construction: Construction = {
    definition,
    target,
    event,
    saves: false,
    restores,
    aggregate: undefined,
    outer: currentConstruction,
  }
  currentConstruction = construction
  applying++
  try {
    const aggregate = make()
    checkConstructed(aggregate, construction)
    return aggregate
  } finally {
    applying--
    currentConstruction = construction.outer
  }
}

/** Has an aggregate made that was there before, at the version it had. @param make  Runs the constructor of Aggregate. */
function reconstruct(
  definition: Definition,
  { id, version, createdOn, modifiedOn }: AggregateOrigin,
  make: () => unknown,
): Aggregate {
  // in the place of the event that an aggregate is else made from
  const origin: DomainEvent = {
    originatorId: id,
    originatorVersion: version,
    topic: definition.name,
    timestamp: createdOn,
    data: {},
    metadata: {},
  }
  const aggregate = whileConstructing(definition, definition.target, origin, true, make)
  moveOn(aggregate, version, new Date(modifiedOn))
  return aggregate
}

/** Whether the class's own `fromSnapshot` runs, and has yet to make the aggregate. */
export function isBeingRestored(target: Function): boolean {
  return currentConstruction?.restores === true && isUnderConstruction(target)
}

/** Whether `new` of that class is ours, and its base constructor has yet to run. */
export function isUnderConstruction(aggregateClass: Function): boolean {
  return currentConstruction?.target === aggregateClass && currentConstruction.aggregate === undefined
}

/**
 * Gives events back to the aggregate that they were collected from, before those that are pending now: for a save that
 * failed.
 */
export function giveBack(aggregate: object, events: readonly DomainEvent[]): void {
  // an object of the user's own that has collectEvents() has nowhere to take them
  if (events.length > 0 && definitionOfInstance(aggregate)) giveBackPending(aggregate as Aggregate, events)
}

/**
 * Refuses to make an event happen while another is applied.
 *
 * @throws ProgrammingError  A decorated body, an `evolve` handler or an aggregate's constructor is running.
 */
export function refuseWhileApplying(topic: string): void {
  if (applying === 0) return
  throw new ProgrammingError(
    `'${topic}' can't happen while an event is applied (in a decorated body, an evolve handler or a constructor), since ` +
      'each replay would repeat it: cause both from an undecorated command',
  )
}

/** The version of an aggregate's first event. */
export const firstVersion = 1

/** An aggregate whose constructor runs. */
interface Construction {
  readonly definition: Definition
  /** The class whose constructor it is, as written. */
  readonly target: Function
  readonly event: DomainEvent
  /** Whether the event is to be pending at once. */
  readonly saves: boolean
  /** Whether the aggregate was there before, so that this makes nothing happen. */
  readonly restores: boolean
  /** Set by the base constructor. */
  aggregate: Aggregate | undefined
  /** The one whose constructor made this one. */
  readonly outer: Construction | undefined
}

// One thread, and nothing here awaits, so these belong to the call that is running.
let currentConstruction: Construction | undefined
let applying = 0

const definitions = new WeakMap<Function, Definition>()
const halfChanged = new WeakSet()

const plain: Definition = new Definition('Aggregate', Aggregate, (event) => construct(plain, Aggregate, [], event))
plain.add('Created')
define(plain)

function constructionOf(aggregateClass: Function): Construction {
  if (currentConstruction !== undefined && isUnderConstruction(aggregateClass)) return currentConstruction
  if (aggregateClass === Aggregate) {
    const event = newEvent(uuidv4(), firstVersion, 'Aggregate.Created', Object.freeze({}))
    return {
      definition: plain,
      target: Aggregate,
      event,
      saves: true,
      restores: false,
      aggregate: undefined,
      outer: undefined,
    }
  }
  throw new ProgrammingError(
    `This subclass of '${nearestName(aggregateClass)}' needs its own @aggregate('…'), directly above the class`,
  )
}

function nearestName(aggregateClass: Function): string {
  for (let each: unknown = aggregateClass; typeof each === 'function'; each = Object.getPrototypeOf(each)) {
    const definition = definitions.get(each)
    if (definition !== undefined) return definition.name
  }
  return plain.name
}

function checkConstructed(
  aggregate: unknown,
  { definition, event, restores, aggregate: made }: Construction,
): asserts aggregate is Aggregate {
  if (made === undefined || aggregate !== made) {
    if (restores) refuseRestored(definition, aggregate)
    throw new ProgrammingError(`The constructor of '${definition.name}' returns another object: let it return nothing`)
  }
  const time = event.timestamp.getTime()
  const changed =
    made.id !== event.originatorId
      ? 'id'
      : made.version !== event.originatorVersion
        ? 'version'
        : !isTime(made.createdOn, time)
          ? 'createdOn'
          : !isTime(made.modifiedOn, time)
            ? 'modifiedOn'
            : undefined
  if (changed === undefined) return
  throw new ProgrammingError(
    `The class of '${definition.name}' has a field or sets a value '${changed}', which every aggregate has already: ` +
      'give it another name, or `declare` it',
  )
}

function refuseRestored({ name }: Definition, given: unknown): never {
  if (isPromise(given)) Promise.resolve(given).catch(() => undefined)
  throw new ProgrammingError(
    `static fromSnapshot of '${name}' must return, at once, the aggregate that it makes with \`new this(…)\`, and make one`,
  )
}

function isTime(value: unknown, time: number): boolean {
  return value instanceof Date && value.getTime() === time
}

/** An event that happens now. @param data  Frozen, and nobody else's. */
export function newEvent(
  originatorId: string,
  originatorVersion: number,
  topic: string,
  data: Record<string, unknown>,
): DomainEvent {
  return Object.freeze({
    originatorId,
    originatorVersion,
    topic,
    timestamp: new Date(),
    data,
    metadata: currentMetadata(),
  })
}

function eventOf(definition: Definition, event: DomainEvent): AggregateEvent {
  const found = resolveEvent(event)
  // All events of a Definition are AggregateEvents.
  if (found.aggregate === definition) return found as AggregateEvent
  throw new TopicError(`${described(event)} is no event of '${definition.name}'`)
}

/**
 * Applies an event by its body, and leaves version and modified time to the caller.
 *
 * @param event  Its data is used up.
 * @throws OriginatorVersionError  It is an event that only makes an aggregate.
 * @throws ProgrammingError  The body returns a promise.
 */
export function run({ body, topic }: AggregateEvent, aggregate: Aggregate, event: DomainEvent): unknown {
  if (body === undefined) {
    throw new OriginatorVersionError(`${described(event)} makes an aggregate, and this one is there already`)
  }
  return whileApplying(topic, () => body(aggregate, event.data))
}

/** What `change` returns, which applies an event: no other can happen in it. @throws ProgrammingError  It is a promise. */
export function whileApplying(topic: string, change: () => unknown): unknown {
  let result: unknown
  applying++
  try {
    result = change()
  } finally {
    applying--
  }
  if (isPromise(result)) {
    // Nobody will await it; refused here, its failure must not end the process as well.
    Promise.resolve(result).catch(() => undefined)
    throw new ProgrammingError(
      `The body of '${topic}' returns a promise, but an event is applied at once: await in an undecorated command first`,
    )
  }
  return result
}

function isPromise(result: unknown): boolean {
  return typeof result === 'object' && result !== null && typeof (result as { then?: unknown }).then === 'function'
}

function moveOn(aggregate: Aggregate, version: number, modifiedOn: Date): void {
  const own = aggregate as { version: number; modifiedOn: Date }
  own.version = version
  own.modifiedOn = modifiedOn
}

/**
 * Checks that an event can be applied to an aggregate.
 *
 * @throws OriginatorIdError  It is another aggregate's.
 * @throws OriginatorVersionError  It is not the next one.
 */
export function checkNext(name: string, { id, version }: Pick<Aggregate, 'id' | 'version'>, event: DomainEvent): void {
  if (event.originatorId !== id) {
    throw new OriginatorIdError(
      `${described(event)} is not of this aggregate, which is '${name}' ${JSON.stringify(id)}`,
    )
  }
  if (event.originatorVersion !== version + 1) refuseVersion(event, version + 1)
}

/** @throws OriginatorVersionError  Always. @param next  The version that it should have. */
export function refuseVersion(event: DomainEvent, next: number): never {
  throw new OriginatorVersionError(`${described(event)} can't be applied: the next version is ${next}`)
}

/** An event, as it appears in errors. */
export function described({ topic, originatorId, originatorVersion }: DomainEvent): string {
  return `Event '${topic}' of ${JSON.stringify(originatorId)}, version ${originatorVersion},`
}
