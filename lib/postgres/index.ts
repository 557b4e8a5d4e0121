import { notBuilt } from './datastore.js'

export { postgres } from './datastore.js'

/** The table of an application's events: not built yet. @throws NotSupportedError  Always. */
export function eventsTable(): never {
  throw notBuilt('eventsTable()')
}

/** The table of an application's snapshots: not built yet. @throws NotSupportedError  Always. */
export function snapshotsTable(): never {
  throw notBuilt('snapshotsTable()')
}

/** The table of how far upstream applications were processed: not built yet. @throws NotSupportedError  Always. */
export function trackingTable(): never {
  throw notBuilt('trackingTable()')
}
