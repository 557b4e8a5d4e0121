import { translateWith } from '../drizzle/driver-errors.js'
import type { EventSourcingError } from '../errors.js'
import {
  DatabaseProgrammingError,
  DataError,
  IntegrityError,
  InterfaceError,
  InternalError,
  NotSupportedError,
  OperationalError,
} from '../errors.js'

/** Turns an error of the driver, also one that Drizzle has wrapped, into ours; any other comes back as it is. */
export function translate(error: unknown): unknown {
  return translateWith(fromDriverError, error)
}

function fromDriverError(cause: object): EventSourcingError {
  const code = driverCode(cause)
  const state = sqlState(cause)
  const meaning = state === undefined ? meaningOf(code) : meaningOfState(state)
  const { make, says, quotesValues = false, advice } = meaning
  const retryable = meaning.retryable ?? (state?.startsWith('08') === true && isConnectionLost(cause))
  const text = quotesValues ? `${code ?? 'no code'}, see cause` : messageOf(cause, code)
  return new make(`${says}: ${text}${advice ? `; ${advice}` : ''}`, { cause, code, retryable })
}

/** The code of an error that the server has sent, five characters such as `23505`. */
export function sqlState(error: unknown): string | undefined {
  // EPIPE has five characters too, but only the server's errors have a severity
  return severityOf(error) === undefined ? undefined : driverCode(error)
}

/** The code of an error: the server's, the driver's (`CONNECTION_CLOSED`) or the system's (`ECONNREFUSED`). */
export function driverCode(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' ? code : undefined
}

/**
 * Whether the connection on which the error came can't be used any more.
 *
 * The server says so by the severity, not by class 08 alone, which foreign tables and a missing parameter give too.
 *
 * @see https://www.postgresql.org/docs/current/runtime-config-logging.html#RUNTIME-CONFIG-SEVERITY-LEVELS
 */
export function isConnectionLost(error: unknown): boolean {
  const state = sqlState(error)
  if (state !== undefined) return endsSession.has(state) || /^(FATAL|PANIC)$/.test(severityOf(error) ?? '')
  return meaningOf(driverCode(error)).lost ?? false
}

/**
 * Whether an error, ours or the driver's, says that the connection is gone or can't be made just now, and may be there again
 * soon. Not where nobody has answered for as long as we wait.
 */
export function isDisconnect(error: unknown): boolean {
  const ours = translate(error)
  if (!(ours instanceof OperationalError) || !ours.retryable || ours.code === 'CONNECT_TIMEOUT') return false
  return isConnectionLost(ours.cause === undefined ? ours : ours.cause)
}

/** Codes that end a session, whatever the severity that a pooler between gives them. */
const endsSession = new Set(['25P03', '25P04', '57P01', '57P02', '57P03', '57P04', '57P05'])

function severityOf(error: unknown): string | undefined {
  // severity_local is in the server's language; poolers send no other
  const { severity, severity_local: local } = (error ?? {}) as { severity?: unknown; severity_local?: unknown }
  if (typeof severity === 'string') return severity
  return typeof local === 'string' ? local : undefined
}

function messageOf(cause: object, code: string | undefined): string {
  const { message, errors } = cause as { message?: unknown; errors?: unknown }
  // several addresses were tried: Node gives one error for each, and a message that is empty
  const texts = Array.isArray(errors) && !message ? errors.map((each: unknown) => (each as Error).message) : [message]
  return texts.filter(Boolean).join(', ') || (code ?? 'no message')
}

interface Meaning {
  readonly make: new (
    message: string,
    details: { cause: unknown; code: string | undefined; retryable: boolean },
  ) => EventSourcingError
  readonly says: string
  /** What to do, where the message doesn't make it plain. */
  readonly advice?: string
  readonly retryable?: boolean
  /** Whether its messages quote what the user sent, so that ours can't repeat them. */
  readonly quotesValues?: boolean
  /** Whether the connection is gone; the driver's and the system's errors only, the server's say so themselves. */
  readonly lost?: boolean
}

function meaningOfState(state: string): Meaning {
  return states[state] ?? classes[state.slice(0, 2)] ?? { make: InternalError, says: 'An error of PostgreSQL' }
}

const again = { make: OperationalError, retryable: true } as const

/** What single codes mean that differ from their class. @see https://www.postgresql.org/docs/current/errcodes-appendix.html */
const states: Record<string, Meaning> = {
  '25006': { make: OperationalError, says: 'The transaction or the server is read-only' },
  '25P02': { make: InternalError, says: 'An earlier error has aborted the transaction' },
  '25P03': { ...again, says: 'The server ended a transaction that was idle for too long' },
  '25P04': { ...again, says: 'The server ended a transaction that took too long' },
  '26000': {
    make: OperationalError,
    says: 'A prepared statement is gone',
    advice: 'behind a pooler that shares connections give the option prepare: false',
  },
  '28000': {
    make: OperationalError,
    says: 'The server refused the user',
    advice: "check the user's name and rights to connect (pg_hba.conf), and the option ssl",
  },
  '28P01': {
    make: OperationalError,
    says: 'The server refused the password',
    advice: 'check user and password in the URL or the options',
  },
  '3D000': {
    make: DatabaseProgrammingError,
    says: 'The database is missing',
    advice: 'create it (CREATE DATABASE), or name another one in the URL or the options',
  },
  '3F000': {
    make: DatabaseProgrammingError,
    says: 'The schema is missing',
    advice: 'create it (CREATE SCHEMA) and grant its use, or name another one (DRIZZLE_SCHEMA, or search_path)',
  },
  '40001': { ...again, says: 'The transaction could not be serialized with others' },
  '40P01': { ...again, says: 'The transaction was given up in a deadlock' },
  '42501': {
    make: DatabaseProgrammingError,
    says: 'The user has no permission',
    advice: 'GRANT it to the user that connects',
  },
  '42P05': {
    make: DatabaseProgrammingError,
    says: 'A prepared statement exists already',
    advice: 'behind a pooler that shares connections give the option prepare: false',
  },
  '53100': { make: OperationalError, says: 'The disk of the server is full' },
  '53300': {
    ...again,
    says: 'The server has no connection left',
    advice: 'make the pools smaller (DRIZZLE_POOL_SIZE, or option max), or raise max_connections',
  },
  '55P03': { ...again, says: 'A lock is not available' },
  '57014': { make: OperationalError, says: 'The statement was cancelled' },
  '57P01': { ...again, says: 'The server ended the connection' },
  '57P02': { ...again, says: 'The server ended the connection after a crash' },
  '57P03': {
    ...again,
    says: 'The server takes no connections now',
    advice: 'it is starting, stopping or recovering: try again later',
  },
  '57P04': { make: OperationalError, says: 'The database was dropped' },
  '57P05': { ...again, says: 'The server ended a session that was idle for too long' },
}

/** What a class of codes means, by its two characters. */
const classes: Record<string, Meaning> = {
  '03': { make: DatabaseProgrammingError, says: 'PostgreSQL refused the statement' },
  '08': { make: OperationalError, says: 'The connection failed' },
  '0A': { make: NotSupportedError, says: 'PostgreSQL does not support that' },
  '20': { make: DatabaseProgrammingError, says: 'PostgreSQL refused the statement' },
  '21': { make: DatabaseProgrammingError, says: 'PostgreSQL refused the statement' },
  '22': { make: DataError, says: 'A value that the database cannot hold or compute with', quotesValues: true },
  '23': { make: IntegrityError, says: 'A constraint refused a row' },
  '24': { make: InternalError, says: 'A cursor is in the wrong state' },
  '25': { make: InternalError, says: 'The transaction is in the wrong state' },
  '26': { make: OperationalError, says: 'A prepared statement is gone' },
  '27': { make: OperationalError, says: 'A trigger changed the row already' },
  '28': { make: OperationalError, says: 'The server refused the user' },
  '2B': { make: InternalError, says: 'Other rights depend on that one' },
  '2D': { make: InternalError, says: 'The transaction cannot be ended here' },
  '2F': { make: InternalError, says: 'A function failed' },
  '34': { make: OperationalError, says: 'A cursor is missing' },
  '38': { make: InternalError, says: 'A function failed' },
  '39': { make: InternalError, says: 'A function failed' },
  '3B': { make: InternalError, says: 'A savepoint is missing' },
  '3D': { make: DatabaseProgrammingError, says: 'The database is missing' },
  '3F': { make: DatabaseProgrammingError, says: 'The schema is missing' },
  '40': { make: OperationalError, says: 'The transaction was rolled back' },
  '42': { make: DatabaseProgrammingError, says: 'PostgreSQL refused the statement' },
  '44': { make: DatabaseProgrammingError, says: 'A view refused a row' },
  '53': { make: OperationalError, says: 'The server is short of resources' },
  '54': { make: OperationalError, says: 'A limit of the server is exceeded' },
  '55': { make: OperationalError, says: 'Something is not in the state that the statement needs' },
  '57': { make: OperationalError, says: 'The server was interrupted' },
  '58': { make: OperationalError, says: 'The system of the server failed' },
  F0: { make: InternalError, says: 'The configuration of the server is wrong' },
  HV: { make: OperationalError, says: 'A foreign table failed' },
  P0: { make: DatabaseProgrammingError, says: 'A function raised an error' },
  XX: { make: InternalError, says: 'An internal error of PostgreSQL' },
}

/** What a code that is not the server's means. */
function meaningOf(code = ''): Meaning {
  const known = driverCodes[code]
  if (known) return known
  // see https://nodejs.org/api/tls.html#x509-certificate-error-codes
  if (/^ERR_(TLS|SSL)_|CERT|^UNABLE_TO_VERIFY_LEAF_SIGNATURE$/.test(code)) {
    return {
      make: OperationalError,
      says: 'No trusted connection to the server',
      advice: 'see the option ssl',
      lost: true,
    }
  }
  // the codes of the operating system: nothing but the socket uses it
  if (/^E(?!RR_)[A-Z0-9_]+$/.test(code)) return { ...again, says: 'No connection to the server', lost: true }
  return {
    make: InterfaceError,
    says: 'The PostgreSQL driver refused the call, for a closed handle or a value that it cannot send',
    quotesValues: true,
  }
}

const closed = { ...again, says: 'The connection to the server was closed', lost: true } as const

/** What the codes of postgres.js and of Node's sockets mean. */
const driverCodes: Record<string, Meaning> = {
  // as the server's, for a statement that was cancelled before it was sent
  '57014': { make: OperationalError, says: 'The statement was cancelled' },
  CONNECTION_CLOSED: closed,
  CONNECTION_DESTROYED: closed,
  CONNECTION_ENDED: { make: InterfaceError, says: 'The client was ended', lost: true },
  CONNECT_TIMEOUT: { ...again, says: 'The server gave no answer in time', lost: true },
  EACCES: { make: OperationalError, says: 'No permission for the socket of the server', lost: true },
  EPERM: { make: OperationalError, says: 'No permission for the socket of the server', lost: true },
  ERR_SOCKET_CLOSED: closed,
  ERR_SOCKET_CONNECTION_TIMEOUT: { ...again, says: 'The server gave no answer in time', lost: true },
  ERR_STREAM_DESTROYED: closed,
  ERR_STREAM_WRITE_AFTER_END: closed,
  MAX_PARAMETERS_EXCEEDED: { make: DatabaseProgrammingError, says: 'A statement has too many parameters' },
  SASL_SIGNATURE_MISMATCH: {
    make: OperationalError,
    says: 'The server does not know the password of the user',
    advice: 'check that it is the server that is meant',
    lost: true,
  },
}
