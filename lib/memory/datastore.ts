import { InterfaceError, NotSupportedError, ProgrammingError } from '../errors.js'
import { TransactionalDatastore } from '../persistence/datastore.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { Transaction, Unit } from '../persistence/transaction.js'
import { Transactions } from '../persistence/transactions.js'
import type { StoredEvent, Tracking } from '../persistence/stored-event.js'
import { Turns } from '../persistence/turns.js'
import type { WaitingInsert } from '../persistence/waiting-inserts.js'
import { type MemorySession, type MemorySessionByHand, memorySession, memorySessionByHand } from './session.js'
import { MemoryTables } from './tables.js'

/** What a recorder inserts, all or nothing: events, and the position that they come from if there is one. */
export interface MemoryInsert {
  readonly table: string
  readonly events: readonly StoredEvent[]
  readonly tracking?: { readonly table: string; readonly position: Tracking } | undefined
}

/**
 * Tables in memory, and their transactions: the reference for every other datastore.
 *
 * One writer at a time, in turn; readers outside see what is committed, and never wait.
 */
export class MemoryDatastore extends TransactionalDatastore<MemorySession, MemoryTables, MemorySessionByHand> {
  readonly dialect = 'memory'
  readonly capabilities = { concurrentWriters: false, ownTables: false }
  readonly #tables = new MemoryTables()
  readonly #writer: Turns
  protected readonly transactions: Transactions<MemorySession, MemoryTables>
  #closing: Promise<void> | undefined

  /**
   * @param options  `poolTimeoutMs`: how long to wait for the writer, in ms (default 30000). `autoflush`: whether saves in a
   *   transaction are written at once (default true).
   */
  constructor({
    poolTimeoutMs = 30_000,
    autoflush = true,
  }: { poolTimeoutMs?: number | undefined; autoflush?: boolean | undefined } = {}) {
    super()
    this.#writer = new Turns('the writer of the memory datastore', poolTimeoutMs)
    this.transactions = new Transactions<MemorySession, MemoryTables>({
      timeoutMs: poolTimeoutMs,
      translate: (error) => error,
      begin: async (transaction, options) => {
        if (options.accessMode === 'read only') {
          throw new NotSupportedError('accessMode "read only" is not supported in memory; commit: false is')
        }
        this.#requireOpen()
        await this.#writer.take()
        return this.#unit(transaction, () => {
          this.#writer.giveBack()
        })
      },
    })
    this.autoflush = autoflush
  }

  /** Reads: everything inside the current transaction, what is committed outside of one. */
  async read<T>(work: (tables: MemoryTables, committedOnly: boolean) => T): Promise<T> {
    const transaction = this.transactions.current()
    // who has only read so far has not taken the writer
    if (transaction && !transaction.isIdle) return transaction.take((tables) => work(tables, false))
    this.#requireOpen()
    return work(this.#tables, true)
  }

  /** Writes inside the current transaction, or in a turn of its own. `work` is synchronous: all or nothing. */
  async write<T>(work: (tables: MemoryTables) => T): Promise<T> {
    const transaction = this.transactions.current()
    if (transaction) return transaction.write((tables) => tables.atomically(() => work(tables)))
    this.#requireOpen()
    return this.#writer.during(() => {
      const result = this.#tables.atomically(() => work(this.#tables))
      this.#tables.commit()
      return result
    })
  }

  /** @internal */
  handleOf(session: SessionByHand<MemorySession, MemoryTables>): MemorySessionByHand {
    return memorySessionByHand(session)
  }

  /** Inserts events: as `write`, or, with autoflush off in the current transaction, at the next flush. */
  async append(insert: MemoryInsert): Promise<number[]> {
    const now = (tables: MemoryTables) => insertInto(tables, insert)
    return (
      this.transactions.current()?.append(
        (tables) => tables.atomically(() => now(tables)),
        () => waiting(insert),
      ) ?? this.write(now)
    )
  }

  /** Puts an event of a table without ids in the place of the one of that version: as `append`. */
  async replace(table: string, event: StoredEvent): Promise<void> {
    const now = (tables: MemoryTables) => {
      tables.replaceEvent(table, event)
      return []
    }
    const transaction = this.transactions.current()
    await (transaction?.append(now, () => waitingReplace(table, event)) ?? this.write(now))
  }

  /** There is nothing to connect to. @throws InterfaceError  It is closed. */
  async ready(): Promise<void> {
    this.#requireOpen()
  }

  /** Waits for the transaction that is open, then refuses everything. */
  async close(): Promise<void> {
    if (!this.#closing && this.transactions.isInside()) {
      throw new ProgrammingError('close() waits for open transactions: call it outside of them')
    }
    this.#closing ??= this.#close().catch((error: unknown) => {
      this.#closing = undefined
      throw error
    })
    await this.#closing
  }

  async #close(): Promise<void> {
    await this.#writer.take()
    this.#writer.close(closed)
  }

  #unit(transaction: Transaction<MemorySession, MemoryTables>, ended?: () => void): Unit<MemorySession, MemoryTables> {
    const mark = this.#tables.mark()
    return {
      session: memorySession(transaction),
      connection: this.#tables,
      commit: () => {
        if (!ended) return
        this.#tables.commit()
        ended()
      },
      rollback: () => {
        this.#tables.backTo(mark)
        ended?.()
      },
      nest: (nested) => this.#unit(nested),
    }
  }

  #requireOpen(): void {
    if (this.#closing) throw closed()
  }
}

function insertInto(tables: MemoryTables, { table, events, tracking }: MemoryInsert): number[] {
  if (tracking) tables.insertTracking(tracking.table, tracking.position)
  return tables.insertEvents(table, events)
}

function waiting({ table, events, tracking }: MemoryInsert): WaitingInsert<MemoryTables> {
  return {
    table,
    events,
    insert: (tables, all) => tables.atomically(() => tables.insertEvents(table, all)),
    insertTracking: tracking && insertTracking(tracking.table, { ...tracking.position }),
  }
}

function waitingReplace(table: string, event: StoredEvent): WaitingInsert<MemoryTables> {
  return {
    // apart from the inserts of that table
    table: `${table} (replaced)`,
    events: [event],
    insert: (tables, all) => {
      for (const each of all) tables.replaceEvent(table, each)
    },
  }
}

function insertTracking(table: string, position: Tracking): (tables: MemoryTables) => void {
  return (tables) => {
    tables.insertTracking(table, position)
  }
}

function closed(): InterfaceError {
  return new InterfaceError('The memory datastore is closed')
}
