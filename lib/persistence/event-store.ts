import type { DomainEvent } from '../domain/event.js'
import { Mapper } from './mapper.js'
import type { AggregateRecorder, SelectEventsOptions } from './recorders.js'
import type { Recording, StoredEvent, StoredText } from './stored-event.js'

/** Stores domain events and gets them back: a mapper in front of a recorder. */
export class EventStore {
  readonly #mapper: Mapper
  readonly #recorder: AggregateRecorder
  readonly #decodesText: boolean
  readonly #mapsText: boolean

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
   * @returns A recording for each, in order; `[]` where the recorder gives no notification ids.
   * @throws RecordConflictError  A version is already recorded.
   */
  async put(domainEvents: readonly DomainEvent[]): Promise<Recording[]> {
    const storedEvents = this.#mapper.toStoredEvents(domainEvents)
    const ids = await this.#recorder.insertEvents(storedEvents)
    return ids.map((id, index) => {
      const { originatorId, originatorVersion, topic, state } = storedEvents[index] as (typeof storedEvents)[number]
      return {
        domainEvent: domainEvents[index] as DomainEvent,
        notification: { id, originatorId, originatorVersion, topic, state },
      }
    })
  }

  /** One originator's events, by version; frozen. */
  async get(originatorId: string, options?: SelectEventsOptions): Promise<DomainEvent[]> {
    const stored = await this.#select(this.#mapsText, originatorId, options)
    return stored.map((each) => this.#mapper.toDomainEvent(each))
  }

  /** As `get`, for a reader that uses the events up: not frozen, and seen by nobody else. */
  async take(originatorId: string, options?: SelectEventsOptions): Promise<DomainEvent[]> {
    const stored = await this.#select(this.#decodesText, originatorId, options)
    return stored.map((each) => this.#mapper.decode(each))
  }

  async #select(
    asText: boolean,
    originatorId: string,
    options?: SelectEventsOptions,
  ): Promise<readonly (StoredEvent | StoredText)[]> {
    const storedTexts = asText ? await this.#recorder.selectTexts?.(originatorId, options) : undefined
    return storedTexts ?? this.#recorder.selectEvents(originatorId, options)
  }
}
