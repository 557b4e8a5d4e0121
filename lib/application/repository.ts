import type { AnyDecider, Decider } from '../domain/decider.js'
import type { DeciderAggregate } from '../domain/decider-definition.js'
import type { DomainEvent } from '../domain/event.js'
import { definitionOf, isOf, Replay } from '../domain/replay.js'
import { AggregateNotFoundError, AggregateTypeError, ProgrammingError } from '../errors.js'
import type { EventStore } from '../persistence/event-store.js'

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
  /** Runs `fn` if the current transaction is rolled back. */
  onRollback(fn: () => void): void
  /** The aggregate was read in a transaction that was rolled back. */
  doubt(aggregate: object): void
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
    const { name } = definitionOf(aggregateClass) // registers a class that was not used yet
    checkId(id)
    if (version !== undefined && !Number.isSafeInteger(version)) {
      throw new ProgrammingError('The option version must be an integer')
    }
    const { aggregate, topic } = await this.#read(id, version)
    // read in a transaction that is rolled back, it may have events that are not there then
    if (aggregate) this.#source.onRollback(() => this.#source.doubt(aggregate))
    if (!aggregate) {
      const upTo = version === undefined ? '' : ` up to version ${version}`
      throw new AggregateNotFoundError(`No events of ${JSON.stringify(id)} are stored${upTo}`)
    }
    if (!isOf(aggregate, aggregateClass)) {
      throw new AggregateTypeError(`The events of ${JSON.stringify(id)} begin with ${topic}, so they make no ${name}`)
    }
    return aggregate
  }

  /** @param version  The last one that counts. Default: all. */
  async #read(id: string, version: number | undefined): Promise<Replay> {
    let replay = new Replay()
    const begin = () => {
      const making = (replay = new Replay())
      return (events: readonly DomainEvent[]) => {
        for (const event of events) making.take(event)
      }
    }
    await (await this.#source.events()).take(id, begin, version === undefined ? {} : { lte: version })
    return replay
  }

  /** Whether anything is stored of that id. */
  async has(id: string): Promise<boolean> {
    checkId(id)
    return (await this.#source.events()).has(id)
  }
}

function checkId(id: unknown): asserts id is string {
  if (typeof id !== 'string' || id === '') throw new ProgrammingError("An aggregate's id is text that is not empty")
}
