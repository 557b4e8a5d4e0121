import { OperationalError } from '../errors.js'
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
  BeginTexts,
  ProcessRecorder,
  SelectEventsOptions,
  SelectNotificationsOptions,
  SnapshotRecorder,
  TrackingRecorder,
  WaitOptions,
} from '../persistence/recorders.js'
import type { Notification, StoredEvent, Tracking } from '../persistence/stored-event.js'
import type { OpenTransaction } from '../persistence/transactional.js'
import { waitForTracking } from '../persistence/wait.js'
import type { AnyDrizzleDatastore, Datastore } from './datastore.js'
import type { Connection, Insert, TableName } from './dialect.js'
import * as statements from './statements.js'

/** What every recorder here is made from. */
export interface RecorderOptions {
  /** Whether tables are created where missing. Default: true. */
  readonly createTable?: boolean | undefined
}

type CurrentTransaction = NonNullable<ReturnType<AnyDrizzleDatastore['current']>>

/** Tables of one datastore, created when first needed, and the datastore's transactions. */
class DrizzleRecorder<D extends AnyDrizzleDatastore> extends RecorderOn<D> {
  #isThere = false
  readonly #createTable: boolean
  #creating: Promise<void> | undefined
  /** The transaction that the tables were last made in; it may yet be rolled back. */
  #madeIn: (OpenTransaction & { readonly isOpen: boolean }) | undefined

  constructor(
    datastore: D,
    private readonly tables: readonly TableName[],
    { createTable = true }: RecorderOptions = {},
  ) {
    super(datastore)
    // a name that can't be is an error here, not at first use
    if (datastore.isKnown) for (const table of tables) datastore.sql.table(table)
    this.#createTable = createTable
  }

  /** Connects, and creates the tables where missing. Other calls do that by themselves. */
  async ready(): Promise<void> {
    await this.datastore.ready()
    // without a URL the first scope makes them
    if (!this.#isThere && this.datastore.isReachable()) await this.#setUp(this.datastore.currentIfAny())
  }

  protected setUp(): Promise<CurrentTransaction | undefined> | undefined {
    return this.#isThere ? undefined : this.#setUpForUse()
  }

  protected async read<T>(work: (connection: Connection) => T | Promise<T>): Promise<T> {
    if (!this.#isThere) (await this.#setUpForUse())?.requireOpen()
    return this.datastore.read(work)
  }

  // not async, as everything on the way of a save: each promise costs about a microsecond
  protected append({ table, events, tracking }: Insert): Promise<number[]> {
    let insert: Insert
    try {
      checkStoredEvents(events)
      if (events.length === 0 && !tracking) return Promise.resolve([])
      // it may wait for a statement or the writer, and the caller may use the array again meanwhile
      insert = { table, events: [...events], tracking }
      if (this.#isThere) return this.datastore.append(insert)
    } catch (error) {
      return Promise.reject(error)
    }
    return this.#setUpForUse().then((transaction) => {
      transaction?.requireOpen()
      return this.datastore.append(insert)
    })
  }

  protected async write<T>(work: (connection: Connection) => T | Promise<T>): Promise<T> {
    if (!this.#isThere) (await this.#setUpForUse())?.requireOpen()
    return this.datastore.write(work)
  }

  /** @returns What the call belongs to. Meanwhile over, a session would begin another: it is checked right before the call. */
  async #setUpForUse(): Promise<CurrentTransaction | undefined> {
    const finding = this.datastore.known()
    if (finding) await finding
    const transaction = this.datastore.current()
    // without a scope there may be nothing to make them on: the call that needs them says so
    if (!transaction && !this.datastore.isReachable()) return undefined
    await this.#setUp(transaction)
    return transaction
  }

  async #setUp(transaction: CurrentTransaction | undefined): Promise<void> {
    const { hasConnections } = this.datastore
    if (transaction?.isUsers && (await this.#setUpInUsers(transaction))) return
    if (transaction && !transaction.isUsers && (!hasConnections || !this.datastore.capabilities.concurrentWriters)) {
      const { sql } = this.datastore
      if (!this.#createTable) return
      // a transaction that has not taken the writer waits until somebody else has made them
      if (hasConnections && (await transaction.whileIdle(() => this.#create()))) return
      const madeIn = this.#madeIn?.decider
      if (madeIn && transaction.isInside(madeIn)) return
      // the writer is this transaction's, so the tables are made in it, and are there for good once it has committed
      await transaction.take((connection) => sql.createTables(connection, this.tables))
      this.#madeIn = transaction
      transaction.onRollback(() => {
        if (this.#madeIn === transaction) this.#madeIn = undefined
      })
      transaction.afterCommit(() => {
        this.#isThere = true
      })
      return
    }
    await this.#create()
  }

  /** @returns Whether that is done; if not, it is to be done outside. */
  async #setUpInUsers(transaction: CurrentTransaction): Promise<boolean> {
    const { sql, capabilities, hasConnections } = this.datastore
    if (!this.#createTable) return true
    if (hasConnections && capabilities.concurrentWriters) return false
    if (hasConnections) {
      try {
        await this.#create(briefMs)
        return true
      } catch (error) {
        // it is the writer, so they are made in it
        if (!(error instanceof OperationalError && error.retryable)) throw error
      }
    }
    if (this.#madeIn?.isOpen && transaction.isInside(this.#madeIn)) return true
    let isForGood = false
    await transaction.take(async (connection: Connection) => {
      if (await this.#areThere(connection)) isForGood = await sql.isForGood(connection, this.tables)
      else await sql.createTables(connection, this.tables)
    })
    if (isForGood) this.#isThere = true
    // on one connection it may be another transaction by the next time
    else if (capabilities.concurrentWriters) this.#madeIn = transaction
    return true
  }

  async #create(timeoutMs?: number): Promise<void> {
    this.#creating ??= this.datastore.outside(async () => {
      try {
        await this.datastore.setUp(
          async (connection) => (await this.#areThere(connection)) || !this.#createTable,
          (connection) => this.datastore.sql.createTables(connection, this.tables),
          timeoutMs,
        )
        this.#isThere = true
      } finally {
        this.#creating = undefined
      }
    })
    await this.#creating
  }

  async #areThere(connection: Connection): Promise<boolean> {
    for (const table of this.tables) {
      if (!(await this.datastore.sql.hasTable(connection, table))) return false
    }
    return true
  }
}

/** How long a table that a scope needs waits to be made outside of the scope, in ms: perhaps for the scope itself. */
const briefMs = 100

/** Events of originators; on a table of kind `snapshots` without notification ids. */
export class DrizzleAggregateRecorder<D extends AnyDrizzleDatastore = Datastore>
  extends DrizzleRecorder<D>
  implements AggregateRecorder
{
  constructor(
    datastore: D,
    protected readonly events: TableName,
    options?: RecorderOptions,
    otherTables: readonly TableName[] = [],
  ) {
    super(datastore, [events, ...otherTables], options)
  }

  insertEvents(events: readonly StoredEvent[]): Promise<number[]> {
    return this.append({ table: this.events, events })
  }

  async selectEvents(originatorId: string, options: SelectEventsOptions = {}): Promise<StoredEvent[]> {
    checkSelect(originatorId, options)
    return this.read((connection) =>
      statements.selectEvents(connection, this.datastore.sql, this.events, originatorId, options),
    )
  }

  async selectTexts(originatorId: string, begin: BeginTexts, options: SelectEventsOptions = {}): Promise<boolean> {
    checkSelect(originatorId, options)
    const settingUp = this.setUp()
    if (settingUp) (await settingUp)?.requireOpen()
    return this.datastore.selectTexts(this.events, originatorId, begin, options)
  }
}

/** Snapshots of originators. */
export class DrizzleSnapshotRecorder<D extends AnyDrizzleDatastore = Datastore>
  extends DrizzleAggregateRecorder<D>
  implements SnapshotRecorder
{
  async replaceSnapshot(snapshot: StoredEvent): Promise<void> {
    checkStoredEvents([snapshot])
    const settingUp = this.setUp()
    if (settingUp) (await settingUp)?.requireOpen()
    return this.datastore.replace(this.events, snapshot)
  }
}

/** Events of originators, in one order. */
export class DrizzleApplicationRecorder<D extends AnyDrizzleDatastore = Datastore>
  extends DrizzleAggregateRecorder<D>
  implements ApplicationRecorder
{
  /** Subscriptions are not built yet. @throws NotSupportedError  Always. */
  subscribe(): never {
    return refuseSubscribe()
  }

  async selectNotifications(options: SelectNotificationsOptions): Promise<Notification[]> {
    checkSelectNotifications(options)
    return this.read((connection) => this.datastore.sql.selectNotifications(connection, this.events, options))
  }

  async maxNotificationId(): Promise<number | null> {
    return this.read((connection) => this.datastore.sql.maxNotificationId(connection, this.events))
  }
}

/** How far upstream applications were processed. */
export class DrizzleTrackingRecorder<D extends AnyDrizzleDatastore = Datastore>
  extends DrizzleRecorder<D>
  implements TrackingRecorder
{
  constructor(
    datastore: D,
    private readonly tracking: TableName,
    options?: RecorderOptions,
  ) {
    super(datastore, [tracking], options)
  }

  async insertTracking(tracking: Tracking): Promise<void> {
    checkTracking(tracking)
    await this.write((connection) => statements.insertTracking(connection, this.datastore.sql, this.tracking, tracking))
  }

  async maxTrackingId(applicationName: string): Promise<number | null> {
    checkPosition(applicationName, null)
    return this.read((connection) =>
      statements.maxTrackingId(connection, this.datastore.sql, this.tracking, applicationName),
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

/** Events and the position they came from, stored together or not at all. */
export class DrizzleProcessRecorder<D extends AnyDrizzleDatastore = Datastore>
  extends DrizzleApplicationRecorder<D>
  implements ProcessRecorder
{
  readonly #positions: DrizzleTrackingRecorder<D>

  constructor(
    datastore: D,
    events: TableName,
    private readonly tracking: TableName,
    options?: RecorderOptions,
  ) {
    super(datastore, events, options, [tracking])
    this.#positions = new DrizzleTrackingRecorder(datastore, tracking, options)
  }

  override async insertEvents(
    events: readonly StoredEvent[],
    { tracking }: { tracking?: Tracking | undefined } = {},
  ): Promise<number[]> {
    if (!tracking) return super.insertEvents(events)
    checkStoredEvents(events) // first: so it is on every backend
    checkTracking(tracking)
    return this.append({ table: this.events, events, tracking: { table: this.tracking, position: tracking } })
  }

  insertTracking(tracking: Tracking): Promise<void> {
    return this.#positions.insertTracking(tracking)
  }

  maxTrackingId(applicationName: string): Promise<number | null> {
    return this.#positions.maxTrackingId(applicationName)
  }

  hasTrackingId(applicationName: string, notificationId: number | null): Promise<boolean> {
    return this.#positions.hasTrackingId(applicationName, notificationId)
  }

  wait(applicationName: string, notificationId: number | null, options?: WaitOptions): Promise<void> {
    return this.#positions.wait(applicationName, notificationId, options)
  }
}
