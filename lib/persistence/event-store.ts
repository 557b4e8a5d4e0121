import type { DomainEvent } from '../domain/event.js'
import { Mapper } from './mapper.js'
import { doubt, doubtful } from './outcomes.js'
import type { AggregateRecorder, SelectEventsOptions } from './recorders.js'
import { type Awaitable, isPromise } from './stages.js'
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
   * @param given  What they are stored as, by `toStoredEvents`.
   * @returns A recording for each, in order; `[]` where the recorder gives no notification ids.
   * @throws RecordConflictError  A version is already recorded.
   */
  async put(
    domainEvents: readonly DomainEvent[],
    given: Awaitable<readonly StoredEvent[]> = this.toStoredEvents(domainEvents),
  ): Promise<Recording[]> {
    const storedEvents = isPromise(given) ? await given : given
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

  /** Whether one of these may be stored already. */
  areInDoubt(domainEvents: readonly DomainEvent[]): boolean {
    return this.#isAnyInDoubt && domainEvents.some((event) => this.#inDoubt.has(event))
  }

  /** One originator's events, by version; frozen. */
  async get(originatorId: string, options?: SelectEventsOptions): Promise<DomainEvent[]> {
    if (this.#mapsText && this.#recorder.selectTexts) {
      let events: DomainEvent[] = []
      const begin = () => {
        const taken: DomainEvent[] = (events = [])
        return (stored: readonly StoredText[]) => {
          for (const each of stored) taken.push(this.#mapper.toDomainEvent(each))
        }
      }
      if (await this.#recorder.selectTexts(originatorId, begin, options)) return events
    }
    return this.#mapper.openEvents(await this.#recorder.selectEvents(originatorId, options))
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
      return (stored: readonly StoredText[]) => {
        take(stored.map((each) => this.#mapper.decode(each)))
      }
    }
    if (this.#decodesText && (await this.#recorder.selectTexts?.(originatorId, beginDecoding, options))) return
    const opened = this.#mapper.openEvents(await this.#recorder.selectEvents(originatorId, options), 'decode')
    const events = isPromise(opened) ? await opened : opened
    begin()(events)
  }

  /** Whether anything is stored of an originator. */
  async has(originatorId: string): Promise<boolean> {
    return (await this.#recorder.selectEvents(originatorId, { limit: 1 })).length > 0
  }

  #doubt(domainEvent: DomainEvent, stored: StoredEvent): void {
    this.#isAnyInDoubt = true
    this.#inDoubt.set(domainEvent, stored)
  }

  /** What these events are stored as; those that may be stored, as before. A promise where the cipher gives promises. */
  toStoredEvents(domainEvents: readonly DomainEvent[]): Awaitable<StoredEvent[]> {
    const storedEvents = this.#mapper.sealEvents(domainEvents)
    if (!this.#isAnyInDoubt) return storedEvents
    const asBefore = (all: StoredEvent[]) =>
      all.map((stored, index) => this.#inDoubt.get(domainEvents[index] as DomainEvent) ?? stored)
    return isPromise(storedEvents) ? storedEvents.then(asBefore) : asBefore(storedEvents)
  }
}
