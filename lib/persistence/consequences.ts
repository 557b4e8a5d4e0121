import { EventSourcingError } from '../errors.js'

/** What is to be done once it is known how a transaction ends. */
export class Consequences {
  readonly #afterCommit: (() => unknown)[] = []
  readonly #onRollback: ((isOutcomeUnknown: boolean) => void)[] = []

  afterCommit(fn: () => unknown): void {
    this.#afterCommit.push(fn)
  }

  onRollback(fn: (isOutcomeUnknown: boolean) => void): void {
    this.#onRollback.push(fn)
  }

  /** Leaves it to what this was a part of. @param isEndKnown  Whether it will be known how that ends. */
  passTo(outer: Consequences, isEndKnown: boolean): void {
    // one by one: there may be more than a call takes as arguments
    for (const fn of this.#afterCommit.splice(0)) outer.afterCommit(fn)
    for (const fn of this.#onRollback.splice(0)) if (isEndKnown) outer.onRollback(fn)
  }

  /**
   * @param outside  Runs each outside of the transaction.
   * @throws EventSourcingError  Some have failed, which undoes nothing.
   */
  async committed(outside: (fn: () => unknown) => unknown): Promise<void> {
    this.#onRollback.length = 0 // aggregates remember where they were saved, and should not hold what is over
    const failures: unknown[] = []
    for (const fn of this.#afterCommit) {
      try {
        await outside(fn)
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length === 0) return
    throw new EventSourcingError(
      'The transaction is committed; what was left for after the commit failed (see cause)',
      { cause: failures.length === 1 ? failures[0] : new AggregateError(failures) },
    )
  }

  /** Newest first: inside out. @returns What has failed. */
  rolledBack(isOutcomeUnknown: boolean): unknown[] {
    const failures: unknown[] = []
    for (const fn of this.#onRollback.splice(0).reverse()) {
      try {
        fn(isOutcomeUnknown)
      } catch (error) {
        failures.push(error) // the others give events back: they have to run
      }
    }
    return failures
  }
}
