import type { DomainEvent } from '../domain/event.js'
import { Mapper } from './mapper.js'
import { doubt, doubtful } from './outcomes.js'
import type { AggregateRecorder, SelectEventsOptions } from './recorders.js'
import type { Recording, StoredEvent, StoredText } from './stored-event.js'

/** Stores domain events and gets them back: a mapper in front of a recorder. */
export class EventStore {
  readonly #mapper: Mapper
  readonly #recorder: AggregateRecorder
  readonly #decodesText: boolean
  readonly #mapsText: boolean
  /** As what events were stored that may be stored: mapped anew, those that are encrypted would not be the same. */
  readonly #inDoubt = new WeakMap<DomainEvent, StoredEvent>()
  #isAnyInDoubt = false

  constructor(mapper: Mapper, recorder: AggregateRecorder) {
    this.#mapper = mapper
    this.#recorder = recorder
    this.#decodesText = mapper.takesText
    // a subclass's own takes bytes
    this.#mapsText = mapper.takesText && mapper.toDomainEvent === Mapper.prototype.toDomainEvent
  }

  /**
   * Stores events, all or none.
   *
   * @param storedEvents  What they are stored as, by `toStoredEvents`.
   * @returns A recording for each, in order; `[]` where the recorder gives no notification ids.
   * @throws RecordConflictError  A version is already recorded.
   */
  async put(
    domainEvents: readonly DomainEvent[],
    storedEvents: readonly StoredEvent[] = this.toStoredEvents(domainEvents),
  ): Promise<Recording[]> {
    let ids: number[]
    try {
      ids = await this.#recorder.insertEvents(storedEvents)
    } catch (error) {
      const isInDoubt = new Set(doubtful(storedEvents))
      storedEvents.forEach((stored, index) => {
        if (isInDoubt.has(stored)) this.#doubt(domainEvents[index] as DomainEvent, stored)
      })
      throw error
    }
    if (this.#isAnyInDoubt) for (const event of domainEvents) this.#inDoubt.delete(event)
    return ids.map((id, index) => {
      const { originatorId, originatorVersion, topic, state } = storedEvents[index] as (typeof storedEvents)[number]
      return {
        domainEvent: domainEvents[index] as DomainEvent,
        notification: { id, originatorId, originatorVersion, topic, state },
      }
    })
  }

  /** Notes that these events may be stored or not: put again, they are taken for stored if they are found. */
  doubt(domainEvents: readonly DomainEvent[], storedEvents: readonly StoredEvent[]): void {
    doubt(storedEvents)
    storedEvents.forEach((stored, index) => {
      this.#doubt(domainEvents[index] as DomainEvent, stored)
    })
  }

  /** One originator's events, by version; frozen. */
  async get(originatorId: string, options?: SelectEventsOptions): Promise<DomainEvent[]> {
    let events: DomainEvent[] = []
    const begin = () => {
      const taken: DomainEvent[] = (events = [])
      return (stored: readonly (StoredEvent | StoredText)[]) => {
        for (const each of stored) taken.push(this.#mapper.toDomainEvent(each))
      }
    }
    await this.#each(this.#mapsText, begin, originatorId, options)
    return events
  }

  /**
   * As `get`, for a reader that uses the events up as they come in: not frozen, and seen by nobody else.
   *
   * @param begin  Gives what takes the events, some at a time. Called again where they are read anew, from the first: what was
   *   taken before counts for nothing then.
   */
  async take(
    originatorId: string,
    begin: () => (events: readonly DomainEvent[]) => void,
    options?: SelectEventsOptions,
  ): Promise<void> {
    const beginDecoding = () => {
      const take = begin()
      return (stored: readonly (StoredEvent | StoredText)[]) => {
        take(stored.map((each) => this.#mapper.decode(each)))
      }
    }
    await this.#each(this.#decodesText, beginDecoding, originatorId, options)
  }

  /** Whether anything is stored of an originator. */
  async has(originatorId: string): Promise<boolean> {
    return (await this.#recorder.selectEvents(originatorId, { limit: 1 })).length > 0
  }

  #doubt(domainEvent: DomainEvent, stored: StoredEvent): void {
    this.#isAnyInDoubt = true
    this.#inDoubt.set(domainEvent, stored)
  }

  /** What these events are stored as; those that may be stored, as before. */
  toStoredEvents(domainEvents: readonly DomainEvent[]): StoredEvent[] {
    const storedEvents = this.#mapper.toStoredEvents(domainEvents)
    if (!this.#isAnyInDoubt) return storedEvents
    return storedEvents.map((stored, index) => this.#inDoubt.get(domainEvents[index] as DomainEvent) ?? stored)
  }

  async #each(
    asText: boolean,
    begin: () => (stored: readonly (StoredEvent | StoredText)[]) => void,
    originatorId: string,
    options?: SelectEventsOptions,
  ): Promise<void> {
    if (asText && (await this.#recorder.selectTexts?.(originatorId, begin, options))) return
    begin()(await this.#recorder.selectEvents(originatorId, options))
  }
}
