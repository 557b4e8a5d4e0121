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
  DrizzleTrackingRecorder,
  type RecorderOptions,
} from './recorders.js'

/** What a connection is opened with: better-sqlite3's options, or those of postgres.js. */
export type ConnectionOptions = PostgresConnectionOptions | SqliteConnectionOptions
export type ConnectionCreator<Options extends object = ConnectionOptions> = creators.ConnectionCreator<Options>
export type CreatedConnection<Options extends object = ConnectionOptions> = creators.CreatedConnection<Options>
export type { ConnectionRequest } from './connection-creator.js'

// this door is where the dialects meet: rooms to the left of them don't know them
registerOpener(sqliteOpener)
registerOpener(postgresOpener)
registerDatastoresOfScopes((parts) => new Datastore(parts) as unknown as Datastore)
