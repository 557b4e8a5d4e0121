import { IntegrityError } from '../errors.js'
import type { BeginTexts, SelectEventsOptions, SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification, StoredEvent, StoredText, Tracking } from '../persistence/stored-event.js'
import type { Connection, Dialect, TableName } from './dialect.js'

/**
 * The recorders' statements, each written once for every SQL database; the append is the dialect's own.
 *
 * They are texts of ours on prepared statements: Drizzle's builders cost several times as much on these paths.
 */

/** One originator's events, by version. */
export async function selectEvents(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  originatorId: string,
  options: SelectEventsOptions,
): Promise<StoredEvent[]> {
  const columns = `originator_version, topic, ${dialect.selectBytes('state')}`
  const { text, parameters } = streamQuery(dialect, table, columns, originatorId, options)
  const rows = (await connection.rows(text, parameters)) as [number, string, unknown][]
  return rows.map(([originatorVersion, topic, selected]) => ({
    originatorId,
    originatorVersion,
    topic,
    state: dialect.asBytes(selected),
  }))
}

/** One originator's events as they are recorded, by version; the ids are NaN in a table without. */
export async function selectRecorded(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  originatorId: string,
  options: SelectEventsOptions,
): Promise<Map<number, { id: number; topic: string; state: Uint8Array }>> {
  const id = table.kind === 'events' ? 'notification_id' : 'NULL'
  const columns = `originator_version, topic, ${dialect.selectBytes('state')}, ${id}`
  const { text, parameters } = streamQuery(dialect, table, columns, originatorId, options)
  const rows = (await connection.rows(text, parameters)) as [number, string, unknown, number | null][]
  return new Map(
    rows.map(([version, topic, state, id]) => [version, { id: id ?? NaN, topic, state: dialect.asBytes(state) }]),
  )
}

/**
 * As `selectEvents`, with states as text. An event comes as one text, in half the time of three columns.
 *
 * @param asText  The state as text, in the dialect's SQL.
 * @returns Whether that were all: not where a state is NULL then, or it or a topic holds the separator, which JSON never
 *   holds.
 */
export async function selectTexts(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  asText: string,
  originatorId: string,
  begin: BeginTexts,
  options: SelectEventsOptions,
): Promise<boolean> {
  const { text, parameters } = streamQuery(dialect, table, eventAsText(asText), originatorId, options)
  const storedTexts: StoredText[] = []
  for (const line of await connection.column(text, parameters)) {
    const stored = typeof line === 'string' ? storedText(originatorId, line) : undefined
    if (!stored) return false
    storedTexts.push(stored)
  }
  begin()(storedTexts)
  return true
}

/** Whether that is all of a stream, from its first event on. */
export function isWholeStream({ gt, lte, limit, desc }: SelectEventsOptions): boolean {
  return gt == null && lte == null && limit == null && !desc
}

/** An event as one text, in SQL: version, topic and state. */
export function eventAsText(asText: string): string {
  return `originator_version || '${separator}' || topic || '${separator}' || ${asText}`
}

/** Stands between texts that come as one; in JSON it never stands as it is. */
export const separator = '\x1e'

/** The event of `eventAsText`; undefined where it can't be told what is what. */
export function storedText(originatorId: string, line: string): StoredText | undefined {
  const topicAt = line.indexOf(separator) + 1
  const stateAt = line.indexOf(separator, topicAt) + 1
  if (topicAt === 0 || stateAt === 0 || line.includes(separator, stateAt)) return undefined
  return {
    originatorId,
    originatorVersion: Number(line.slice(0, topicAt - 1)),
    topic: line.slice(topicAt, stateAt - 1),
    state: line.slice(stateAt),
  }
}

function streamQuery(
  dialect: Dialect,
  table: TableName,
  columns: string,
  originatorId: string,
  { gt, lte, desc = false, limit }: SelectEventsOptions,
): Query {
  const query = new Query(dialect)
  query.text = `SELECT ${columns} FROM ${dialect.table(table)} WHERE originator_id = ${query.parameter(originatorId)}`
  if (gt != null) query.text += ` AND originator_version > ${query.parameter(gt)}`
  if (lte != null) query.text += ` AND originator_version <= ${query.parameter(lte)}`
  query.text += desc ? ' ORDER BY originator_version DESC' : ' ORDER BY originator_version'
  if (limit != null) query.text += ` LIMIT ${query.parameter(limit)}`
  return query
}

/** Notifications, with something that is the same for all of them. */
export interface Page {
  readonly notifications: Notification[]
  /** Undefined where there are none. */
  readonly found: unknown
}

/**
 * Notifications that this connection sees, by id.
 *
 * @param also  An SQL expression; what it gave is `found`.
 */
export async function selectNotifications(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  options: SelectNotificationsOptions,
  also = 'NULL',
): Promise<Page> {
  const columns = `notification_id, originator_id, originator_version, topic, ${dialect.selectBytes('state')}, ${also}`
  const { text, parameters } = notificationsQuery(dialect, table, columns, options)
  const rows = (await connection.rows(text, parameters)) as [number, string, number, string, unknown, unknown][]
  const notifications = rows.map(([id, originatorId, originatorVersion, topic, selected]) => ({
    id,
    originatorId,
    originatorVersion,
    topic,
    state: dialect.asBytes(selected),
  }))
  return { notifications, found: rows[0]?.[5] }
}

/** The rows of notifications, by id. */
export function notificationsQuery(
  dialect: Dialect,
  table: TableName,
  columns: string,
  { start, limit, stop, topics = [], inclusiveOfStart = true }: SelectNotificationsOptions,
): Query {
  const query = new Query(dialect)
  query.text =
    `SELECT ${columns} FROM ${dialect.table(table)} ` +
    `WHERE notification_id ${inclusiveOfStart || start == null ? '>=' : '>'} ${query.parameter(start ?? 1)}`
  if (stop != null) query.text += ` AND notification_id <= ${query.parameter(stop)}`
  if (topics.length > 0) query.text += ` AND ${dialect.inList('topic', query.parameter(dialect.list(topics)))}`
  query.text += ` ORDER BY notification_id LIMIT ${query.parameter(limit)}`
  return query
}

/** The highest notification id that this connection sees, or null; with `upTo`, of those not above it. */
export async function maxNotificationId(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  upTo?: number,
): Promise<number | null> {
  const query = new Query(dialect)
  query.text = `SELECT max(notification_id) FROM ${dialect.table(table)}`
  if (upTo !== undefined) query.text += ` WHERE notification_id <= ${query.parameter(upTo)}`
  const [row] = await connection.rows(query.text, query.parameters)
  return (row as [number | null])[0]
}

/** The position recorded for an upstream application, or null. */
export async function maxTrackingId(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  applicationName: string,
): Promise<number | null> {
  const query = new Query(dialect)
  query.text = `SELECT notification_id FROM ${dialect.table(table)} WHERE application_name = ${query.parameter(applicationName)}`
  const [row] = await connection.rows(query.text, query.parameters)
  return row ? (row as [number])[0] : null
}

/** The guarded upsert of a position: it changes no row where the position recorded is not below. */
export function insertTrackingQuery(
  dialect: Dialect,
  table: TableName,
  { applicationName, notificationId }: Tracking,
): Query {
  const query = new Query(dialect)
  // read, compare and write in one statement: two workers can't both record one position
  query.text =
    `INSERT INTO ${dialect.table(table)} AS t (application_name, notification_id) ` +
    `VALUES (${query.parameter(applicationName)}, ${query.parameter(notificationId)}) ` +
    `ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id ` +
    `WHERE t.notification_id < excluded.notification_id`
  return query
}

/** Records a position. @throws IntegrityError  It is not above the recorded one. */
export async function insertTracking(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  tracking: Tracking,
): Promise<void> {
  const query = insertTrackingQuery(dialect, table, tracking)
  if ((await connection.change(query.text, query.parameters)) === 0) throw trackingConflict(tracking)
}

/** What a position that is not above the recorded one is answered with. */
export function trackingConflict({ applicationName, notificationId }: Tracking): IntegrityError {
  return new IntegrityError(
    `Tracking of ${JSON.stringify(applicationName)} is at or above ${notificationId} already; it only moves forward`,
  )
}

/** A statement's text, put together with its parameters. */
export class Query {
  text = ''
  readonly parameters: unknown[] = []
  readonly #dialect: Dialect

  constructor(dialect: Dialect) {
    this.#dialect = dialect
  }

  parameter(value: unknown): string {
    this.parameters.push(value)
    return this.#dialect.placeholder(this.parameters.length)
  }
}
