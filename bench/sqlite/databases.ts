import Database, { type Database as Client, type Statement } from 'better-sqlite3'
import { sql } from 'drizzle-orm'
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { Application, type ApplicationRecorder, type StoredEvent } from 'eventsourcing-drizzle'
import { sqlite, type SqliteDatastore } from 'eventsourcing-drizzle/sqlite'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Contest, Place, Side } from '../harness.js'
import type { EventRow } from '../raw-dog.js'

/** A table of the user's own. */
export const owners = sqliteTable('owners', {
  id: integer().primaryKey({ autoIncrement: true }),
  name: text().notNull(),
  dog: text().notNull(),
})

/** The databases of one contest: ours, and one for each raw side, with the same tables, pragmas and events. */
export class Databases {
  readonly #raws: RawDatabase[] = []

  private constructor(
    readonly app: Application<SqliteDatastore>,
    /** The application's own recorder, without what stands before it until the application is connected. */
    readonly recorder: ApplicationRecorder,
    private readonly datastore: SqliteDatastore,
    private readonly setting: Setting,
  ) {}

  /** @param events  What is in each of the databases from the start. @param env  The application's. */
  static async open(
    place: Place,
    events: readonly StoredEvent[] = [],
    env: Readonly<Record<string, string>> = {},
  ): Promise<Databases> {
    const folder = await mkdtemp(join(tmpdir(), 'bench-'))
    const datastore = sqlite(place === 'memory' ? ':memory:' : join(folder, 'ours.db'), {
      synchronous: synchronousOf(place),
    })
    const app = new Application<SqliteDatastore>({ name: 'Bench', persistence: datastore, env })
    await app.ready()
    await datastore.db.run(
      sql`CREATE TABLE owners (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, name text NOT NULL, dog text NOT NULL)`,
    )
    const recorder = await datastore.factory({ name: 'Bench' }).applicationRecorder()
    for (let start = 0; start < events.length; start += 1000) {
      await recorder.insertEvents(events.slice(start, start + 1000))
    }
    const tables = await datastore.db.all<{ sql: string }>(
      sql`SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'`,
    )
    const catalogue = tables.map((table) => table.sql)
    return new Databases(app, recorder, datastore, { folder, place, catalogue, events })
  }

  /** Another raw database: the catalogue is copied from ours. */
  raw(): RawDatabase {
    const { folder, place, catalogue, events } = this.setting
    const file = place === 'memory' ? ':memory:' : join(folder, `raw-${this.#raws.length}.db`)
    const raw = new RawDatabase(file, synchronousOf(place), catalogue, events)
    this.#raws.push(raw)
    return raw
  }

  /** A contest on these databases, which checks that all of them hold as many events and owners. */
  contest({ raws, ours, check }: { raws: readonly Side[]; ours: Side; check?: () => void | Promise<void> }): Contest {
    return {
      raws,
      ours,
      check: async () => {
        await check?.()
        const counts = [await this.#count(), ...this.#raws.map((raw) => raw.count())]
        if (new Set(counts).size > 1)
          throw new Error(`The sides have stored different numbers of rows: ${counts.join(', ')}`)
      },
      close: () => this.#close(),
    }
  }

  async #count(): Promise<number> {
    const [row] = await this.datastore.db.all<{ rows: number }>(sql.raw(countRows))
    return row!.rows
  }

  async #close(): Promise<void> {
    for (const raw of this.#raws) raw.client.close()
    await this.app.close()
    await this.datastore.close()
    await rm(this.setting.folder, { recursive: true, force: true })
  }
}

interface Setting {
  /** Where the files are; removed at the end. */
  readonly folder: string
  readonly place: Place
  /** The statements that make the tables. */
  readonly catalogue: readonly string[]
  readonly events: readonly StoredEvent[]
}

function synchronousOf(place: Place): 'full' | 'normal' {
  return place === 'normal' ? 'normal' : 'full'
}

const countRows = 'SELECT (SELECT count(*) FROM bench_events) + (SELECT count(*) FROM owners) AS rows'
const insertInto = 'INSERT INTO bench_events (originator_id, originator_version, topic, state) VALUES '

/** The queries of a dog's events: state as the blob that is stored, or turned into text by SQLite. */
export const selectDog = {
  blob: 'SELECT originator_version, topic, state FROM bench_events WHERE originator_id = ? ORDER BY originator_version',
  text: 'SELECT originator_version, topic, CAST(state AS text) FROM bench_events WHERE originator_id = ? ORDER BY originator_version',
}

/** The query of those after a version. */
export const selectNewer =
  'SELECT originator_version, topic, state FROM bench_events WHERE originator_id = ? AND originator_version > ? ' +
  'ORDER BY originator_version'

/** The query of a page of notifications, by first id and length. */
export const selectPage =
  'SELECT notification_id, originator_id, originator_version, topic, state FROM bench_events ' +
  'WHERE notification_id >= ? ORDER BY notification_id LIMIT ?'
export const selectPageOfTexts = selectPage.replace('state', 'CAST(state AS text)')

/** Events by hand on better-sqlite3: every statement prepared once, rows as arrays. */
export class RawDatabase {
  readonly client: Client
  readonly #insert: Statement
  readonly #begin: Statement
  readonly #commit: Statement
  readonly #inserts = new Map<number, Statement>()

  constructor(
    file: string,
    synchronous: 'full' | 'normal',
    catalogue: readonly string[],
    events: readonly StoredEvent[],
  ) {
    this.client = new Database(file)
    this.client.pragma('journal_mode = WAL')
    // better-sqlite3 is compiled with NORMAL for WAL
    this.client.pragma(`synchronous = ${synchronous}`)
    for (const statement of catalogue) this.client.exec(statement)
    this.#insert = this.client.prepare(`${insertInto}(?,?,?,?)`)
    this.#begin = this.client.prepare('BEGIN IMMEDIATE')
    this.#commit = this.client.prepare('COMMIT')
    this.transaction(() => {
      for (const { originatorId, originatorVersion, topic, state } of events) {
        this.insert([originatorId, originatorVersion, topic, state])
      }
    })
  }

  /** One event, a transaction by itself unless one is open. */
  insert([originatorId, originatorVersion, topic, state]: EventRow): void {
    this.#insert.run(originatorId, originatorVersion, topic, state)
  }

  /** Several events, one INSERT for each in a transaction. */
  insertInLoop(rows: readonly EventRow[]): void {
    this.transaction(() => {
      for (const row of rows) this.insert(row)
    })
  }

  /** Several events in one INSERT. */
  insertAtOnce(rows: readonly EventRow[]): void {
    let insert = this.#inserts.get(rows.length)
    if (insert === undefined) {
      insert = this.client.prepare(`${insertInto}(?,?,?,?)${',(?,?,?,?)'.repeat(rows.length - 1)}`)
      this.#inserts.set(rows.length, insert)
    }
    insert.run(...rows.flat())
  }

  transaction(work: () => void): void {
    this.#begin.run()
    work()
    this.#commit.run()
  }

  /** A query whose rows come as arrays. */
  query(text: string): Statement {
    return this.client.prepare(text).raw(true)
  }

  count(): number {
    return this.client.prepare(countRows).pluck().get() as number
  }
}
