import type { Dialect, TableName } from '../drizzle/dialect.js'
import * as statements from '../drizzle/statements.js'
import { DatabaseProgrammingError, ProgrammingError } from '../errors.js'
import type { SelectEventsOptions, SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification, StoredEvent, StoredText, Tracking } from '../persistence/stored-event.js'
import { Append } from './append.js'
import { textArray } from './arrays.js'
import type { PostgresConnection } from './drivers/connection.js'
import { sqlState, translate } from './errors.js'
import { type EventSequence, inspect, literal, settledUpTo } from './order.js'
import { checkedName, checkedSchema, createTableStatements, qualified, quoted } from './tables.js'

/** What PostgreSQL says differently, and what one datastore has found out of its tables. */
export class PostgresDialect implements Dialect<PostgresConnection> {
  readonly name = 'postgresql'
  readonly capabilities = { concurrentWriters: true, ownTables: true }
  readonly #timeoutMs: number
  readonly #sequences = new Map<string, EventSequence | null>()
  readonly #appends = new Map<string, Append>()
  /** By table of events: the highest position of which is known that nothing at or below it will appear any more. */
  readonly #settled = new Map<string, number>()

  /** @param timeoutMs  How long statements of ours wait for others, where they have to. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  /**
   * Forgets what is known of positions: a server that has taken over from another may not have all of the other's, and
   * gives their numbers again. To be called when a connection was lost.
   */
  forgetSettled(): void {
    this.#settled.clear()
  }

  table(table: TableName): string {
    checkedName(table.name, table.kind)
    if (table.schema !== undefined) checkedSchema(table.schema)
    return qualified(table)
  }

  placeholder(n: number): string {
    return `$${n}`
  }

  inList(column: string, placeholder: string): string {
    return `${column} = ANY (${placeholder}::text[])`
  }

  list(values: readonly string[]): unknown {
    return textArray(values)
  }

  translate(this: void, error: unknown): unknown {
    return translate(error)
  }

  async hasTable(connection: PostgresConnection, table: TableName): Promise<boolean> {
    return (await this.#sequence(connection, table)) !== undefined
  }

  async createTables(connection: PostgresConnection, tables: readonly TableName[]): Promise<void> {
    const names = tables.map((table) => this.table(table)).join(', ')
    try {
      // one transaction; IF NOT EXISTS alone fails where two processes start at once, so they take turns
      await connection.script(
        [
          `SELECT set_config('lock_timeout', ${literal(String(Math.min(this.#timeoutMs, 2 ** 31 - 1)))}, true)`,
          `SELECT pg_advisory_xact_lock(${creatingTables})`,
          ...tables.flatMap(createTableStatements),
        ].join(';'),
      )
    } catch (error) {
      throw cannotCreate(error, names, tables[0]?.schema) ?? error
    }
  }

  async append(
    connection: PostgresConnection,
    table: TableName,
    events: readonly StoredEvent[],
    tracking?: { readonly table: TableName; readonly position: Tracking },
  ): Promise<number[]> {
    const append = await this.#append(connection, table)
    if (!tracking) return append.insert(connection, events)
    return connection.atomically(async (inside) => {
      const ids = events.length > 0 ? await append.insert(inside, events) : []
      const query = statements.insertTrackingQuery(this, tracking.table, tracking.position)
      if ((await inside.change(query.text, query.parameters)) > 0) return ids
      // a user's transaction goes on
      if (connection.inTransaction) await append.takeBack(inside, ids)
      throw statements.trackingConflict(tracking.position)
    })
  }

  async selectTexts(
    connection: PostgresConnection,
    table: TableName,
    originatorId: string,
    options: SelectEventsOptions,
  ): Promise<StoredText[]> {
    // what is no UTF-8 is an error there, and an error would spoil a transaction
    if (!connection.inTransaction) {
      try {
        const asText = "convert_from(state, 'UTF8')"
        return await statements.selectTexts(connection, this, table, asText, originatorId, options)
      } catch (error) {
        if (sqlState(error) !== notInEncoding) throw error
      }
    }
    const events = await statements.selectEvents(connection, this, table, originatorId, options)
    return events.map(({ state, ...event }) => ({ ...event, state: Buffer.from(state).toString() }))
  }

  async selectNotifications(
    connection: PostgresConnection,
    table: TableName,
    options: SelectNotificationsOptions,
  ): Promise<Notification[]> {
    await requireSnapshotsOfStatements(connection)
    // before the rows: what is settled by now, they have
    const settled = this.#settledPosition(table)
    const rows = await statements.selectNotifications(connection, this, table, options)
    const last = rows.at(-1)
    if (!last) return rows
    if (isWithoutGap(rows, options, settled)) {
      this.#settle(connection, table, last.id)
      return rows
    }
    const bound = await this.#bound(connection, table)
    const stop = Math.min(bound, options.stop ?? bound)
    return statements.selectNotifications(connection, this, table, { ...options, stop })
  }

  async maxNotificationId(connection: PostgresConnection, table: TableName): Promise<number | null> {
    await requireSnapshotsOfStatements(connection)
    const settled = this.#settledPosition(table)
    const highest = await statements.maxNotificationId(connection, this, table)
    if (highest === null || highest <= settled) return highest
    const bound = await this.#bound(connection, table)
    return highest <= bound ? highest : statements.maxNotificationId(connection, this, table, bound)
  }

  async #bound(connection: PostgresConnection, table: TableName): Promise<number> {
    const sequence = await this.#requireSequence(connection, table)
    const bound = sequence ? await settledUpTo(connection, table, sequence) : 0
    this.#settle(connection, table, bound)
    return bound
  }

  #settledPosition(table: TableName): number {
    return this.#settled.get(qualified(table)) ?? 0
  }

  #settle(connection: PostgresConnection, table: TableName, position: number): void {
    // what a transaction sees of its own may yet be rolled back, or appear to others later
    if (connection.inTransaction || position <= this.#settledPosition(table)) return
    this.#settled.set(qualified(table), position)
  }

  async #append(connection: PostgresConnection, table: TableName): Promise<Append> {
    const name = qualified(table)
    const known = this.#appends.get(name)
    if (known) return known
    const append = new Append(table, await this.#requireSequence(connection, table), this.#timeoutMs)
    this.#appends.set(name, append)
    return append
  }

  async #requireSequence(connection: PostgresConnection, table: TableName): Promise<EventSequence | null> {
    const sequence = await this.#sequence(connection, table)
    if (sequence !== undefined) return sequence
    throw new DatabaseProgrammingError(
      `The table ${qualified(table)} does not exist: create it by migration, or leave that to CREATE_TABLE`,
      { code: '42P01' },
    )
  }

  async #sequence(connection: PostgresConnection, table: TableName): Promise<EventSequence | null | undefined> {
    const name = qualified(table)
    const known = this.#sequences.get(name)
    if (known !== undefined) return known
    const sequence = await inspect(connection, table)
    if (sequence !== undefined) this.#sequences.set(name, sequence)
    return sequence
  }
}

/** SQLSTATE of bytes that are no text in UTF-8. */
const notInEncoding = '22021'

/** The key of the lock that who creates tables holds: a number of ours, the same in every process. */
const creatingTables = 7_313_891_206_404_519

/** Whether the rows are all there can ever be between where the reader stands and the last of them. */
function isWithoutGap(
  rows: readonly Notification[],
  { start, inclusiveOfStart = true, topics }: SelectNotificationsOptions,
  settled: number,
): boolean {
  const last = rows.at(-1)?.id ?? 0
  if (last <= settled) return true
  if (topics && topics.length > 0) return false
  const position = start == null ? 0 : inclusiveOfStart ? start - 1 : start
  if (position > settled) return false
  const firstAbove = rows.findIndex(({ id }) => id > settled)
  return last - settled === rows.length - firstAbove
}

/** @throws ProgrammingError  All statements of the transaction see what its first one saw. */
async function requireSnapshotsOfStatements(connection: PostgresConnection): Promise<void> {
  if (!connection.inTransaction) return
  const [row] = await connection.rows("SELECT current_setting('transaction_isolation')", [])
  const [isolation] = row as [string]
  if (isolation !== 'repeatable read' && isolation !== 'serializable') return
  throw new ProgrammingError(
    `Notifications can't be read in order inside a transaction that is ${isolation}: read them outside, with ` +
      'datastore.outside(fn), or in a transaction that is read committed',
  )
}

/** What keeps tables from being made, said so that it can be mended. */
function cannotCreate(cause: unknown, names: string, schema: string | undefined): DatabaseProgrammingError | undefined {
  const code = sqlState(cause)
  const details = { cause, code }
  if (code === '42501') {
    return new DatabaseProgrammingError(
      `No permission to create ${names}: GRANT CREATE ON SCHEMA ${schema === undefined ? 'of the search_path' : quoted(schema)} ` +
        'to this user, or create the tables by migration and set CREATE_TABLE=n',
      details,
    )
  }
  if (code === '3F000') {
    return new DatabaseProgrammingError(
      schema === undefined
        ? `There is no schema to create ${names} in: set DRIZZLE_SCHEMA, or a search_path`
        : `The schema ${quoted(schema)} does not exist: CREATE SCHEMA ${quoted(schema)}, or another DRIZZLE_SCHEMA`,
      details,
    )
  }
  return undefined
}
