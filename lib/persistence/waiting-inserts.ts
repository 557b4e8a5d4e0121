import type { StoredEvent } from './stored-event.js'

/** Events that are to be inserted later, and the position that they come from if there is one. */
export interface WaitingInsert<Connection> {
  /** The table of events, by a text that is this table's alone. */
  readonly table: string
  readonly events: readonly StoredEvent[]
  /** Inserts events of that table, all or none; also those of others, which waited with them. */
  insert(connection: Connection, events: readonly StoredEvent[]): unknown
  /** Records the position. */
  insertTracking?(connection: Connection): unknown
}

/**
 * The inserts that wait in a transaction, in the order in which they came.
 *
 * Written, those of one table are one insert.
 */
export class WaitingInserts<Connection> {
  #inserts: WaitingInsert<Connection>[] = []

  get isEmpty(): boolean {
    return this.#inserts.length === 0
  }

  add(insert: WaitingInsert<Connection>): void {
    // whoever gave the bytes may use them again
    const events = insert.events.map((event) => ({ ...event, state: Uint8Array.from(event.state) }))
    this.#inserts.push({ ...insert, events })
  }

  clear(): void {
    this.#inserts = []
  }

  /**
   * Writes what waits now. What could not be written, and what came after it, goes on waiting.
   *
   * @param connection  Asked before each insert: the transaction may have ended meanwhile, and throws then.
   */
  async write(connection: () => Connection): Promise<void> {
    const taken = this.#inserts.length
    const left = byTable(this.#inserts)
    try {
      for (let [next] = left; next; [next] = left) {
        if (next.events.length > 0) await next.insert(connection(), next.events)
        await next.insertTracking?.(connection())
        left.shift()
      }
    } finally {
      // what is being written stays in the list until it is: a flush that is called meanwhile has to wait for it
      this.#inserts = [...left, ...this.#inserts.slice(taken)]
    }
  }
}

/** One insert for each table of events, and after them the positions, one by one. */
function byTable<Connection>(inserts: readonly WaitingInsert<Connection>[]): WaitingInsert<Connection>[] {
  const events = new Map<string, StoredEvent[]>()
  const ofTables: WaitingInsert<Connection>[] = []
  const positions: WaitingInsert<Connection>[] = []
  for (const waiting of inserts) {
    let together = events.get(waiting.table)
    if (!together) {
      events.set(waiting.table, (together = []))
      ofTables.push({ ...waiting, events: together, insertTracking: undefined })
    }
    for (const event of waiting.events) together.push(event)
    if (waiting.insertTracking) positions.push({ ...waiting, events: [] })
  }
  return [...ofTables, ...positions]
}
