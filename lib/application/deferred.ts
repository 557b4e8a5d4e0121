import { InterfaceError } from '../errors.js'
import { type AnyDatastore, type Capabilities, refuseSubscribe } from '../persistence/datastore.js'
import type { Cipher } from '../persistence/cipher.js'
import type { Compressor } from '../persistence/compressor.js'
import type { Environment } from '../persistence/environment.js'
import { Factory, type RecorderMaking } from '../persistence/factory.js'
import type { Mapper, MapperOptions } from '../persistence/mapper.js'
import type {
  AggregateRecorder,
  ApplicationRecorder,
  ProcessRecorder,
  SelectEventsOptions,
  SelectNotificationsOptions,
  TrackingRecorder,
} from '../persistence/recorders.js'
import type { Notification, StoredEvent } from '../persistence/stored-event.js'
import { type OpenTransaction, PassesTransactionsOn, type Transactional } from '../persistence/transactional.js'
import { requireSwitch } from '../persistence/session.js'
import type { Transcoder } from '../persistence/transcoder.js'

/*
 * An application can be used right after its construction, but which factory it has is known only once a module has
 * been loaded. Until then these stand for the factory, its datastore and the recorder: each call connects first.
 */

/** How the real thing is reached: at once where it is known, else by connecting. */
export interface Deferred<T> {
  known(): T | undefined
  connected(): Promise<T>
}

/** An application's recorder, from the moment the application is constructed. */
export class DeferredRecorder<Session> extends PassesTransactionsOn<Session> implements ApplicationRecorder {
  readonly #recorder: Deferred<ApplicationRecorder>
  readonly #datastore: () => AnyDatastore<Session>

  constructor(recorder: Deferred<ApplicationRecorder>, datastore: () => AnyDatastore<Session>) {
    super()
    this.#recorder = recorder
    this.#datastore = datastore
  }

  get datastore(): AnyDatastore<Session> {
    return this.#datastore()
  }

  async insertEvents(events: readonly StoredEvent[]): Promise<number[]> {
    return (await this.#recorder.connected()).insertEvents(events)
  }

  async selectEvents(originatorId: string, options?: SelectEventsOptions): Promise<StoredEvent[]> {
    return (await this.#recorder.connected()).selectEvents(originatorId, options)
  }

  async selectNotifications(options: SelectNotificationsOptions): Promise<Notification[]> {
    return (await this.#recorder.connected()).selectNotifications(options)
  }

  async maxNotificationId(): Promise<number | null> {
    return (await this.#recorder.connected()).maxNotificationId()
  }

  /** Subscriptions are not built yet. @throws NotSupportedError  Always. */
  subscribe(): never {
    return refuseSubscribe()
  }

  onRollback(fn: (isOutcomeUnknown: boolean) => void): void {
    this.#recorder.known()?.onRollback?.(fn)
  }

  currentTransaction(): OpenTransaction | undefined {
    return this.#recorder.known()?.currentTransaction?.()
  }

  protected transactional(): Transactional<Session> | Promise<Transactional<Session>> {
    // whoever gave Session its type said which datastore this is
    return this.#recorder.connected() as Promise<Transactional<Session>>
  }
}

/** The datastore of an application that is not connected yet. */
export class DeferredDatastore<Session> extends PassesTransactionsOn<Session> implements AnyDatastore<Session> {
  readonly #factory: Deferred<Factory>
  readonly #env: Environment
  /** What is set before it is connected. */
  #autoflush: boolean | undefined

  constructor(factory: Deferred<Factory>, env: Environment) {
    super()
    this.#factory = factory
    this.#env = env
  }

  /** Tells the datastore, which is connected now, what was set before. */
  tell(datastore: AnyDatastore): void {
    if (this.#autoflush !== undefined) datastore.autoflush = this.#autoflush
    this.#autoflush = undefined
  }

  get dialect(): string {
    return this.#known().dialect
  }

  get capabilities(): Capabilities {
    return this.#known().capabilities
  }

  get autoflush(): boolean {
    const known = this.#factory.known()
    return known ? known.datastore.autoflush : (this.#autoflush ?? this.#env.yes('DRIZZLE_AUTOFLUSH', true))
  }

  set autoflush(on: boolean) {
    const known = this.#factory.known()
    if (known) known.datastore.autoflush = on
    else this.#autoflush = requireSwitch("A datastore's autoflush", on)
  }

  async ready(): Promise<void> {
    await (await this.#factory.connected()).datastore.ready()
  }

  outside<T>(fn: () => T): T {
    const factory = this.#factory.known()
    // where nothing is connected, nothing is open to be outside of
    return factory ? factory.datastore.outside(fn) : fn()
  }

  onRollback(fn: (isOutcomeUnknown: boolean) => void): void {
    this.#factory.known()?.datastore.onRollback(fn)
  }

  currentTransaction(): OpenTransaction | undefined {
    return this.#factory.known()?.datastore.currentTransaction()
  }

  async close(): Promise<void> {
    await (await this.#factory.connected()).datastore.close()
  }

  protected async transactional(): Promise<Transactional<Session>> {
    return (await this.#factory.connected()).datastore as Transactional<Session>
  }

  #known(): AnyDatastore {
    const factory = this.#factory.known()
    if (!factory) throw new InterfaceError('The application is not connected yet: await app.ready() first')
    return factory.datastore
  }
}

/** The factory of an application that is not connected yet. */
export class DeferredFactory extends Factory {
  readonly datastore: DeferredDatastore<unknown>
  readonly #factory: Deferred<Factory>

  constructor(env: Environment, factory: Deferred<Factory>) {
    super(env)
    this.#factory = factory
    this.datastore = new DeferredDatastore(factory, this.env)
  }

  async aggregateRecorder(purpose?: 'events' | 'snapshots', making?: RecorderMaking): Promise<AggregateRecorder> {
    return (await this.#factory.connected()).aggregateRecorder(purpose, making)
  }

  async applicationRecorder(making?: RecorderMaking): Promise<ApplicationRecorder> {
    return (await this.#factory.connected()).applicationRecorder(making)
  }

  async trackingRecorder(making?: RecorderMaking): Promise<TrackingRecorder> {
    return (await this.#factory.connected()).trackingRecorder(making)
  }

  async processRecorder(making?: RecorderMaking): Promise<ProcessRecorder> {
    return (await this.#factory.connected()).processRecorder(making)
  }

  override async mapper(options?: Partial<MapperOptions>): Promise<Mapper> {
    return (await this.#factory.connected()).mapper(options)
  }

  override async compressor(): Promise<Compressor | undefined> {
    return (await this.#factory.connected()).compressor()
  }

  override async cipher(): Promise<Cipher | undefined> {
    return (await this.#factory.connected()).cipher()
  }

  override async transcoder(): Promise<Transcoder> {
    return (await this.#factory.connected()).transcoder()
  }

  async close(): Promise<void> {
    await (await this.#factory.connected()).close()
  }
}
