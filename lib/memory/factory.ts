import { ProgrammingError } from '../errors.js'
import type { Environment } from '../persistence/environment.js'
import { Factory, type FactoryOptions } from '../persistence/factory.js'
import { MemoryDatastore } from './datastore.js'
import {
  type MemoryAggregateRecorder,
  MemoryApplicationRecorder,
  MemoryProcessRecorder,
  MemorySnapshotRecorder,
  MemoryTrackingRecorder,
} from './recorders.js'

/** Makes recorders that keep their events in memory: for tests, and for a first look. */
export class MemoryFactory extends Factory {
  readonly datastore: MemoryDatastore
  readonly #owns: boolean

  constructor(source: Environment | Readonly<Record<string, unknown>> | FactoryOptions<MemoryDatastore> = {}) {
    super(source)
    const given = 'datastore' in source ? (source as FactoryOptions<MemoryDatastore>).datastore : undefined
    this.#owns = !given
    this.datastore = given ?? new MemoryDatastore({ poolTimeoutMs: this.poolTimeoutMs(), autoflush: this.autoflush() })
  }

  async aggregateRecorder(purpose: 'events' | 'snapshots' = 'events'): Promise<MemoryAggregateRecorder> {
    if (purpose !== 'events' && purpose !== 'snapshots') {
      throw new ProgrammingError("aggregateRecorder takes 'events' or 'snapshots'")
    }
    const table = this.tableName(purpose)
    return purpose === 'events'
      ? new MemoryApplicationRecorder(this.datastore, table)
      : new MemorySnapshotRecorder(this.datastore, table)
  }

  async applicationRecorder(): Promise<MemoryApplicationRecorder> {
    return new MemoryApplicationRecorder(this.datastore, this.tableName('events'))
  }

  async trackingRecorder(): Promise<MemoryTrackingRecorder> {
    return new MemoryTrackingRecorder(this.datastore, this.tableName('tracking'))
  }

  async processRecorder(): Promise<MemoryProcessRecorder> {
    return new MemoryProcessRecorder(this.datastore, this.tableName('events'), this.tableName('tracking'))
  }

  async close(): Promise<void> {
    if (this.#owns) await this.datastore.close()
  }
}
