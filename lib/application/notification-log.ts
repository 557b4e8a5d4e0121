import { everyNameOf } from '../domain/topics.js'
import { ProgrammingError } from '../errors.js'
import type { ApplicationRecorder, SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification } from '../persistence/stored-event.js'

/** A part of the order of all events. */
export interface Section {
  /** `first,last` of the notifications in it; `null` when there are none. */
  readonly id: string | null
  readonly items: readonly Notification[]
  /** The section to ask for next; `null` where this one was not full, so that there was nothing after it. */
  readonly nextId: string | null
}

/**
 * All events of an application, in one order, in parts of limited size.
 *
 * @see Python eventsourcing, `LocalNotificationLog`: same sections.
 */
export class NotificationLog {
  readonly #recorder: Pick<ApplicationRecorder, 'selectNotifications'>
  /** How many notifications a section has at most. */
  readonly sectionSize: number

  constructor(recorder: Pick<ApplicationRecorder, 'selectNotifications'>, sectionSize: number) {
    this.#recorder = recorder
    this.sectionSize = sectionSize
  }

  /**
   * The section of that id.
   *
   * @param id  `'1,10'`: the first and the last notification id; at most `sectionSize` of them come.
   * @throws ProgrammingError  The id has another form.
   */
  async section(id: string): Promise<Section> {
    const [, first, last] = /^(-?\d{1,15}),(-?\d{1,15})$/.exec(id) ?? []
    if (first === undefined || last === undefined) {
      throw new ProgrammingError("A section's id is two integers with a comma between them, such as 1,10")
    }
    const start = Math.max(1, Number(first))
    const limit = Math.min(Math.max(0, Number(last) - start + 1), this.sectionSize)
    const items = await this.#recorder.selectNotifications({ start, limit })
    const [firstItem, lastItem] = [items[0], items.at(-1)]
    if (!firstItem || !lastItem) return { id: null, items, nextId: null }
    return {
      id: `${firstItem.id},${lastItem.id}`,
      items,
      nextId: items.length === limit ? `${lastItem.id + 1},${lastItem.id + limit}` : null,
    }
  }

  /**
   * Notifications, by id.
   *
   * @param options  Bounds as a recorder takes them; `limit` is the section size by default, which is also the most. `topics`
   *   are events, found under whatever name they were stored: see `registerTopicAlias`.
   * @throws ProgrammingError  `limit` is above the section size, or a bound is no integer.
   */
  async select({ limit = this.sectionSize, topics, ...bounds }: Partial<SelectNotificationsOptions> = {}): Promise<
    Notification[]
  > {
    if (limit > this.sectionSize) {
      throw new ProgrammingError(`Requested limit ${limit} greater than section size ${this.sectionSize}`)
    }
    return this.#recorder.selectNotifications({ ...bounds, limit, topics: withFormerNames(topics) })
  }

  /**
   * All notifications from `start` (default: the first) to the last there is when the reader gets there.
   *
   * Pages grow while it reads on, from a section to a thousand: a reader of a few waits for a few. Not so where states are
   * long: a page is held at once.
   */
  async *read({ start = 1 }: { start?: number | undefined } = {}): AsyncGenerator<Notification, void, undefined> {
    let limit = this.sectionSize
    for (let next = start; ;) {
      const items = await this.#recorder.selectNotifications({ start: next, limit })
      for (const item of items) yield item // `yield*` takes half as long again
      const last = items.at(-1)
      // not where a page is not full: much may have come while its reader was busy with it
      if (!last || items.length < this.sectionSize) return
      next = last.id + 1
      limit = Math.max(this.sectionSize, Math.min(limit * 4, mostOf(items)))
    }
  }
}

/** What is no list of texts is the recorder's to refuse. */
function withFormerNames(topics: readonly string[] | undefined): readonly string[] | undefined {
  const areTexts = Array.isArray(topics) && topics.every((topic: unknown) => typeof topic === 'string')
  return areTexts ? everyNameOf(topics) : topics
}

const pageAtMost = { notifications: 1000, bytes: 2 ** 22 }

/** How many notifications like these a page may have. */
function mostOf(items: readonly Notification[]): number {
  let bytes = 0
  for (const { state } of items) bytes += state.length
  return Math.min(pageAtMost.notifications, Math.floor((pageAtMost.bytes * items.length) / bytes))
}
