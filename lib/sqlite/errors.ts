import { translateWith } from '../drizzle/driver-errors.js'
import type { EventSourcingError } from '../errors.js'
import {
  DatabaseProgrammingError,
  DataError,
  InterfaceError,
  IntegrityError,
  InternalError,
  OperationalError,
} from '../errors.js'

/** Turns an error of the driver, also one that Drizzle has wrapped, into ours; any other comes back as it is. */
export function translate(error: unknown): unknown {
  return translateWith(fromDriverError, error)
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
