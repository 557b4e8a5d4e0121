import type { DomainEvent } from '../domain/event.js'
import type { Mapper } from './mapper.js'
import type { AggregateRecorder, SelectEventsOptions } from './recorders.js'
import type { Recording, StoredText } from './stored-event.js'

/** Stores domain events and gets them back: a mapper in front of a recorder. */
export class EventStore {
  readonly #mapper: Mapper
  readonly #recorder: AggregateRecorder
  readonly #takesText: boolean

  constructor(mapper: Mapper, recorder: AggregateRecorder) {
    this.#mapper = mapper
    this.#recorder = recorder
    this.#takesText = mapper.takesText
  }

  /**
   * Stores events, all or none.
   *
   * @returns A recording for each, in order; `[]` where the recorder gives no notification ids.
   * @throws RecordConflictError  A version is already recorded.
   */
  async put(domainEvents: readonly DomainEvent[]): Promise<Recording[]> {
    const storedEvents = domainEvents.map((event) => this.#mapper.toStoredEvent(event))
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
    const storedEvents = await this.#recorder.selectEvents(originatorId, options)
    return storedEvents.map((stored) => this.#mapper.toDomainEvent(stored))
  }

  /** As `get`, for a reader that uses the events up: not frozen, and seen by nobody else. */
  async take(originatorId: string, options?: SelectEventsOptions): Promise<DomainEvent[]> {
    const storedEvents =
      (this.#takesText ? await this.#selectTexts(originatorId, options) : undefined) ??
      (await this.#recorder.selectEvents(originatorId, options))
    return storedEvents.map((stored) => this.#mapper.decode(stored))
  }

  /** The events with their states as text; `undefined` where the recorder has no such thing, or a state may be damaged. */
  async #selectTexts(originatorId: string, options?: SelectEventsOptions): Promise<StoredText[] | undefined> {
    const storedTexts = await this.#recorder.selectTexts?.(originatorId, options)
    // text that is not UTF-8 comes with this character in place of what is wrong: the bytes tell which it is
    return storedTexts?.some(({ state }) => state.includes('\uFFFD')) ? undefined : storedTexts
  }
}
