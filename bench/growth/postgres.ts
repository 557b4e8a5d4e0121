import { sql } from 'drizzle-orm'
import type { PostgresDatastore } from 'eventsourcing-drizzle/postgres'
import { Databases, RawDatabase, selectDog } from '../postgres/databases.js'
import type { Store } from './store.js'

/** Two schemas on the server of that URL. */
export async function openPostgresStore(url: string): Promise<Store> {
  const databases = await Databases.open(url)
  const { app } = databases
  const { db } = app.recorder.datastore as PostgresDatastore
  const raw = await databases.raw(1)
  // as many connections as are the fastest by hand
  const pool = new RawDatabase(url, raw.schema, 8)
  const selectPage =
    'SELECT notification_id, originator_id, originator_version, topic, state FROM bench_events ' +
    'WHERE notification_id >= $1 ORDER BY notification_id LIMIT $2'
  const tables = ['bench_events', `${raw.schema}.bench_events`]
  let copied = 0
  return {
    app: app as unknown as Store['app'],
    raw: {
      insert: (row) => raw.insert(row),
      insertTogether: (rows) => Promise.all(rows.map((row) => pool.insert(row))),
      load: (id) => raw.query(selectDog.text, [id]),
      page: (start, limit) => raw.query(selectPage, [start, limit]),
    },
    async add(events) {
      const ids = await app.recorder.insertEvents(events)
      await db.execute(
        sql.raw(
          `INSERT INTO ${raw.schema}.bench_events (originator_id, originator_version, topic, state)
             SELECT originator_id, originator_version, topic, state FROM bench_events
             WHERE notification_id BETWEEN ${Math.max(copied + 1, ids[0]!)} AND ${ids.at(-1)!} ORDER BY notification_id`,
        ),
      )
      copied = ids.at(-1)!
    },
    async settle() {
      for (const table of tables) await db.execute(sql.raw(`VACUUM ANALYZE ${table}`))
      await db.execute(sql.raw('CHECKPOINT'))
    },
    async close() {
      await pool.client.end()
      await databases.contest({ raws: [], ours: { name: '', operation: () => undefined } }).close()
    },
  }
}
