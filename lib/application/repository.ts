import type { AnyDecider, Decider } from '../domain/decider.js'
import type { DeciderAggregate } from '../domain/decider-definition.js'
import { definitionOf, isOf, type Replay } from '../domain/replay.js'
import type { AggregateDefinition } from '../domain/topics.js'
import { AggregateNotFoundError, AggregateTypeError, ProgrammingError } from '../errors.js'
import type { EventStore } from '../persistence/event-store.js'
import type { AggregateCache, Made, Place } from './cache.js'
import { type Begun, eventsAfter, replayed } from './reading.js'

/** A class of aggregates, of either shape. */
// the constructor's parameters are the class's own affair; `never` accepts them all
export type AggregateClass<A extends object = object> = abstract new (...args: never[]) => A

/** What `Repository.get` takes. */
export interface GetOptions {
  /** Its state at that version; above the last, the last state. Default: the last. */
  readonly version?: number | undefined
}

/** Where a repository has its events from, and whom it tells of an aggregate that may not be as it seems. */
export interface RepositorySource {
  /** The event store, once there is one. */
  events(): Promise<EventStore>
  /** What the latest snapshot up to that version has, once there is an event store; nothing to wait for where there are none. */
  begun?(id: string, version: number | undefined): Promise<Begun | undefined> | undefined
  /** Runs `fn` if the current transaction is rolled back. */
  onRollback(fn: () => void): void
  /** The aggregate was read in a transaction that was rolled back. */
  doubt(aggregate: object): void
  /** Its cache, once that is known; absent, or `undefined`, where there is none. */
  cache?(): AggregateCache | undefined | Promise<AggregateCache | undefined>
  /** Where a call reads that is made now. Only asked for a cache. */
  place?(): Place
}

/** Gets aggregates back from their events. */
export class Repository {
  readonly #source: RepositorySource

  constructor(source: RepositorySource) {
    this.#source = source
  }

  /**
   * The aggregate of that id, as its events made it.
   *
   * @param options  `version`: its state at that version; above the last, the last state. Default: the last.
   * @returns An instance of the class, or of the subclass whose stream it is; of a decider, its state, version and times.
   * @throws AggregateNotFoundError  No events (up to that version).
   * @throws AggregateTypeError  The stream is of another class or decider.
   */
  get<A extends object>(aggregateClass: AggregateClass<A>, id: string, options?: GetOptions): Promise<A>
  // `any`: only the state is in what comes out
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  get<State>(decider: Decider<State, any, any>, id: string, options?: GetOptions): Promise<DeciderAggregate<State>>
  async get(aggregateClass: AggregateClass | AnyDecider, id: string, { version }: GetOptions = {}): Promise<object> {
    const definition = definitionOf(aggregateClass) // registers a class that was not used yet
    checkWanted(id, version)
    const { aggregate, topic } = await (version === undefined ? this.#last(definition, id) : this.#read(id, version))
    // read in a transaction that is rolled back, it may have events that are not there then
    if (aggregate) this.#source.onRollback(() => this.#source.doubt(aggregate))
    if (!aggregate) throw notFound(id, version)
    if (!isOf(aggregate, aggregateClass)) throw ofAnotherClass(id, topic, definition.name)
    return aggregate
  }

  /**
   * Forgets what is cached of that id, or everything: for who has deleted or changed stored events by hand. The next `get` reads
   * anew. Does nothing without a cache.
   */
  async forget(id?: string): Promise<void> {
    if (id !== undefined) checkId(id)
    const cache = await this.#source.cache?.()
    cache?.forget(id)
  }

  /** The last state: through the cache, where there is one. */
  #last(definition: AggregateDefinition, id: string): Promise<Made> | Made {
    const cache = this.#source.cache?.()
    if (cache === undefined) return this.#read(id, undefined)
    return cache instanceof Promise
      ? cache.then((opened) => this.#cached(opened, definition, id))
      : this.#cached(cache, definition, id)
  }

  #cached(cache: AggregateCache | undefined, definition: AggregateDefinition, id: string): Promise<Made> | Made {
    const reads = {
      whole: () => this.#read(id, undefined),
      after: async (version: number) => eventsAfter(await this.#source.events(), id, version),
    }
    const place = this.#source.place?.()
    return cache && place ? cache.get(definition, id, reads, place) : reads.whole()
  }

  /** @param version  The last one that counts. Default: all. */
  async #read(id: string, version: number | undefined): Promise<Replay> {
    const events = await this.#source.events()
    const beginning = this.#source.begun?.(id, version)
    return replayed(events, id, version, beginning && (await beginning))
  }

  /** Whether anything is stored of that id. */
  async has(id: string): Promise<boolean> {
    checkId(id)
    return (await this.#source.events()).has(id)
  }
}

/** @param version  The last one that was looked for. */
export function notFound(id: string, version: number | undefined): AggregateNotFoundError {
  const upTo = version === undefined ? '' : ` up to version ${version}`
  return new AggregateNotFoundError(`No events of ${JSON.stringify(id)} are stored${upTo}`)
}

/** @param topic  What was found. @param name  What was looked for. */
export function ofAnotherClass(id: string, topic: string | undefined, name: string): AggregateTypeError {
  return new AggregateTypeError(`The events of ${JSON.stringify(id)} begin with ${topic}, so they make no ${name}`)
}

/** @throws ProgrammingError  It is no id, or no version. */
export function checkWanted(id: unknown, version: unknown): asserts id is string {
  checkId(id)
  if (version !== undefined && !Number.isSafeInteger(version)) {
    throw new ProgrammingError('The option version must be an integer')
  }
}

function checkId(id: unknown): asserts id is string {
  if (typeof id !== 'string' || id === '') throw new ProgrammingError("An aggregate's id is text that is not empty")
}
