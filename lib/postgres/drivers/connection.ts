import type { Connection } from '../../drizzle/dialect.js'
import type { PostgresResult } from './client.js'
import { type Channel, type How, unprepared } from './line.js'

const int8 = 20
const ours = { prepare: true, values: true }
const changing = { prepare: true, values: false }

/** What the recorders' statements run on: a connection of ours, a user's client, or a transaction of either. */
export class PostgresConnection implements Connection {
  readonly #channel: Channel
  /** Whether it is in a transaction that is not the recorders' own. */
  readonly inTransaction: boolean
  readonly #atomically: (<T>(work: (connection: PostgresConnection) => Promise<T>) => Promise<T>) | undefined

  /**
   * @param atomically  Does all of `work` or nothing, in a transaction; for a connection that is in none.
   */
  constructor(channel: Channel, atomically?: <T>(work: (connection: PostgresConnection) => Promise<T>) => Promise<T>) {
    this.#channel = channel
    this.inTransaction = !atomically
    this.#atomically = atomically
  }

  /** Sends a statement as it is. */
  send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    return this.#channel.send(sql, parameters, how)
  }

  /** The rows of a query. A `bigint` is a number here: ids and versions stay below 2^53. */
  async rows(sql: string, parameters: readonly unknown[]): Promise<unknown[][]> {
    const result = await this.#channel.send(sql, parameters, ours)
    const rows = result as unknown[][]
    result.columns?.forEach(({ type }, column) => {
      if (type !== int8) return
      for (const row of rows) if (row[column] !== null) row[column] = Number(row[column])
    })
    return rows
  }

  /**
   * As `rows`, of a query of texts: each row is taken as it comes in, while the server is busy with the next ones.
   *
   * @throws unknown  What `take` has thrown; it isn't called again then.
   */
  async each(sql: string, parameters: readonly unknown[], take: (row: unknown[]) => void): Promise<void> {
    let failure: { readonly error: unknown } | undefined
    const each = (row: unknown[]) => {
      if (failure) return
      try {
        take(row)
      } catch (error) {
        failure = { error }
      }
    }
    await this.#channel.send(sql, parameters, { ...ours, each })
    if (failure) throw failure.error
  }

  async column(sql: string, parameters: readonly unknown[]): Promise<unknown[]> {
    const values: unknown[] = []
    // postgres.js doesn't count the rows then, of which some may be there before the statement fails
    await this.#channel.send(sql, parameters, { ...ours, each: ([value]) => void values.push(value) })
    return values
  }

  async change(sql: string, parameters: readonly unknown[]): Promise<number> {
    return (await this.#channel.send(sql, parameters, changing)).count ?? 0
  }

  /** Runs statements without parameters, separated by semicolons: all of them or none. */
  async script(sql: string): Promise<void> {
    await this.#channel.send(sql, [], unprepared)
  }

  /** Does all of `work` or nothing; inside a transaction that is up to `work`. */
  atomically<T>(work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    return this.#atomically ? this.#atomically(work) : work(this)
  }
}
