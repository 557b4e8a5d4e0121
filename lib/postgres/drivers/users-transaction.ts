import type { Transaction, Unit } from '../../persistence/transaction.js'
import type { DrizzleHandles, PostgresSession } from '../session.js'
import type { PostgresTransactionSql } from './client.js'
import { PostgresConnection } from './connection.js'
import { GivenTransaction } from './given-transaction.js'
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
    closings: {
      underWay: undefined,
      begin: () => undefined,
      query: (on, text, parameters, how) => on.unsafe(text, parameters, how),
    },
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
    connection: new PostgresConnection(begun),
    commit: () => begun.commit(),
    rollback: () => begun.rollback(),
    nest: async (nested: Transaction<PostgresSession<S>, PostgresConnection>) => {
      const savepoint = await begun.savepoint()
      return { ...unit(savepoint, handles), session: handles.session(savepoint, nested) }
    },
  }
}

function refuse(): never {
  throw new Error('A transaction of the user is not ours to end')
}
