import { InterfaceError, ProgrammingError } from '../errors.js'
import type { Environment } from '../persistence/environment.js'
import { Factory, type FactoryOptions, type RecorderMaking } from '../persistence/factory.js'
import type { AnyDrizzleDatastore, Datastore } from './datastore.js'
import type { TableKind, TableName } from './dialect.js'
import {
  DrizzleAggregateRecorder,
  DrizzleApplicationRecorder,
  DrizzleProcessRecorder,
  DrizzleSnapshotRecorder,
  DrizzleTrackingRecorder,
  type RecorderOptions,
} from './recorders.js'
import { checkSchema, releaseDatastore, scopedSessionOptions, sharedDatastore } from './shared-datastores.js'

/** Makes recorders that keep their events in a Drizzle database: the one given, or the one that `DRIZZLE_URL` names. */
export class DrizzleFactory<D extends AnyDrizzleDatastore = Datastore> extends Factory {
  readonly #given: D | undefined
  #shared: Datastore | undefined
  #closed = false

  constructor(source: Environment | Readonly<Record<string, unknown>> | FactoryOptions<D> = {}) {
    super(source)
    this.#given = 'datastore' in source ? (source.datastore as D | undefined) : undefined
    const scoped = this.#given && scopedSessionOptions(this.env, this.topicBase)
    if (scoped) this.#given?.takeScopedSessions(scoped)
  }

  /**
   * The datastore: the one given, or the one for the environment, which applications of equal configuration share.
   *
   * @throws ProgrammingError  `DRIZZLE_URL` is missing where no scoped session is named, or its form is not known.
   */
  get datastore(): D {
    // a factory that was given none is one of whatever the environment names
    if (this.#given) return this.#given
    if (this.#closed && !this.#shared) throw new InterfaceError('The factory is closed')
    return (this.#shared ??= sharedDatastore(this.env, this.topicBase)) as D
  }

  override check(): void {
    super.check()
    this.env.integer('DRIZZLE_POOL_SIZE', 10, 1)
    const { datastore } = this
    if (!datastore.isKnown) return
    checkSchema(this.env, datastore.dialect)
    for (const kind of ['events', 'snapshots', 'tracking'] as const) datastore.sql.table(this.#table(kind))
  }

  async aggregateRecorder(
    purpose: 'events' | 'snapshots' = 'events',
    making?: RecorderMaking,
  ): Promise<DrizzleAggregateRecorder<D>> {
    if (purpose !== 'events' && purpose !== 'snapshots') {
      throw new ProgrammingError("aggregateRecorder takes 'events' or 'snapshots'")
    }
    const recorderClass = purpose === 'snapshots' ? DrizzleSnapshotRecorder : DrizzleAggregateRecorder
    return this.#opened(new recorderClass(this.datastore, this.#table(purpose), this.#options()), making)
  }

  async applicationRecorder(making?: RecorderMaking): Promise<DrizzleApplicationRecorder<D>> {
    return this.#opened(new DrizzleApplicationRecorder(this.datastore, this.#table('events'), this.#options()), making)
  }

  async trackingRecorder(making?: RecorderMaking): Promise<DrizzleTrackingRecorder<D>> {
    return this.#opened(new DrizzleTrackingRecorder(this.datastore, this.#table('tracking'), this.#options()), making)
  }

  async processRecorder(making?: RecorderMaking): Promise<DrizzleProcessRecorder<D>> {
    return this.#opened(
      new DrizzleProcessRecorder(this.datastore, this.#table('events'), this.#table('tracking'), this.#options()),
      making,
    )
  }

  /** Closes the shared datastore if nobody else uses it; a datastore that was given stays open. */
  async close(): Promise<void> {
    if (this.#closed) return
    // it stays known, closed or not: asking a closed factory for its datastore must not take another
    if (this.#shared) await releaseDatastore(this.#shared)
    this.#closed = true
  }

  #table(kind: TableKind): TableName {
    return { kind, name: this.tableName(kind), schema: this.env.text('DRIZZLE_SCHEMA') }
  }

  #options(): RecorderOptions {
    return { createTable: this.env.yes('CREATE_TABLE', true) }
  }

  async #opened<R extends { ready(): Promise<void> }>(recorder: R, { ready = true }: RecorderMaking = {}): Promise<R> {
    this.check()
    if (ready) await recorder.ready()
    return recorder
  }
}
