import { expect } from 'chai'
import { and, arrayContains, eq, inArray, relations, sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  char,
  cidr,
  customType,
  date,
  doublePrecision,
  inet,
  integer,
  interval,
  json,
  jsonb,
  line,
  macaddr,
  numeric,
  pgTable,
  point,
  real,
  serial,
  smallint,
  text,
  time,
  timestamp,
  uuid,
  varchar,
} from 'drizzle-orm/pg-core'
import { type PostgresJsDatabase, drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import type { PostgresDatastore } from '../../lib/postgres/index.js'
import { type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { everyWay } from '../support/postgres-datastores.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'

const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => 'bytea' })
const mood = customType<{ data: 'glad' | 'sad'; driverData: string }>({ dataType: () => 'mood' })

/** A column of each kind that users have. */
const things = pgTable('things', {
  id: serial('id').primaryKey(),
  small: smallint('small'),
  whole: integer('whole'),
  big: bigint('big', { mode: 'number' }),
  bigger: bigint('bigger', { mode: 'bigint' }),
  exact: numeric('exact', { precision: 30, scale: 10 }),
  exactNumber: numeric('exact_number', { mode: 'number' }),
  exactBigint: numeric('exact_bigint', { mode: 'bigint' }),
  single: real('single'),
  double: doublePrecision('double'),
  truth: boolean('truth'),
  words: text('words'),
  few: varchar('few', { length: 20 }),
  fixed: char('fixed', { length: 5 }),
  asWritten: json('as_written'),
  asMeant: jsonb('as_meant').$type<unknown>(),
  day: date('day', { mode: 'date' }),
  dayText: date('day_text'),
  local: timestamp('local', { precision: 3 }),
  localText: timestamp('local_text', { mode: 'string' }),
  instant: timestamp('instant', { withTimezone: true }),
  instantText: timestamp('instant_text', { withTimezone: true, mode: 'string' }),
  clock: time('clock'),
  duration: interval('duration'),
  key: uuid('key'),
  address: inet('address'),
  network: cidr('network'),
  mac: macaddr('mac'),
  place: point('place'),
  placeXy: point('place_xy', { mode: 'xy' }),
  path: line('path'),
  bytes: bytea('bytes'),
  feels: mood('feels'),
  names: text('names').array(),
  numbers: integer('numbers').array(),
  bigs: bigint('bigs', { mode: 'bigint' }).array(),
  exacts: numeric('exacts').array(),
  truths: boolean('truths').array(),
  grid: integer('grid').array().array(),
  instants: timestamp('instants', { withTimezone: true }).array(),
  keys: uuid('keys').array(),
  documents: jsonb('documents').array(),
})
const parts = pgTable('parts', {
  id: integer('id').primaryKey(),
  thingId: integer('thing_id').notNull(),
  made: timestamp('made', { withTimezone: true }),
  weight: numeric('weight'),
  serialNumber: bigint('serial_number', { mode: 'bigint' }),
})
const schema = {
  things,
  parts,
  thingsRelations: relations(things, ({ many }) => ({ parts: many(parts) })),
  partsRelations: relations(parts, ({ one }) => ({
    thing: one(things, { fields: [parts.thingId], references: [things.id] }),
  })),
}

const createTables = `
  CREATE TYPE mood AS ENUM ('glad', 'sad');
  CREATE TABLE things (id serial PRIMARY KEY, small smallint, whole integer, big bigint, bigger bigint,
    exact numeric(30, 10), exact_number numeric, exact_bigint numeric, single real, double double precision, truth boolean,
    words text, few varchar(20), fixed char(5), as_written json, as_meant jsonb, day date, day_text date,
    local timestamp(3), local_text timestamp, instant timestamptz, instant_text timestamptz, clock time,
    duration interval, key uuid, address inet, network cidr, mac macaddr, place point, place_xy point, path line,
    bytes bytea, feels mood, names text[], numbers integer[], bigs bigint[], exacts numeric[], truths boolean[],
    grid integer[][], instants timestamptz[], keys uuid[], documents jsonb[]);
  CREATE TABLE parts (id integer PRIMARY KEY, thing_id integer NOT NULL, made timestamptz, weight numeric,
    serial_number bigint)`

const instant = new Date('2026-11-21T12:34:56.789Z')
const key = '0b7a4e6e-8f0c-4d0e-9d5f-0a1b2c3d4e5f'

const whole: typeof things.$inferInsert = {
  small: -32768,
  whole: 2147483647,
  big: Number.MAX_SAFE_INTEGER,
  bigger: 9223372036854775807n,
  exact: '12345678901234567890.0123456789',
  exactNumber: 1.5,
  exactBigint: 123456789012345678901234567890n,
  single: 0.1,
  double: Math.PI,
  truth: false,
  words: 'größer \u{1f415} \' " \\ , { } \n NULL',
  few: '',
  fixed: 'ab',
  asWritten: { b: [1, null, 'x'], a: { date: instant } },
  asMeant: { b: [1, null, 'x'], a: { text: "it's" } },
  day: new Date('2026-02-28'),
  dayText: '2024-02-29',
  local: instant,
  localText: '2026-11-21 12:34:56.123456',
  instant,
  instantText: '2026-11-21 12:34:56.123456+02',
  clock: '23:59:59.999',
  duration: '1 year 2 days 03:04:05',
  key,
  address: '192.168.1.7/24',
  network: '10.0.0.0/8',
  mac: '08:00:2b:01:02:03',
  place: [1.5, -2],
  placeXy: { x: 3, y: 4 },
  path: [1, 2, 3],
  bytes: new Uint8Array([0, 1, 2, 255]),
  feels: 'glad',
  names: ['a', 'b,c', '"d"', '\\e', '', 'NULL', '{f}', 'größer'],
  numbers: [1, -2, 2147483647],
  bigs: [1n, -9223372036854775808n],
  exacts: ['0.10', '12345678901234567890.5'],
  truths: [true, false],
  grid: [
    [1, 2],
    [3, 4],
  ],
  instants: [instant, new Date(0)],
  keys: [key, key],
  documents: [{ a: 1 }, [1, 'x']],
}

type Db = PostgresJsDatabase<typeof schema>

/** What a user does, in this order; each must come out as it does without us. */
const uses: Readonly<Record<string, Use>> = {
  'a row of every type is inserted and returned': (db) => db.insert(things).values(whole).returning(),
  'a row of nothing is': (db) => db.insert(things).values({}).returning(),
  'empty arrays and JSON that is no object are': (db) =>
    db.insert(things).values({ names: [], numbers: [], asMeant: 'text', asWritten: 17 }).returning(),
  'JSON null, and true, are': (db) => db.insert(things).values({ asMeant: null, asWritten: true }).returning(),
  'rows are inserted without being returned': (db) =>
    db.insert(parts).values([
      { id: 1, thingId: 1, made: instant, weight: '0.5000', serialNumber: 2n ** 62n },
      { id: 2, thingId: 1 },
    ]),
  'all rows are selected': (db) => db.select().from(things).orderBy(things.id),
  'some columns are': (db) => db.select({ at: things.instant, in: { bytes: things.bytes } }).from(things),
  'expressions are': (db) =>
    db
      .select({
        count: sql`count(*)`,
        sum: sql`sum(${things.whole})`,
        last: sql<Date>`max(${things.instant})`,
        mapped: sql`max(${things.instant})`.mapWith(things.instant),
        all: sql`array_agg(${things.names})`,
        document: sql`json_build_object('at', max(${things.instant}), 'big', max(${things.bigger}))`,
      })
      .from(things)
      .where(eq(things.id, 1)),
  'a row is found by values of many types': (db) =>
    db
      .select({ id: things.id })
      .from(things)
      .where(
        and(
          eq(things.instant, instant),
          eq(things.bigger, 9223372036854775807n),
          eq(things.exact, '12345678901234567890.0123456789'),
          eq(things.truth, false),
          eq(things.key, key),
          eq(things.bytes, new Uint8Array([0, 1, 2, 255])),
          eq(things.asMeant, { a: { text: "it's" }, b: [1, null, 'x'] }),
          eq(things.day, new Date('2026-02-28')),
          eq(things.names, ['a', 'b,c', '"d"', '\\e', '', 'NULL', '{f}', 'größer']),
          arrayContains(things.numbers, [1, -2]),
          inArray(things.small, [1, 2, -32768]),
        ),
      ),
  'tables are joined': (db) =>
    db.select().from(parts).leftJoin(things, eq(parts.thingId, things.id)).where(eq(parts.id, 1)),
  'a row is found with those that belong to it': (db) =>
    db.query.things.findFirst({ with: { parts: true }, where: eq(things.id, 1) }),
  'rows are found with the one that they belong to': (db) => db.query.parts.findMany({ with: { thing: true } }),
  'nothing is found': (db) => db.query.parts.findFirst({ where: eq(parts.id, 0) }),
  'rows are counted': (db) => db.$count(things, inArray(things.id, [1, 2])),
  'a statement is prepared and run twice': async (db) => {
    const prepared = db
      .select({ id: parts.id, made: parts.made })
      .from(parts)
      .where(inArray(parts.id, [sql.placeholder('one'), sql.placeholder('other')]))
      .prepare('some_parts')
    return [await prepared.execute({ one: 1, other: 2 }), await prepared.execute({ one: 1, other: 3 })]
  },
  'a relational query is prepared': (db) =>
    db.query.parts
      .findMany({ where: eq(parts.thingId, sql.placeholder('thing')), with: { thing: { columns: { instant: true } } } })
      .prepare('parts_of')
      .execute({ thing: 1 }),
  'a statement is only prepared, with all its parts asked for': async (db) => {
    const { sql: text, params } = db.select().from(parts).where(eq(parts.id, 1)).toSQL()
    return { text, params }
  },
  'rows are updated, returned and not': async (db) => [
    await db.update(parts).set({ made: instant, weight: '7' }).where(eq(parts.id, 2)).returning(),
    await db
      .update(parts)
      .set({ weight: sql`${parts.weight} + 1` })
      .where(eq(parts.id, 2)),
    await db.update(parts).set({ weight: '0' }).where(eq(parts.id, 0)),
  ],
  'rows are inserted or updated': (db) =>
    db
      .insert(parts)
      .values({ id: 2, thingId: 2 })
      .onConflictDoUpdate({ target: parts.id, set: { thingId: sql`excluded.thing_id` } })
      .returning({ id: parts.id, of: parts.thingId }),
  'rows are locked': (db) => db.select({ id: parts.id }).from(parts).where(eq(parts.id, 1)).for('update'),
  'a raw statement gives rows as the driver has them': (db) => db.execute(sql`SELECT * FROM things ORDER BY id`),
  'a raw statement takes parameters of many types': (db) =>
    db.execute(sql`
      SELECT ${1}::int AS n, ${'x'}::text AS t, ${true}::boolean AS b, ${null}::text AS nothing, ${2n ** 60n}::bigint AS big,
        ${instant.toISOString()}::timestamptz AS at, ${JSON.stringify({ a: [1] })}::jsonb AS document, ${Buffer.from('ab')}::bytea AS bytes,
        ${sql.param(['a', 'b'])}::text[] AS names, ${sql.param([1, 2])}::int[] AS numbers`),
  'a raw statement takes a list': (db) => db.execute(sql`SELECT id FROM parts WHERE id IN ${[1, 2]} ORDER BY id`),
  'a raw statement is text': (db) => db.execute('SELECT 1 AS one, now() IS NOT NULL AS is_now'),
  'a raw statement is a built one': (db) => db.execute(db.select({ id: parts.id }).from(parts).orderBy(parts.id)),
  'a raw statement has columns of one name': (db) => db.execute(sql`SELECT 1 AS a, 2 AS a, 3`),
  'a raw statement changes rows': (db) => db.execute(sql`UPDATE parts SET weight = 1 WHERE id = ${1}`),
  'a raw statement changes the schema': (db) => db.execute(sql`CREATE TABLE more (n integer)`),
  'several raw statements are one text': (db) =>
    db.execute(sql`INSERT INTO more VALUES (1), (2); SELECT n FROM more; DELETE FROM more`),
  'a raw statement is nothing': (db) => db.execute(sql``),
  'rows are deleted': async (db) => [
    await db.delete(parts).where(eq(parts.id, 2)).returning(),
    await db.delete(parts).where(eq(parts.id, 2)),
  ],
}

/** What goes wrong. */
const misuses: Readonly<Record<string, Use>> = {
  'a date is a parameter of a raw statement': (db) => db.execute(sql`SELECT ${instant}::timestamptz AS at`),
  'a value is undefined': (db) => db.execute(sql`SELECT ${undefined}::text AS t`),
  'a row is there already': (db) => db.insert(parts).values({ id: 1, thingId: 1 }),
  'text is too long': (db) => db.insert(things).values({ few: 'x'.repeat(21) }),
  'a number is too big': (db) => db.insert(things).values({ small: 32768 }),
  'a table is missing': (db) => db.execute(sql`SELECT * FROM nowhere`),
  'the text is no statement': (db) => db.execute(sql`SELEKT ${1}`),
  'a placeholder gets no value': (db) =>
    db
      .select()
      .from(parts)
      .where(eq(parts.id, sql.placeholder('id')))
      .prepare('no_value')
      .execute({}),
  'one of several statements fails': (db) => db.execute(sql`INSERT INTO more VALUES (3); SELECT 1 / 0`),
}

const all = { ...uses, ...misuses, 'nothing of what failed is there': (db: Db) => db.execute(sql`SELECT n FROM more`) }

describePostgres("The user's own tables on PostgreSQL are as with Drizzle alone, where", () => {
  const expected = new Map<string, unknown>()

  before('Drizzle alone', async () => {
    await using place = await freshPlace()
    const client = clientFor(place)
    const db = drizzle(client, { schema })
    for (const [title, use] of Object.entries(all)) {
      const seen = await outcome(() => use(db))
      expect(seen, title).to.have.property(title in misuses ? 'error' : 'value')
      expected.set(title, seen)
    }
    await client.end()
  })

  for (const way of everyWay) {
    for (const [where, run] of [
      ['a session', inSession],
      ['a nested session', inNestedSession],
      ['datastore.db', onDb],
    ] as const) {
      it(`they are used by ${where} through ${way.name}`, async () => {
        await using place = await freshPlace()
        await using opened = await way.open({ schema, searchPath: place.searchPath })
        for (const [title, use] of Object.entries(all)) {
          expect(await run(opened.datastore, use), title).to.deep.equal(expected.get(title))
        }
      })
    }
  }
})

type Datastore = PostgresDatastore<typeof schema>
type Use = (db: Db) => PromiseLike<unknown>

function onDb(datastore: Datastore, use: Use): Promise<unknown> {
  return outcome(() => use(datastore.db))
}

async function inSession(datastore: Datastore, use: Use): Promise<unknown> {
  let seen: Outcome | undefined
  const transaction = datastore.transaction(async (session) => {
    seen = await outcome(() => use(session))
    if (seen.error) throw new RangeError('nothing more can be done here')
  })
  await transaction.catch(() => undefined)
  return seen
}

async function inNestedSession(datastore: Datastore, use: Use): Promise<unknown> {
  let seen: unknown
  await datastore.transaction(async () => {
    seen = await inSession(datastore, use)
  })
  return seen
}

interface Outcome {
  readonly value?: unknown
  readonly error?: unknown
}

async function outcome(use: () => PromiseLike<unknown>): Promise<Outcome> {
  try {
    return { value: asPlain(await use()) }
  } catch (error) {
    return { error: asPlainError(error) }
  }
}

/** The driver's results are arrays with more to them. */
function asPlain(value: unknown): unknown {
  if (!Array.isArray(value)) return value
  const { count, command, columns } = value as unknown[] & Record<string, unknown>
  const names = Array.isArray(columns) && columns.map(({ name }: Record<string, unknown>) => name)
  return { rows: value.map(asPlain), count, command, names }
}

function asPlainError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { name, message, cause, code, query, params } = error as Error & Record<string, unknown>
  return { name, message, code, query, params, cause: asPlainError(cause) }
}

async function freshPlace(): Promise<FreshSchema> {
  const place = await freshSchema()
  const client = clientFor(place)
  await client.unsafe(createTables)
  await client.end()
  return place
}

function clientFor({ searchPath }: FreshSchema): postgresJs.Sql {
  return postgresJs(postgresUrl(), { max: 1, connection: { search_path: searchPath } })
}
