import { markDriverError, markUnsent } from '../../drizzle/driver-errors.js'
import { InterfaceError, OperationalError } from '../../errors.js'
import { startTimer } from '../../persistence/timers.js'
import { isConnectionLost, sqlState } from '../errors.js'
import { addArrayTypes, arrayTypes } from './array-types.js'
import type { PostgresClient, PostgresPackage, PostgresResult } from './client.js'
import { Closings } from './closings.js'
import { GivenTransaction, Undone } from './given-transaction.js'
import { closeHoles, type How, startedAs, unprepared } from './line.js'
import { Link } from './link.js'
import type { Begun, OutsideChannel, Source } from './source.js'

/** The client of a user's own database: its pool, its options, and never closed by us. */
export class GivenSource implements Source {
  readonly #client: PostgresClient
  readonly #timeoutMs: number
  readonly #load: () => Promise<PostgresPackage>
  readonly #closings: Closings
  readonly #open = new Set<Promise<unknown>>()
  #closed = false

  constructor(client: PostgresClient, timeoutMs: number, load: () => Promise<PostgresPackage>) {
    this.#client = client
    this.#timeoutMs = timeoutMs
    this.#load = load
    this.#closings = Closings.of(client)
  }

  async open(): Promise<void> {
    const { options } = this.#client
    const fetchTypes = options.fetch_types
    // asked by the client, for each connection, the answer is awaited by nobody: one that dies then ends the process
    options.fetch_types = false
    try {
      const rows = await this.#channel.send(fetchTypes ? arrayTypes : 'SELECT 1', [], unprepared)
      if (fetchTypes) addArrayTypes(options, rows)
    } catch (error) {
      options.fetch_types = fetchTypes
      throw error
    }
  }

  async outside<T>(work: (channel: OutsideChannel) => T | Promise<T>): Promise<T> {
    this.#requireOpen()
    return work(this.#channel)
  }

  async apart<T>(work: (channel: OutsideChannel) => Promise<T>): Promise<T> {
    this.#requireOpen()
    if (this.#open.size === 0) return work(this.#channel)
    // its connections may all be transactions': one more, opened as the client opens its own
    const { options } = this.#client
    const link = await Link.open(await this.#load(), [options], this.#timeoutMs, () => undefined)
    try {
      return await work({
        send: (sql, parameters, how) => link.send(sql, parameters, how),
        begin: () => this.begin(''),
      })
    } finally {
      await link.end()
    }
  }

  begin(how: string): Promise<Begun> {
    this.#requireOpen()
    return this.#again(() => this.#begin(how), isOfServer)
  }

  /**
   * Repeats what met a connection that its client had opened anew: postgres.js then gives the first one to use it the old
   * connection's last words, and sends nothing.
   *
   * @param isUnsent  Whether an error means that nothing was done.
   */
  async #again<T>(send: () => Promise<T>, isUnsent: (error: unknown) => boolean): Promise<T> {
    for (let left = this.#client.options.max; ; left -= 1) {
      try {
        return await send()
      } catch (error) {
        if (left === 0 || !isUnsent(error)) throw error
      }
    }
  }

  async #begin(how: string): Promise<Begun> {
    if (this.#closings.underWay) await this.#closings.underWay
    return new Promise((resolve, reject) => {
      let isWaiting = true
      let isKept = false
      let ended!: Promise<unknown>
      const timer = startTimer(() => {
        isWaiting = false
        this.#open.delete(ended) // nobody's any more
        reject(noConnection(this.#timeoutMs))
      }, this.#timeoutMs)
      const begin = () => {
        ended = this.#client
          .begin(how, (sql) => {
            answered()
            clearTimeout(timer)
            // never sent, it has begun nothing: what follows would be in no transaction, or in somebody else's
            if (isKept) return new Promise<never>(() => undefined)
            // too late: nobody is there any more, and postgres.js rolls back
            if (!isWaiting) throw new Undone()
            const transaction = new GivenTransaction({
              sql,
              ended: () => ended,
              closings: this.#closings,
              timeoutMs: this.#timeoutMs,
            })
            resolve(transaction)
            return transaction.suspended
          })
          .catch((error: unknown) => {
            answered()
            clearTimeout(timer)
            const failure = markDriverError(error)
            if (isConnectionLost(error)) this.#closings.begin()
            reject(failure) // where it could not begin
            throw failure
          })
      }
      const answered = this.#closings.watch(begin, (error) => {
        isKept = true
        clearTimeout(timer)
        this.#open.delete(ended)
        reject(error)
      })
      this.#open.add(ended)
      const over = () => this.#open.delete(ended)
      ended.then(over, over)
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_, reject) => {
      timer = startTimer(() => {
        reject(
          new OperationalError(`Waited ${this.#timeoutMs} ms for ${this.#open.size} transactions that are still open`, {
            retryable: true,
          }),
        )
      }, this.#timeoutMs)
    })
    try {
      await Promise.race([Promise.allSettled(this.#open), timeout])
    } finally {
      clearTimeout(timer)
    }
  }

  readonly #channel: OutsideChannel = {
    begin: () => this.begin(''),
    send: async (text, parameters, how) => {
      const unsent = new WeakSet<object>()
      return this.#again(
        () => this.#send(text, parameters, how, unsent),
        (error) => unsent.has(error as object),
      )
    },
  }

  /** @param unsent  Gets the error that came instead of sending it. */
  async #send(
    text: string,
    parameters: readonly unknown[],
    how: How,
    unsent: WeakSet<object>,
  ): Promise<PostgresResult> {
    if (this.#closings.underWay) await this.#closings.underWay
    const closings = this.#closings
    const query = closings.query(this.#client, text, parameters, how)
    return new Promise<PostgresResult>((resolve, reject) => {
      const timer = startTimer(() => {
        if (query.state !== null) return // it runs: how long that takes is not ours to say
        reject(noConnection(this.#timeoutMs))
        // nothing of it may happen later; cancelled, it would leave a connection that is being opened unused for ever
        query.strings = ['SELECT 1']
        query.args = []
        query.forEachFn = () => undefined
      }, this.#timeoutMs)
      const answered = closings.watch(
        () => {
          startedAs(query, how).then(
            (result) => {
              answered()
              clearTimeout(timer)
              closeHoles(result)
              resolve(result)
            },
            (error: unknown) => {
              answered()
              clearTimeout(timer)
              if (query.state === null) {
                markUnsent(error)
                if (isOfServer(error)) unsent.add(error as object)
              }
              if (isConnectionLost(error)) closings.begin()
              reject(markDriverError(error))
            },
          )
        },
        (error) => {
          clearTimeout(timer)
          reject(error)
        },
      )
    })
  }

  #requireOpen(): void {
    if (this.#closed) throw new InterfaceError('The datastore is closed')
  }
}

/** Whether the server said it of something else than connecting: of a connection that was there before. */
function isOfServer(error: unknown): boolean {
  const state = sqlState(error)
  return state !== undefined && !/^(28|3D|53|57P03)/.test(state)
}

function noConnection(timeoutMs: number): OperationalError {
  return new OperationalError(`Waited ${timeoutMs} ms for a connection of the database given to postgres()`, {
    retryable: true,
  })
}
