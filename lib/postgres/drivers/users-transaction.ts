import type { Transaction, Unit } from '../../persistence/transaction.js'
import type { DrizzleHandles, PostgresSession } from '../session.js'
import type { PostgresTransactionSql } from './client.js'
import { PostgresConnection } from './connection.js'
import { GivenTransaction } from './given-transaction.js'
import type { Channel } from './line.js'
import type { Begun } from './source.js'

type AnyUnit<S extends Record<string, unknown>> = Unit<PostgresSession<S>, PostgresConnection>

/** What recorders do in a transaction of postgres.js that its user has begun, and ends. */
export function usersUnit<S extends Record<string, unknown>>(
  sql: PostgresTransactionSql,
  handles: DrizzleHandles<S>,
  timeoutMs: number,
): AnyUnit<S> {
  const begun = new GivenTransaction({
    sql,
    // nobody tells
    ended: () => new Promise(() => undefined),
    closings: { underWay: undefined, begin: () => undefined },
    timeoutMs,
    isUsers: true,
  })
  return {
    ...unit(begun, handles),
    get session(): never {
      throw new Error('A transaction of the user has no session of ours')
    },
    commit: refuse,
    rollback: refuse,
  }
}

function unit<S extends Record<string, unknown>>(
  begun: Begun,
  handles: DrizzleHandles<S>,
): Omit<AnyUnit<S>, 'session'> {
  return {
    connection: new PostgresConnection(uncounted(begun)),
    commit: () => begun.commit(),
    rollback: () => begun.rollback(),
    nest: async (nested: Transaction<PostgresSession<S>, PostgresConnection>) => {
      const savepoint = await begun.savepoint()
      return { ...unit(savepoint, handles), session: handles.session(savepoint, nested) }
    },
  }
}

/**
 * Takes rows in one by one: postgres.js goes on counting those of a statement that has failed, in the next one's result, which
 * may be the user's.
 *
 * @see https://github.com/porsager/postgres/issues/1181
 */
function uncounted(channel: Channel): Channel {
  return {
    async send(sql, parameters, how) {
      if (how.each) return channel.send(sql, parameters, how)
      const rows: unknown[] = []
      const each = (row: unknown[]) => void rows.push(row)
      const { columns, count, command } = await channel.send(sql, parameters, { ...how, each })
      return Object.assign(rows, { count: count ?? null, ...(columns && { columns }), ...(command && { command }) })
    },
  }
}

function refuse(): never {
  throw new Error('A transaction of the user is not ours to end')
}
