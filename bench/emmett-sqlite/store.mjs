// Emmett's SQLite store by its public API, on one connection, which is its faster way.
import { getSQLiteEventStore, readMessagesBatch, SQLiteConnectionPool } from '@event-driven-io/emmett-sqlite'

/** @param fileName  Of an empty database. */
export async function open(fileName) {
  const pool = SQLiteConnectionPool({ fileName, connectionOptions: { singleton: true } })
  const store = getSQLiteEventStore({ fileName, pool })
  await store.schema.migrate()
  let last = Promise.resolve()
  return {
    // concurrent appends fail (SQLITE_BUSY: database is locked), so they queue, as they would have to in an application
    append: (stream, events) => (last = last.then(() => repeated(() => append(store, stream, events)))),
    load: (stream, evolve, initialState) => store.aggregateStream(stream, { evolve, initialState }),
    page: (after, batchSize) =>
      pool.withConnection(
        async (connection) => (await readMessagesBatch(connection, { after: BigInt(after), batchSize })).messages,
      ),
    close: () => pool.close(),
  }
}

function append(store, stream, events) {
  return store.appendToStream(stream, events, { expectedStreamVersion: 'STREAM_DOES_NOT_EXIST' })
}

/** Also one at a time some fail, a few in a thousand (SQLITE_BUSY: cannot commit transaction - SQL statements in progress). */
async function repeated(work) {
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      if (error.code !== 'SQLITE_BUSY' || tries === 5) throw error
    }
  }
}
