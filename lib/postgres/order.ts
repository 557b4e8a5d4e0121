import type { TableName } from '../drizzle/dialect.js'
import { OperationalError, ProgrammingError } from '../errors.js'
import type { PostgresConnection } from './drivers/connection.js'
import { qualified } from './tables.js'

/*
 * Order without queueing: the registered floor.
 *
 * A writer, before it draws ids from the table's sequence, takes a lock that conflicts with nobody's and says where the
 * sequence was: (the table, the sequence's value). Whatever it draws is above that. A reader who finds a gap asks, one
 * after the other, where the sequence is, who is registered, and then for the events: whatever was drawn until the first
 * answer was drawn by somebody who is in the second, or has ended and is in the third.
 *
 * docs/order-without-queueing.md
 */

/** Where a table's ids come from. */
export interface EventSequence {
  /** Its name as it stands in statements. */
  readonly name: string
  /** The table's number on the server: another one of the same name has another sequence. */
  readonly table: number
  /** `keepsUtf8`. */
  readonly isUtf8: boolean
}

/** Whether text in UTF-8 goes between us and a table as it is, in SQL: neither the database nor the client has it otherwise. */
export const keepsUtf8 = "getdatabaseencoding() = 'UTF8' AND pg_client_encoding() = 'UTF8'"

// keys of locks have 32 bits, so that positions are compared modulo 2^31, near to the sequence's value
const keys = 2 ** 31

/** A sequence's value, of which every number above is yet to be drawn. */
const lastDrawn = 'CASE WHEN is_called THEN last_value ELSE last_value - 1 END'

/**
 * What registers a writer: a FROM clause of one row, which ids have to be drawn for. No row where the name is another
 * table's by now.
 *
 * @param lockWaitMs  How long the rest of the transaction waits for what others have locked. Default: as it is set.
 */
export function fromRegistered(table: TableName, sequence: EventSequence, lockWaitMs?: number): string {
  const wait =
    lockWaitMs === undefined ? '' : ` AND set_config('lock_timeout', ${literal(String(lockWaitMs))}, true) IS NOT NULL`
  return `FROM ${sequence.name} WHERE ${isTable(table, sequence)}${wait} AND ${registered(table)} IS NOT NULL`
}

/**
 * As `fromRegistered`, once for each transaction: locks are kept to its end, and there is room for so many only.
 *
 * That it was done is remembered by the server until the transaction, or the savepoint that it was done in, is over.
 *
 * @param condition  No row either where it doesn't hold.
 */
export function fromRegisteredOnce(table: TableName, sequence: EventSequence, condition: string): string {
  const mark = literal(`eventsourcing.floor_${sequence.table}`)
  // a common table expression in place of this costs the server a quarter of the statement
  return (
    `FROM ${sequence.name} WHERE ${isTable(table, sequence)} AND ${condition} AND CASE ` +
    `WHEN current_setting(${mark}, true) = '1' THEN true ` +
    `ELSE ${registered(table)} IS NOT NULL AND set_config(${mark}, '1', true) IS NOT NULL END`
  )
}

/** These as a common table expression: `floor (zero)` with one row, 0, on whose value depends whatever draws ids. */
export function floor(from: string): string {
  return `floor AS MATERIALIZED (SELECT 0 AS zero ${from})`
}

/**
 * Draws ids until they are contiguous, a few times: a common table expression `block (first)`, empty if they never were.
 *
 * Needs `floor`, and WITH RECURSIVE.
 *
 * @param size  How many, as an SQL expression.
 */
export function contiguousBlock(sequence: EventSequence, size: string): string {
  const drawn = (dependsOn: string) =>
    `CROSS JOIN LATERAL (SELECT min(id) AS first, max(id) AS last FROM (SELECT nextval(${literal(sequence.name)}::regclass) ` +
    `AS id FROM generate_series(1, ${size} + ${dependsOn} * 0)) AS ids) AS b`
  return (
    `draw (tries, first, last) AS (SELECT 1, b.first, b.last FROM floor ${drawn('floor.zero')} ` +
    `UNION ALL SELECT d.tries + 1, b.first, b.last FROM draw AS d ${drawn('d.tries')} ` +
    `WHERE d.last - d.first + 1 <> ${size} AND d.tries < ${drawsAtMost}), ` +
    `block AS (SELECT first FROM draw WHERE last - first + 1 = ${size})`
  )
}

// measured: 0.03 to 0.14 draws more for a block of 20 to 500 beside eight others who draw
const drawsAtMost = 8

/** What is known of positions: nothing at or below this one appears any more. */
export interface Settled {
  readonly position: number
  /** What it holds for. */
  readonly era: number
}

/**
 * The life of the sequence that the table's name leads to, as an SQL expression: another number where it was set back or made anew, or where another server
 * has taken over, which may have to give numbers again that were given before.
 */
export function era(table: TableName): string {
  const sequence = `pg_get_serial_sequence(${literal(qualified(table))}, 'notification_id')::regclass`
  return (
    `(SELECT hashtext(${tableOid(table)}::text || '/' || pg_relation_filenode(${sequence})::text ` +
    `|| '/' || pg_postmaster_start_time()::text))`
  )
}

/**
 * The last position below which nothing more can appear, as known at the time of the call.
 *
 * Three statements on one connection, in this order, the third being the caller's for the events: each has a snapshot of
 * its own.
 *
 * @returns undefined  The table's name is another table's by now.
 * @throws OperationalError  The server is a standby.
 */
export async function settledUpTo(
  connection: PostgresConnection,
  table: TableName,
  sequence: EventSequence,
): Promise<Settled | undefined> {
  const [drawn] = await connection.rows(
    `SELECT ${lastDrawn}, pg_is_in_recovery(), ${era(table)} FROM ${sequence.name} WHERE ${isTable(table, sequence)}`,
    [],
  )
  if (!drawn) return undefined
  const [last, isStandby, itsEra] = drawn as [number, boolean, number]
  if (isStandby) {
    throw new OperationalError(
      `Notifications of ${qualified(table)} can't be read in order on a standby, which does not know who is writing: read ` +
        'them on the primary',
    )
  }
  // oneself is left out: what one has drawn in this transaction one may see. All others are in, also who waits for the
  // lock, and transactions that are prepared, which have no process
  const [below] = await connection.rows(
    `SELECT min((objid::bigint - $1::bigint + ${keys / 2} + ${keys}) % ${keys} - ${keys / 2}) FROM pg_locks ` +
      `WHERE locktype = 'advisory' AND objsubid = 2 AND classid = ${tableOid(table)} ` +
      `AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid IS DISTINCT FROM pg_backend_pid()`,
    [last % keys],
  )
  const [difference] = below as [number | null]
  return { position: last + Math.min(0, difference ?? 0), era: itsEra }
}

/**
 * Finds the sequence of a table of events, and whether the table keeps what we promise.
 *
 * @returns undefined  There is no such table. `null` for a table without ids.
 * @throws ProgrammingError  The sequence gives numbers out of order, or nothing makes a version exist once.
 */
export async function inspect(
  connection: PostgresConnection,
  table: TableName,
): Promise<EventSequence | null | undefined> {
  const hasIds = table.kind === 'events'
  // of the row's own name: of a table that isn't there it would be an error
  const sequenceName = hasIds
    ? "pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), 'notification_id')"
    : 'NULL::text'
  const [row] = await connection.rows(
    `SELECT c.oid::int8, s.name, q.seqcache, q.seqincrement, q.seqcycle, EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid ` +
      `AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = $2 ` +
      `AND i.indnatts = $2 AND (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) ` +
      `AND a.attname::text = ANY ($3::text[])) = $2), ${keepsUtf8} ` +
      `FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace CROSS JOIN LATERAL (SELECT ${sequenceName} AS name) AS s ` +
      `LEFT JOIN pg_sequence AS q ON q.seqrelid = s.name::regclass WHERE c.oid = to_regclass($1)`,
    table.kind === 'tracking'
      ? [qualified(table), 1, '{application_name}']
      : [qualified(table), 2, '{originator_id,originator_version}'],
  )
  if (!row) return undefined
  const [oid, name, cache, increment, cycles, isUnique, isUtf8] = row as [
    number,
    string | null,
    number,
    number,
    boolean,
    boolean,
    boolean,
  ]
  const shown = `The table ${qualified(table)}`
  if (!isUnique) {
    const columns = table.kind === 'tracking' ? 'application_name' : 'originator_id, originator_version'
    throw new ProgrammingError(`${shown} has no unique index on (${columns}), without which rows could be stored twice`)
  }
  if (!hasIds) return null
  if (name === null) {
    throw new ProgrammingError(
      `${shown}: notification_id takes its values from no sequence; it must be an identity column`,
    )
  }
  if (cache !== 1 || increment !== 1 || cycles) {
    throw new ProgrammingError(
      `${shown}: the sequence ${name} must have CACHE 1, INCREMENT 1 and NO CYCLE, or readers would skip events; ` +
        `ALTER SEQUENCE ${name} CACHE 1 INCREMENT 1 NO CYCLE`,
    )
  }
  return { name, table: oid, isUtf8 }
}

/** Text in SQL. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function registered(table: TableName): string {
  return `pg_advisory_xact_lock_shared(${tableOid(table)}::int4, ((${lastDrawn}) & ${keys - 1})::int4)`
}

/** Whether the table's name still is that of the table that the sequence belongs to, as an SQL expression. */
export function isTable(table: TableName, sequence: EventSequence): string {
  return `${tableOid(table)} = ${sequence.table}::oid`
}

function tableOid(table: TableName): string {
  return `${literal(qualified(table))}::regclass::oid`
}
