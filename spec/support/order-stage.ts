import postgresJs, { type Sql } from 'postgres'
import type { TableName } from '../../lib/drizzle/dialect.js'
import { PostgresDialect } from '../../lib/postgres/dialect.js'
import { PostgresConnection } from '../../lib/postgres/drivers/connection.js'
import type { PostgresSql } from '../../lib/postgres/drivers/client.js'
import type { Channel } from '../../lib/postgres/drivers/line.js'
import { inspect, settledUpTo } from '../../lib/postgres/order.js'
import { type Findings, type Placed, compare } from './order-findings.js'
import { type FreshSchema, freshSchema } from './postgres-backends.js'
import { postgresUrl } from './postgres-server.js'
import { storedEvents } from './stored-events.js'

/** Changes what a writer or a reader sends: how something is done wrong on purpose. */
export type Change = (channel: Channel) => Channel

/** The statements by which a page of notifications is read, in the order of the right design. */
export type Step = 'rows' | 'sequence' | 'locks' | 'rows again'

/**
 * One table of events, with writers and readers who each have a connection, and who do what a script says, statement by
 * statement: the package's own statements, as they are or changed on purpose.
 */
export class Stage implements AsyncDisposable {
  readonly table: TableName
  readonly #schema: FreshSchema
  readonly #clients: Sql[] = []

  private constructor(schema: FreshSchema) {
    this.#schema = schema
    this.table = { kind: 'events', name: 'events', schema: schema.name }
  }

  static async open(): Promise<Stage> {
    const stage = new Stage(await freshSchema('stage_'))
    const connection = new PostgresConnection(channelOf(stage.client()), never)
    await new PostgresDialect(5000).createTables(connection, [stage.table])
    return stage
  }

  /** One connection, for statements by hand. */
  client(): Sql {
    const connection = { search_path: this.#schema.searchPath }
    const client = postgresJs(postgresUrl(), { max: 1, connection, onnotice: () => undefined })
    this.#clients.push(client)
    return client
  }

  writer(change?: Change): Promise<Writer> {
    return Writer.start(this.client(), this.table, change)
  }

  reader(change?: Change): Promise<Reader> {
    return Reader.start(this.client(), this.table, change)
  }

  /** Lets the reader read to the end, and compares what it was given with what is stored. */
  async judge(reader: Reader): Promise<Findings> {
    while ((await reader.read()).length > 0);
    const stored = await this.client()<Placed[]>`
      SELECT notification_id::int AS id, originator_id AS "originatorId", originator_version::int AS "originatorVersion"
        FROM events ORDER BY notification_id`
    return compare(stored, reader.given)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // what a failed script has left open is rolled back by that
    await Promise.all(this.#clients.map((client) => client.end({ timeout: 0 })))
    await this.#schema.drop()
  }
}

/** Whoever writes: on one connection, in transactions that the script begins and ends. */
export class Writer {
  static #count = 0
  readonly #name = `writer ${(Writer.#count += 1)}`
  #version = 0
  readonly #dialect = new PostgresDialect(5000)
  readonly #client: Sql
  readonly #table: TableName
  readonly #inTransaction: PostgresConnection
  readonly #outside: PostgresConnection
  #isInTransaction = false

  private constructor(client: Sql, table: TableName, change: Change) {
    const channel = change(channelOf(client))
    this.#client = client
    this.#table = table
    this.#inTransaction = new PostgresConnection(channel)
    this.#outside = new PostgresConnection(channel, never)
  }

  static async start(client: Sql, table: TableName, change: Change = asItIs): Promise<Writer> {
    const writer = new Writer(client, table, change)
    // what it finds of the table at its first use, it has found now
    await writer.#dialect.hasTable(writer.#outside, table)
    return writer
  }

  async begin(): Promise<void> {
    await this.#send('BEGIN')
    this.#isInTransaction = true
  }

  /** Inserts that many events of an originator of its own. @returns Their ids. */
  async insert(count = 1): Promise<number[]> {
    const connection = this.#isInTransaction ? this.#inTransaction : this.#outside
    const events = storedEvents(this.#name, this.#version + 1, this.#version + count)
    this.#version += count
    return this.#dialect.append(connection, { table: this.#table, events })
  }

  /** Registers by hand, at what the sequence's value is now. */
  async register(): Promise<void> {
    const sequence = await inspect(this.#outside, this.#table)
    await this.#send(
      `SELECT pg_advisory_xact_lock_shared('events'::regclass::oid::int4, ` +
        `CASE WHEN is_called THEN last_value ELSE last_value - 1 END::int4) FROM ${sequence!.name}`,
    )
  }

  async savepoint(): Promise<void> {
    await this.#send('SAVEPOINT undo')
  }

  async rollbackToSavepoint(): Promise<void> {
    await this.#send('ROLLBACK TO SAVEPOINT undo')
  }

  async commit(): Promise<void> {
    await this.#send('COMMIT')
    this.#isInTransaction = false
  }

  async rollback(): Promise<void> {
    await this.#send('ROLLBACK')
    this.#isInTransaction = false
  }

  async #send(sql: string): Promise<void> {
    await this.#client.unsafe(sql)
  }
}

/** Whoever reads forward: from the last event it was given. */
export class Reader {
  /** All it was given, in that order. */
  readonly given: Placed[] = []
  /** It was given everything up to here. */
  position = 0
  readonly #dialect = new PostgresDialect(5000)
  readonly #client: Sql
  readonly #table: TableName
  readonly #connection: PostgresConnection
  #before: { readonly step: Step; readonly happens: () => Promise<void> } | undefined
  #hasRows = false

  private constructor(client: Sql, table: TableName, change: Change) {
    this.#client = client
    this.#table = table
    this.#connection = new PostgresConnection(change(this.#interrupted(channelOf(client))), never)
  }

  static async start(client: Sql, table: TableName, change: Change = asItIs): Promise<Reader> {
    const reader = new Reader(client, table, change)
    await reader.#dialect.hasTable(reader.#connection, table)
    return reader
  }

  /**
   * Reads a page.
   *
   * @param step, happens  What happens right before the reader sends that statement; it must come to that.
   * @returns The ids it was given.
   */
  async read(step?: Step, happens?: () => Promise<void>): Promise<number[]> {
    this.#before = step && happens && { step, happens }
    this.#hasRows = false
    const page = await this.#dialect.selectNotifications(this.#connection, this.#table, {
      start: this.position,
      inclusiveOfStart: false,
      limit: 100,
    })
    if (this.#before) throw new Error(`The reader did not ask for its ${this.#before.step}`)
    return this.take(page)
  }

  /** Takes what was read by other means. @returns The ids. */
  take(page: readonly Placed[]): number[] {
    this.given.push(...page)
    this.position = page.at(-1)?.id ?? this.position
    return page.map(({ id }) => id)
  }

  /** The position up to which, as far as the reader can know now, nothing more will appear. */
  async bound(): Promise<number> {
    const sequence = (await inspect(this.#connection, this.#table))!
    return (await settledUpTo(this.#connection, this.#table, sequence))!.position
  }

  /** Begins a transaction, of which the reader does not know. */
  async begin(isolationLevel: string): Promise<void> {
    await this.#client.unsafe(`BEGIN ISOLATION LEVEL ${isolationLevel}`)
  }

  async commit(): Promise<void> {
    await this.#client.unsafe('COMMIT')
  }

  #interrupted(channel: Channel): Channel {
    return {
      send: async (sql, parameters, how) => {
        const step = stepOf(sql)
        const next = this.#before
        if (next && next.step === (step === 'rows' && this.#hasRows ? 'rows again' : step)) {
          this.#before = undefined
          await next.happens()
        }
        if (step === 'rows') this.#hasRows = true
        return channel.send(sql, parameters, how)
      },
    }
  }
}

/** Which statement of a reader it is. */
export function stepOf(sql: string): Exclude<Step, 'rows again'> | undefined {
  if (sql.includes('FROM pg_locks')) return 'locks'
  if (/^SELECT CASE WHEN is_called /.test(sql)) return 'sequence'
  // as rows, or all of them as one
  return /^SELECT (json_agg\()?notification_id\b/.test(sql) ? 'rows' : undefined
}

function asItIs(channel: Channel): Channel {
  return channel
}

function channelOf(client: Sql): Channel {
  return {
    send: async (sql, parameters, how) => {
      const query = (client as unknown as PostgresSql).unsafe(sql, parameters, how)
      return how.values ? query.values() : query
    },
  }
}

function never(): never {
  throw new Error('Nothing here needs a transaction of its own')
}
