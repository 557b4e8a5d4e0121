import { DrizzleQueryError, entityKind } from 'drizzle-orm'
import {
  DatabaseProgrammingError,
  DataError,
  EventSourcingError,
  InterfaceError,
  IntegrityError,
  InternalError,
  OperationalError,
} from '../errors.js'

/** What our connections' driver threw: an error with the same code from elsewhere is the user's own affair. */
const fromDriver = new WeakSet<object>()

/** Marks what the driver threw, and gives it back. */
export function markDriverError(error: unknown): unknown {
  if (typeof error === 'object' && error !== null) fromDriver.add(error)
  return error
}

/**
 * Turns an error of the driver, also one that Drizzle has wrapped, into ours; any other comes back as it is.
 *
 * Told by code, down the chain of Drizzle's wrappers. `cause` is the driver's own error: Drizzle's holds all parameters.
 */
export function translate(error: unknown): unknown {
  let cause: unknown = error
  for (let depth = 0; depth < 5 && typeof cause === 'object' && cause !== null; depth += 1) {
    // one of ours inside of Drizzle's: thrown by a guarded handle
    if (cause instanceof EventSourcingError) return cause
    if (fromDriver.has(cause)) return fromDriverError(cause)
    if (!isDrizzles(cause)) return error
    cause = (cause as { cause?: unknown }).cause
  }
  return error
}

/** Whether Drizzle has put this error around another. */
function isDrizzles(error: object): boolean {
  const kind = (error.constructor as { [entityKind]?: unknown } | undefined)?.[entityKind]
  return kind === 'DrizzleError' || error instanceof DrizzleQueryError
}

function fromDriverError(cause: object): EventSourcingError {
  const code = sqliteCode(cause)
  if (code) return fromCode(code, cause as Error)
  return new InterfaceError('The SQLite driver refused the call: a closed handle, or a value that it cannot bind', {
    cause,
  })
}

/** SQLite's result code of an error, such as `SQLITE_BUSY`. */
export function sqliteCode(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : undefined
}

/** Whether another connection holds a lock just now. */
export function isBusy(error: unknown): boolean {
  return sqliteCode(error)?.startsWith('SQLITE_BUSY') ?? false
}

function fromCode(code: string, cause: Error): EventSourcingError {
  // the primary code is the first word after SQLITE_: SQLITE_CONSTRAINT_UNIQUE is a CONSTRAINT
  const primary = code.split('_')[1] ?? ''
  const { make, says, retryable = false } = meanings[primary] ?? { make: InternalError, says: 'An error of SQLite' }
  // SQLite's messages name tables and columns, never values
  return new make(`${says}: ${cause.message}`, { cause, code, retryable })
}

interface Meaning {
  readonly make: new (
    message: string,
    details: { cause: unknown; code: string; retryable: boolean },
  ) => EventSourcingError
  readonly says: string
  readonly retryable?: boolean
}

/** @see https://sqlite.org/rescode.html */
const meanings: Record<string, Meaning> = {
  CONSTRAINT: { make: IntegrityError, says: 'A constraint refused a row' },
  MISMATCH: { make: DataError, says: 'A value of the wrong type' },
  TOOBIG: { make: DataError, says: 'A value or statement that is too long' },
  RANGE: { make: DataError, says: 'A parameter out of range' },
  BUSY: { make: OperationalError, says: 'The database is busy', retryable: true },
  LOCKED: { make: OperationalError, says: 'A table is locked', retryable: true },
  READONLY: { make: OperationalError, says: 'The database is read-only' },
  CANTOPEN: { make: OperationalError, says: 'The database file cannot be opened' },
  IOERR: { make: OperationalError, says: 'Reading or writing the database file failed' },
  FULL: { make: OperationalError, says: 'The disk is full' },
  NOTADB: { make: OperationalError, says: 'The file is no SQLite database' },
  CORRUPT: { make: OperationalError, says: 'The database file is damaged' },
  PROTOCOL: { make: OperationalError, says: 'The locking protocol failed', retryable: true },
  PERM: { make: OperationalError, says: 'No permission for the database file' },
  AUTH: { make: OperationalError, says: 'Not authorised' },
  INTERRUPT: { make: OperationalError, says: 'Interrupted' },
  ABORT: { make: OperationalError, says: 'Aborted' },
  SCHEMA: { make: OperationalError, says: 'The schema changed', retryable: true },
  NOMEM: { make: InternalError, says: 'Out of memory' },
  INTERNAL: { make: InternalError, says: 'An internal error of SQLite' },
  ERROR: { make: DatabaseProgrammingError, says: 'SQLite refused the statement' },
  MISUSE: { make: DatabaseProgrammingError, says: 'The driver was misused' },
}
