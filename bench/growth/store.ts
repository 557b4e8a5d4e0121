import { type Application, type DomainEvent, JsonTranscoder, Mapper, type StoredEvent } from 'eventsourcing-drizzle'
import { randomUUID } from 'node:crypto'
import { newDog } from '../domain.js'
import type { EventRow } from '../raw-dog.js'

/** The two tables of events that grow side by side: this library's, and one by hand with the same events. */
export interface Store {
  readonly app: Application
  readonly raw: RawStore
  /** Adds these events to both tables. */
  add(events: readonly StoredEvent[]): Promise<void>
  /** Lets the database do what it does after many changes, so that it does not do it while something is measured. */
  settle(): Promise<void>
  close(): Promise<void>
}

/** What is done by hand: prepared statements, rows as arrays. */
export interface RawStore {
  /** Stores one event. */
  insert(row: EventRow): unknown
  /** Stores events of so many callers, each row one's own: as fast as the driver has it. */
  insertTogether(rows: readonly EventRow[]): unknown
  /** The events of a stream: version, topic, state. */
  load(id: string): unknown[] | Promise<unknown[]>
  /** So many notifications from that id on. */
  page(start: number, limit: number): unknown[] | Promise<unknown[]>
}

/** Makes the events that fill a store, and remembers the streams. */
export class Streams {
  readonly ids: string[] = []
  readonly #states: readonly StoredEvent[]

  constructor() {
    const mapper = new Mapper({ transcoder: new JsonTranscoder() })
    this.#states = newDog(eventsInStream)
      .collectEvents()
      .map((event: DomainEvent) => mapper.toStoredEvent(event))
  }

  /**
   * So many more events, of new streams of ten: first the first event of each stream, then the second of each, and so on.
   * In the order of ids the events of a stream are apart, as they are where many aggregates are alive at a time.
   */
  next(events: number): StoredEvent[] {
    const ids = Array.from({ length: Math.ceil(events / eventsInStream) }, () => randomUUID())
    for (const id of ids) this.ids.push(id)
    const all = this.#states.flatMap((state) => ids.map((originatorId) => ({ ...state, originatorId })))
    return all.slice(0, events)
  }

  /** A stream that was made some time, at random. */
  random(): string {
    return this.ids[Math.floor(Math.random() * this.ids.length)]!
  }
}

/** How many events a stream has when it is made. */
export const eventsInStream = 10
