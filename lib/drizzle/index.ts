import { postgresOpener } from '../postgres/datastore.js'
import { sqliteOpener } from '../sqlite/datastore.js'
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

// this door is where the dialects meet: rooms to the left of them don't know them
registerOpener(sqliteOpener)
registerOpener(postgresOpener)
registerDatastoresOfScopes((parts) => new Datastore(parts) as unknown as Datastore)
