// Emmett's PostgreSQL store by its public API, with what it does by default: up to 10 connections of its own.
import { dumbo } from '@event-driven-io/dumbo'
import { getPostgreSQLEventStore, readMessagesBatch } from '@event-driven-io/emmett-postgresql'

/** @param url  An empty database. */
export async function open(url) {
  const store = getPostgreSQLEventStore(url)
  const pool = dumbo({ connectionString: url })
  await store.schema.migrate()
  return {
    append: (stream, events) =>
      store.appendToStream(stream, events, { expectedStreamVersion: 'STREAM_DOES_NOT_EXIST' }),
    load: (stream, evolve, initialState) => store.aggregateStream(stream, { evolve, initialState }),
    page: async (after, batchSize) =>
      (await readMessagesBatch(pool.execute, { after: BigInt(after), batchSize })).messages,
    async close() {
      await pool.close()
      await store.close()
    },
  }
}
