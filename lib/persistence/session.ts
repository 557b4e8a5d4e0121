import { NotSupportedError } from '../errors.js'
import type { SessionExtras } from './transaction.js'

/** What a session needs to know of its transaction. */
export interface SessionTransaction {
  afterCommit(fn: () => unknown): void
  requireOpen(): void
}

/** A session with nothing but what every session has. */
export class BaseSession implements SessionExtras {
  readonly #transaction: SessionTransaction

  constructor(transaction: SessionTransaction) {
    this.#transaction = transaction
  }

  afterCommit(fn: () => unknown): void {
    this.#transaction.afterCommit(fn)
  }

  get autoflush(): boolean {
    return true
  }

  set autoflush(on: boolean) {
    requireAutoflush(on)
  }

  noAutoflush(): never {
    return requireAutoflush(false) as never
  }
}

/** @throws NotSupportedError  Autoflush is to be turned off. */
export function requireAutoflush(on: boolean): void {
  if (!on) throw new NotSupportedError('Turning autoflush off is not built yet: each save is written at once')
}
