import { type ErrorDetails, RecordConflictError } from '../errors.js'
import type { StoredEvent } from './stored-event.js'

/*
 * A conflict reads the same on every backend. It is not `retryable`: the same save fails again; what can succeed is to
 * get the aggregate again and repeat the command.
 */

/** The conflict with a version that is there; `currentVersion` where the transaction can see it. */
export function alreadyRecorded(
  { originatorId, originatorVersion }: StoredEvent,
  currentVersion: number | undefined,
  details: ErrorDetails = {},
): RecordConflictError {
  return new RecordConflictError(
    `Version ${originatorVersion} of ${JSON.stringify(originatorId)} is already recorded` +
      (currentVersion === undefined ? '' : `; the last one is ${currentVersion}`),
    originatorId,
    originatorVersion,
    currentVersion,
    details,
  )
}

/** The conflict of events with each other. */
export function standsTwice(
  { originatorId, originatorVersion }: StoredEvent,
  currentVersion: number | undefined,
  details: ErrorDetails = {},
): RecordConflictError {
  return new RecordConflictError(
    `Version ${originatorVersion} of ${JSON.stringify(originatorId)} stands twice in one insert`,
    originatorId,
    originatorVersion,
    currentVersion,
    details,
  )
}

/** The first of these events whose version of its originator stands before it among them. */
export function findTwice(events: readonly StoredEvent[]): StoredEvent | undefined {
  const seen = new Map<string, Set<number>>()
  return events.find(({ originatorId, originatorVersion }) => {
    const versions = seen.get(originatorId)
    if (!versions) seen.set(originatorId, new Set([originatorVersion]))
    else if (versions.has(originatorVersion)) return true
    else versions.add(originatorVersion)
    return false
  })
}
