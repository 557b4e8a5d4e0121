import { RecordConflictError } from '../errors.js'
import type { Mapper } from './mapper.js'
import type { AggregateRecorder, SelectEventsOptions, SnapshotRecorder } from './recorders.js'
import type { Snapshot } from './snapshot.js'
import { type Awaitable } from './stages.js'
import type { StoredEvent } from './stored-event.js'

/** Stores snapshots and gets them back: a mapper in front of a recorder. */
export class SnapshotStore {
  readonly #mapper: Mapper
  readonly #recorder: AggregateRecorder | SnapshotRecorder

  constructor(mapper: Mapper, recorder: AggregateRecorder | SnapshotRecorder) {
    this.#mapper = mapper
    this.#recorder = recorder
  }

  /**
   * One originator's snapshots, by version, as they are stored.
   *
   * @throws MapperDeserialisationError  One can't be read. Names topic, originator id and version, never state.
   */
  async get(originatorId: string, options?: SelectEventsOptions): Promise<Snapshot[]> {
    const stored = await this.#recorder.selectEvents(originatorId, options)
    // one after the other: with a cipher that asks somebody, not all at once
    const snapshots: Snapshot[] = []
    for (const each of stored) snapshots.push(await this.#mapper.toSnapshot(each))
    return snapshots
  }

  /** What a snapshot is stored as; a promise where the cipher gives promises. */
  toStored(snapshot: Snapshot): Awaitable<StoredEvent> {
    return this.#mapper.toStoredSnapshot(snapshot)
  }

  /** Stores a snapshot, in the place of the one of that version where there is one. */
  async put(stored: StoredEvent): Promise<void> {
    if ('replaceSnapshot' in this.#recorder) return this.#recorder.replaceSnapshot(stored)
    try {
      await this.#recorder.insertEvents([stored])
    } catch (error) {
      // a recorder that can't replace one keeps the one it has
      if (!(error instanceof RecordConflictError)) throw error
    }
  }
}
