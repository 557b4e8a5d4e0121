import { sql } from 'drizzle-orm'
import { pgTable, text, bigint } from 'drizzle-orm/pg-core'
import { Application, type StoredEvent } from 'eventsourcing-drizzle'
import { postgres as datastoreOn, type PostgresDatastore } from 'eventsourcing-drizzle/postgres'
import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import type { Contest, Side } from '../harness.js'
import type { EventRow } from '../raw-dog.js'

/** A table of the user's own. */
export const owners = pgTable('owners', {
  id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  name: text().notNull(),
  dog: text().notNull(),
})

/** The databases of one contest, each a schema on the same server: ours, and one for each raw side, with the same tables and events. */
export class Databases {
  readonly #raws: RawDatabase[] = []

  private constructor(
    readonly app: Application<PostgresDatastore>,
    private readonly datastore: PostgresDatastore,
    /** Makes the schemas; measures nothing. */
    private readonly admin: postgres.Sql,
    private readonly setting: { readonly url: string; readonly schema: string },
  ) {}

  /** @param events  What is in each of the databases from the start. @param env  The application's. */
  static async open(
    url: string,
    events: readonly StoredEvent[] = [],
    env: Readonly<Record<string, string>> = {},
  ): Promise<Databases> {
    const schema = `bench_${randomUUID().slice(0, 8)}`
    const admin = postgres(url, { max: 1, onnotice: () => undefined })
    await admin.unsafe(`CREATE SCHEMA ${schema}`)
    const datastore = datastoreOn({ url, connection: { search_path: schema } })
    const app = new Application<PostgresDatastore>({ name: 'Bench', persistence: datastore, env })
    await app.ready()
    await datastore.db.execute(
      sql`CREATE TABLE owners (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, dog text NOT NULL)`,
    )
    for (let start = 0; start < events.length; start += 1000) {
      await app.recorder.insertEvents(events.slice(start, start + 1000))
    }
    await admin.unsafe(`VACUUM ANALYZE ${schema}.bench_events`)
    return new Databases(app, datastore, admin, { url, schema })
  }

  /** Another raw database, with tables like ours. @param connections  How many it has, all of them used. */
  async raw(connections = 1): Promise<RawDatabase> {
    const { url, schema } = this.setting
    const name = `${schema}_raw_${this.#raws.length}`
    const statements = [
      `CREATE SCHEMA ${name}`,
      `CREATE TABLE ${name}.bench_events (LIKE ${schema}.bench_events INCLUDING ALL)`,
      `CREATE TABLE ${name}.owners (LIKE ${schema}.owners INCLUDING ALL)`,
      `INSERT INTO ${name}.bench_events (originator_id, originator_version, topic, state)
         SELECT originator_id, originator_version, topic, state FROM ${schema}.bench_events ORDER BY notification_id`,
      `VACUUM ANALYZE ${name}.bench_events`,
    ]
    for (const statement of statements) await this.admin.unsafe(statement)
    const raw = new RawDatabase(url, name, connections)
    this.#raws.push(raw)
    return raw
  }

  /** A contest on these databases, which checks that all of them hold as many events and owners. */
  contest({ raws, ours, check }: { raws: readonly Side[]; ours: Side; check?: () => Promise<void> }): Contest {
    return {
      raws,
      ours,
      check: async () => {
        await check?.()
        const counts = await Promise.all(
          [this.setting.schema, ...this.#raws.map(({ schema }) => schema)].map(this.#count),
        )
        if (new Set(counts).size > 1)
          throw new Error(`The sides have stored different numbers of rows: ${counts.join(', ')}`)
      },
      close: () => this.close(),
    }
  }

  readonly #count = async (schema: string): Promise<string> => {
    const [row] = await this.admin.unsafe<{ rows: string }[]>(
      `SELECT (SELECT count(*) FROM ${schema}.bench_events) + (SELECT count(*) FROM ${schema}.owners) AS rows`,
    )
    return row!.rows
  }

  /** Removes them. */
  async close(): Promise<void> {
    for (const raw of this.#raws) await raw.client.end()
    await this.app.close()
    await this.datastore.close()
    const schemas = [this.setting.schema, ...this.#raws.map(({ schema }) => schema)]
    await this.admin.unsafe(`DROP SCHEMA ${schemas.join(', ')} CASCADE`)
    await this.admin.end()
  }
}

const insertInto = 'INSERT INTO bench_events (originator_id, originator_version, topic, state)'
const insertOne = `${insertInto} VALUES ($1, $2, $3, $4) RETURNING notification_id`
const insertUnnested =
  `${insertInto} SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[]) ` + 'RETURNING notification_id'

/** The type number of `bytea[]`, which the driver can't guess: it would take an array of buffers for one. */
const arrayOfBytes = 1001

/** The queries of a dog's events: state as the bytes that are stored, or turned into text by PostgreSQL. */
export const selectDog = {
  bytes:
    'SELECT originator_version, topic, state FROM bench_events WHERE originator_id = $1 ORDER BY originator_version',
  text: `SELECT originator_version, topic, convert_from(state, 'UTF8') FROM bench_events WHERE originator_id = $1 ORDER BY originator_version`,
}

/** The query of those after a version. */
export const selectNewer =
  'SELECT originator_version, topic, state FROM bench_events WHERE originator_id = $1 AND originator_version > $2 ' +
  'ORDER BY originator_version'

/** The query of a page of notifications, by first id and length. */
export const selectPage =
  'SELECT notification_id, originator_id, originator_version, topic, state FROM bench_events ' +
  'WHERE notification_id >= $1 ORDER BY notification_id LIMIT $2'
export const selectPageOfTexts = selectPage.replace('state', "convert_from(state, 'UTF8')")

/**
 * Events by hand on postgres.js: every statement prepared once for each connection, one round trip, rows as arrays,
 * nothing that protects the order of ids.
 */
export class RawDatabase {
  readonly client: postgres.Sql<{ bigint: number }>
  readonly #inserts = new Map<number, string>()

  constructor(
    url: string,
    readonly schema: string,
    connections: number,
  ) {
    this.client = postgres(url, {
      max: connections,
      connection: { search_path: schema },
      onnotice: () => undefined,
      types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
    })
  }

  /** The rows of a prepared statement. */
  async query(text: string, parameters: readonly unknown[]): Promise<unknown[][]> {
    return this.client.unsafe(text, parameters as never[], { prepare: true }).values()
  }

  /** One event. @returns Its id. */
  insert(row: EventRow): Promise<unknown[][]> {
    return this.query(insertOne, row)
  }

  /** Several events as columns. @returns Their ids. */
  insertUnnested(rows: readonly EventRow[]): Promise<unknown[][]> {
    const column = (index: number) => rows.map((row) => row[index])
    return this.query(insertUnnested, [
      column(0),
      column(1),
      column(2),
      this.client.array(column(3) as Buffer[], arrayOfBytes),
    ])
  }

  /** Several events as a list of rows. @returns Their ids. */
  insertAtOnce(rows: readonly EventRow[]): Promise<unknown[][]> {
    let text = this.#inserts.get(rows.length)
    if (text === undefined) {
      const lists = rows.map((_, row) => `($${4 * row + 1}, $${4 * row + 2}, $${4 * row + 3}, $${4 * row + 4})`)
      text = `${insertInto} VALUES ${lists.join(', ')} RETURNING notification_id`
      this.#inserts.set(rows.length, text)
    }
    return this.query(text, rows.flat())
  }

  /** One event while nobody else writes, so that ids are committed in order. @returns Its id. */
  async insertAlone(row: EventRow): Promise<unknown> {
    // sent together, as nothing depends on the lock's answer: one round trip less while the others wait
    return this.client.begin((transaction) => [
      transaction.unsafe('LOCK TABLE bench_events IN EXCLUSIVE MODE'),
      transaction.unsafe(insertOne, row as never, { prepare: true }).values(),
    ])
  }

  /** A transaction on the only connection. */
  async transaction(work: () => Promise<void>): Promise<void> {
    await this.client.unsafe('BEGIN')
    await work()
    await this.client.unsafe('COMMIT')
  }
}
