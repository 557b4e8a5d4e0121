import { type PostgresConnectionOptions, postgresOpener } from '../postgres/datastore.js'
import { type SqliteConnectionOptions, sqliteOpener } from '../sqlite/datastore.js'
import type * as creators from './connection-creator.js'
import { Datastore } from './datastore.js'
import { registerDatastoresOfScopes, registerOpener } from './shared-datastores.js'

export { type Scope, type ScopeOptions, scopedSession } from '../persistence/scoped-session.js'
export { Datastore } from './datastore.js'
export type { Connection, Dialect, Driver, TableKind, TableName } from './dialect.js'
export { DrizzleFactory } from './factory.js'
export {
  DrizzleAggregateRecorder,
  DrizzleApplicationRecorder,
  DrizzleProcessRecorder,
  DrizzleSnapshotRecorder,
  DrizzleTrackingRecorder,
  type RecorderOptions,
} from './recorders.js'

/** What a connection is opened with: better-sqlite3's options, or those of postgres.js. */
export type ConnectionOptions = PostgresConnectionOptions | SqliteConnectionOptions
/**
 * A function that `DRIZZLE_CONNECTION_CREATOR_TOPIC` names: makes connections, or says how they are made.
 *
 * Asked at the first use of the datastore, outside of any request's async context. One that gives `options` is asked again for
 * each connection, of which it has `DRIZZLE_POOL_TIMEOUT_MS` at most; one that gives a `client` or a `db`, once for each
 * purpose. What it throws comes out of the operation that needed the connection, or of `create()`.
 */
export type ConnectionCreator<Options extends object = ConnectionOptions> = creators.ConnectionCreator<Options>
/**
 * What a connection creator gives: one of `options` (over those of the URL; the connection is opened and closed by us), `client`
 * and `db` (ready ones, which are never closed by us); and a `close()`, if it likes, which is called once when the datastore
 * has closed its connections, or could not be opened.
 */
export type CreatedConnection<Options extends object = ConnectionOptions> = creators.CreatedConnection<Options>
export type { ConnectionRequest } from './connection-creator.js'

// this door is where the dialects meet: rooms to the left of them don't know them
registerOpener(sqliteOpener)
registerOpener(postgresOpener)
registerDatastoresOfScopes((parts) => new Datastore(parts) as unknown as Datastore)
