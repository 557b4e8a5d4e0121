import type { Transaction, Unit } from '../../persistence/transaction.js'
import type { DrizzleHandles, SqliteSession } from '../session.js'
import { type SqliteClient, SqliteConnection } from './connection.js'

type AnyUnit<S extends Record<string, unknown>> = Unit<SqliteSession<S>, SqliteConnection>

/** What recorders do in a transaction that its user has begun on a client, and ends; and in the next one on it. */
export function usersUnit<S extends Record<string, unknown>>(
  client: SqliteClient,
  handles: DrizzleHandles<S>,
): AnyUnit<S> {
  const connection = new SqliteConnection(client, { isUsers: true })
  const savepoint = (transaction: Transaction<SqliteSession<S>, SqliteConnection>, depth: number): AnyUnit<S> => {
    const name = `ours_${depth}`
    connection.savepoint(name)
    return {
      session: handles.session(connection, transaction),
      connection,
      commit: () => {
        connection.release(name)
      },
      rollback: () => {
        connection.rollbackTo(name)
      },
      nest: (nested) => savepoint(nested, depth + 1),
    }
  }
  return {
    get session(): never {
      throw new Error('A transaction of the user has no session of ours')
    },
    connection,
    commit: refuse,
    rollback: refuse,
    nest: (nested) => savepoint(nested, 1),
  }
}

function refuse(): never {
  throw new Error('A transaction of the user is not ours to end')
}
