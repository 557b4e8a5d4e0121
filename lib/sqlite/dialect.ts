import type { Dialect, TableName } from '../drizzle/dialect.js'
import { isForOneRow, selectPage, type Together } from '../drizzle/pages.js'
import * as statements from '../drizzle/statements.js'
import type { RecordConflictError } from '../errors.js'
import { alreadyRecorded, findTwice, standsTwice } from '../persistence/conflicts.js'
import type { SelectNotificationsOptions } from '../persistence/recorders.js'
import type { StoredEvent, StoredText } from '../persistence/stored-event.js'
import type { SqliteConnection } from './drivers/connection.js'
import { sqliteCode, translate } from './errors.js'
import { checkedName, createTableStatements, quoted, versionKey } from './tables.js'

// one statement for up to this many events; more are several statements in a savepoint
const rowsPerStatement = 100

/** What SQLite says differently. Everything is synchronous, so nothing comes between the statements of an append. */
export const sqliteDialect: Dialect<SqliteConnection> = {
  name: 'sqlite',
  capabilities: { concurrentWriters: false, ownTables: true },

  table: ({ kind, name }) => quoted(checkedName(name, kind)),
  placeholder: () => '?',
  inList: (column, placeholder) => `${column} IN (SELECT value FROM json_each(${placeholder}))`,
  list: (values) => JSON.stringify(values),
  selectBytes: (column) => column,
  asBytes: (selected) => selected as Uint8Array,
  translate,

  hasTable(connection, { kind, name }) {
    const needed = kind === 'events' ? [name, versionKey(name)] : [name]
    const [row] = connection.rows('SELECT count(*) FROM sqlite_master WHERE name IN (SELECT value FROM json_each(?))', [
      JSON.stringify(needed),
    ])
    return row?.[0] === needed.length
  },

  // the transaction that made them may be the one that looks
  isForGood: () => false,

  createTables(connection, tables) {
    connection.atomically(() => {
      for (const statement of tables.flatMap(createTableStatements)) connection.change(statement, [])
    })
  },

  append(connection, { table, events, tracking }) {
    // a single INSERT is atomic by itself, and a refused one leaves a transaction that it is in as it was
    if (!tracking && events.length <= rowsPerStatement) return insertEvents(connection, table, events)
    // before, since of several statements the later would find the rows of the earlier
    const twice = events.length > rowsPerStatement ? findTwice(events) : undefined
    if (twice) throw standsTwice(twice, lastVersion(connection, table, twice))
    return connection.atomically(() => {
      if (tracking) {
        const { text, parameters } = statements.insertTrackingQuery(sqliteDialect, tracking.table, tracking.position)
        if (connection.change(text, parameters) === 0) throw statements.trackingConflict(tracking.position)
      }
      const ids: number[] = []
      for (let start = 0; start < events.length; start += rowsPerStatement) {
        ids.push(...insertEvents(connection, table, events.slice(start, start + rowsPerStatement)))
      }
      return ids
    })
  },

  replace(connection, table, { originatorId, originatorVersion, topic, state }) {
    connection.change(
      `INSERT INTO ${sqliteDialect.table(table)} (originator_id, originator_version, topic, state) VALUES (?,?,?,?) ` +
        'ON CONFLICT (originator_id, originator_version) DO UPDATE SET topic = excluded.topic, state = excluded.state',
      [originatorId, originatorVersion, topic, state],
    )
  },

  async selectTexts(connection, table, originatorId, begin, options) {
    // SQLite takes the bytes for text in the database's encoding
    if (!connection.isUtf8) return false
    let isText = true
    const beginIfText = () => {
      const take = begin()
      return (stored: readonly StoredText[]) => {
        // text that is not UTF-8 comes with this character in place of what is wrong: the bytes tell which it is
        isText = !stored.some(({ state }) => state.includes('\uFFFD'))
        if (isText) take(stored)
      }
    }
    const isAll = await statements.selectTexts(
      connection,
      sqliteDialect,
      table,
      'state',
      originatorId,
      beginIfText,
      options,
    )
    return isAll && isText
  },

  // one writer: whoever sees an event sees all before it
  async selectNotifications(connection, table, options) {
    const page = isForOneRow(options) ? await pageInOneRow(connection, table, options) : undefined
    return (page ?? (await statements.selectNotifications(connection, sqliteDialect, table, options))).notifications
  },
  maxNotificationId: (connection, table) => statements.maxNotificationId(connection, sqliteDialect, table),
}

async function pageInOneRow(connection: SqliteConnection, table: TableName, options: SelectNotificationsOptions) {
  if (!connection.isUtf8) return undefined
  try {
    return await selectPage(connection, sqliteDialect, table, options, inOneRow)
  } catch (error) {
    // a list can't have bytes, which SQLite lets stand in a column of text
    if (sqliteCode(error) === 'SQLITE_ERROR') return undefined
    throw error
  }
}

// bytes can only be joined as text; in UTF-8 it is the same bytes, whatever they are
const inOneRow: Together = {
  numbers: (column) => `json_group_array(${column})`,
  texts: (column) => `json_group_array(${column})`,
  asTexts: (selected) => JSON.parse(selected) as string[],
  joined: (column) => `CAST(group_concat(${column}, '') AS blob)`,
  asBytes: (selected) => selected as Uint8Array,
}

function insertEvents(connection: SqliteConnection, table: TableName, events: readonly StoredEvent[]): number[] {
  const parameters: unknown[] = []
  for (const { originatorId, originatorVersion, topic, state } of events) {
    parameters.push(originatorId, originatorVersion, topic, state)
  }
  let last: number
  try {
    last = connection.insert(insertText(table, events.length), parameters)
  } catch (error) {
    throw versionConflict(connection, table, events, error) ?? error
  }
  if (table.kind === 'snapshots') return []
  // AUTOINCREMENT and one writer: the rows of one statement have consecutive ids
  return events.map((_, index) => last - events.length + 1 + index)
}

/** Made once for each table and number of rows: a long text costs more to make and to find than to run. */
const insertTexts = new WeakMap<TableName, string[]>()

function insertText(table: TableName, rows: number): string {
  let texts = insertTexts.get(table)
  if (!texts) insertTexts.set(table, (texts = []))
  // OR ABORT, the default, has to be said: else a trigger's own OR FAIL would stop it half-way and keep that half
  return (texts[rows] ??=
    `INSERT OR ABORT INTO ${sqliteDialect.table(table)} (originator_id, originator_version, topic, state) VALUES (?,?,?,?)` +
    ',(?,?,?,?)'.repeat(rows - 1))
}

/** The conflict that made an INSERT fail, if it was one: found in the table, not in the error's text. */
function versionConflict(
  connection: SqliteConnection,
  table: TableName,
  events: readonly StoredEvent[],
  cause: unknown,
): RecordConflictError | undefined {
  const code = sqliteCode(cause)
  if (code !== 'SQLITE_CONSTRAINT_UNIQUE' && code !== 'SQLITE_CONSTRAINT_PRIMARYKEY') return undefined
  const twice = findTwice(events)
  for (const event of events) {
    const currentVersion = lastVersion(connection, table, event)
    if (isStored(connection, table, event)) return alreadyRecorded(event, currentVersion, { cause, code })
    if (event === twice) return standsTwice(event, currentVersion, { cause, code })
  }
  return undefined
}

function lastVersion(connection: SqliteConnection, table: TableName, { originatorId }: StoredEvent) {
  const [row] = connection.rows(
    `SELECT max(originator_version) FROM ${sqliteDialect.table(table)} WHERE originator_id = ?`,
    [originatorId],
  )
  return (row as [number | null])[0] ?? undefined
}

function isStored(connection: SqliteConnection, table: TableName, event: StoredEvent): boolean {
  const [row] = connection.rows(
    `SELECT 1 FROM ${sqliteDialect.table(table)} WHERE originator_id = ? AND originator_version = ?`,
    [event.originatorId, event.originatorVersion],
  )
  return row !== undefined
}
