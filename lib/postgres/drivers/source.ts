import { OperationalError } from '../../errors.js'
import { driverCode } from '../errors.js'
import type { Channel } from './line.js'

/** Where connections come from: a pool of ours, or the client of a user's database. */
export interface Source {
  /** Connects once, to see that it can be done. */
  open(): Promise<void>
  /** Runs statements that are each a transaction of their own. */
  outside<T>(work: (channel: Channel) => Promise<T>): Promise<T>
  /** As `outside`, and never waits for a connection that a transaction has. */
  apart<T>(work: (channel: Channel) => Promise<T>): Promise<T>
  /** @param how  What follows BEGIN: `isolation level serializable read only`. */
  begin(how: string): Promise<Begun>
  /** Waits for transactions, and closes what is ours. */
  close(): Promise<void>
}

/** A transaction that is under way, or a savepoint in one. */
export interface Begun extends Channel {
  savepoint(): Promise<Begun>
  /** Commits, or releases the savepoint. @throws  Why not; it is rolled back then. */
  commit(): Promise<void>
  /** Rolls back, to the savepoint if it is one, which is released; nothing if that has happened. */
  rollback(): Promise<void>
}

/** What a COMMIT without an answer is an error of. */
export function commitLost(cause: unknown): OperationalError {
  return new OperationalError(
    'The connection to PostgreSQL was lost at the COMMIT: whether the transaction was committed is not known',
    { cause, code: driverCode(cause) ?? 'CONNECTION_CLOSED', retryable: true },
  )
}
