import type { SelectEventsOptions, SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification, StoredEvent, Tracking } from '../persistence/stored-event.js'
import { IntegrityError } from '../errors.js'
import { alreadyRecorded, findTwice, standsTwice } from '../persistence/conflicts.js'

/** How far everything had come at one moment. */
export interface Mark {
  readonly lengths: ReadonlyMap<string, number>
  readonly tracking: ReadonlyMap<string, ReadonlyMap<string, number>>
}

/**
 * Events tables and tracking tables by name.
 *
 * There is one writer at a time, so what is not committed stands at the end: rolling back cuts it off, and readers
 * outside stop before it.
 */
export class MemoryTables {
  readonly #events = new Map<string, EventsTable>()
  #tracking = new Map<string, Map<string, number>>()
  #committed: Mark = { lengths: new Map(), tracking: new Map() }

  mark(): Mark {
    return {
      lengths: new Map([...this.#events].map(([name, { rows }]) => [name, rows.length])),
      tracking: new Map([...this.#tracking].map(([name, positions]) => [name, new Map(positions)])),
    }
  }

  commit(): void {
    this.#committed = this.mark()
  }

  backTo(mark: Mark): void {
    for (const [name, table] of this.#events) table.cutTo(mark.lengths.get(name) ?? 0)
    this.#tracking = new Map([...mark.tracking].map(([name, positions]) => [name, new Map(positions)]))
  }

  /** Does all of `work`, or, where it throws, nothing. */
  atomically<T>(work: () => T): T {
    const mark = this.mark()
    try {
      return work()
    } catch (error) {
      this.backTo(mark)
      throw error
    }
  }

  /** Adds events; their ids, contiguous, in the same order. */
  insertEvents(table: string, events: readonly StoredEvent[]): number[] {
    const target = this.#table(table)
    const twice = findTwice(events)
    for (const event of events) {
      if (target.has(event)) throw alreadyRecorded(event, target.lastVersion(event))
      if (event === twice) throw standsTwice(event, target.lastVersion(event))
    }
    return events.map((event) => target.add(event))
  }

  /** Adds an event, or puts it in the place of the one of that version. */
  replaceEvent(table: string, event: StoredEvent): void {
    this.#table(table).add(event)
  }

  selectEvents(
    table: string,
    originatorId: string,
    options: SelectEventsOptions,
    committedOnly: boolean,
  ): StoredEvent[] {
    const { gt, lte, desc = false, limit } = options
    const last = this.#last(table, committedOnly)
    const found = this.#table(table)
      .stream(originatorId, last)
      .filter(({ originatorVersion: version }) => version > (gt ?? -Infinity) && version <= (lte ?? Infinity))
      .sort((a, b) => (desc ? b.originatorVersion - a.originatorVersion : a.originatorVersion - b.originatorVersion))
    return found.slice(0, limit ?? undefined).map(({ originatorId, originatorVersion, topic, state }) => ({
      originatorId,
      originatorVersion,
      topic,
      state: state.slice(),
    }))
  }

  selectNotifications(table: string, options: SelectNotificationsOptions, committedOnly: boolean): Notification[] {
    const { limit, topics = [], inclusiveOfStart = true } = options
    const first = Math.max(1, (options.start ?? 1) + (inclusiveOfStart || options.start == null ? 0 : 1))
    const last = Math.min(options.stop ?? Infinity, this.#last(table, committedOnly))
    const found: Notification[] = []
    // ids are 1, 2, 3, … here, so a position is an index
    for (let id = first; id <= last && found.length < limit; id += 1) {
      const row = this.#table(table).rows[id - 1] as Notification
      if (topics.length === 0 || topics.includes(row.topic)) found.push({ ...row, state: row.state.slice() })
    }
    return found
  }

  maxNotificationId(table: string, committedOnly: boolean): number | null {
    return this.#last(table, committedOnly) || null
  }

  insertTracking(table: string, { applicationName, notificationId }: Tracking): void {
    const positions = this.#tracking.get(table) ?? new Map<string, number>()
    const tracked = positions.get(applicationName) ?? 0
    if (notificationId <= tracked) {
      throw new IntegrityError(
        `Tracking of ${JSON.stringify(applicationName)} is at ${tracked} already, so ${notificationId} can't be recorded`,
      )
    }
    this.#tracking.set(table, positions.set(applicationName, notificationId))
  }

  maxTrackingId(table: string, applicationName: string, committedOnly: boolean): number | null {
    const tables = committedOnly ? this.#committed.tracking : this.#tracking
    return tables.get(table)?.get(applicationName) ?? null
  }

  #last(table: string, committedOnly: boolean): number {
    return committedOnly ? (this.#committed.lengths.get(table) ?? 0) : this.#table(table).rows.length
  }

  #table(name: string): EventsTable {
    let table = this.#events.get(name)
    if (!table) this.#events.set(name, (table = new EventsTable()))
    return table
  }
}

class EventsTable {
  readonly rows: Notification[] = []
  readonly streams = new Map<string, Map<number, Notification>>()
  /** What a row was put in the place of. */
  readonly #replaced = new WeakMap<Notification, Notification>()

  /** One originator's rows, as they were up to that one. */
  stream(originatorId: string, last: number): Notification[] {
    const rows: Notification[] = []
    for (let row of this.streams.get(originatorId)?.values() ?? []) {
      for (let before = this.#replaced.get(row); row.id > last && before; before = this.#replaced.get(row)) row = before
      if (row.id <= last) rows.push(row)
    }
    return rows
  }

  has({ originatorId, originatorVersion }: StoredEvent): boolean {
    return this.streams.get(originatorId)?.has(originatorVersion) ?? false
  }

  lastVersion({ originatorId }: StoredEvent): number | undefined {
    const versions = [...(this.streams.get(originatorId)?.keys() ?? [])]
    return versions.length === 0 ? undefined : versions.reduce((last, version) => Math.max(last, version))
  }

  add({ originatorId, originatorVersion, topic, state }: StoredEvent): number {
    const stream = this.streams.get(originatorId) ?? new Map<number, Notification>()
    const id = this.rows.length + 1
    const row = { id, originatorId, originatorVersion, topic, state: Uint8Array.from(state) }
    this.rows.push(row)
    const before = stream.get(originatorVersion)
    if (before) this.#replaced.set(row, before)
    this.streams.set(originatorId, stream.set(originatorVersion, row))
    return id
  }

  cutTo(length: number): void {
    for (const row of this.rows.splice(length).reverse()) {
      const { originatorId, originatorVersion } = row
      const stream = this.streams.get(originatorId)
      const before = this.#replaced.get(row)
      if (before) stream?.set(originatorVersion, before)
      else stream?.delete(originatorVersion)
      if (stream?.size === 0) this.streams.delete(originatorId)
    }
  }
}
