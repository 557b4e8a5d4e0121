import { InterfaceError, OperationalError } from '../../errors.js'
import { markOutcomeUnknown } from '../../persistence/outcomes.js'
import { driverCode } from '../errors.js'
import type { Channel } from './line.js'

/** Where connections come from: a pool of ours, or the client of a user's database. */
export interface Source {
  /** Connects once, to see that it can be done. */
  open(): Promise<void>
  /** Runs statements that are each a transaction of their own. */
  outside<T>(work: (channel: OutsideChannel) => T | Promise<T>): Promise<T>
  /** As `outside`, and never waits for a connection that a transaction has. */
  apart<T>(work: (channel: OutsideChannel) => Promise<T>): Promise<T>
  /** @param how  What follows BEGIN: `isolation level serializable read only`. */
  begin(how: string): Promise<Begun>
  /** Waits for transactions, and closes what is ours. */
  close(): Promise<void>
}

/** Where statements go that are each a transaction of their own, until one is begun. */
export interface OutsideChannel extends Channel {
  /** Begins a transaction, which has to end before other statements are sent. */
  begin(): Promise<Begun>
}

/** A transaction that is under way, or a savepoint in one. */
export interface Begun extends Channel {
  /** @throws InterfaceError  Its end is under way, or its parent's. */
  send: Channel['send']
  savepoint(): Promise<Begun>
  /** Commits, or releases the savepoint. @throws  Why not; it is rolled back then. */
  commit(): Promise<void>
  /** Rolls back, to the savepoint if it is one, which is released; nothing if that has happened. */
  rollback(): Promise<void>
}

/** What a COMMIT without an answer is an error of. */
export function commitLost(cause: unknown): OperationalError {
  return markOutcomeUnknown(
    new OperationalError(
      'The connection to PostgreSQL was lost at the COMMIT: whether the transaction was committed is not known',
      { cause, code: driverCode(cause) ?? 'CONNECTION_CLOSED', retryable: true },
    ),
  )
}

/**
 * How long a transaction, or a savepoint in one, takes statements: until its end is under way, or its parent's.
 *
 * A recorder's call of several statements may be in the middle when its transaction is rolled back; what it sends then
 * would be nobody's, or somebody else's.
 */
export class Lease {
  #isOver = false
  readonly #parent: Lease | undefined

  constructor(parent?: Lease) {
    this.#parent = parent
  }

  get isOver(): boolean {
    return this.#isOver || (this.#parent?.isOver ?? false)
  }

  end(): void {
    this.#isOver = true
  }

  /** A savepoint whose release was refused is to be rolled back yet. */
  renew(): void {
    this.#isOver = false
  }

  /** @throws InterfaceError  It is over. */
  require(): void {
    if (this.isOver) throw new InterfaceError('The transaction that this statement belongs to has ended')
  }
}
