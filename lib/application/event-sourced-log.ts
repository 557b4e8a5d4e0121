import { frozenCopy, isPlainObject } from '../domain/copy.js'
import type { DomainEvent } from '../domain/event.js'
import { currentMetadata } from '../domain/metadata.js'
import { registerLogTopic } from '../domain/topics.js'
import { ProgrammingError } from '../errors.js'
import type { EventStore } from '../persistence/event-store.js'
import type { SelectEventsOptions } from '../persistence/recorders.js'

/**
 * A list of events that make no aggregate, all of one topic: which dogs there are, for example. It is a stream like any
 * other, under an id of its own; what it holds is read from the database each time.
 *
 * Its events are saved by `app.save(aggregate, logged)`, with what they tell of or not at all.
 *
 * @typeParam Data  Its events' data, a plain object.
 * @see Python eventsourcing, `EventSourcedLog`.
 */
export interface EventSourcedLog<Data extends object = Record<string, unknown>> {
  /** Whose events: the log's own id. */
  readonly originatorId: string
  /** The topic of its events. */
  readonly topic: string

  /**
   * Makes the log's next event, which is not saved: `await app.save(dog, await log.trigger({ dogId: dog.id }))`.
   *
   * Its version is the one after the last that is stored, seen from the current transaction. So two that are made before
   * one of them is saved have the same, and the one that is saved second is a `RecordConflictError`; give the next
   * `version` where you save several at once.
   *
   * Data is copied, and time and metadata are taken, when it is called.
   *
   * @param options  `version`: its version, where you know it; nothing is read then.
   * @throws ProgrammingError  The data is no plain object or holds what can't be kept, or the version is no integer from 1.
   */
  trigger(data: Data, options?: { readonly version?: number | undefined }): Promise<DomainEvent<Data>>

  /** Its events by version; frozen. */
  get(options?: SelectEventsOptions): Promise<DomainEvent<Data>[]>

  /** Its first event; `undefined` where there is none. */
  first(): Promise<DomainEvent<Data> | undefined>

  /** Its last event; `undefined` where there is none. */
  last(): Promise<DomainEvent<Data> | undefined>
}

/** `new EventSourcedLog(…)`, or without `new`. */
export interface EventSourcedLogClass {
  /**
   * Registers the topic: construct it before its events are read, by whatever.
   *
   * @param events  `app.events`.
   * @param originatorId  The log's own id: text that is not empty, a UUID of the log's name for example (`uuidv5`).
   * @param topic  The topic of its events: `'DogRegistered'`. Several logs may share one.
   * @throws TopicError  The topic is that of an aggregate or its events.
   * @throws ProgrammingError  An argument is none of these.
   */
  new <Data extends object = Record<string, unknown>>(
    events: Pick<EventStore, 'get'>,
    originatorId: string,
    topic: string,
  ): EventSourcedLog<Data>
  <Data extends object = Record<string, unknown>>(
    events: Pick<EventStore, 'get'>,
    originatorId: string,
    topic: string,
  ): EventSourcedLog<Data>
  // as of any generic class, so that a subclass may say what its data is
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly prototype: EventSourcedLog<any>
}

class Log {
  readonly #events: Pick<EventStore, 'get'>
  readonly originatorId: string
  readonly topic: string

  constructor(events: Pick<EventStore, 'get'>, originatorId: string, topic: string) {
    if (typeof events?.get !== 'function') throw new ProgrammingError('EventSourcedLog takes app.events first')
    if (typeof originatorId !== 'string' || originatorId === '' || originatorId.includes('\0')) {
      throw new ProgrammingError("An EventSourcedLog's originatorId is text that is not empty and has no NUL character")
    }
    registerLogTopic(topic)
    this.#events = events
    this.originatorId = originatorId
    this.topic = topic
  }

  async trigger(
    data: Record<string, unknown>,
    { version }: { readonly version?: number | undefined } = {},
  ): Promise<DomainEvent> {
    const { originatorId, topic } = this
    if (!isPlainObject(data)) throw new ProgrammingError(`Event '${topic}': its data is a plain object, { dogId: … }`)
    if (version !== undefined && (!Number.isSafeInteger(version) || version < 1)) {
      throw new ProgrammingError(`Event '${topic}': the option version must be an integer from 1`)
    }
    const happened = {
      timestamp: new Date(),
      data: frozenCopy(data, `Event '${topic}'`),
      metadata: currentMetadata(),
    }
    const originatorVersion = version ?? ((await this.last())?.originatorVersion ?? 0) + 1
    return Object.freeze({ originatorId, originatorVersion, topic, ...happened })
  }

  async get(options?: SelectEventsOptions): Promise<DomainEvent[]> {
    return this.#events.get(this.originatorId, options)
  }

  async first(): Promise<DomainEvent | undefined> {
    return (await this.get({ limit: 1 }))[0]
  }

  async last(): Promise<DomainEvent | undefined> {
    return (await this.get({ desc: true, limit: 1 }))[0]
  }
}

/** The class of `EventSourcedLog`. */
export const EventSourcedLog = new Proxy(Log, {
  apply: (log, _this, args) => new log(...(args as ConstructorParameters<typeof Log>)),
}) as unknown as EventSourcedLogClass

// so that `log.constructor` is what users know
Object.defineProperty(Log.prototype, 'constructor', { value: EventSourcedLog, writable: true, configurable: true })
