import { AggregateTypeError, ProgrammingError, TopicError } from '../errors.js'
import type { DomainEvent } from './event.js'
import type { Upcast } from './upcasts.js'

/** One registered aggregate, of whatever shape. */
export interface AggregateDefinition {
  /** The aggregate's name: `'Dog'`. */
  readonly name: string
  /** What users have in hand: a class, for decorated ones that which `@aggregate` gave back, or a decider. */
  readonly aggregateClass: object
  /** Its events by name, inherited ones included. */
  readonly events: ReadonlyMap<string, EventDefinition>
  /**
   * What brings the state of a snapshot of class version n to n + 1, at index n - 1; `undefined` where nothing can. The
   * current version is one more than there are.
   */
  readonly snapshotUpcasts: readonly (Upcast | undefined)[]
  /**
   * Makes the aggregate from its first event, which is used up: its values become the aggregate's own.
   *
   * @throws OriginatorVersionError  It is no first event of this aggregate.
   */
  create(event: DomainEvent): object
  /**
   * Applies a later event, which is used up, and moves version and modified time on.
   *
   * @throws OriginatorIdError  The event is another aggregate's.
   * @throws OriginatorVersionError  The event is not the next one.
   * @throws TopicError  This aggregate has no such event.
   */
  apply(aggregate: object, event: DomainEvent): void
  /**
   * Checks that the state of such aggregates can be had, for snapshots and copies.
   *
   * @throws ProgrammingError  It can't: says what the class needs.
   */
  requireState(): void
  /**
   * An aggregate's own values, without id, version, times and pending events. The values in it are the aggregate's, not copies.
   *
   * @throws ProgrammingError  As `requireState`, or it has a property that can't be in a snapshot.
   */
  stateOf(aggregate: object): Record<string, unknown>
  /**
   * The aggregate with that state again, without pending events. Neither constructor nor events run, unless the class has a
   * `fromSnapshot` of its own.
   *
   * @param state  As `stateOf` gives it; used up: its values become the aggregate's own.
   * @throws ProgrammingError  As `requireState`, or what `fromSnapshot` gives is no such aggregate.
   */
  restore(origin: AggregateOrigin, state: Record<string, unknown>): object
}

/** What every aggregate has beside its state. */
export interface AggregateOrigin {
  readonly id: string
  /** Of its last event. */
  readonly version: number
  /** When its first event happened. */
  readonly createdOn: Date
  /** When its last event happened. */
  readonly modifiedOn: Date
}

/** One kind of event of one aggregate class. */
export interface EventDefinition {
  /** `<aggregate name>.<event name>`. */
  readonly topic: string
  /** The event's name: `'TrickAdded'`. */
  readonly name: string
  /** From 1; one more for each upcast. */
  readonly classVersion: number
  /** What brings data of class version n to n + 1, at index n - 1. */
  readonly upcasts: readonly Upcast[]
  readonly aggregate: AggregateDefinition
}

/**
 * The event that a topic stands for, aliases resolved; `undefined` for a topic that nothing is registered for.
 *
 * Called once for each event that is read: one look-up unless the topic is an alias.
 */
export function findEvent(topic: string): EventDefinition | undefined {
  // Streams are mostly of one kind of event; comparing costs a quarter of a look-up by text that was just read.
  if (topic === lastFound?.topic) return lastFound
  const found = events.get(topic)
  if (found === undefined) return findRenamed(topic)
  return (lastFound = found)
}

/** The aggregate that a name stands for, aliases resolved; `undefined` for a name that nothing is registered for. */
export function findAggregate(name: string): AggregateDefinition | undefined {
  const found = aggregates.get(name)
  if (found !== undefined || aliases.size === 0) return found
  for (const next of namesAfter(name)) {
    const current = aggregates.get(next)
    if (current !== undefined) return current
  }
  return undefined
}

/**
 * As `findEvent`, for an event that was read.
 *
 * @throws TopicError  Nothing is registered for its topic; names it and the originator.
 */
export function resolveEvent({ topic, originatorId }: DomainEvent): EventDefinition {
  const found = findEvent(topic)
  if (found !== undefined) return found
  throw new TopicError(
    `Topic ${quoted(topic)} of originator ${quoted(originatorId)} is not registered: import the class of that aggregate ` +
      'or list it in `static aggregates` of the application, or, if it has been renamed, use registerTopicAlias(old, new); ' +
      'if it is the topic of an EventSourcedLog, construct that first',
  )
}

/**
 * Lets events that were stored under a former name be read: of one event,
 * `registerTopicAlias('Dog.LearnedTrick', 'Dog.TrickAdded')`, or of all events of an aggregate,
 * `registerTopicAlias('Hound', 'Dog')`. The current name may be registered later, and may be an alias itself.
 *
 * @throws TopicError  The former name is in use, as a topic, an aggregate's name or an alias of something else.
 * @throws ProgrammingError  A name is empty or no text, or one names an event and the other an aggregate.
 */
export function registerTopicAlias(former: string, current: string): void {
  checkName('A topic', former)
  checkName('A topic', current)
  if (aliases.get(former) === current) return
  if (events.has(former) || aggregates.has(former) || aliases.has(former)) {
    throw new TopicError(`Topic ${quoted(former)} is in use: only a name that nothing has any more can be an alias`)
  }
  if (former === current || leadsTo(current, former)) {
    throw new TopicError(`Topic ${quoted(former)} can't be an alias of ${quoted(current)}, which leads back to it`)
  }
  // An aggregate's name may have a dot, and so may a log's topic; an event's topic always has one.
  if (former.includes('.') !== current.includes('.') && !aggregates.has(current) && !isLogTopic(current)) {
    throw new ProgrammingError(
      `Topic ${quoted(former)} can't be an alias of ${quoted(current)}: give two topics of events, or two aggregate names`,
    )
  }
  aliases.set(former, current)
  renamed.clear()
}

/**
 * Topics to look for where these are asked for: each under its present name and all former ones, since what was stored
 * before a renaming keeps the name that it has.
 */
export function everyNameOf(topics: readonly string[]): readonly string[] {
  if (aliases.size === 0) return topics
  const all = new Set<string>()
  for (const topic of topics) {
    let present = topic
    for (const name of namesAfter(topic)) present = name
    all.add(topic).add(present)
    for (const former of formerNamesOf(present)) all.add(former)
  }
  return [...all]
}

/**
 * Registers an aggregate class with all its events, or nothing.
 *
 * @throws TopicError  Its name, or the topic of one of its events, is taken.
 */
export function registerAggregate(definition: AggregateDefinition): void {
  const { name } = definition
  if (aggregates.has(name)) {
    throw new TopicError(`The aggregate name ${quoted(name)} is taken by another aggregate: give each its own`)
  }
  const taken = [name, ...[...definition.events.values()].map(({ topic }) => topic)].find(
    (topic) => aliases.has(topic) || events.has(topic),
  )
  if (taken !== undefined) {
    throw new TopicError(`The topic ${quoted(taken)} is taken, perhaps by registerTopicAlias(…): choose another name`)
  }
  aggregates.set(name, definition)
  for (const event of definition.events.values()) events.set(event.topic, event)
  renamed.clear()
}

/**
 * Registers a topic of events that stand for themselves, as those of a log, which make no aggregate. Again is no harm.
 *
 * @throws TopicError  It is an aggregate's name, the topic of one of its events, or an alias.
 * @throws ProgrammingError  It is empty or no text.
 */
export function registerLogTopic(topic: string): void {
  checkName('A topic', topic)
  if (isLogTopic(topic)) return
  if (events.has(topic) || aggregates.has(topic) || aliases.has(topic)) {
    throw new TopicError(`The topic ${quoted(topic)} is taken by an aggregate: choose another one for the log`)
  }
  const log = logOf(topic)
  logs.add(log)
  for (const event of log.events.values()) events.set(topic, event)
  renamed.clear()
}

/**
 * Checks the name of an aggregate, an event or a topic.
 *
 * @throws ProgrammingError  It is no text, is empty, or holds a NUL character, which no database stores.
 */
export function checkName(what: string, name: unknown): asserts name is string {
  if (typeof name !== 'string' || name === '' || name.includes('\0')) {
    throw new ProgrammingError(`${what} must be named by text that is not empty and has no NUL character`)
  }
}

/**
 * Checks the name of an event, which stands behind its aggregate's in a topic.
 *
 * @throws ProgrammingError  As `checkName`, or it has a dot.
 */
export function checkEventName(name: unknown): asserts name is string {
  checkName('An event', name)
  if (name.includes('.')) {
    throw new ProgrammingError(`Event ${quoted(name)}: leave the dot out, the aggregate's name is put before it`)
  }
}

const aggregates = new Map<string, AggregateDefinition>()
/** By topic; what is once registered stays. */
const events = new Map<string, EventDefinition>()
let lastFound: EventDefinition | undefined
const aliases = new Map<string, string>()
/** What aliases led to, so that a stream of old events walks them once. */
const renamed = new Map<string, EventDefinition>()

const logs = new Set<AggregateDefinition>()

function isLogTopic(topic: string): boolean {
  const found = events.get(topic)
  return found !== undefined && logs.has(found.aggregate)
}

/** What stands in an aggregate's place for the events of a log. */
function logOf(topic: string): AggregateDefinition {
  const refuse = (): never => {
    throw new AggregateTypeError(
      `The events of ${quoted(topic)} are those of a log, and make no aggregate: read them by an EventSourcedLog`,
    )
  }
  const refuseEvent = ({ originatorId }: DomainEvent): never => {
    throw new AggregateTypeError(
      `The events of ${quoted(originatorId)} are those of a log, ${quoted(topic)}, and make no aggregate: read them by an ` +
        'EventSourcedLog',
    )
  }
  const events = new Map<string, EventDefinition>()
  const log: AggregateDefinition = {
    name: topic,
    aggregateClass: Object,
    events,
    snapshotUpcasts: [],
    create: refuseEvent,
    apply: (_aggregate, event) => refuseEvent(event),
    requireState: refuse,
    stateOf: refuse,
    restore: refuse,
  }
  events.set(topic, { topic, name: topic, classVersion: 1, upcasts: [], aggregate: log })
  return log
}

function findRenamed(topic: string): EventDefinition | undefined {
  if (aliases.size === 0) return undefined
  const known = renamed.get(topic)
  if (known !== undefined) return known
  for (const name of namesAfter(topic)) {
    const event = events.get(name)
    if (event === undefined) continue
    renamed.set(topic, event)
    return event
  }
  return undefined
}

function leadsTo(from: string, to: string): boolean {
  for (const name of namesAfter(from)) if (name === to) return true
  return false
}

/** Each name that a name was changed to, one change after the other. */
function* namesAfter(name: string): Generator<string> {
  const seen = new Set([name])
  for (let next = nameAfter(name); next !== undefined && !seen.has(next); next = nameAfter(next)) {
    seen.add(next)
    yield next
  }
}

/** Each name that leads to that one. */
function formerNamesOf(present: string): ReadonlySet<string> {
  const found = new Set<string>()
  const look = (name: string) => {
    for (const former of namesBefore(name)) {
      // a name that an alias of its own takes elsewhere
      if (found.has(former) || former === present || !leadsTo(former, present)) continue
      found.add(former)
      look(former)
    }
  }
  look(present)
  return found
}

function* namesBefore(name: string): Generator<string> {
  const dot = name.lastIndexOf('.')
  for (const [former, current] of aliases) {
    if (current === name) yield former
    if (dot >= 0 && current === name.slice(0, dot)) yield former + name.slice(dot)
  }
}

function nameAfter(name: string): string | undefined {
  const alias = aliases.get(name)
  if (alias !== undefined) return alias
  const dot = name.lastIndexOf('.')
  const aggregateAlias = dot < 0 ? undefined : aliases.get(name.slice(0, dot))
  return aggregateAlias === undefined ? undefined : aggregateAlias + name.slice(dot)
}

function quoted(name: string): string {
  return JSON.stringify(name)
}
