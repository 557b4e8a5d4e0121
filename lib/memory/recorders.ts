import { RecorderOn, refuseSubscribe } from '../persistence/datastore.js'
import {
  checkPosition,
  checkSelect,
  checkSelectNotifications,
  checkStoredEvents,
  checkTracking,
} from '../persistence/checks.js'
import type {
  AggregateRecorder,
  ApplicationRecorder,
  ProcessRecorder,
  SelectEventsOptions,
  SelectNotificationsOptions,
  SnapshotRecorder,
  TrackingRecorder,
  WaitOptions,
} from '../persistence/recorders.js'
import type { Notification, StoredEvent, Tracking } from '../persistence/stored-event.js'
import { waitForTracking } from '../persistence/wait.js'
import type { MemoryDatastore } from './datastore.js'

/** Events in memory, without notification ids. */
export class MemoryAggregateRecorder extends RecorderOn<MemoryDatastore> implements AggregateRecorder {
  /** @param table  The table's name within the datastore. */
  constructor(
    datastore: MemoryDatastore,
    protected readonly table: string,
  ) {
    super(datastore)
  }

  async insertEvents(events: readonly StoredEvent[]): Promise<number[]> {
    await this.insert(events)
    return []
  }

  async selectEvents(originatorId: string, options: SelectEventsOptions = {}): Promise<StoredEvent[]> {
    checkSelect(originatorId, options)
    return this.datastore.read((tables, committedOnly) =>
      tables.selectEvents(this.table, originatorId, options, committedOnly),
    )
  }

  protected async insert(events: readonly StoredEvent[]): Promise<number[]> {
    checkStoredEvents(events)
    if (events.length === 0) return []
    const own = [...events] // the caller may use the array again while this waits
    return this.datastore.append({ table: this.table, events: own })
  }
}

/** Snapshots in memory. */
export class MemorySnapshotRecorder extends MemoryAggregateRecorder implements SnapshotRecorder {
  async replaceSnapshot(snapshot: StoredEvent): Promise<void> {
    checkStoredEvents([snapshot])
    await this.datastore.replace(this.table, snapshot)
  }
}

/** Events in memory, in one order. */
export class MemoryApplicationRecorder extends MemoryAggregateRecorder implements ApplicationRecorder {
  override insertEvents(events: readonly StoredEvent[]): Promise<number[]> {
    return this.insert(events)
  }

  /** Subscriptions are not built yet. @throws NotSupportedError  Always. */
  subscribe(): never {
    return refuseSubscribe()
  }

  async selectNotifications(options: SelectNotificationsOptions): Promise<Notification[]> {
    checkSelectNotifications(options)
    return this.datastore.read((tables, committedOnly) =>
      tables.selectNotifications(this.table, options, committedOnly),
    )
  }

  async maxNotificationId(): Promise<number | null> {
    return this.datastore.read((tables, committedOnly) => tables.maxNotificationId(this.table, committedOnly))
  }
}

/** Tracking in memory. */
export class MemoryTrackingRecorder extends RecorderOn<MemoryDatastore> implements TrackingRecorder {
  constructor(
    datastore: MemoryDatastore,
    private readonly table: string,
  ) {
    super(datastore)
  }

  async insertTracking(tracking: Tracking): Promise<void> {
    checkTracking(tracking)
    await this.datastore.write((tables) => {
      tables.insertTracking(this.table, tracking)
    })
  }

  async maxTrackingId(applicationName: string): Promise<number | null> {
    checkPosition(applicationName, null)
    return this.datastore.read((tables, committedOnly) =>
      tables.maxTrackingId(this.table, applicationName, committedOnly),
    )
  }

  async hasTrackingId(applicationName: string, notificationId: number | null): Promise<boolean> {
    checkPosition(applicationName, notificationId)
    return notificationId === null || notificationId <= ((await this.maxTrackingId(applicationName)) ?? 0)
  }

  wait(applicationName: string, notificationId: number | null, options?: WaitOptions): Promise<void> {
    return waitForTracking(this, applicationName, notificationId, options)
  }
}

/** Events and tracking in memory, stored together or not at all. */
export class MemoryProcessRecorder extends MemoryApplicationRecorder implements ProcessRecorder {
  readonly #tracking: MemoryTrackingRecorder

  constructor(
    datastore: MemoryDatastore,
    table: string,
    private readonly trackingTable: string,
  ) {
    super(datastore, table)
    this.#tracking = new MemoryTrackingRecorder(datastore, trackingTable)
  }

  override async insertEvents(
    events: readonly StoredEvent[],
    { tracking }: { tracking?: Tracking | undefined } = {},
  ): Promise<number[]> {
    if (!tracking) return this.insert(events)
    checkStoredEvents(events)
    checkTracking(tracking)
    const own = [...events]
    return this.datastore.append({
      table: this.table,
      events: own,
      tracking: { table: this.trackingTable, position: tracking },
    })
  }

  insertTracking(tracking: Tracking): Promise<void> {
    return this.#tracking.insertTracking(tracking)
  }

  maxTrackingId(applicationName: string): Promise<number | null> {
    return this.#tracking.maxTrackingId(applicationName)
  }

  hasTrackingId(applicationName: string, notificationId: number | null): Promise<boolean> {
    return this.#tracking.hasTrackingId(applicationName, notificationId)
  }

  wait(applicationName: string, notificationId: number | null, options?: WaitOptions): Promise<void> {
    return this.#tracking.wait(applicationName, notificationId, options)
  }
}
