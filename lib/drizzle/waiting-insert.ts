import type { WaitingInsert } from '../persistence/waiting-inserts.js'
import type { StoredEvent } from '../persistence/stored-event.js'
import type { Connection, Dialect, Insert, TableName } from './dialect.js'
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

/** A snapshot that waits in a transaction. */
export function waitingReplace<C extends Connection>(
  dialect: Dialect<C>,
  table: TableName,
  snapshot: StoredEvent,
): WaitingInsert<C> {
  return {
    // apart from the inserts of that table
    table: `${dialect.table(table)} (replaced)`,
    events: [snapshot],
    insert: async (connection, all) => {
      for (const each of all) await dialect.replace(connection, table, each)
    },
  }
}

function trackingInsert<C extends Connection>(
  dialect: Dialect<C>,
  { table, position }: NonNullable<Insert['tracking']>,
): (connection: C) => Promise<void> {
  const copy = { ...position } // the caller may use the object again
  return (connection) => statements.insertTracking(connection, dialect, table, copy)
}
