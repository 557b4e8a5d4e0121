import type { TableName } from '../../drizzle/dialect.js'
import { isConnectionLost, sqlState } from '../errors.js'
import { qualified } from '../tables.js'
import type { StreamToRead } from '../texts.js'
import type { PostgresConnection } from './connection.js'
import { Gathering } from './gathering.js'

/** What reads that share queries need of the rest. */
export interface SharedReadsOptions {
  /** Does work on a connection, outside of any transaction. */
  readonly outside: <T>(work: (connection: PostgresConnection) => T | Promise<T>) => Promise<T>
  /**
   * Reads several streams by one query.
   *
   * @returns For each whether that were all its events. If not, it has to be read by itself.
   */
  readonly together: (
    connection: PostgresConnection,
    table: TableName,
    streams: readonly StreamToRead[],
  ) => Promise<boolean[]>
}

interface Waiting {
  readonly stream: StreamToRead
  readonly alone: (connection: PostgresConnection) => Promise<boolean>
  readonly resolve: (isAll: boolean) => void
  readonly reject: (error: unknown) => void
}

/** A query that has had no answer for so long holds nobody up any more: it may be a long stream. In ms. */
const patienceMs = 10

/** How many streams share a query at most. */
const atMost = 64

/**
 * Lets reads of streams that are started while another is under way share the next query, which sees what was committed when
 * it was sent: later than they were started.
 */
export class SharedReads {
  readonly #options: SharedReadsOptions
  /** By the table's name in statements. */
  readonly #gatherings = new Map<string, Gathering<Waiting>>()

  constructor(options: SharedReadsOptions) {
    this.#options = options
  }

  /** @param alone  Reads it by itself. */
  read(table: TableName, stream: StreamToRead, alone: Waiting['alone']): Promise<boolean> {
    const name = qualified(table)
    let gathering = this.#gatherings.get(name)
    if (!gathering) {
      const made: Gathering<Waiting> = new Gathering((waiting) => {
        void this.#send(made, table, waiting.slice(0, atMost))
        return waiting.slice(atMost)
      }, patienceMs)
      this.#gatherings.set(name, (gathering = made))
    }
    const waitsIn = gathering
    return new Promise((resolve, reject) => {
      waitsIn.add({ stream, alone, resolve, reject })
    })
  }

  async #send(gathering: Gathering<Waiting>, table: TableName, reads: readonly Waiting[]): Promise<void> {
    const [first] = reads
    if (!first) return
    const query = gathering.begin()
    if (reads.length === 1) {
      const reading = this.#options.outside(first.alone)
      const ended = () => {
        gathering.end(query)
      }
      reading.then(ended, ended)
      reading.then(first.resolve, first.reject)
      return
    }
    let areAll: readonly boolean[] = []
    try {
      areAll = await this.#options.outside((connection) =>
        this.#options.together(
          connection,
          table,
          reads.map(({ stream }) => stream),
        ),
      )
    } catch (error) {
      if (sqlState(error) === undefined || isConnectionLost(error)) {
        for (const { reject } of reads) reject(error)
        return
      }
    } finally {
      gathering.end(query)
    }
    // what one of them failed for is not the others' affair
    reads.forEach(({ alone, resolve, reject }, index) => {
      if (areAll[index]) resolve(true)
      else this.#options.outside(alone).then(resolve, reject)
    })
  }
}
