import { setTimeout as pause } from 'node:timers/promises'
import { ProgrammingError } from '../errors.js'

/** How what lost its connection is repeated. */
export interface RetryOptions {
  /**
   * How often what is safe to repeat is repeated at most when its connection was lost or could not be made anew: reads, the
   * beginning of transactions, and inserts of events, all outside of transactions. 0 turns it off. Default: 10.
   *
   * @see docs/guides/retries.md
   */
  readonly retries?: number | undefined
  /** How long to wait before each repetition, in ms. Default: 100. */
  readonly retryIntervalMs?: number | undefined
}

/** The names of these options. */
export const retryOptions = ['retries', 'retryIntervalMs'] as const

/** @throws ProgrammingError  One of them can't be. */
export function checkRetryOptions({ retries = 0, retryIntervalMs = 0 }: RetryOptions): void {
  if (!Number.isSafeInteger(retries) || retries < 0) {
    throw new ProgrammingError('The option retries must be an integer from 0: how often at most')
  }
  if (!Number.isSafeInteger(retryIntervalMs) || retryIntervalMs < 0 || retryIntervalMs > longestMs) {
    throw new ProgrammingError('The option retryIntervalMs must be an integer from 0, in milliseconds')
  }
}

const longestMs = 2 ** 31 - 1

/** Repeats what is safe to repeat when a connection was lost. */
export class Reconnecting {
  readonly #retries: number
  readonly #intervalMs: number
  readonly #timeoutMs: number

  /**
   * @param isDisconnect  Whether an error, ours or the driver's, says that the connection is gone or can't be made.
   * @param timeoutMs  How long after the first failure it is repeated yet.
   */
  constructor(
    { retries = 10, retryIntervalMs = 100 }: RetryOptions,
    readonly isDisconnect: (error: unknown) => boolean,
    timeoutMs: number,
  ) {
    this.#retries = retries
    this.#intervalMs = retryIntervalMs
    this.#timeoutMs = timeoutMs
  }

  /**
   * Tries again after a failure, as often as is allowed and while the connection is what fails.
   *
   * @param isRepeatable  Whether after that error it may be tried again. Default: always.
   * @throws unknown  The last error.
   */
  async again<T>(
    failure: unknown,
    attempt: () => T | Promise<T>,
    isRepeatable: (error: unknown) => boolean = () => true,
  ): Promise<T> {
    let error = failure
    const last = performance.now() + this.#timeoutMs - this.#intervalMs
    for (let left = this.#retries; left > 0; left -= 1) {
      if (!this.isDisconnect(error) || !isRepeatable(error) || performance.now() > last) break
      await pause(this.#intervalMs)
      try {
        return await attempt()
      } catch (next) {
        error = next
      }
    }
    throw error
  }
}
