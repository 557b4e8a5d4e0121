import type { AnyDecider, Decider } from '../domain/decider.js'
import { definitionOf } from '../domain/replay.js'
import { InterfaceError, NotSupportedError, ProgrammingError } from '../errors.js'
import type { AnyDatastore } from '../persistence/datastore.js'
import { Environment } from '../persistence/environment.js'
import { EventStore } from '../persistence/event-store.js'
import { Factory } from '../persistence/factory.js'
import { Mapper, requireStages } from '../persistence/mapper.js'
import { outsideOfEverything } from '../persistence/outside.js'
import type { ApplicationRecorder } from '../persistence/recorders.js'
import type { AnySession } from '../persistence/session.js'
import type { Snapshot } from '../persistence/snapshot.js'
import { SnapshotStore } from '../persistence/snapshot-store.js'
import { isPromise } from '../persistence/stages.js'
import type { Recording } from '../persistence/stored-event.js'
import type { SessionOf, Transactional } from '../persistence/transactional.js'
import { type AggregateCache, asksForCache, cacheOf, type CachedSave, type Place } from './cache.js'
import { beginCaching, putWithCache } from './cached-saves.js'
import { Construction, made } from './construction.js'
import { type Deferred, DeferredFactory, DeferredRecorder } from './deferred.js'
import { execute, type ExecuteArguments, type ExecuteOptions } from './execution.js'
import { NotificationLog } from './notification-log.js'
import { type AggregateClass, checkWanted, Repository } from './repository.js'
import { SaveOrder, type SaveUnderWay } from './save-order.js'
import { Snapshotting } from './snapshotting.js'
import type { SnapshottingStatics } from './snapshotting-plan.js'
import { type Saved, TakenEvents } from './taken-events.js'

/** What an application is constructed with. */
export interface ApplicationOptions {
  /** Variables that win over `process.env` and `static env`. */
  readonly env?: Readonly<Record<string, unknown>> | undefined
  /** Its name: prefix of its variables and tables. Default: `static applicationName`, else the class's name. */
  readonly name?: string | undefined
  /** Where events are kept: a datastore or a factory. Wins over the environment, and stays open at `close()`. */
  readonly persistence?: AnyDatastore | Factory | undefined
  /** Where relative topics start, such as `import.meta.url`. Default: the current directory. */
  readonly topicBase?: string | URL | undefined
}

/** What a subclass may say of itself, as static members. */
interface ApplicationStatics extends SnapshottingStatics {
  readonly applicationName?: string
  readonly env?: Readonly<Record<string, unknown>>
  readonly aggregates?: readonly (AggregateClass | AnyDecider)[]
}

/** What is there once an application is connected. */
interface Opened {
  readonly factory: Factory
  readonly recorder: ApplicationRecorder & { ready?(): Promise<void> }
  readonly events: EventStore
  readonly cache: AggregateCache | undefined
  /** Absent where there are no snapshots. */
  readonly snapshotting: Snapshotting | undefined
}

/**
 * Takes commands, saves aggregates, answers queries. Subclass it with methods in your domain's words.
 *
 * Constructed at once; connects at its first operation, or by `create()` or `ready()`.
 *
 * `D` is the datastore's type: it gives `transaction` the type of its session.
 *
 * @see Python eventsourcing, `Application`.
 */
export class Application<D extends AnyDatastore = AnyDatastore<AnySession>>
  extends Construction<SessionOf<D>>
  implements AsyncDisposable
{
  readonly name: string
  readonly env: Environment
  /** Usable at once; connects at its first call. So do the others. */
  readonly recorder: DeferredRecorder<SessionOf<D>>
  readonly repository: Repository
  readonly events: Pick<EventStore, 'put' | 'get'>
  /**
   * Its snapshots, as they are stored.
   *
   * @throws ProgrammingError  Of `get`: it has none, since they are not enabled.
   */
  readonly snapshots: Pick<SnapshotStore, 'get'>
  readonly notificationLog: NotificationLog
  readonly #given: Factory | undefined
  readonly #deferredFactory: DeferredFactory
  #opened: Opened | undefined
  #opening: Promise<Opened> | undefined
  #closed = false
  #closing: Promise<void> | undefined
  readonly #order = new SaveOrder()

  /** @throws ProgrammingError  The class's name is none that tables can be named after, or `persistence` is neither. */
  constructor(options: ApplicationOptions = {}) {
    checkOptions(options)
    super(options.topicBase)
    const statics = this.constructor as ApplicationStatics
    this.name = applicationName(options, statics, this.constructor.name)
    this.env = made('constructEnv', this.constructEnv(this.name, [statics.env, process.env, options.env]), Environment)
    this.#given = givenFactory(options, this.env)
    const factory: Deferred<Factory> = {
      known: () => this.#opened?.factory ?? this.#given,
      connected: async () => (await this.#open()).factory,
    }
    this.#deferredFactory = new DeferredFactory(this.env, factory)
    this.recorder = new DeferredRecorder<SessionOf<D>>(
      { known: () => this.#opened?.recorder, connected: async () => (await this.#open()).recorder },
      () => this.factory.datastore as AnyDatastore<SessionOf<D>>,
    )
    this.repository = this.constructRepository({
      events: async () => (await this.#open()).events,
      begun: (id, version) => this.#opened?.snapshotting?.begun(id, version),
      onRollback: (fn) => this.#opened?.recorder.onRollback?.(fn),
      doubt: (aggregate) => {
        this.#order.doubt(aggregate)
      },
      // asked at each get: where there is no cache, that is all it costs
      cache: asksForCache(this.env)
        ? () => (this.#opened && !this.#closed ? this.#opened.cache : this.#open().then(({ cache }) => cache))
        : () => undefined,
      place: () => this.#place(),
    })
    made('constructRepository', this.repository, Repository)
    this.events = {
      put: async (domainEvents) => {
        const { events, cache } = await this.#open()
        return cache ? putWithCache(events, cache, this.#place(), domainEvents) : events.put(domainEvents)
      },
      get: async (originatorId, bounds) => (await this.#open()).events.get(originatorId, bounds),
    }
    this.snapshots = {
      get: async (originatorId, bounds) => (await this.#snapshotting()).store.get(originatorId, bounds),
    }
    const log = this.constructNotificationLog(this.recorder, this.logSectionSize)
    this.notificationLog = made('constructNotificationLog', log, NotificationLog)
  }

  /** Constructs the application, connects, and creates tables: a configuration that can't work fails here. */
  static async create<A extends Pick<Application, 'ready' | 'close'>>(
    this: new (options?: ApplicationOptions) => A,
    options?: ApplicationOptions,
  ): Promise<A> {
    const application = new this(options)
    try {
      await application.ready()
    } catch (error) {
      await application.close()
      throw error
    }
    return application
  }

  /** How many notifications a section of the notification log has at most. */
  get logSectionSize(): number {
    return 10
  }

  /** Makes recorders, mapper and transcoder as this application has them. */
  get factory(): Factory {
    return this.#opened?.factory ?? this.#given ?? this.#deferredFactory
  }

  /**
   * Takes a snapshot of an aggregate, from which it is read from then on, instead of from the events before. Joins the current
   * transaction, if there is one. A snapshot of that version that is there already is replaced.
   *
   * @param options  `version`: of its state at that version; above the last, of the last state. Default: the last.
   * @returns The snapshot.
   * @throws AggregateNotFoundError  No events (up to that version).
   * @throws AggregateTypeError  The stream is of another class.
   * @throws ProgrammingError  Snapshots are not enabled, or the class has `#private` members and doesn't say its state.
   * @throws TranscodingNotRegisteredError  The state holds a value of a type that the transcoder does not know.
   */
  async takeSnapshot(
    aggregateClass: AggregateClass | AnyDecider,
    id: string,
    { version }: { readonly version?: number | undefined } = {},
  ): Promise<Snapshot> {
    checkWanted(id, version)
    return (await this.#snapshotting()).take(aggregateClass, id, version)
  }

  /** Subscriptions are not built yet. @throws NotSupportedError  Always. */
  subscribe(): never {
    throw notBuilt('subscribe()')
  }

  /** Connects and creates tables where missing, if that has not happened. A failed attempt is tried again by the next call. */
  async ready(): Promise<void> {
    const { recorder, snapshotting } = await this.#open()
    await recorder.ready?.()
    await snapshotting?.ready()
  }

  /**
   * Saves the pending events of aggregates, and domain events, all in one atomic insert, in the order of the arguments.
   *
   * Joins the current transaction, if there is one. Where it fails, or where that transaction is rolled back, the
   * aggregates have their events back, before newer ones. Where the connection was lost, so that nobody knows whether they are
   * stored, the same events saved again outside of transactions are taken for stored if they are.
   *
   * @returns A recording for each event; `[]` for nothing.
   * @throws RecordConflictError  Somebody else has saved that version: get the aggregate again and repeat the command.
   * @throws ProgrammingError  An argument is neither aggregate nor domain event; or earlier events of an aggregate are in
   *   another transaction that is still open: were that rolled back, these would leave a gap.
   */
  async save(...objects: readonly Saved[]): Promise<Recording[]> {
    const joined = (this.#opened?.recorder ?? this.#given?.datastore)?.currentTransaction?.()
    // all of them looked at again after each wait: another save may have begun meanwhile
    for (let other = this.#order.other(objects, joined); other; other = this.#order.other(objects, joined)) await other

    const taken = new TakenEvents()
    let save: SaveUnderWay | undefined
    let caching: CachedSave | undefined
    try {
      taken.takeFrom(objects)
      const { aggregates, domainEvents } = taken
      if (domainEvents.length === 0) return []
      save = this.#order.begin(taken.changed, joined)
      // in one function, and waiting only where there is something to wait for: each promise costs as much as an event
      const { events, recorder, cache, snapshotting } =
        this.#opened && !this.#closed ? this.#opened : await this.#open()
      const due = snapshotting?.due(domainEvents)
      const snapshots = due && (await snapshotting?.prepare(due, domainEvents, this.#sure(taken.changed), recorder))
      const sealing = events.toStoredEvents(domainEvents)
      const storedEvents = isPromise(sealing) ? await sealing : sealing
      if (cache) caching = beginCaching(cache, this.#place(), this.#sure(taken.changed), domainEvents)
      const transaction = recorder.currentTransaction?.()
      const checking = this.#order.check(aggregates, domainEvents, transaction, recorder)
      if (checking) await checking
      let isPut = false
      const put = () => {
        recorder.onRollback?.((isOutcomeUnknown) => {
          if (isOutcomeUnknown && isPut) events.doubt(domainEvents, storedEvents)
          taken.giveBack()
        })
        return events.put(domainEvents, storedEvents)
      }
      const putAndNote = async () => {
        const recordings = await put()
        isPut = true // before the commit
        return recordings
      }
      const recordings = await (snapshots && snapshotting
        ? snapshotting.putTogether(putAndNote, snapshots, recorder, events.areInDoubt(domainEvents))
        : put())
      isPut = true
      caching?.stored(recordings.length === 0)
      snapshotting?.noteWaiting(domainEvents, transaction)
      this.#order.saved(aggregates, transaction)
      return recordings
    } catch (error) {
      taken.giveBack() // before whoever waits for this save goes on
      caching?.failed()
      throw error
    } finally {
      if (save) this.#order.end(save)
    }
  }

  /**
   * Executes a command of a decider: loads its state, decides, and saves what was decided, all events or none.
   *
   * Begins from the decider's initial state where nothing is stored of that id. Joins the current transaction, if there is one.
   *
   * @param name  The command's name, followed by its parameter where it has one. Without parameter, options come after
   *   `undefined`.
   * @returns The new state; where nothing was decided, the state as it was, and nothing is saved.
   * @throws RecordConflictError  Somebody else has saved that version, and `options.retries` are used up; default: 0.
   * @throws AggregateTypeError  The id is of another decider or class.
   * @throws ProgrammingError  There is no such command, or it returns something else than events of the decider.
   * @throws unknown  What the command throws: it refuses by that.
   */
  async execute<State, Commands, Name extends keyof Commands & string>(
    // `any`: which events there are says the decider
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    decider: Decider<State, any, Commands>,
    id: string,
    name: Name,
    ...more: ExecuteArguments<Commands[Name]>
  ): Promise<State> {
    const [command, options] = more as readonly unknown[] as readonly [unknown, ExecuteOptions?]
    return execute(this, decider, id, name, command, options) as Promise<State>
  }

  /**
   * Closes what the application opened, once open transactions on it have ended. Every later call is an `InterfaceError`.
   *
   * @throws ProgrammingError  It is called inside a transaction on what it has to close; the application stays open.
   * @throws OperationalError  Open transactions did not end within the pool timeout; it may be called again.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close().finally(() => {
      if (!this.#closed) this.#closing = undefined
    })
    return this.#closing
  }

  /** As `close`: `await using school = new TrainingSchool()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #place(): Place {
    const recorder = this.#opened?.recorder
    return {
      transaction: recorder?.currentTransaction?.(),
      isOwn: recorder?.usesOwnDatabase?.() ?? true,
    }
  }

  /** Those whose state can be kept: not read in a transaction that was rolled back, with events that may not be there. */
  #sure(aggregates: readonly object[]): readonly object[] {
    return aggregates.filter((aggregate) => this.#order.isSure(aggregate))
  }

  /** @throws ProgrammingError  Snapshots are not enabled. */
  async #snapshotting(): Promise<Snapshotting> {
    const { snapshotting } = await this.#open()
    if (snapshotting) return snapshotting
    throw new ProgrammingError(
      `${JSON.stringify(this.name)} has no snapshots: set IS_SNAPSHOTTING_ENABLED=yes, or say static snapshottingIntervals or ` +
        'static isSnapshottingEnabled = true on its class',
    )
  }

  protected async transactional(): Promise<Transactional<SessionOf<D>>> {
    // D says what datastore this is; the recorder opens its transactions
    return (await this.#open()).recorder as Transactional as Transactional<SessionOf<D>>
  }

  async #close(): Promise<void> {
    this.#closed = true
    try {
      const opened = this.#opened ?? (await this.#opening?.catch(() => undefined))
      if (opened && !this.#given) await opened.factory.close()
    } catch (error) {
      this.#closed = false
      throw error
    }
  }

  async #open(): Promise<Opened> {
    // work that is under way in an open transaction comes to its end
    if (this.#closed && !this.#opened?.recorder.currentTransaction?.()) {
      throw new InterfaceError(`The application ${JSON.stringify(this.name)} is closed`)
    }
    if (this.#opened) return this.#opened
    // what is opened here outlives the call: it starts outside of any transaction or request
    this.#opening ??= outsideOfEverything(async () => {
      try {
        return (this.#opened = await this.#connect())
      } finally {
        this.#opening = undefined
      }
    })
    return this.#opening
  }

  async #connect(): Promise<Opened> {
    const statics = this.constructor as ApplicationStatics
    const aggregates: unknown = statics.aggregates ?? []
    if (!Array.isArray(aggregates)) throw new ProgrammingError('static aggregates must be a list: [Dog, Cat, Fox]')
    for (const aggregateClass of aggregates) definitionOf(aggregateClass)
    const factory = this.#given ?? made('constructFactory', await this.constructFactory(this.env), Factory)
    try {
      factory.check()
      const parts = await this.mapperParts(factory)
      const mapper = made('constructMapper', await this.constructMapper(factory, parts), Mapper)
      requireStages(mapper, parts) // states would be stored other than asked for
      await factory.datastore.ready()
      this.#deferredFactory.datastore.tell(factory.datastore)
      const recorder = made('constructRecorder', await this.constructRecorder(factory), [
        'insertEvents',
        'selectEvents',
      ])
      const events = made('constructEventStore', await this.constructEventStore(mapper, recorder), EventStore)
      return {
        factory,
        recorder,
        events,
        cache: cacheOf(this.env),
        snapshotting: await Snapshotting.of(statics, this.env, factory, events, async (recorder) =>
          made('constructSnapshotStore', await this.constructSnapshotStore(mapper, recorder), SnapshotStore),
        ),
      }
    } catch (error) {
      if (!this.#given) await factory.close()
      throw error
    }
  }
}

function checkOptions(options: ApplicationOptions): void {
  const unknown = Object.keys(options).find((name) => !['env', 'name', 'persistence', 'topicBase'].includes(name))
  if (unknown === undefined) return
  throw new ProgrammingError(`An application has no option ${unknown}; it takes env, name, persistence and topicBase`)
}

function applicationName({ name }: ApplicationOptions, statics: ApplicationStatics, className: string): string {
  const given = name ?? statics.applicationName
  if (given !== undefined) {
    if (typeof given === 'string') return given
    throw new ProgrammingError("An application's name is text")
  }
  if (className.length > 2) return className
  throw new ProgrammingError(
    `The application's class is called ${JSON.stringify(className)}, as minifiers leave names, and tables are named after ` +
      "it: say static readonly applicationName = 'TrainingSchool', or give the option name",
  )
}

function givenFactory({ persistence, topicBase }: ApplicationOptions, env: Environment): Factory | undefined {
  if (persistence === undefined) return undefined
  if (persistence instanceof Factory) return persistence
  if (typeof persistence?.factory === 'function') return persistence.factory({ env, topicBase })
  throw new ProgrammingError(
    'The option persistence takes a datastore, from sqlite(…) for example, or a factory such as new MemoryFactory()',
  )
}

function notBuilt(what: string): NotSupportedError {
  return new NotSupportedError(`${what} is not built yet`)
}
