import { setImmediate as nextTurn } from 'node:timers/promises'
import { IntegrityError } from '../../errors.js'
import { isBusy, translate } from '../errors.js'
import type { SqliteConnection } from './connection.js'

/** What the writes that share commits need of the driver. */
export interface Writer {
  /**
   * Takes the writer's turn at once, or promises it for when it is free.
   *
   * @throws OperationalError  Not free in that time; by the promise.
   */
  takeTurn(timeoutMs: number): Promise<void> | undefined
  giveBackTurn(): void
  /** Runs on the writer's connection. */
  once<T>(work: (connection: SqliteConnection) => T): T
  /** As `once`, again while another process holds a lock, at most that long. */
  patiently<T>(work: (connection: SqliteConnection) => T, timeoutMs: number): Promise<T>
}

/**
 * Lets writes that are started together, or that wait for the writer together, share one commit: a flush of the disk
 * costs many times what their statements do.
 *
 * Each write is atomic by itself and has its own outcome. One that is alone commits by itself, at once. Each resolves
 * when its commit is durable.
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

  /** Runs `work`, which is synchronous and all or nothing, as part of a commit. Rejects with errors of ours. */
  write<T>(work: (connection: SqliteConnection) => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // what work returns is what its own promise is resolved with
      this.#waiting.push({ work, resolve: resolve as (value: unknown) => void, reject, since: performance.now() })
      if (this.#isRunning) return
      this.#isRunning = true
      // saves that are started together get here one right after the other: this goes behind them
      void behindTheOthers.then(this.#run)
    })
  }

  // Promises only what is not there yet: with async contexts in use each promise costs a lone save 0.2 to 0.4 µs.
  readonly #run = (): void => {
    while (this.#waiting.length > 0) {
      const later = this.#goOn()
      if (later) {
        void later.then(this.#run)
        return
      }
    }
    this.#isRunning = false
  }

  /** Takes the writer's turn, and commits what waits then. */
  #goOn(): Promise<void> | undefined {
    let turn: Promise<void> | undefined
    try {
      turn = this.#writer.takeTurn(this.#leftMs(this.#waiting[0] as Write))
    } catch (error) {
      this.#sendAway(error)
      return undefined
    }
    if (!turn) return this.#commitNext()
    return turn.then(
      () => this.#commitNext(),
      (error: unknown) => {
        this.#sendAway(error)
      },
    )
  }

  #commitNext(): Promise<void> | undefined {
    const writes = this.#waiting.splice(0, atMostTogether)
    const later = this.#commit(writes)
    if (later) {
      return later.finally(() => {
        this.#writer.giveBackTurn()
      })
    }
    this.#writer.giveBackTurn()
    // with thousands of writes the event loop would stand still until the last
    return writes.length === atMostTogether ? nextTurn() : undefined
  }

  /** Rejects those whose time is over; whoever came later has time left. */
  #sendAway(error: unknown): void {
    const [first, ...others] = this.#waiting
    if (first) refuse(first, error)
    this.#waiting = []
    for (const write of others) {
      if (this.#leftMs(write) > 0) this.#waiting.push(write)
      else refuse(write, error)
    }
  }

  #leftMs({ since }: Write): number {
    return Math.max(0, Math.ceil(this.#timeoutMs - (performance.now() - since)))
  }

  /** Settles all of them: at once, unless another process holds a lock or they have to be tried one by one. */
  #commit(writes: readonly Write[]): Promise<void> | undefined {
    let outcomes: readonly Outcome[]
    try {
      outcomes = this.#writer.once((connection) => together(connection, writes))
    } catch (error) {
      return isBusy(error) ? this.#commitPatiently(writes) : this.#fail(writes, error)
    }
    settle(writes, outcomes)
    return undefined
  }

  async #commitPatiently(writes: readonly Write[]): Promise<void> {
    let outcomes: readonly Outcome[]
    try {
      // no longer than whoever came last has time: with a time of its own for each commit, thousands would wait for many
      const leftMs = this.#leftMs(writes.at(-1) as Write)
      outcomes = await this.#writer.patiently((connection) => together(connection, writes), leftMs)
    } catch (error) {
      if (!isBusy(error)) return this.#fail(writes, error)
      // the time to wait for other processes is over for all of them, and would be waited for each again
      for (const write of writes) refuse(write, error)
      return
    }
    settle(writes, outcomes)
  }

  /** Together they failed, and for more than a conflict: each shows by itself what is wrong with it. */
  async #fail(writes: readonly Write[], error: unknown): Promise<void> {
    const [first] = writes
    if (writes.length === 1 && first) return refuse(first, error)
    for (const write of writes) await this.#commit([write])
  }
}

const behindTheOthers = Promise.resolve()

// enough for the flush to weigh nothing, and few enough for what an error undoes
const atMostTogether = 500

interface Write {
  readonly work: (connection: SqliteConnection) => unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  /** When it began to wait, in ms. */
  readonly since: number
}

type Outcome = { readonly value: unknown } | { readonly error: unknown }

function settle(writes: readonly Write[], outcomes: readonly Outcome[]): void {
  writes.forEach((write, index) => {
    const outcome = outcomes[index] as Outcome
    if ('error' in outcome) refuse(write, outcome.error)
    else write.resolve(outcome.value)
  })
}

function refuse({ reject }: Write, error: unknown): void {
  reject(translate(error))
}

/**
 * All writes in one transaction; one alone commits by itself. A refused one, which is all or nothing, has stored
 * nothing; any other error undoes all of them, and is thrown.
 */
function together(connection: SqliteConnection, writes: readonly Write[]): Outcome[] {
  const [first] = writes
  if (writes.length === 1 && first) return [{ value: first.work(connection) }]
  return connection.atomically(() => writes.map(({ work }) => outcomeOf(() => work(connection))))
}

/** @throws Whatever is no refusal of the database's. */
function outcomeOf(work: () => unknown): Outcome {
  try {
    return { value: work() }
  } catch (error) {
    if (error instanceof IntegrityError) return { error }
    throw error
  }
}
