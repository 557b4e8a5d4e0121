import type { Connection } from '../../drizzle/dialect.js'
import { type Channel, unprepared } from './line.js'

const int8 = 20
const ours = { prepare: true, values: true }
const oursOfText = { ...ours, mayFailLate: true }
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

  async column(sql: string, parameters: readonly unknown[]): Promise<unknown[]> {
    const rows = (await this.#channel.send(sql, parameters, oursOfText)) as unknown[][]
    return rows.map(([value]) => value)
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
