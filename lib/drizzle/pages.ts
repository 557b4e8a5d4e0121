import type { SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification } from '../persistence/stored-event.js'
import type { Connection, Dialect, TableName } from './dialect.js'
import { notificationsQuery, type Page } from './statements.js'

/** How a database gives a page of rows as one row, in its SQL. */
export interface Together {
  /** All values of a column of integers, as JSON. */
  numbers(column: string): string
  /** All values of a column of text. */
  texts(column: string): string
  /** What `texts` gave for one row or more; of another length where it can't tell where one ends. */
  asTexts(selected: string): readonly string[]
  /** All values of a binary column, one after the other, without those that are NULL. NULL where it can't say. */
  joined(column: string): string
  /** What `joined` gave. */
  asBytes(selected: unknown): Uint8Array
}

// below, rows one by one take no longer; above, and with longer states, the one row might be too long for its receiver
const fewestRows = 50
const mostRows = 4000
const longestState = 32_768

/** Whether `selectPage` is for such a page. */
export function isForOneRow({ limit }: SelectNotificationsOptions): boolean {
  return limit >= fewestRows && limit <= mostRows
}

/**
 * As `selectNotifications`, in one row: what drivers do for each single value takes longer than what is in it.
 *
 * @returns undefined  Not this page: a state is too long for that, or `joined` is NULL.
 */
export async function selectPage(
  connection: Connection,
  dialect: Dialect,
  table: TableName,
  options: SelectNotificationsOptions,
  { numbers, texts, asTexts, joined, asBytes }: Together,
  also = 'NULL',
): Promise<Page | undefined> {
  const columns = 'notification_id, originator_id, originator_version, topic, state'
  const page = notificationsQuery(dialect, table, columns, options)
  const lists = [
    numbers('notification_id'),
    texts('originator_id'),
    numbers('originator_version'),
    texts('topic'),
    numbers('octet_length(state)'),
    joined(`CASE WHEN octet_length(state) <= ${longestState} THEN state END`),
  ]
  const [row] = await connection.rows(
    `SELECT ${lists.join(', ')}, ${also} FROM (${page.text}) AS page`,
    page.parameters,
  )
  const [ids, originatorIds, versions, topics, lengths, selected, found] = row as unknown[]
  // PostgreSQL has no list of nothing
  if (ids === null || ids === '[]') return { notifications: [], found: undefined }
  const states = statesIn(selected === null ? new Uint8Array() : asBytes(selected), parsed(lengths))
  const notifications =
    states &&
    together(parsed(ids), asTexts(originatorIds as string), parsed(versions), asTexts(topics as string), states)
  return notifications && { notifications, found }
}

function parsed(numbers: unknown): readonly number[] {
  return JSON.parse(numbers as string) as number[]
}

/** @returns undefined  There are not as many of each, or ids do not ascend: in what order lists are made nobody promises. */
function together(
  ids: readonly number[],
  originatorIds: readonly string[],
  versions: readonly number[],
  topics: readonly string[],
  states: readonly Uint8Array[],
): Notification[] | undefined {
  if (originatorIds.length !== ids.length || topics.length !== ids.length) return undefined
  const notifications: Notification[] = []
  // counted, as below: with iterators a page takes a sixth longer
  for (let index = 0; index < ids.length; index += 1) {
    const id = ids[index] as number
    if (index > 0 && id <= (ids[index - 1] as number)) return undefined
    notifications.push({
      id,
      originatorId: originatorIds[index] as string,
      originatorVersion: versions[index] as number,
      topic: topics[index] as string,
      state: states[index] as Uint8Array,
    })
  }
  return notifications
}

/**
 * A page's states, one by one. Some share their memory, as Node's own small buffers do: who keeps one keeps a few others,
 * but not the page.
 *
 * @returns undefined  They are not as long together as the page.
 */
function statesIn(page: Uint8Array, lengths: readonly number[]): Uint8Array[] | undefined {
  const states: Uint8Array[] = []
  let [at, shared, sharedAt, sharedEnd] = [0, page, 0, 0]
  for (let index = 0; index < lengths.length; index += 1) {
    const end = at + (lengths[index] as number)
    if (end > sharedEnd) {
      sharedAt = at
      sharedEnd = Math.max(end, at + Buffer.poolSize)
      shared = Buffer.from(page.subarray(sharedAt, sharedEnd))
    }
    states.push(shared.subarray(at - sharedAt, end - sharedAt))
    at = end
  }
  return at === page.length ? states : undefined
}
