/**
 * Every error we throw, one family, one screen (API §8).
 *
 * `cause` is the driver's own error where there is one, never Drizzle's, whose message holds all parameters.
 * No message contains event state, a password or a key.
 */
export interface ErrorDetails {
  /** What led to this error; for database errors the driver's own error. */
  readonly cause?: unknown
  /** SQLSTATE, or SQLite's `SQLITE_*`. */
  readonly code?: string | undefined
  /** Whether the same unit of work, started again from its beginning, may succeed. Default: false. */
  readonly retryable?: boolean
}

/** The root of the family: `catch (error) { if (error instanceof EventSourcingError) … }`. */
export class EventSourcingError extends Error {
  /** SQLSTATE or `SQLITE_*`, where a database said one. */
  readonly code: string | undefined
  /** Whether the same unit of work, started again from its beginning, may succeed. */
  readonly retryable: boolean

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = details.code
    this.retryable = details.retryable ?? false
  }
}

/** The library was asked for something that can't be: a wrong setting, argument or definition. */
export class ProgrammingError extends EventSourcingError {}
/** No events are stored for that id (up to that version). */
export class AggregateNotFoundError extends EventSourcingError {}
/** The stream holds an aggregate of another class than the one asked for. */
export class AggregateTypeError extends EventSourcingError {}
/** An event was applied to an aggregate that has another id. */
export class OriginatorIdError extends EventSourcingError {}
/** An event was applied to an aggregate whose next version is another. */
export class OriginatorVersionError extends EventSourcingError {}
/** A topic that nothing is registered for, or a name that is taken. */
export class TopicError extends EventSourcingError {}
/** A value of a type, or a stored type name, for which no transcoding is registered. */
export class TranscodingNotRegisteredError extends EventSourcingError {}
/** Stored state could not be read; names topic, originator and version, never the state. */
export class MapperDeserialisationError extends EventSourcingError {}
/** `PERSISTENCE_MODULE` names a module without exactly one factory, or something that is no factory. */
export class InfrastructureFactoryError extends EventSourcingError {}

/** Processing an event failed; `cause` says why, the rest says where. */
export class EventProcessingError extends EventSourcingError {
  constructor(
    message: string,
    readonly applicationName: string,
    readonly notificationId: number,
    details: ErrorDetails = {},
  ) {
    super(message, details)
  }
}

/** The root of what persistence throws. */
export class PersistenceError extends EventSourcingError {}
/** The handle was misused or is gone: a session after its end, a closed datastore, a driver that is missing. */
export class InterfaceError extends PersistenceError {}
/** A wait was interrupted by its signal. */
export class WaitInterruptedError extends PersistenceError {}
/** A wait reached its timeout. */
export class WaitTimeoutError extends PersistenceError {}
/** The root of what a database reports. */
export class DatabaseError extends PersistenceError {}
/** A value that the database can't hold. */
export class DataError extends DatabaseError {}
/** The database is in an unexpected state. */
export class InternalError extends DatabaseError {}
/** Not supported by this database, or not built yet; the message names what. */
export class NotSupportedError extends DatabaseError {}
/** The database refused a statement: syntax, a table that isn't there, no permission. */
export class DatabaseProgrammingError extends DatabaseError {}
/** The database can't work just now: not reachable, busy, full, read-only. See `retryable`. */
export class OperationalError extends DatabaseError {}
/** A constraint refused a row. */
export class IntegrityError extends DatabaseError {}

/** That version of that originator is already recorded: somebody else decided first, or it stands twice in one insert. */
export class RecordConflictError extends IntegrityError {
  constructor(
    message: string,
    readonly originatorId: string,
    readonly originatorVersion: number,
    /** The originator's last recorded version, where it could be read. */
    readonly currentVersion: number | undefined,
    details: ErrorDetails = {},
  ) {
    super(message, details)
  }
}

// Names are given, not taken from the classes: minifiers change class names, and logs are searched by error names.
for (const [name, errorClass] of Object.entries({
  EventSourcingError,
  ProgrammingError,
  AggregateNotFoundError,
  AggregateTypeError,
  OriginatorIdError,
  OriginatorVersionError,
  TopicError,
  TranscodingNotRegisteredError,
  MapperDeserialisationError,
  InfrastructureFactoryError,
  EventProcessingError,
  PersistenceError,
  InterfaceError,
  WaitInterruptedError,
  WaitTimeoutError,
  DatabaseError,
  DataError,
  InternalError,
  NotSupportedError,
  DatabaseProgrammingError,
  OperationalError,
  IntegrityError,
  RecordConflictError,
})) {
  Object.defineProperty(errorClass.prototype, 'name', { value: name, writable: true, configurable: true })
}
