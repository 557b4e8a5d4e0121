import type { AnyDatastore } from './datastore.js'
import type { Notification, StoredEvent, StoredText, Tracking } from './stored-event.js'
import type { Transactional } from './transactional.js'

/** Bounds within one stream, all by originator version (integers). */
export interface SelectEventsOptions {
  /** Only versions above this one. */
  readonly gt?: number | null | undefined
  /** Only versions up to and including this one. */
  readonly lte?: number | null | undefined
  /** Newest first. Default: false, oldest first. */
  readonly desc?: boolean | undefined
  /** At most this many events, from 0. Default: all. */
  readonly limit?: number | null | undefined
}

/** Bounds within the order of all events, by notification id (integers). */
export interface SelectNotificationsOptions {
  /** The first id, inclusive unless `inclusiveOfStart` is false. Default: from the first. */
  readonly start?: number | null | undefined
  /** At most this many notifications are returned, from 0. */
  readonly limit: number
  /** The last id, inclusive. Default: no bound. */
  readonly stop?: number | null | undefined
  /** Only these topics, filtered in the database. `[]` and absent mean all. */
  readonly topics?: readonly string[] | undefined
  /** Whether `start` itself is included. Default: true. */
  readonly inclusiveOfStart?: boolean | undefined
}

/** How long to wait for a position. */
export interface WaitOptions {
  /** Milliseconds until `WaitTimeoutError`. Default: 1000. */
  readonly timeoutMs?: number | undefined
  /** Ends the wait with `WaitInterruptedError`. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Records events, stream by stream. The first rung of the ladder: events of one originator.
 *
 * @see Python eventsourcing, `AggregateRecorder`: same contract.
 */
export interface AggregateRecorder extends Transactional {
  /** Where it records. */
  readonly datastore: AnyDatastore

  /**
   * Records events, all or none. Joins the current transaction, or is one of its own.
   *
   * @param events  One or more originators, in the order to be recorded. `[]` returns `[]`. The array is the caller's again
   *   at once; the events and their states are to stay as they are until it resolves.
   * @returns Notification ids, where the recorder gives any (see `ApplicationRecorder`); otherwise `[]`.
   * @throws RecordConflictError  An (originator, version) is already recorded, or stands twice in `events`.
   * @throws DataError  An id or topic that can't be stored: empty, with a NUL character or half a surrogate pair; a
   *   version that is no integer from 0 up to 2^53 - 1.
   * @throws OperationalError  The database (on SQLite: the writer) is not free within the pool timeout.
   */
  insertEvents(events: readonly StoredEvent[]): Promise<number[]>

  /**
   * One originator's events by version. An unknown originator has none.
   *
   * @throws ProgrammingError  A bound that is no integer, or a negative `limit`.
   */
  selectEvents(originatorId: string, options?: SelectEventsOptions): Promise<StoredEvent[]>

  /**
   * As `selectEvents`, for states that are text in UTF-8; where the database hands text over faster than bytes.
   *
   * @param begin  Gives what takes the events as they come in, while the next ones may be on their way. Called again where
   *   they are read anew, from the first: what was taken before counts for nothing then.
   * @returns Whether that were all. If not, a state may be something else: `selectEvents` has its bytes.
   * @throws unknown  What was thrown by who takes the events.
   */
  selectTexts?(originatorId: string, begin: BeginTexts, options?: SelectEventsOptions): Promise<boolean>
}

/** Records snapshots, stream by stream: an `AggregateRecorder` that can put one in the place of another. */
export interface SnapshotRecorder extends AggregateRecorder {
  /**
   * Records a snapshot; in the place of the one of that version, where there is one. Joins the current transaction, where it waits
   * as events do with autoflush off, or is one of its own.
   *
   * @throws DataError, OperationalError  As `insertEvents`.
   */
  replaceSnapshot(snapshot: StoredEvent): Promise<void>
}

/** Begins to take events, some at a time. */
export type BeginTexts = () => (stored: readonly StoredText[]) => void

/** Records events and gives them one order. The second rung: all events, by notification id. */
export interface ApplicationRecorder extends AggregateRecorder {
  /** As `AggregateRecorder.insertEvents`. @returns Contiguous ids (integers from 1), same length and order as `events`. */
  insertEvents(events: readonly StoredEvent[]): Promise<number[]>

  /**
   * Notifications by id, ascending. Once any reader has seen n, nothing at or below n appears later.
   *
   * @throws ProgrammingError  A bound that is no integer, or a negative `limit`.
   */
  selectNotifications(options: SelectNotificationsOptions): Promise<Notification[]>

  /** The last id that a reader may see, under the same bound as `selectNotifications`; `null` when there is none. */
  maxNotificationId(): Promise<number | null>
}

/** Records how far upstream applications were processed. Tracking only moves forward. */
export interface TrackingRecorder extends Transactional {
  /** Where it records. */
  readonly datastore: AnyDatastore
  /** @throws IntegrityError  The position is not above the recorded one. @throws DataError  A name or id that can't be stored. */
  insertTracking(tracking: Tracking): Promise<void>
  /** The recorded position of an upstream application; `null` when there is none. */
  maxTrackingId(applicationName: string): Promise<number | null>
  /** Whether that position has been reached. True for `null`. */
  hasTrackingId(applicationName: string, notificationId: number | null): Promise<boolean>
  /**
   * Resolves once `hasTrackingId`, asked at once and then after 100, 200, 400, 800, 800, … ms.
   *
   * @throws WaitTimeoutError  Not reached within `timeoutMs`.
   * @throws WaitInterruptedError  The signal was aborted, also beforehand.
   */
  wait(applicationName: string, notificationId: number | null, options?: WaitOptions): Promise<void>
}

/** All of it: events and the position they came from, in one transaction. The third rung. */
export interface ProcessRecorder extends ApplicationRecorder, TrackingRecorder {
  /** Records events and, if given, tracking: both or neither. `events` may be empty then. */
  insertEvents(events: readonly StoredEvent[], options?: { tracking?: Tracking | undefined }): Promise<number[]>
}
