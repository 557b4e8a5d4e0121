export { sqlite, type SqliteDatastore, type SqliteOptions, type SqliteSourceOptions } from './datastore.js'
export type { SqliteDatabase, SqliteSession, SqliteSessionByHand } from './session.js'
export { eventsTable, snapshotsTable, trackingTable, type TableOptions } from './tables.js'
