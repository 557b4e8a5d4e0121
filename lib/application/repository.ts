import { definitionOf, type Replay } from '../domain/replay.js'
import { AggregateNotFoundError, AggregateTypeError, ProgrammingError } from '../errors.js'
import type { EventStore } from '../persistence/event-store.js'
import { type Begun, replayed } from './reading.js'

/** A class of aggregates, of either shape. */
// the constructor's parameters are the class's own affair; `never` accepts them all
export type AggregateClass<A extends object = object> = abstract new (...args: never[]) => A

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
   * @returns An instance of the class, or of the subclass whose stream it is.
   * @throws AggregateNotFoundError  No events (up to that version).
   * @throws AggregateTypeError  The stream is of another class.
   */
  async get<A extends object>(
    aggregateClass: AggregateClass<A>,
    id: string,
    { version }: { version?: number | undefined } = {},
  ): Promise<A> {
    const { name } = definitionOf(aggregateClass) // registers a class that was not used yet
    checkWanted(id, version)
    const { aggregate, topic } = await this.#read(id, version)
    // read in a transaction that is rolled back, it may have events that are not there then
    if (aggregate) this.#source.onRollback(() => this.#source.doubt(aggregate))
    if (!aggregate) throw notFound(id, version)
    if (!(aggregate instanceof aggregateClass)) throw ofAnotherClass(id, topic, name)
    return aggregate
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
