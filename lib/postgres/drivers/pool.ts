import { InterfaceError, OperationalError } from '../../errors.js'
import { startTimer } from '../../persistence/timers.js'
import type { Link } from './link.js'

/** How many connections there are, and for how long. */
export interface PoolOptions {
  /** Connections at most. */
  readonly max: number
  /** How long to wait for one, connecting included, in ms. */
  readonly timeoutMs: number
  /** How long connecting may take, in ms. */
  readonly connectTimeoutMs: number
  /** After how long without use a connection is closed, in ms; 0 is never. */
  readonly idleMs: number
  /** After how long a connection is not used again, in ms; each by a lifetime of its own. 0 is never. */
  readonly lifetimeMs: () => number
}

interface Waiter {
  readonly resolve: (link: Link) => void
  readonly reject: (error: unknown) => void
  readonly timer: NodeJS.Timeout
  readonly deadline: number
}

/** Connections to one database: each is one user's at a time, and is not given out again once it has died. */
export class Pool {
  readonly #options: PoolOptions
  readonly #open: (timeoutMs: number, onLost: (link: Link) => void) => Promise<Link>
  /** Last used last; that one is given out first, so that the others may grow idle. */
  readonly #idle: { readonly link: Link; readonly timer: NodeJS.Timeout | undefined }[] = []
  readonly #dieAt = new WeakMap<Link, number>()
  readonly #waiting: Waiter[] = []
  /** Connections that there are, or that are being opened. */
  #count = 0
  readonly #links = new Set<Link>()
  /** Whether a `close` has waited in vain. */
  #hasWaited = false
  #closed = false
  #drained: (() => void) | undefined

  constructor(options: PoolOptions, open: (timeoutMs: number, onLost: (link: Link) => void) => Promise<Link>) {
    this.#options = options
    this.#open = open
  }

  /**
   * Takes a connection, which is given back by `release`.
   *
   * @throws OperationalError  None was free, or could be opened, within the timeout; retryable.
   */
  acquire(): Promise<Link> | Link {
    if (this.#closed) throw poolClosed()
    const link = this.#takeIdle()
    if (link) return link
    const deadline = performance.now() + this.#options.timeoutMs
    // those who wait were here before
    if (this.#count < this.#options.max && this.#waiting.length === 0) return this.#opened(deadline)
    return this.#wait(deadline)
  }

  /** Takes a connection if one is there, or may be opened, without waiting for others. */
  acquireNow(): Promise<Link> | Link | undefined {
    if (this.#closed) throw poolClosed()
    return (
      this.#takeIdle() ??
      (this.#count < this.#options.max ? this.#opened(performance.now() + this.#options.timeoutMs) : undefined)
    )
  }

  release(link: Link): void {
    if (link.isLost) return // it has left by itself
    const next = this.#closed || this.#isOld(link) ? undefined : this.#waiting.shift()
    if (next) {
      clearTimeout(next.timer)
      next.resolve(link)
      return
    }
    if (this.#closed || this.#isOld(link)) {
      void link.end()
      return
    }
    const { idleMs } = this.#options
    const timer = idleMs > 0 ? setTimeout(() => void this.#retire(link), idleMs).unref() : undefined
    link.keepProcess(false)
    this.#idle.push({ link, timer })
  }

  /**
   * Refuses everybody from now on, and resolves once all connections are given back and closed.
   *
   * @throws OperationalError  Some were not within the timeout. Called again, it waits again, and then breaks them off.
   */
  async close(): Promise<void> {
    this.#closed = true
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer)
      reject(poolClosed())
    }
    await Promise.all(
      this.#idle.splice(0).map(({ link, timer }) => {
        clearTimeout(timer)
        link.keepProcess(true)
        return link.end()
      }),
    )
    if (this.#count === 0) return
    const { timeoutMs } = this.#options
    await new Promise<void>((resolve, reject) => {
      const timer = startTimer(() => {
        this.#drained = undefined
        if (this.#hasWaited) {
          for (const link of this.#links) link.drop()
          resolve()
          return
        }
        this.#hasWaited = true
        reject(
          new OperationalError(`Waited ${timeoutMs} ms for ${this.#count} connections that are still in use`, {
            retryable: true,
          }),
        )
      }, timeoutMs)
      this.#drained = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #takeIdle(): Link | undefined {
    for (let entry = this.#idle.pop(); entry; entry = this.#idle.pop()) {
      clearTimeout(entry.timer)
      if (entry.link.isLost) continue
      entry.link.keepProcess(true)
      if (!this.#isOld(entry.link)) return entry.link
      void entry.link.end()
    }
    return undefined
  }

  async #opened(deadline: number): Promise<Link> {
    this.#count += 1
    let counts = true
    const left = () => {
      if (!counts) return
      counts = false
      this.#count -= 1
      if (this.#count === 0) this.#drained?.()
      this.#serveNext()
    }
    const leftMs = Math.max(1, Math.min(deadline - performance.now(), this.#options.connectTimeoutMs))
    try {
      const link = await this.#open(Math.ceil(leftMs), (lost) => {
        this.#links.delete(lost)
        left()
      })
      this.#links.add(link)
      const lifetimeMs = this.#options.lifetimeMs()
      if (lifetimeMs > 0) this.#dieAt.set(link, link.since + lifetimeMs)
      if (!this.#closed) return link
      void link.end()
      throw poolClosed()
    } catch (error) {
      left()
      throw error
    }
  }

  #wait(deadline: number): Promise<Link> {
    const { timeoutMs, max } = this.#options
    return new Promise<Link>((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        deadline,
        timer: startTimer(() => {
          this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
          reject(
            new OperationalError(
              `Waited ${timeoutMs} ms for a connection: all ${max} of the pool were in use in that time`,
              { retryable: true },
            ),
          )
        }, timeoutMs),
      }
      this.#waiting.push(waiter)
    })
  }

  /** A connection has gone: who is first in line opens another. */
  #serveNext(): void {
    if (this.#closed || this.#count >= this.#options.max) return
    const next = this.#waiting.shift()
    if (!next) return
    clearTimeout(next.timer)
    this.#opened(next.deadline).then(next.resolve, next.reject)
  }

  #retire(link: Link): Promise<void> {
    const index = this.#idle.findIndex((entry) => entry.link === link)
    if (index >= 0) this.#idle.splice(index, 1)
    return link.end()
  }

  #isOld(link: Link): boolean {
    return performance.now() >= (this.#dieAt.get(link) ?? Infinity)
  }
}

function poolClosed(): InterfaceError {
  return new InterfaceError('The datastore is closed')
}
