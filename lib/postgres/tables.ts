import {
  bigint,
  customType,
  isPgSchema,
  type PgSchema,
  pgSchema,
  pgTable,
  primaryKey,
  text,
  uniqueIndex,
} from 'drizzle-orm/pg-core'
import type { TableKind, TableName } from '../drizzle/dialect.js'
import { ProgrammingError } from '../errors.js'

/** What the table functions take. */
export interface TableOptions<Name extends string = string> {
  /** The table's name: `training_school_events` for an application called TrainingSchool. */
  readonly name: Name
  /** The schema it is in: its name, or Drizzle's `pgSchema('es')`. Default: the first of the connection's search path. */
  readonly schema?: string | PgSchema | undefined
}

/**
 * The table of an application's events, for a schema file of drizzle-kit and for typed queries.
 *
 * The same table that is created where it is missing (`CREATE_TABLE`). State is bytes: JSON in UTF-8. Originator ids are
 * compared by bytes, whatever the database's own collation.
 *
 * drizzle-kit writes `CREATE SCHEMA` only for a `pgSchema` that the schema file exports.
 *
 * @throws ProgrammingError  Wrong options, or a name that PostgreSQL can't have.
 */
export function eventsTable<Name extends string>(options: TableOptions<Name>) {
  const { name, table } = optionsOf(options, 'events')
  return table(
    name,
    {
      // drawn by the database alone: a reader that trusts the order can't trust numbers given by hand
      notificationId: bigint('notification_id', { mode: 'number' })
        .primaryKey()
        .generatedAlwaysAsIdentity({ name: idSequence(name) }),
      originatorId: bytewiseText('originator_id').notNull(),
      originatorVersion: bigint('originator_version', { mode: 'number' }).notNull(),
      topic: text('topic').notNull(),
      state: bytea('state').notNull(),
    },
    (columns) => [uniqueIndex(versionKey(name)).on(columns.originatorId, columns.originatorVersion)],
  )
}

/** The table of an application's snapshots; as `eventsTable`. */
export function snapshotsTable<Name extends string>(options: TableOptions<Name>) {
  const { name, table } = optionsOf(options, 'snapshots')
  return table(
    name,
    {
      originatorId: bytewiseText('originator_id').notNull(),
      originatorVersion: bigint('originator_version', { mode: 'number' }).notNull(),
      topic: text('topic').notNull(),
      state: bytea('state').notNull(),
    },
    (columns) => [
      primaryKey({ name: primaryKeyName(name), columns: [columns.originatorId, columns.originatorVersion] }),
    ],
  )
}

/** The table of how far upstream applications were processed; as `eventsTable`. */
export function trackingTable<Name extends string>(options: TableOptions<Name>) {
  const { name, table } = optionsOf(options, 'tracking')
  return table(name, {
    applicationName: bytewiseText('application_name').primaryKey().notNull(),
    notificationId: bigint('notification_id', { mode: 'number' }).notNull(),
  })
}

/** Text compared by bytes: equal on every database, and never another order after an upgrade of the collations. */
const bytewiseText = customType<{ data: string; driverData: string }>({ dataType: () => 'text COLLATE "C"' })

const bytea = customType<{ data: Buffer; driverData: Buffer | string }>({
  dataType: () => 'bytea',
  // a relational query has nested rows as JSON, where bytes are text
  fromDriver: (value) => (typeof value === 'string' ? Buffer.from(value.slice('\\x'.length), 'hex') : value),
})

function optionsOf<Name extends string>(options: TableOptions<Name>, kind: TableKind) {
  if (typeof options !== 'object' || options === null) {
    throw new ProgrammingError(
      `A table takes { name, schema? }: { name: 'training_school_${kind}', schema: 'es' } for example`,
    )
  }
  const other = Object.keys(options).find((option) => option !== 'name' && option !== 'schema')
  if (other !== undefined)
    throw new ProgrammingError(`A table on PostgreSQL has no option ${other}; it takes name and schema`)
  return { name: checkedName(options.name, kind), table: tableFunction(options.schema) }
}

function tableFunction(schema: string | PgSchema | undefined): typeof pgTable {
  if (schema === undefined) return pgTable
  const name = checkedSchema(isPgSchema(schema) ? schema.schemaName : schema)
  // Drizzle has no pgSchema('public'), and drizzle-kit takes a table without a schema for one there
  if (name === 'public') return pgTable
  // differs in the type of the schema's name alone, which no query takes
  return pgSchema(name).table as unknown as typeof pgTable
}

/** The statements that create a table where it is missing: the same catalogue as the functions above give. */
export function createTableStatements({ kind, name, schema }: TableName): string[] {
  const table = qualified({ name: checkedName(name, kind), schema })
  const streamColumns =
    'originator_id text COLLATE "C" NOT NULL, originator_version bigint NOT NULL, topic text NOT NULL, state bytea NOT NULL'
  switch (kind) {
    case 'events': {
      const sequence = qualified({ name: idSequence(name), schema })
      return [
        // CACHE 1: a connection that keeps numbers for later would give them out of order
        `CREATE TABLE IF NOT EXISTS ${table} (notification_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY ` +
          `(SEQUENCE NAME ${sequence} START WITH 1 INCREMENT BY 1 CACHE 1), ${streamColumns})`,
        `CREATE UNIQUE INDEX IF NOT EXISTS ${quoted(versionKey(name))} ON ${table} (originator_id, originator_version)`,
      ]
    }
    case 'snapshots':
      return [
        `CREATE TABLE IF NOT EXISTS ${table} (${streamColumns}, ` +
          `CONSTRAINT ${quoted(primaryKeyName(name))} PRIMARY KEY (originator_id, originator_version))`,
      ]
    case 'tracking':
      return [
        `CREATE TABLE IF NOT EXISTS ${table} (application_name text COLLATE "C" PRIMARY KEY, notification_id bigint NOT NULL)`,
      ]
  }
}

/** The name of the unique index that makes a version of an originator exist once. */
export function versionKey(name: string): string {
  return `${name}_version_key`
}

/** The sequence of notification ids; shorter than `versionKey`, so that it needs no limit of its own. */
function idSequence(name: string): string {
  return `${name}_id_seq`
}

/** As PostgreSQL itself would name it: the table's name, cut so that the whole has at most 63 bytes. */
function primaryKeyName(name: string): string {
  const characters = [...name]
  while (Buffer.byteLength(characters.join('')) > 63 - '_pkey'.length) characters.pop()
  return `${characters.join('')}_pkey`
}

/** An identifier as it stands in statements. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/**
 * A table's name as it stands in statements, with its schema if it has one.
 *
 * @throws ProgrammingError  The schema's name can't be one.
 */
export function qualified(table: { readonly name: string; readonly schema?: string | undefined }): string {
  const known = qualifiedNames.get(table)
  if (known !== undefined) return known
  const { name, schema } = table
  const text = schema === undefined ? quoted(name) : `${quoted(checkedSchema(schema))}.${quoted(name)}`
  qualifiedNames.set(table, text)
  return text
}

// recorders keep their tables, and every statement asks
const qualifiedNames = new WeakMap<object, string>()

/**
 * Checks a table's name; PostgreSQL cuts longer ones without an error.
 *
 * @throws ProgrammingError  Empty, over 63 bytes (for a table of events: its index, whose name is longer), or with a NUL
 *   character.
 */
export function checkedName<Name extends string>(name: Name, kind: TableKind): Name {
  if (typeof name !== 'string' || name === '' || name.includes('\0')) {
    throw new ProgrammingError(
      'A table name is text that is not empty and has no NUL character: give the application another name (option name, ' +
        'or static applicationName)',
    )
  }
  const longest = kind === 'events' ? versionKey(name) : name
  if (Buffer.byteLength(longest) > 63) {
    throw tooLong(longest, 'give the application a shorter name (option name, or static applicationName)')
  }
  return name
}

/**
 * Checks a schema's name.
 *
 * @throws ProgrammingError  Empty, over 63 bytes, or with a NUL character.
 */
export function checkedSchema(name: string): string {
  if (typeof name !== 'string' || name === '' || name.includes('\0')) {
    throw new ProgrammingError(
      "A schema is given by its name, text that is not empty and has no NUL character, or as Drizzle's pgSchema(name) in " +
        'a table function',
    )
  }
  if (Buffer.byteLength(name) > 63) throw tooLong(name, 'name a schema that exists (DRIZZLE_SCHEMA, or option schema)')
  return name
}

function tooLong(identifier: string, advice: string): ProgrammingError {
  return new ProgrammingError(
    `Identifier too long: ${JSON.stringify(identifier.slice(0, 80))} has ${Buffer.byteLength(identifier)} bytes of at ` +
      `most 63; ${advice}`,
  )
}
