import type { SelectNotificationsOptions } from '../persistence/recorders.js'
import type { Notification } from '../persistence/stored-event.js'
import type { Connection, Dialect, TableName } from './dialect.js'
import { notificationsQuery, type Page } from './statements.js'

/** How a database gives a page of rows as one row, in its SQL. */
export interface Together {
  /** All values of a column, as JSON. */
  list(column: string): string
  /** All values of a binary column, one after the other, without those that are NULL. NULL where it can't say. */
  joined(column: string): string
  /** What `joined` gave. */
  asBytes(selected: unknown): Uint8Array
}

// below, rows one by one take no longer; above, and with longer states, the one row might be too long for its receiver
const fewestRows = 20
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
  { list, joined, asBytes }: Together,
  also = 'NULL',
): Promise<Page | undefined> {
  const columns = ['notification_id', 'originator_id', 'originator_version', 'topic']
  const page = notificationsQuery(dialect, table, [...columns, 'state'].join(', '), options)
  const lists = [...columns, 'octet_length(state)'].map((column) => list(column)).join(', ')
  const states = joined(`CASE WHEN octet_length(state) <= ${longestState} THEN state END`)
  const [row] = await connection.rows(
    `SELECT ${lists}, ${states}, ${also} FROM (${page.text}) AS page`,
    page.parameters,
  )
  const [ids, originatorIds, versions, topics, lengths, selected, found] = row as unknown[]
  const notifications = together(
    parsed<number>(ids),
    parsed<string>(originatorIds),
    parsed<number>(versions),
    parsed<string>(topics),
    statesIn(selected == null ? new Uint8Array() : asBytes(selected), parsed<number>(lengths)),
  )
  return notifications && { notifications, found: notifications.length > 0 ? found : undefined }
}

/** @returns undefined  There are not as many of each, or they are in another order: nobody promises that for lists. */
function together(
  ids: readonly number[],
  originatorIds: readonly string[],
  versions: readonly number[],
  topics: readonly string[],
  states: readonly Uint8Array[] | undefined,
): Notification[] | undefined {
  const notifications: Notification[] = []
  let before = -Infinity
  for (const [index, id] of ids.entries()) {
    const originatorId = originatorIds[index]
    const originatorVersion = versions[index]
    const topic = topics[index]
    const state = states?.[index]
    if (originatorId === undefined || originatorVersion === undefined || topic === undefined || !state) return undefined
    if (id <= before) return undefined
    before = id
    notifications.push({ id, originatorId, originatorVersion, topic, state })
  }
  return notifications
}

function parsed<T>(list: unknown): T[] {
  // PostgreSQL has no list of nothing
  return list === null ? [] : (JSON.parse(list as string) as T[])
}

/**
 * A page's states, one by one. As with Node's own small buffers, some share their memory, so that not each has to be
 * copied, and who keeps one keeps a few more, not the page.
 *
 * @returns undefined  They are not as long together as the page.
 */
function statesIn(page: Uint8Array, lengths: readonly number[]): Uint8Array[] | undefined {
  const states: Uint8Array[] = []
  let [at, shared, sharedAt, sharedEnd] = [0, Buffer.alloc(0), 0, 0]
  for (const length of lengths) {
    const end = at + length
    if (end > page.length) return undefined
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
