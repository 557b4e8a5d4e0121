import { notBuilt } from './datastore.js'

export { postgres } from './datastore.js'

/** The table of an application's events: not built yet. @throws NotSupportedError  Always. */
export function eventsTable(_options?: unknown): never {
  throw notBuilt('eventsTable()')
}

/** The table of an application's snapshots: not built yet. @throws NotSupportedError  Always. */
export function snapshotsTable(_options?: unknown): never {
  throw notBuilt('snapshotsTable()')
}

/** The table of how far upstream applications were processed: not built yet. @throws NotSupportedError  Always. */
export function trackingTable(_options?: unknown): never {
  throw notBuilt('trackingTable()')
}
