import { Databases, selectDog } from '../sqlite/databases.js'
import type { Store } from './store.js'

/** Two SQLite files (WAL, synchronous FULL). */
export async function openSqliteStore(): Promise<Store> {
  const databases = await Databases.open('file')
  const { app } = databases
  const raw = databases.raw()
  const select = raw.query(selectDog.text)
  const selectPage = raw.query(
    'SELECT notification_id, originator_id, originator_version, topic, state FROM bench_events ' +
      'WHERE notification_id >= ? ORDER BY notification_id LIMIT ?',
  )
  return {
    app,
    raw: {
      insert: (row) => {
        raw.insert(row)
      },
      insertTogether: (rows) => {
        for (const row of rows) raw.insert(row)
      },
      load: (id) => select.all(id),
      page: (start, limit) => selectPage.all(start, limit),
    },
    async add(events) {
      await app.recorder.insertEvents(events)
      raw.insertInLoop(
        events.map(({ originatorId, originatorVersion, topic, state }) => [
          originatorId,
          originatorVersion,
          topic,
          state,
        ]),
      )
    },
    // what was written is moved into the file on the way, every thousand pages, on both sides
    settle: () => Promise.resolve(),
    close: () => databases.contest({ raws: [], ours: { name: '', operation: () => undefined } }).close(),
  }
}
