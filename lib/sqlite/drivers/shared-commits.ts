import { IntegrityError } from '../../errors.js'
import { isBusy } from '../errors.js'
import type { SqliteConnection } from './connection.js'

/** What the writes that share commits need of the driver. */
export interface Writer {
  /** Waits for the writer's turn, at most that long. @throws OperationalError  Not free in that time. */
  takeTurn(timeoutMs: number): Promise<void>
  giveBackTurn(): void
  /** Runs on the writer's connection, again while another process holds a lock. */
  patiently<T>(work: (connection: SqliteConnection) => T): Promise<T>
}

/**
 * Lets writes that are started together, or that wait for the writer together, share one commit: a flush of the disk
 * costs many times what their statements do.
 *
 * Each write is in a savepoint of its own and has its own outcome. One that is alone commits by itself, at once. Each
 * resolves when its commit is durable.
 */
export class SharedCommits {
  readonly #writer: Writer
  readonly #timeoutMs: number
  #waiting: Write[] = []
  #isRunning = false

  constructor(writer: Writer, timeoutMs: number) {
    this.#writer = writer
    this.#timeoutMs = timeoutMs
  }

  /** Runs `work`, which is synchronous, as part of a commit. */
  write<T>(work: (connection: SqliteConnection) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // what work returns is what its own promise is resolved with
      this.#waiting.push({ work, resolve: resolve as (value: unknown) => void, reject, since: performance.now() })
      if (this.#isRunning) return
      this.#isRunning = true
      // saves that are started together get here one right after the other: this goes behind them
      queueMicrotask(() => void this.#run())
    })
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      try {
        await this.#writer.takeTurn(this.#leftMs(this.#waiting[0] as Write))
      } catch (error) {
        this.#sendAway(error)
        continue
      }
      try {
        await this.#commit(this.#waiting.splice(0, atMostTogether))
      } finally {
        this.#writer.giveBackTurn()
      }
    }
    this.#isRunning = false
  }

  /** Rejects those whose time is over; whoever came later has time left. */
  #sendAway(error: unknown): void {
    const [first, ...others] = this.#waiting
    first?.reject(error)
    this.#waiting = []
    for (const write of others) {
      if (this.#leftMs(write) > 0) this.#waiting.push(write)
      else write.reject(error)
    }
  }

  #leftMs({ since }: Write): number {
    return Math.max(0, Math.ceil(this.#timeoutMs - (performance.now() - since)))
  }

  async #commit(writes: readonly Write[]): Promise<void> {
    if (writes.length > 1) {
      const all = await outcomeOf(this.#writer.patiently((connection) => together(connection, writes)))
      if ('value' in all) {
        writes.forEach((write, index) => settle(write, all.value[index] as Outcome))
        return
      }
      // the time to wait for other processes is over for all of them, and would be waited for each again
      if (isBusy(all.error)) {
        for (const write of writes) settle(write, all)
        return
      }
    }
    // alone; or together it failed, and for more than a constraint: each shows by itself what is wrong with it
    for (const write of writes) settle(write, await outcomeOf(this.#writer.patiently(write.work)))
  }
}

// enough for the flush to weigh nothing, and few enough to leave the event loop a turn
const atMostTogether = 500

interface Write {
  readonly work: (connection: SqliteConnection) => unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  /** When it began to wait, in ms. */
  readonly since: number
}

type Outcome<T = unknown> = { readonly value: T } | { readonly error: unknown }

function outcomeOf<T>(promise: Promise<T>): Promise<Outcome<T>> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
}

function settle({ resolve, reject }: Write, outcome: Outcome): void {
  if ('error' in outcome) reject(outcome.error)
  else resolve(outcome.value)
}

/** All writes in one transaction. A refused one is undone alone; any other error undoes all of them, and is thrown. */
function together(connection: SqliteConnection, writes: readonly Write[]): Outcome[] {
  return connection.atomically(() =>
    writes.map(({ work }) => {
      try {
        return { value: connection.atomically(() => work(connection)) }
      } catch (error) {
        if (!(error instanceof IntegrityError)) throw error
        return { error }
      }
    }),
  )
}
