import { MapperDeserialisationError } from '../errors.js'
import type { StoredEvent } from './stored-event.js'
import { formatTimestamp, parseTimestamp } from './transcoder.js'

/** The state of an aggregate at one version, from which it can be had without the events up to there. */
export interface Snapshot {
  /** Whose state. */
  readonly originatorId: string
  /** The version of the last event in it. */
  readonly originatorVersion: number
  /** The aggregate's name: `'Dog'`. */
  readonly topic: string
  /** When it was taken. */
  readonly timestamp: Date
  /** When the aggregate's first event happened. */
  readonly createdOn: Date
  /** When the last event in it happened. */
  readonly modifiedOn: Date
  /** The version of the class whose state it is: 1, and one more for each of its `snapshotUpcasts`. */
  readonly classVersion: number
  /** The aggregate's own values, as stored: not upcast. */
  readonly state: Record<string, unknown>
}

/** What the transcoder encodes of a snapshot. @see docs/decisions/0026-snapshots.md: this layout is final. */
export function snapshotValues({ timestamp, createdOn, modifiedOn, state, classVersion }: Snapshot): object {
  return {
    timestamp: formatTimestamp(timestamp),
    createdOn: formatTimestamp(createdOn),
    modifiedOn: formatTimestamp(modifiedOn),
    state,
    ...(classVersion > 1 && { classVersion }),
  }
}

/** The snapshot again. @param values  What the transcoder decoded. @throws MapperDeserialisationError  They are none of one. */
export function snapshotOf(stored: StoredEvent, values: unknown): Snapshot {
  const { originatorId, originatorVersion, topic } = stored
  if (!isPlainObject(values)) refuseSnapshot(stored, 'its state is no object')
  const { state, classVersion = 1 } = values
  const [timestamp, createdOn, modifiedOn] = ['timestamp', 'createdOn', 'modifiedOn'].map((name) => {
    return parseTimestamp(values[name]) ?? refuseSnapshot(stored, `its state has no valid ${name}`)
  }) as [Date, Date, Date]
  if (!isPlainObject(state)) refuseSnapshot(stored, 'its state has no values')
  const isVersion = Number.isSafeInteger(classVersion) && (classVersion as number) >= 1
  if (!isVersion || values['classVersion'] === 1) refuseSnapshot(stored, 'its class version is no integer from 2')
  return {
    originatorId,
    originatorVersion,
    topic,
    timestamp,
    createdOn,
    modifiedOn,
    classVersion: classVersion as number,
    state,
  }
}

/** @throws MapperDeserialisationError  Always; names the snapshot, never its state. */
export function refuseSnapshot(
  { topic, originatorId, originatorVersion }: Omit<StoredEvent, 'state'>,
  why: string,
  cause?: Error,
): never {
  throw new MapperDeserialisationError(
    `The snapshot of ${JSON.stringify(topic)} ${JSON.stringify(originatorId)} at version ${originatorVersion} can't be ` +
      `read: ${why}`,
    cause === undefined ? {} : { cause },
  )
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
