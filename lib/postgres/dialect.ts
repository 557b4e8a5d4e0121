import type { Dialect, Insert, TableName } from '../drizzle/dialect.js'
import { isForOneRow, selectPage, type Together } from '../drizzle/pages.js'
import * as statements from '../drizzle/statements.js'
import { DatabaseProgrammingError, OperationalError, ProgrammingError, type RecordConflictError } from '../errors.js'
import type { BeginTexts, SelectEventsOptions, SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification, StoredEvent, StoredText } from '../persistence/stored-event.js'
import { Append } from './append.js'
import { AppendTogether, type Events } from './append-together.js'
import { statesAsText, textArray } from './arrays.js'
import type { PostgresConnection } from './drivers/connection.js'
import { isDisconnect, sqlState, translate } from './errors.js'
import { era, type EventSequence, inspect, literal, type Settled, settledUpTo } from './order.js'
import { checkedName, checkedSchema, createTableStatements, qualified, quoted } from './tables.js'
import { asText, inOneHex, inOneText, longStream, selectTextsInChunks, unlessNoText } from './texts.js'

/** What PostgreSQL says differently, and what one datastore has found out of its tables. */
export class PostgresDialect implements Dialect<PostgresConnection> {
  readonly name = 'postgresql'
  readonly capabilities = { concurrentWriters: true, ownTables: true }
  readonly #timeoutMs: number
  readonly #lockWaitMs: number | undefined
  readonly #sequences = new Map<string, EventSequence | null>()
  readonly #appends = new Map<string, Append>()
  readonly #together = new Map<string, AppendTogether>()
  /** By table of events. */
  readonly #settled = new Map<string, Settled>()
  /** The tables of events whose states were seen not to be text. */
  readonly #ofBytes = new Set<string>()
  /** The tables where the last stream that was read was a long one; the next may be too. */
  readonly #ofLongStreams = new Set<string>()

  /**
   * @param timeoutMs  How long statements of ours wait for others, where they have to.
   * @param lockWaitMs  How long an insert outside of a transaction waits in the server; see `Append`.
   */
  constructor(timeoutMs: number, lockWaitMs?: number) {
    this.#timeoutMs = timeoutMs
    this.#lockWaitMs = lockWaitMs
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

  // the server's own text for bytes depends on a setting, and a client may have been told to read it in another way
  selectBytes(column: string): string {
    return `encode(${column}, 'hex')`
  }

  asBytes(selected: unknown): Uint8Array {
    return Buffer.from(selected as string, 'hex')
  }

  translate(this: void, error: unknown): unknown {
    return translate(error)
  }

  isDisconnect(this: void, error: unknown): boolean {
    return isDisconnect(error)
  }

  async hasTable(connection: PostgresConnection, table: TableName): Promise<boolean> {
    const sequence = await inspect(connection, table)
    if (sequence !== undefined) this.#sequences.set(this.table(table), sequence)
    return sequence !== undefined
  }

  async isForGood(connection: PostgresConnection, tables: readonly TableName[]): Promise<boolean> {
    // whoever makes or changes a table has it locked until the transaction ends
    const [row] = await connection.rows(
      'SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS l JOIN unnest($1::text[]) AS t (name) ' +
        "ON l.relation = t.name::regclass WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' " +
        "AND l.mode = 'AccessExclusiveLock' AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))",
      [textArray(tables.map(qualified))],
    )
    return (row as [boolean])[0]
  }

  async createTables(connection: PostgresConnection, tables: readonly TableName[]): Promise<void> {
    const names = tables.map((table) => this.table(table)).join(', ')
    const timeout = `set_config('lock_timeout', ${literal(String(Math.min(this.#timeoutMs, 2 ** 31 - 1)))}, true)`
    // a transaction that goes on has its own again
    const [before] = connection.inTransaction
      ? await connection.column("SELECT current_setting('lock_timeout')", [])
      : []
    try {
      // one transaction; IF NOT EXISTS alone fails where two processes start at once, so they take turns
      await connection.script(
        [
          `SELECT ${timeout}`,
          `SELECT pg_advisory_xact_lock(${creatingTables})`,
          ...tables.flatMap(createTableStatements),
          ...(before === undefined ? [] : [`SELECT set_config('lock_timeout', ${literal(String(before))}, true)`]),
        ].join(';'),
      )
    } catch (error) {
      throw cannotCreate(error, names, tables[0]?.schema) ?? error
    }
    // now: the first transaction to ask may see the catalogue as it was before
    for (const table of tables) await this.hasTable(connection, table)
  }

  append(connection: PostgresConnection, { table, events, tracking }: Insert): Promise<number[]> {
    if (!tracking) return this.#insert(connection, table, events)
    return connection.atomically(async (inside) => {
      const ids = await this.#insert(inside, table, events)
      const query = statements.insertTrackingQuery(this, tracking.table, tracking.position)
      if ((await inside.change(query.text, query.parameters)) > 0) return ids
      // a user's transaction goes on
      if (connection.inTransaction) await (await this.#append(inside, table)).takeBack(inside, ids)
      throw statements.trackingConflict(tracking.position)
    })
  }

  async replace(connection: PostgresConnection, table: TableName, snapshot: StoredEvent): Promise<void> {
    const { originatorId, originatorVersion, topic, state } = snapshot
    const { texts } = statesAsText([state], false)
    await connection.change(
      `INSERT INTO ${qualified(table)} (originator_id, originator_version, topic, state) ` +
        `VALUES ($1::text, $2::int8, $3::text, decode($4::text, 'hex')) ` +
        'ON CONFLICT (originator_id, originator_version) DO UPDATE SET topic = excluded.topic, state = excluded.state',
      [originatorId, originatorVersion, topic, texts[0]],
    )
  }

  /**
   * Inserts for several by one statement, outside of a transaction.
   *
   * @param table  Of events.
   * @param inserts  No key stands twice among them.
   * @returns For each of them its ids, or `undefined` where nothing of it is stored.
   */
  async appendTogether(
    connection: PostgresConnection,
    table: TableName,
    inserts: readonly Events[],
  ): Promise<(number[] | undefined)[]> {
    const together = await this.#appendTogether(connection, table)
    return together?.insert(connection, inserts) ?? inserts.map(() => undefined)
  }

  /** The conflicts that are to be seen by now of inserts that `appendTogether` has not stored. */
  async conflicts(
    connection: PostgresConnection,
    table: TableName,
    inserts: readonly Events[],
  ): Promise<(RecordConflictError | undefined)[]> {
    const together = await this.#appendTogether(connection, table)
    return together?.conflicts(connection, inserts) ?? []
  }

  async selectTexts(
    connection: PostgresConnection,
    table: TableName,
    originatorId: string,
    begin: BeginTexts,
    options: SelectEventsOptions,
  ): Promise<boolean> {
    const name = qualified(table)
    const isWhole = statements.isWholeStream(options)
    let events = 0
    const beginCounting = () => {
      const take = begin()
      events = 0
      return (stored: readonly StoredText[]) => {
        events += stored.length
        take(stored)
      }
    }
    let isAll: boolean | undefined
    if (isWhole && this.#ofLongStreams.has(name)) {
      isAll = await unlessNoText(connection, () => selectTextsInChunks(connection, table, originatorId, beginCounting))
    }
    isAll ||= await unlessNoText(connection, () =>
      statements.selectTexts(connection, this, table, asText('state'), originatorId, beginCounting, options),
    )
    // inside of transactions none comes as text, however long
    if (isWhole && !connection.inTransaction) {
      if (isAll && events >= longStream) this.#ofLongStreams.add(name)
      else this.#ofLongStreams.delete(name)
    }
    return isAll ?? false
  }

  async selectNotifications(
    connection: PostgresConnection,
    table: TableName,
    options: SelectNotificationsOptions,
  ): Promise<Notification[]> {
    await requireSnapshotsOfStatements(connection)
    // before the rows: what is settled by now, they have
    const known = this.#settled.get(qualified(table))
    const { notifications, found } = await this.#select(connection, table, options)
    const last = notifications.at(-1)
    if (!last) return notifications
    const settled = known && known.era === found ? known.position : 0
    if (isWithoutGap(notifications, options, settled)) {
      this.#settle(connection, table, { position: last.id, era: found as number })
      return notifications
    }
    const bound = await this.#bound(connection, table)
    const stop = Math.min(bound, options.stop ?? bound)
    return (await this.#select(connection, table, { ...options, stop })).notifications
  }

  async maxNotificationId(connection: PostgresConnection, table: TableName): Promise<number | null> {
    await requireSnapshotsOfStatements(connection)
    const known = this.#settled.get(qualified(table))
    const sequence = await this.#requireSequence(connection, table)
    const [row] = await connection.rows(
      `SELECT max(notification_id), ${sequence ? era(table) : '0'} FROM ${qualified(table)}`,
      [],
    )
    const [highest, itsEra] = row as [number | null, number]
    if (highest === null || (known?.era === itsEra && highest <= known.position)) return highest
    const bound = await this.#bound(connection, table)
    return highest <= bound ? highest : statements.maxNotificationId(connection, this, table, bound)
  }

  async #insert(connection: PostgresConnection, table: TableName, events: readonly StoredEvent[]): Promise<number[]> {
    if (events.length === 0) return []
    for (let attempt = 1; ; attempt += 1) {
      const append = this.#appends.get(qualified(table)) ?? (await this.#append(connection, table))
      try {
        const ids = await append.insert(connection, events)
        if (ids) return ids
      } catch (error) {
        // a sequence of another name now; a transaction is spoiled by the error
        if (sqlState(error) === undefinedTable) this.#forget(table)
        if (sqlState(error) !== undefinedTable || connection.inTransaction || attempt > 1) throw error
      }
      this.#forget(table)
      if (attempt > 1) throw doesNotStay(table)
    }
  }

  async #select(
    connection: PostgresConnection,
    table: TableName,
    options: SelectNotificationsOptions,
  ): Promise<statements.Page> {
    const sequence = await this.#requireSequence(connection, table)
    const also = sequence ? era(table) : '0'
    const name = qualified(table)
    const oneRow = (as: Together) => selectPage(connection, this, table, options, as, also)
    let page: statements.Page | undefined
    if (isForOneRow(options)) {
      let isText = sequence?.isUtf8 && !connection.inTransaction && !this.#ofBytes.has(name)
      if (isText) {
        page = await unlessNoText(
          connection,
          () => oneRow(inOneText),
          () => {
            isText = false
            this.#ofBytes.add(name)
          },
        )
      }
      // where it is text and no page, a state is too long for one row in any form
      if (!isText) page = await oneRow(inOneHex)
    }
    return page ?? statements.selectNotifications(connection, this, table, options, also)
  }

  /** The last position that may be shown; never below one that was shown before in this process. */
  async #bound(connection: PostgresConnection, table: TableName): Promise<number> {
    for (let attempt = 1; ; attempt += 1) {
      const sequence = await this.#requireSequence(connection, table)
      if (!sequence) return 0
      const settled = await settledUpTo(connection, table, sequence).catch((error: unknown) => {
        // as for an insert
        if (sqlState(error) === undefinedTable) this.#forget(table)
        if (sqlState(error) !== undefinedTable || connection.inTransaction || attempt > 1) throw error
      })
      if (settled) {
        const known = this.#settled.get(qualified(table))
        this.#settle(connection, table, settled)
        return known?.era === settled.era ? Math.max(known.position, settled.position) : settled.position
      }
      this.#forget(table)
      if (attempt > 1) throw doesNotStay(table)
    }
  }

  #settle(connection: PostgresConnection, table: TableName, settled: Settled): void {
    const name = qualified(table)
    const known = this.#settled.get(name)
    // what a transaction sees of its own may yet be rolled back, or appear to others later
    if (connection.inTransaction || (known?.era === settled.era && known.position >= settled.position)) return
    this.#settled.set(name, settled)
  }

  #forget(table: TableName): void {
    this.#sequences.delete(qualified(table))
    this.#appends.delete(qualified(table))
    this.#together.delete(qualified(table))
  }

  async #append(connection: PostgresConnection, table: TableName): Promise<Append> {
    const append = new Append(table, await this.#requireSequence(connection, table), this.#timeoutMs, this.#lockWaitMs)
    this.#appends.set(qualified(table), append)
    return append
  }

  async #appendTogether(connection: PostgresConnection, table: TableName): Promise<AppendTogether | undefined> {
    const name = qualified(table)
    const known = this.#together.get(name)
    if (known) return known
    const sequence = await this.#requireSequence(connection, table)
    if (!sequence) return undefined
    const together = new AppendTogether(table, sequence, this.#lockWaitMs ?? 0)
    this.#together.set(name, together)
    return together
  }

  async #requireSequence(connection: PostgresConnection, table: TableName): Promise<EventSequence | null> {
    const name = qualified(table)
    const known = this.#sequences.get(name)
    if (known !== undefined) return known
    const sequence = await inspect(connection, table)
    if (sequence === undefined) {
      throw new DatabaseProgrammingError(
        `The table ${name} does not exist: create it by migration, or leave that to CREATE_TABLE`,
        { code: undefinedTable },
      )
    }
    this.#sequences.set(name, sequence)
    return sequence
  }
}

/** SQLSTATE of a table, or a sequence, that isn't there. */
const undefinedTable = '42P01'

/** The key of the lock that who creates tables holds: a number of ours, the same in every process. */
const creatingTables = 7_313_891_206_404_519

/** Whether the rows are all there can ever be between where the reader stands and the last of them. */
function isWithoutGap(
  rows: readonly Notification[],
  { start, inclusiveOfStart = true }: SelectNotificationsOptions,
  settled: number,
): boolean {
  const last = rows.at(-1)?.id ?? 0
  if (last <= settled) return true
  const position = start == null ? 0 : inclusiveOfStart ? start - 1 : start
  if (position > settled) return false
  const firstAbove = rows.findIndex(({ id }) => id > settled)
  return last - settled === rows.length - firstAbove
}

function doesNotStay(table: TableName): OperationalError {
  return new OperationalError(
    `The table ${qualified(table)} was another one each time: it is being made anew, or the search_path changes; give its ` +
      'schema (DRIZZLE_SCHEMA)',
    { retryable: true },
  )
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
        'to this user, or create the tables by migration and set CREATE_TABLE=no',
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
