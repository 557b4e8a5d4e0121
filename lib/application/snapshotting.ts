import { canHaveState, originOf } from '../domain/aggregate-state.js'
import { isPlainObject, ownCopy } from '../domain/copy.js'
import { deepCopy } from '../domain/deep-copy.js'
import type { DomainEvent } from '../domain/event.js'
import { definitionOf, definitionOfMade, Replay } from '../domain/replay.js'
import { type AggregateDefinition, findAggregate, findEvent } from '../domain/topics.js'
import { upcast } from '../domain/upcasts.js'
import { MapperDeserialisationError, ProgrammingError } from '../errors.js'
import type { Environment } from '../persistence/environment.js'
import type { EventStore } from '../persistence/event-store.js'
import type { Factory } from '../persistence/factory.js'
import type { AggregateRecorder } from '../persistence/recorders.js'
import { refuseSnapshot, type Snapshot } from '../persistence/snapshot.js'
import type { SnapshotStore } from '../persistence/snapshot-store.js'
import type { StoredEvent } from '../persistence/stored-event.js'
import type { OpenTransaction, Transactional } from '../persistence/transactional.js'
import { type Begun, replayed } from './reading.js'
import { notFound, ofAnotherClass } from './repository.js'
import { isKindOf, SnapshottingPlan, type SnapshotProjector, type SnapshottingStatics } from './snapshotting-plan.js'

/** An aggregate of which snapshots are to be taken with a save. */
export interface DueSnapshots {
  readonly originatorId: string
  readonly definition: AggregateDefinition
  /** Ascending. */
  readonly versions: number[]
}

/** An application's snapshots: when they are taken, and what is read instead of events. */
export class Snapshotting {
  readonly store: SnapshotStore
  readonly #plan: SnapshottingPlan
  readonly #events: EventStore
  readonly #recorder: AggregateRecorder & { ready?(): Promise<void> }
  /** Events that wait in a transaction with autoflush off, where nobody reads them yet. */
  readonly #waiting = new WeakMap<OpenTransaction, DomainEvent[]>()

  /**
   * @returns `undefined` where the application has none.
   * @throws ProgrammingError  What its class says of snapshots can't be.
   */
  static async of(
    statics: SnapshottingStatics,
    env: Environment,
    factory: Factory,
    events: EventStore,
    makeStore: (recorder: AggregateRecorder) => Promise<SnapshotStore>,
  ): Promise<Snapshotting | undefined> {
    const plan = new SnapshottingPlan(statics)
    // its own environment may say more than that of a factory that it was given
    if (!env.yes('IS_SNAPSHOTTING_ENABLED', plan.isOn || factory.isSnapshottingEnabled()) && !plan.isOn)
      return undefined
    const recorder = await factory.aggregateRecorder('snapshots', { ready: false })
    return new Snapshotting(plan, await makeStore(recorder), recorder, events)
  }

  private constructor(
    plan: SnapshottingPlan,
    store: SnapshotStore,
    recorder: AggregateRecorder & { ready?(): Promise<void> },
    events: EventStore,
  ) {
    this.#plan = plan
    this.store = store
    this.#recorder = recorder
    this.#events = events
  }

  /** Creates the table, where it is missing. */
  async ready(): Promise<void> {
    await this.#recorder.ready?.()
  }

  /** What is due with these events; `undefined` for nothing. */
  due(domainEvents: readonly DomainEvent[]): DueSnapshots[] | undefined {
    if (!this.#plan.hasIntervals) return undefined
    let due: Map<string, DueSnapshots> | undefined
    for (const { topic, originatorId, originatorVersion } of domainEvents) {
      const definition = findEvent(topic)?.aggregate
      const interval = definition && this.#plan.intervalOf(definition)
      if (!definition || interval === undefined || originatorVersion % interval !== 0) continue
      due ??= new Map()
      const known = due.get(originatorId)
      if (known) known.versions.push(originatorVersion)
      else due.set(originatorId, { originatorId, definition, versions: [originatorVersion] })
    }
    return due && [...due.values()]
  }

  /**
   * The snapshots that are due, as they are to be stored.
   *
   * @param domainEvents  What is being saved.
   * @param aggregates  Those that it was taken from, and whose state can be trusted.
   * @throws TranscodingNotRegisteredError  A state holds a value of a type that the transcoder does not know.
   * @throws ProgrammingError  A state can't be had, or a projector gives something else.
   */
  async prepare(
    due: readonly DueSnapshots[],
    domainEvents: readonly DomainEvent[],
    aggregates: readonly object[],
    recorder: Transactional,
  ): Promise<StoredEvent[]> {
    const transaction = recorder.currentTransaction?.()
    // at once: an aggregate may go on while others are waited for
    const fromHand = due.map((each) => this.#stateInHand(each, aggregates))
    const stored: StoredEvent[] = []
    for (const [index, each] of due.entries()) {
      const inHand = fromHand[index]
      if (inHand) stored.push(await inHand)
      const versions = inHand ? each.versions.slice(0, -1) : each.versions
      if (versions.length === 0) continue
      const before = (transaction && this.#waiting.get(transaction)) ?? []
      const events = [...before, ...domainEvents].filter(({ originatorId }) => originatorId === each.originatorId)
      for (const snapshot of await this.#made({ ...each, versions }, events)) {
        stored.push(await this.store.toStored(snapshot))
      }
    }
    return stored
  }

  /**
   * Stores events together with snapshots: all or nothing.
   *
   * @param put  Stores the events.
   * @param areInDoubt  Whether the events may be stored already.
   */
  async putTogether<T>(
    put: () => Promise<T>,
    snapshots: readonly StoredEvent[],
    recorder: Transactional,
    areInDoubt: boolean,
  ): Promise<T> {
    const transaction = recorder.currentTransaction?.()
    const putAll = async () => {
      const result = await put()
      for (const snapshot of snapshots) await this.store.put(snapshot)
      return result
    }
    // What waits is written together anyway. And events that may be stored are looked for outside of transactions only: the
    // snapshot that was stored with them, if it was, is replaced.
    if (transaction?.autoflush === false || (areInDoubt && !transaction)) return putAll()
    return recorder.transaction(putAll)
  }

  /** Notes events that wait in a transaction, for snapshots that become due later in it. */
  noteWaiting(domainEvents: readonly DomainEvent[], transaction: OpenTransaction | undefined): void {
    if (transaction?.autoflush !== false || !this.#plan.hasIntervals) return
    const waiting = this.#waiting.get(transaction)
    if (!waiting) this.#waiting.set(transaction, [...domainEvents])
    else for (const event of domainEvents) waiting.push(event)
  }

  /**
   * Takes a snapshot, in the place of the one of that version where there is one.
   *
   * @throws AggregateNotFoundError, AggregateTypeError  As `Repository.get`.
   */
  async take(aggregateClass: unknown, id: string, version: number | undefined): Promise<Snapshot> {
    const wanted = definitionOf(aggregateClass)
    wanted.requireState()
    const snapshot = await this.#taken(wanted, id, version)
    await this.store.put(await this.store.toStored(snapshot))
    return snapshot
  }

  /**
   * What the latest snapshot that this code can use has; `undefined` where there is none.
   *
   * @param version  Up to that one.
   * @throws MapperDeserialisationError  It can't be read.
   */
  async begun(id: string, version: number | undefined): Promise<Begun | undefined> {
    const snapshot = await this.#usable(id, version)
    if (!snapshot) return undefined
    const { definition, state } = snapshot
    return { definition, version: snapshot.originatorVersion, restore: () => restored(snapshot, definition, state) }
  }

  /** The aggregate as its snapshots and events make it. */
  async #read(id: string, version: number | undefined): Promise<Replay> {
    return replayed(this.#events, id, version, await this.begun(id, version))
  }

  async #taken(wanted: AggregateDefinition, id: string, version: number | undefined): Promise<Snapshot> {
    let replay: Replay
    try {
      replay = await this.#read(id, version)
    } catch (error) {
      if (!(error instanceof MapperDeserialisationError)) throw error
      // perhaps a snapshot, which is then to be replaced; if it was an event, that is said again
      replay = await replayed(this.#events, id, version)
    }
    const { aggregate, definition } = replay
    if (!aggregate || !definition) throw notFound(id, version)
    if (!isKindOf(definition, wanted)) throw ofAnotherClass(id, replay.topic, wanted.name)
    const projector = this.#plan.projectorOf(definition)
    if (!projector) return snapshotOfAggregate(definition, aggregate)
    const due = { originatorId: id, definition, versions: [originOf(aggregate).version] }
    const [snapshot] = await this.#projected(due, [], projector)
    if (!snapshot) throw notFound(id, version)
    return snapshot
  }

  /** The last one that is due, where the aggregate itself is at that version and nothing else is to be asked. */
  #stateInHand(
    { originatorId, definition, versions }: DueSnapshots,
    aggregates: readonly object[],
  ): Promise<StoredEvent> | StoredEvent | undefined {
    if (this.#plan.projectorOf(definition)) return undefined
    const aggregate = aggregates.find((each) => {
      return definitionOfMade(each) === definition && originOf(each).id === originatorId
    })
    if (!aggregate || originOf(aggregate).version !== versions.at(-1)) return undefined
    const stored = this.store.toStored(snapshotOfAggregate(definition, aggregate))
    // others may fail before anybody waits for this one
    if (stored instanceof Promise) stored.catch(() => undefined)
    return stored
  }

  /** @param events  All of that originator's that are not stored yet. */
  async #made(due: DueSnapshots, events: readonly DomainEvent[]): Promise<Snapshot[]> {
    const projector = this.#plan.projectorOf(due.definition)
    if (projector) return this.#projected(due, events, projector)
    const first = events[0]?.originatorVersion ?? 1
    const replay = first === 1 ? new Replay() : await this.#read(due.originatorId, first - 1)
    const snapshots: Snapshot[] = []
    let version = replay.aggregate ? originOf(replay.aggregate).version : 0
    for (const event of events) {
      if (event.originatorVersion <= version) continue
      // nobody could read the aggregate at that version: whether such events can be stored is not asked here
      if (event.originatorVersion !== version + 1) break
      replay.take({ ...event, data: ownCopy(event.data) })
      version += 1
      if (due.versions.includes(version)) {
        const snapshot = snapshotOfAggregate(due.definition, replay.aggregate as object)
        // the aggregate goes on
        snapshots.push(version === due.versions.at(-1) ? snapshot : copied(snapshot))
      }
      if (version === due.versions.at(-1)) break
    }
    return snapshots
  }

  /** @param events  All of that originator's that are not stored yet. */
  async #projected(
    { originatorId, definition, versions }: DueSnapshots,
    events: readonly DomainEvent[],
    projector: SnapshotProjector,
  ): Promise<Snapshot[]> {
    const last = (events[0]?.originatorVersion ?? Infinity) - 1
    const upTo = Math.min(last, ...versions)
    const begun = upTo < 1 ? undefined : await this.#usable(originatorId, upTo)
    const from = begun?.originatorVersion ?? 0
    const lte = Number.isFinite(last) ? last : versions.at(-1)
    const stored = lte === 0 ? [] : await this.#events.get(originatorId, { gt: from, lte })
    const all = [
      ...stored,
      ...events.filter(({ originatorVersion }) => originatorVersion > (stored.at(-1)?.originatorVersion ?? from)),
    ]
    const snapshots: Snapshot[] = []
    for (const version of versions) {
      const initial = begun && restored(begun, definition, deepCopy(begun.state) ?? begun.state)
      const some = all.filter(({ originatorVersion }) => originatorVersion <= version)
      const [firstEvent] = all
      const lastEvent = some.at(-1)
      const made = projector(initial, some, (before, after) => replayedOn(definition, before, after))
      if (made === undefined || made === null) continue
      if (lastEvent && lastEvent.originatorVersion !== version) continue
      snapshots.push(
        checkProjected(definition, made, {
          originatorId,
          originatorVersion: version,
          createdOn: begun?.createdOn ?? (firstEvent as DomainEvent).timestamp,
          modifiedOn: lastEvent?.timestamp ?? (begun as Snapshot).modifiedOn,
        }),
      )
    }
    return snapshots
  }

  async #usable(id: string, version: number | undefined): Promise<UsableSnapshot | undefined> {
    let lte = version
    for (const limit of looks) {
      const snapshots = await this.store.get(id, { desc: true, limit, lte })
      for (const snapshot of snapshots) {
        const usable = brought(snapshot)
        if (usable) return usable
      }
      const oldest = snapshots.at(-1)
      if (!oldest || snapshots.length < limit) return undefined
      lte = oldest.originatorVersion - 1
    }
    return undefined
  }
}

/**
 * How many snapshots are looked at, until one can be used: mostly the latest can. Where none of these can, all of them are
 * probably of before a change of the class, and reading the events costs less than going on.
 */
const looks = [1, 3]

/** A snapshot of a class that is known, with the state as the code knows it now. */
interface UsableSnapshot extends Snapshot {
  readonly definition: AggregateDefinition
}

/** The snapshot for the code as it is; `undefined` where that can't be. */
function brought(snapshot: Snapshot): UsableSnapshot | undefined {
  const { topic, classVersion, state } = snapshot
  const definition = findAggregate(topic)
  if (!definition || !canHaveState(definition)) return undefined
  const steps = definition.snapshotUpcasts
  if (classVersion > steps.length + 1 || steps.slice(classVersion - 1).includes(undefined)) return undefined
  const refuse = (why: string) => refuseSnapshot(snapshot, why)
  return { ...snapshot, definition, state: upcast(state, steps, classVersion, refuse) }
}

function restored(snapshot: Snapshot, definition: AggregateDefinition, state: Record<string, unknown>): object {
  const { originatorId, originatorVersion, createdOn, modifiedOn } = snapshot
  return definition.restore({ id: originatorId, version: originatorVersion, createdOn, modifiedOn }, state)
}

function snapshotOfAggregate(definition: AggregateDefinition, aggregate: object): Snapshot {
  const { id, version, createdOn, modifiedOn } = originOf(aggregate)
  return snapshotOf(definition, definition.stateOf(aggregate), {
    originatorId: id,
    originatorVersion: version,
    createdOn,
    modifiedOn,
  })
}

type Place = Pick<Snapshot, 'originatorId' | 'originatorVersion' | 'createdOn' | 'modifiedOn'>

function snapshotOf(definition: AggregateDefinition, state: Record<string, unknown>, place: Place): Snapshot {
  const { name, snapshotUpcasts } = definition
  return { ...place, topic: name, timestamp: new Date(), classVersion: snapshotUpcasts.length + 1, state }
}

/** @throws ProgrammingError  It can't be copied. */
function copied(snapshot: Snapshot): Snapshot {
  const state = deepCopy(snapshot.state)
  if (state) return { ...snapshot, state }
  throw new ProgrammingError(
    `A snapshot of '${snapshot.topic}' can't be taken: it holds a function, or an instance with #private members`,
  )
}

function replayedOn(
  definition: AggregateDefinition,
  initial: object | undefined,
  events: readonly DomainEvent[],
): object | undefined {
  const replay = new Replay(initial && { definition, aggregate: initial })
  for (const event of events) replay.take({ ...event, data: ownCopy(event.data) })
  return replay.aggregate
}

function checkProjected(definition: AggregateDefinition, made: object, place: Place): Snapshot {
  if (definitionOfMade(made) !== definition) {
    if (isPlainObject(made)) return snapshotOf(definition, made, place)
    throw new ProgrammingError(
      `The snapshotting projector of '${definition.name}' must return such an aggregate, its state as a plain object, or ` +
        'undefined',
    )
  }
  const snapshot = snapshotOfAggregate(definition, made)
  const isThere = snapshot.originatorId === place.originatorId && snapshot.originatorVersion === place.originatorVersion
  if (isThere) return snapshot
  throw new ProgrammingError(
    `The snapshotting projector of '${definition.name}' returns an aggregate at version ${snapshot.originatorVersion} ` +
      `where version ${place.originatorVersion} was asked for: apply all events that it is given`,
  )
}
