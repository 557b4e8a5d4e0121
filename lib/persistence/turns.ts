import { OperationalError } from '../errors.js'
import { startTimer } from './timers.js'

/**
 * A fair queue for one thing at a time (a writer, a connection, the inside of a transaction), or for a few.
 *
 * First come, first served. Every wait has a deadline, so that a wait for oneself ends in an error, not in silence.
 */
export class Turns {
  #free: number
  #closed: (() => Error) | undefined
  readonly #waiting: Waiter[] = []
  readonly #what: string
  readonly #timeoutMs: number

  /**
   * @param what  What is waited for, as it appears in errors: `the writer of school.db`.
   * @param atATime  How many may have a turn.
   */
  constructor(what: string, timeoutMs = 30_000, atATime = 1) {
    this.#what = what
    this.#timeoutMs = timeoutMs
    this.#free = atATime
  }

  /** Takes the turn at once if it is free. */
  tryTake(): boolean {
    if (this.#closed) throw this.#closed()
    if (this.#free === 0) return false
    this.#free -= 1
    return true
  }

  /**
   * Waits for the turn. Who has it calls `giveBack`.
   *
   * @throws OperationalError  Not free within the timeout; retryable.
   */
  take(timeoutMs = this.#timeoutMs): Promise<void> | void {
    if (this.tryTake()) return
    return new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        timer: startTimer(() => {
          this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
          reject(
            new OperationalError(`Waited ${timeoutMs} ms for ${this.#what}, which was not free in that time`, {
              retryable: true,
            }),
          )
        }, timeoutMs),
      }
      this.#waiting.push(waiter)
    })
  }

  /** Ends the turn; the next in line has it. */
  giveBack(): void {
    const next = this.#waiting.shift()
    if (!next) {
      this.#free += 1
      return
    }
    clearTimeout(next.timer)
    next.resolve()
  }

  /** Waits for the turn, works, and gives it back whatever happens. */
  async during<T>(work: () => T | Promise<T>, timeoutMs = this.#timeoutMs): Promise<T> {
    const waiting = this.take(timeoutMs)
    if (waiting) await waiting
    try {
      return await work()
    } finally {
      this.giveBack()
    }
  }

  /** Sends everybody away who waits now or comes later, with an error made for each. Who has the turn keeps it. */
  close(reason: () => Error): void {
    this.#closed = reason
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer)
      reject(reason())
    }
  }
}

interface Shared {
  readonly turns: Turns
  users: number
}

const byName = new Map<string, Shared>()
const byObject = new WeakMap<object, Shared>()

/** The turns of everybody with that key, a name or an object; without a key, turns of one's own. Who is done leaves. */
export function sharedTurns(key: string | object | undefined, what: string): { turns: Turns; leave: () => void } {
  const shared = (typeof key === 'string' ? byName.get(key) : key && byObject.get(key)) ?? {
    turns: new Turns(what),
    users: 0,
  }
  shared.users += 1
  if (typeof key === 'string') byName.set(key, shared)
  else if (key) byObject.set(key, shared)
  return {
    turns: shared.turns,
    leave: () => {
      shared.users -= 1
      if (shared.users === 0 && typeof key === 'string') byName.delete(key)
    },
  }
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}
