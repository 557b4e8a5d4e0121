import type { WaitingInsert } from '../persistence/waiting-inserts.js'
import type { Connection, Dialect, Insert } from './dialect.js'
import * as statements from './statements.js'

/** An insert as one that waits in a transaction. */
export function waitingInsert<C extends Connection>(
  dialect: Dialect<C>,
  { table, events, tracking }: Insert,
): WaitingInsert<C> {
  return {
    table: dialect.table(table),
    events,
    insert: (connection, all) => dialect.append(connection, { table, events: all }),
    insertTracking: tracking && trackingInsert(dialect, tracking),
  }
}

function trackingInsert<C extends Connection>(
  dialect: Dialect<C>,
  { table, position }: NonNullable<Insert['tracking']>,
): (connection: C) => Promise<void> {
  const copy = { ...position } // the caller may use the object again
  return (connection) => statements.insertTracking(connection, dialect, table, copy)
}
