import { InterfaceError, NotSupportedError, ProgrammingError } from '../errors.js'
import { TransactionalDatastore } from '../persistence/datastore.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import { type Transaction, Transactions, type Unit } from '../persistence/transaction.js'
import { Turns } from '../persistence/turns.js'
import { MemorySession, MemorySessionByHand } from './session.js'
import { MemoryTables } from './tables.js'

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

  /** @param options  `poolTimeoutMs`: how long to wait for the writer, in ms. Default: 30000. */
  constructor({ poolTimeoutMs = 30_000 }: { poolTimeoutMs?: number | undefined } = {}) {
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
    if (transaction) {
      transaction.requireCommits()
      return transaction.take((tables) => tables.atomically(() => work(tables)))
    }
    this.#requireOpen()
    return this.#writer.during(() => {
      const result = this.#tables.atomically(() => work(this.#tables))
      this.#tables.commit()
      return result
    })
  }

  /** @internal */
  handleOf(session: SessionByHand<MemorySession, MemoryTables>): MemorySessionByHand {
    return new MemorySessionByHand(session)
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
      session: new MemorySession(transaction),
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

function closed(): InterfaceError {
  return new InterfaceError('The memory datastore is closed')
}
