import type { Factory, FactoryOptions } from './factory.js'
import type { Transactional } from './transaction.js'

/** What a backend can do; asked for by name instead of asking which backend it is. */
export interface Capabilities {
  /** Whether two transactions may write at the same time. */
  readonly concurrentWriters: boolean
  /** Whether it holds tables of the user's own beside the events. */
  readonly ownTables: boolean
}

/** Where events are kept, and its transactions: what an application, a factory and recorders need to know of it. */
export interface AnyDatastore<Session = unknown> extends Transactional<Session> {
  readonly dialect: string
  readonly capabilities: Capabilities
  /** Connects, if that has not happened. @throws OperationalError  It can't be reached or opened. */
  ready(): Promise<void>
  /** Runs `fn` outside the current transaction. */
  outside<T>(fn: () => T): T
  onRollback(fn: () => void): void
  /** Makes a factory of recorders on this datastore, for an application that is given the datastore itself. */
  factory?(options: Omit<FactoryOptions, 'datastore'>): Factory
  /** Waits for open transactions, then closes what we opened. Everything later is an `InterfaceError`. */
  close(): Promise<void>
}
