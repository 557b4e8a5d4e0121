import { blob, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'
import { NotSupportedError, ProgrammingError } from '../errors.js'
import type { TableKind, TableName } from '../drizzle/dialect.js'

/** What the table functions take. */
export interface TableOptions<Name extends string = string> {
  /** The table's name: `training_school_events` for an application called TrainingSchool. */
  readonly name: Name
}

/**
 * The table of an application's events, for a schema file of drizzle-kit and for typed queries.
 *
 * The same table that is created where it is missing (`CREATE_TABLE`). State is a blob: JSON in UTF-8.
 */
export function eventsTable<Name extends string>(options: TableOptions<Name>) {
  const name = nameIn(options, 'events')
  return sqliteTable(
    name,
    {
      // AUTOINCREMENT: a number is never given twice, also after the last rows were deleted
      notificationId: integer('notification_id').primaryKey({ autoIncrement: true }),
      originatorId: text('originator_id').notNull(),
      originatorVersion: integer('originator_version').notNull(),
      topic: text('topic').notNull(),
      state: blob('state', { mode: 'buffer' }).notNull(),
    },
    (table) => [uniqueIndex(versionKey(name)).on(table.originatorId, table.originatorVersion)],
  )
}

/** The table of an application's snapshots; as `eventsTable`. */
export function snapshotsTable<Name extends string>(options: TableOptions<Name>) {
  const name = nameIn(options, 'snapshots')
  return sqliteTable(
    name,
    {
      originatorId: text('originator_id').notNull(),
      originatorVersion: integer('originator_version').notNull(),
      topic: text('topic').notNull(),
      state: blob('state', { mode: 'buffer' }).notNull(),
    },
    (table) => [primaryKey({ columns: [table.originatorId, table.originatorVersion] })],
  )
}

/** The table of how far upstream applications were processed; as `eventsTable`. */
export function trackingTable<Name extends string>(options: TableOptions<Name>) {
  const name = nameIn(options, 'tracking')
  return sqliteTable(name, {
    applicationName: text('application_name').primaryKey().notNull(),
    notificationId: integer('notification_id').notNull(),
  })
}

function nameIn<Name extends string>(options: TableOptions<Name>, kind: TableKind): Name {
  if (typeof options !== 'object' || options === null) {
    throw new ProgrammingError(`A table takes { name }: { name: 'training_school_${kind}' } for example`)
  }
  const other = Object.keys(options).find((option) => option !== 'name')
  if (other === 'schema') throw new NotSupportedError('SQLite has no schemas: leave out the option schema')
  if (other !== undefined) throw new ProgrammingError(`A table on SQLite has no option ${other}; it takes name`)
  return checkedName(options.name, kind)
}

/** The statements that create a table where it is missing: the same catalogue as the functions above give. */
export function createTableStatements({ kind, name }: TableName): string[] {
  const table = quoted(checkedName(name, kind))
  const streamColumns =
    'originator_id text NOT NULL, originator_version integer NOT NULL, topic text NOT NULL, state blob NOT NULL'
  switch (kind) {
    case 'events':
      return [
        `CREATE TABLE IF NOT EXISTS ${table} (notification_id integer PRIMARY KEY AUTOINCREMENT NOT NULL, ${streamColumns})`,
        `CREATE UNIQUE INDEX IF NOT EXISTS ${quoted(versionKey(name))} ON ${table} (originator_id, originator_version)`,
      ]
    case 'snapshots':
      return [`CREATE TABLE IF NOT EXISTS ${table} (${streamColumns}, PRIMARY KEY (originator_id, originator_version))`]
    case 'tracking':
      return [
        `CREATE TABLE IF NOT EXISTS ${table} (application_name text PRIMARY KEY NOT NULL, notification_id integer NOT NULL)`,
      ]
  }
}

/** The name of the unique index that makes a version of an originator exist once. */
export function versionKey(name: string): string {
  return `${name}_version_key`
}

/** An identifier as it stands in statements. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/**
 * Checks a table's name. 63 bytes is PostgreSQL's limit; kept here too, so that an application can move there.
 *
 * @throws ProgrammingError  Empty, too long (for a table of events: its index, whose name is longer), with a NUL
 *   character, or beginning with `sqlite_`.
 */
export function checkedName<Name extends string>(name: Name, kind: TableKind): Name {
  if (typeof name !== 'string' || name === '' || name.includes('\0') || /^sqlite_/i.test(name)) {
    throw new ProgrammingError(
      'A table name is text that is not empty, has no NUL character and does not begin with sqlite_: give the application ' +
        'another name (option name, or static applicationName)',
    )
  }
  const longest = kind === 'events' ? versionKey(name) : name
  if (Buffer.byteLength(longest) > 63) {
    throw new ProgrammingError(
      `Identifier too long: ${JSON.stringify(longest.slice(0, 80))} has ${Buffer.byteLength(longest)} bytes of at most 63; ` +
        `give the application a shorter name (option name, or static applicationName)`,
    )
  }
  return name
}
