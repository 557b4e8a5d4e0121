export { postgres, type PostgresDatastore, type PostgresOptions, type PostgresSourceOptions } from './datastore.js'
export type { PostgresDatabase, PostgresSession, PostgresSessionByHand } from './session.js'
export { eventsTable, snapshotsTable, trackingTable, type TableOptions } from './tables.js'
