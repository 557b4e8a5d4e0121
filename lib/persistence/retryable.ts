import { EventSourcingError } from '../errors.js'

/**
 * Whether the same unit of work, started again from its beginning, may succeed: the connection was lost or could not be made,
 * the server is going away or has no connection left, a transaction could not be serialized or was given up in a deadlock, a
 * lock or the database was busy.
 *
 * Errors of ours say so themselves (`retryable`). Those of drivers, also wrapped by Drizzle, are told by code; what
 * node-postgres says without one, by its message. Anything else is not, whatever its `cause` is.
 */
export function isRetryable(error: unknown): boolean {
  let cause: unknown = error
  for (let depth = 0; depth < 5 && typeof cause === 'object' && cause !== null; depth += 1) {
    if (cause instanceof EventSourcingError) return cause.retryable
    if (!isDrizzles(cause)) return isRetryableOfDriver(cause)
    cause = (cause as { cause?: unknown }).cause
  }
  return false
}

interface DriverError {
  readonly code?: unknown
  readonly message?: unknown
  readonly severity?: unknown
}

function isRetryableOfDriver({ code, message, severity }: DriverError): boolean {
  if (typeof code !== 'string') return typeof message === 'string' && messages.test(message)
  if (codes.has(code) || sqlite.test(code)) return true
  // foreign tables and a missing parameter are of this class too, and end no connection
  if (code.startsWith('08') && code.length === 5)
    return severity === undefined || /^(FATAL|PANIC)$/.test(String(severity))
  return false
}

/** Told by the marks that Drizzle's classes carry: this room knows no database package. */
function isDrizzles(error: object): boolean {
  const kind = (error.constructor as { [entityKind]?: unknown } | undefined)?.[entityKind]
  const { query, params } = error as { query?: unknown; params?: unknown }
  return kind === 'DrizzleError' || (typeof query === 'string' && Array.isArray(params) && 'cause' in error)
}

const entityKind = Symbol.for('drizzle:entityKind')

const codes = new Set([
  // postgres.js
  ...['CONNECTION_CLOSED', 'CONNECTION_DESTROYED', 'CONNECT_TIMEOUT'],
  // the socket
  ...['ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'ERR_SOCKET_CLOSED', 'ERR_SOCKET_CONNECTION_TIMEOUT'],
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'ENETRESET'],
  // PostgreSQL: serialization, deadlock, lock; no connection left; the server ends or has ended the connection
  ...['40001', '40P01', '55P03', '53300', '57P01', '57P02', '57P03', '57P05', '25P03', '25P04'],
])

/** Also with what follows, as in `SQLITE_BUSY_SNAPSHOT`. */
const sqlite = /^SQLITE_(BUSY|LOCKED|PROTOCOL|SCHEMA)(_|$)/

/** What node-postgres says of a connection that is gone, without a code. */
const messages =
  /^(Connection terminated|Client has encountered a connection error|timeout exceeded when trying to connect)/
