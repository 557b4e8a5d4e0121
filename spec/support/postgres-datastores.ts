import { setTimeout as pause } from 'node:timers/promises'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { type PostgresDatastore, postgres } from '../../lib/postgres/index.js'
import { admin, postgresUrl } from './postgres-server.js'

/** What a case opens a datastore with, whichever way leads there. */
export interface DatastoreOptions<Schema extends Record<string, unknown>> {
  readonly schema: Schema
  /** Where its tables are. */
  readonly searchPath: string
  readonly max?: number
  readonly poolTimeoutMs?: number
}

/** A datastore, and how to close it with everything that was opened for it. */
export interface OpenedDatastore<Schema extends Record<string, unknown>> extends AsyncDisposable {
  readonly datastore: PostgresDatastore<Schema>
  close(): Promise<void>
}

/** A way to a datastore on PostgreSQL. */
export interface Way {
  /** As part of a title. */
  readonly name: string
  open<Schema extends Record<string, unknown>>(options: DatastoreOptions<Schema>): Promise<OpenedDatastore<Schema>>
}

/** Connections of the datastore's own. */
export const ownPool: Way = {
  name: 'a pool of its own',
  async open({ schema, searchPath, max = 4, poolTimeoutMs = 5000 }) {
    const connection = { search_path: searchPath }
    const datastore = postgres(postgresUrl(), { schema, max, poolTimeoutMs, connection })
    await datastore.ready()
    const close = () => datastore.close()
    return { datastore, close, [Symbol.asyncDispose]: close }
  },
}

/** A Drizzle database of the user's. */
export const givenDb: Way = {
  name: "the user's own database",
  async open({ schema, searchPath, max = 4, poolTimeoutMs = 5000 }) {
    const connection = { search_path: searchPath }
    const client = postgresJs(postgresUrl(), { max, connection, onnotice: () => undefined })
    const datastore = postgres(drizzle(client, { schema }), { poolTimeoutMs })
    const close = async () => {
      await datastore.close()
      await client.end({ timeout: 1 })
    }
    return { datastore, close, [Symbol.asyncDispose]: close }
  },
}

/** Both, for what holds whichever it is. */
export const everyWay: readonly Way[] = [ownPool, givenDb]

/** Resolves once another backend of the server waits for what that one has locked. */
export async function isWaitedFor(pid: number): Promise<void> {
  for (;;) {
    const waiting = await admin()`SELECT FROM pg_stat_activity WHERE ${pid} = ANY (pg_blocking_pids(pid))`
    if (waiting.length > 0) return
    await pause(5)
  }
}
