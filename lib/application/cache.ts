import { isHalfChanged } from '../domain/aggregate.js'
import { canHaveState, copyOfAggregate } from '../domain/aggregate-state.js'
import { ownCopy } from '../domain/copy.js'
import type { DomainEvent } from '../domain/event.js'
import { definitionOfMade } from '../domain/replay.js'
import type { AggregateDefinition } from '../domain/topics.js'
import { PersistenceError } from '../errors.js'
import type { Environment } from '../persistence/environment.js'
import type { OpenTransaction } from '../persistence/transactional.js'

/** What the events of an originator have made. */
export interface Made {
  /** `undefined` where there are none. */
  readonly aggregate: object | undefined
  /** The first event's, or the aggregate's name where that was not read. */
  readonly topic: string | undefined
}

/** How one aggregate is read. */
export interface CacheReads {
  /** The aggregate anew, nobody else's. */
  whole(): Promise<Made>
  /** Its events after that version, oldest first, to be used up. */
  after(version: number): Promise<readonly DomainEvent[]>
}

/** Where a call reads and saves that is made now. */
export interface Place {
  /** The transaction that it joins. */
  readonly transaction: OpenTransaction | undefined
  /** Whether that is in the datastore's own database, in a transaction of which we know how it ends. */
  readonly isOwn: boolean
}

/** How a cache works. */
export interface CacheOptions {
  /** How many aggregates it keeps, those used last. Below 1: any number. */
  readonly maxSize: number
  /** Whether newer events are looked for at each `get`. */
  readonly fastForward: boolean
  /** Whether each `get` gives a copy. */
  readonly deepCopy: boolean
}

/** Whether the environment asks for a cache; no more is checked. */
export function asksForCache(env: Environment): boolean {
  return env.get('AGGREGATE_CACHE_MAXSIZE') !== undefined
}

/**
 * The cache that the environment asks for; `undefined` where it asks for none.
 *
 * @throws ProgrammingError  One of its variables has a value that can't be.
 */
export function cacheOf(env: Environment): AggregateCache | undefined {
  const maxSize = env.integer('AGGREGATE_CACHE_MAXSIZE', 0, -Infinity)
  const fastForward = env.yes('AGGREGATE_CACHE_FASTFORWARD', true)
  const deepCopy = env.yes('DEEPCOPY_FROM_AGGREGATE_CACHE', true)
  return asksForCache(env) ? new AggregateCache({ maxSize, fastForward, deepCopy }) : undefined
}

/**
 * Aggregates as their committed events make them, those used last.
 *
 * What is read or saved in a transaction comes in once that is committed, and never if it is rolled back.
 *
 * @see docs/decisions/0027-the-cache-holds-what-is-committed.md
 * @see Python eventsourcing, `Repository.cache`: same options.
 */
export class AggregateCache {
  readonly #options: CacheOptions
  /** By id; those used last at the end. */
  readonly #entries = new Map<string, Entry>()
  readonly #underWay = new Map<string, UnderWay>()
  /** What was read in transactions, until these are committed. */
  readonly #waiting = new Set<AwaitedCommit>()

  constructor(options: CacheOptions) {
    this.#options = options
  }

  /**
   * The aggregate of that id in its last state: a copy, or the cached one itself where copies are off.
   *
   * @param definition  Of the class that is asked for.
   */
  get(
    definition: AggregateDefinition,
    id: string,
    reads: CacheReads,
    { transaction, isOwn }: Place,
  ): Promise<Made> | Made {
    const { fastForward, deepCopy } = this.#options
    if (!isOwn || (deepCopy && !canHaveState(definition))) return reads.whole()
    if (transaction) return this.#getInside(id, reads, transaction)
    const entry = fastForward ? undefined : this.#usable(id)
    return entry ? this.#handOutOrDrop(id, entry) : this.#getTogether(id, reads)
  }

  /** Forgets the aggregate of that id; without one, all of them. */
  forget(id?: string): void {
    for (const each of this.#waiting) if (id === undefined || each.id === id) each.isForgotten = true
    const ids = id === undefined ? [...this.#entries.keys(), ...this.#underWay.keys()] : [id]
    for (const each of ids) {
      this.#entries.delete(each)
      const underWay = this.#underWay.get(each)
      if (underWay) underWay.isForgotten = true
    }
  }

  /**
   * A save that begins; `undefined` where it is none of the cache's business.
   *
   * @param aggregates  Those whose pending events are saved, now in the state that these have made, as far as that is sure.
   * @param events  All that is saved.
   */
  beginSave(
    aggregates: readonly object[],
    events: readonly DomainEvent[],
    { transaction, isOwn }: Place,
  ): CachedSave | undefined {
    const { fastForward, deepCopy } = this.#options
    if (fastForward && deepCopy) return undefined // the next `get` sees what was saved
    const changes = changesOf(aggregates, events)
    // the cached one itself, with events that may never be stored
    if (!deepCopy) for (const { id } of changes) this.forget(id)
    else for (const change of changes) this.#prepare(change)
    // of a transaction of the user's own nobody tells how it ends
    return new CachedSave(changes, isOwn ? transaction : undefined, {
      keep: (change) => {
        if (isOwn) this.#keepSaved(change)
        else this.forget(change.id)
      },
      forget: ({ id }) => {
        this.forget(id)
      },
    })
  }

  /**
   * The aggregate as the transaction sees it. The cached one is only where it begins, and only if the transaction sees the event
   * that it ends with: there are transactions that see less than is committed, or have deleted some of it.
   */
  async #getInside(id: string, reads: CacheReads, transaction: OpenTransaction): Promise<Made> {
    const entry = this.#usable(id)
    const aggregate = entry && copyOfAggregate(entry.aggregate)
    if (aggregate) {
      const { topic } = entry
      const [last, ...newer] = await reads.after(entry.version - 1)
      if (last && isLastOf(aggregate, last)) {
        for (const event of newer) apply(aggregate, event)
        if (newer.length > farBehind) this.#keepAfterCommit(id, { aggregate, topic }, transaction)
        return { aggregate, topic }
      }
    }
    const made = await reads.whole()
    this.#keepAfterCommit(id, made, transaction)
    return made
  }

  #keepAfterCommit(id: string, { aggregate, topic }: Made, transaction: OpenTransaction): void {
    const { deepCopy, maxSize } = this.#options
    // a transaction may read more than is ever kept
    if (!aggregate || (maxSize > 0 && this.#waiting.size >= maxSize)) return
    const kept = deepCopy ? copyOfAggregate(aggregate) : aggregate
    if (!kept) return
    const entry = entryOf(kept, topic)
    const awaited: AwaitedCommit = { id, isForgotten: false }
    this.#waiting.add(awaited)
    transaction.onRollback(() => {
      this.#waiting.delete(awaited)
    })
    transaction.afterCommit(() => {
      this.#waiting.delete(awaited)
      // where it is the caller's own it may have gone on
      if (!awaited.isForgotten && isAsItWas(entry)) this.#keep(id, entry)
    })
  }

  /**
   * Reads together with whoever asks for the same aggregate. One read at a time; who comes while one is under way shares the next,
   * since that one may have begun before what the caller has just saved.
   */
  #getTogether(id: string, reads: CacheReads): Promise<Made> {
    const underWay = this.#underWay.get(id)
    if (!underWay) {
      const first: UnderWay = { round: new Round(), next: undefined, isForgotten: false }
      this.#underWay.set(id, first)
      const joined = first.round.join(reads)
      void this.#run(id, first)
      return joined
    }
    if (!underWay.next) {
      underWay.next = new Round()
      void underWay.round.ended.then(() => this.#run(id, underWay))
    }
    return underWay.next.join(reads)
  }

  async #run(id: string, underWay: UnderWay): Promise<void> {
    if (underWay.next) {
      underWay.round = underWay.next
      underWay.next = undefined
    }
    underWay.isForgotten = false
    const { round } = underWay
    const [{ reads }] = round.waiting as [Waiting]
    try {
      // copied for all of them in this very moment: the next read may change the cached one
      this.#giveAll(id, round.waiting, await this.#bringUp(id, reads, underWay))
    } catch (error) {
      // it may have been applied in part; what the database could not give has changed nothing
      if (!(error instanceof PersistenceError)) this.#entries.delete(id)
      for (const { reject } of round.waiting) reject(error)
    } finally {
      if (!underWay.next) this.#underWay.delete(id)
      round.end()
    }
  }

  /** The cached aggregate with its newer events, or a new one; `undefined` where nothing is stored. */
  async #bringUp(id: string, reads: CacheReads, underWay: UnderWay): Promise<Entry | undefined> {
    const known = this.#usable(id)
    if (known && !this.#options.fastForward) return known
    if (known) {
      // all of them before the first is applied: who takes a copy meanwhile sees no half of it
      const events = await reads.after(known.version)
      // what callers share, they may have changed in the meantime
      if (isAsItWas(known)) {
        for (const event of events) apply(known.aggregate, event)
        known.version = versionOf(known.aggregate)
        return known
      }
    }
    const { aggregate, topic } = await reads.whole()
    if (!aggregate) {
      this.#entries.delete(id)
      return undefined
    }
    const entry = entryOf(aggregate, topic)
    if (!underWay.isForgotten) this.#keep(id, entry)
    return entry
  }

  #giveAll(id: string, waiting: readonly Waiting[], entry: Entry | undefined): void {
    let isTaken = false
    for (const { resolve, reject, reads } of waiting) {
      const made = entry ? this.#handOut(entry) : nothing
      if (made) resolve(made)
      else if (isTaken) reads.whole().then(resolve, reject)
      else {
        // what can't be copied is the first one's, and not the cache's; the others need their own
        this.#entries.delete(id)
        resolve(entry as Made)
        isTaken = true
      }
    }
  }

  #handOutOrDrop(id: string, entry: Entry): Made {
    const made = this.#handOut(entry)
    if (!made) this.#entries.delete(id)
    return made ?? entry
  }

  /** `undefined` where it can't be copied. */
  #handOut(entry: Entry): Made | undefined {
    if (!this.#options.deepCopy) return entry
    const aggregate = copyOfAggregate(entry.aggregate)
    return aggregate && { aggregate, topic: entry.topic }
  }

  /** What is cached of that id, now the one used last; not if callers share it and one of them has gone on with it. */
  #usable(id: string): Entry | undefined {
    const entry = this.#entries.get(id)
    if (!entry) return undefined
    this.#entries.delete(id)
    if (!isAsItWas(entry)) return undefined
    this.#entries.set(id, entry)
    return entry
  }

  /** Keeps it as the one used last, unless what is there is newer. */
  #keep(id: string, entry: Entry): void {
    const known = this.#entries.get(id)
    if (known && known.version > entry.version && isAsItWas(known)) return
    this.#entries.delete(id)
    this.#entries.set(id, entry)
    const { maxSize } = this.#options
    if (maxSize < 1 || this.#entries.size <= maxSize) return
    const [oldest] = this.#entries.keys()
    this.#entries.delete(oldest as string)
  }

  /** Takes a copy of an aggregate that is being saved, unless its events can be applied to the cached one. */
  #prepare(change: Change): void {
    const { id, aggregate, first } = change
    if (!aggregate || this.#entries.get(id)?.version === first - 1) return
    try {
      const copy = copyOfAggregate(aggregate)
      change.copy = copy && entryOf(copy, change.topic)
    } catch {
      // a save does not fail for the cache: the next to get it is told what its class does wrong
    }
  }

  #keepSaved(change: Change): void {
    const { id, aggregate, copy, first, last, events, topic } = change
    if (!this.#options.deepCopy) {
      const entry = aggregate && entryOf(aggregate, topic)
      if (entry && entry.version === last && isAsItWas(entry)) this.#keep(id, entry)
      else this.forget(id)
      return
    }
    const known = this.#entries.get(id)
    if (known && known.version >= last) return
    if (known && known.version === first - 1 && wasMoved(known, events)) this.#keep(id, known)
    else if (copy && copy.version === last) this.#keep(id, copy)
    else this.forget(id)
  }
}

/** A save, as far as the cache is concerned: what it has stored comes in when that is committed. */
export class CachedSave {
  readonly #changes: readonly Change[]
  readonly #then: SaveEnds
  #isStored = false
  #isCommitted: boolean
  #isOver = false
  /** Whether what is stored waits for the flush, which may find a conflict. */
  #waits = false

  constructor(changes: readonly Change[], transaction: OpenTransaction | undefined, then: SaveEnds) {
    this.#changes = changes
    this.#then = then
    this.#isCommitted = transaction === undefined
  }

  /** Its events are stored. @param waits  They wait for the flush. */
  stored(waits: boolean): void {
    this.#isStored = true
    this.#waits = waits
    this.#keepIfSure()
  }

  /** Its transaction is committed. */
  committed(): void {
    this.#isCommitted = true
    this.#keepIfSure()
  }

  /** Its transaction is rolled back; that leaves the cache as it was, unless what is cached may be the reason, or may be old now. */
  rolledBack(isOutcomeUnknown: boolean): void {
    if (this.#waits || isOutcomeUnknown) this.failed()
    this.#isOver = true
  }

  /** It has failed: what is cached may be the reason. */
  failed(): void {
    this.#end(this.#then.forget)
  }

  // the one may come just before the other: a save's last steps are taken while its transaction is committed
  #keepIfSure(): void {
    if (this.#isStored && this.#isCommitted) this.#end(this.#then.keep)
  }

  #end(how: (change: Change) => void): void {
    if (this.#isOver) return
    this.#isOver = true
    for (const change of this.#changes) how(change)
  }
}

interface SaveEnds {
  keep(change: Change): void
  forget(change: Change): void
}

/** An aggregate in the cache. */
interface Entry extends Made {
  readonly aggregate: object
  /** The version that it was cached with. */
  version: number
}

/** What a save does to one originator. */
interface Change {
  readonly id: string
  /** Where the events are from one. */
  readonly aggregate: object | undefined
  readonly topic: string | undefined
  readonly events: readonly DomainEvent[]
  /** Versions of its first and its last event. */
  readonly first: number
  readonly last: number
  /** The aggregate as it is saved. */
  copy: Entry | undefined
}

/** What a transaction has read, and that is to be kept once it is committed. */
interface AwaitedCommit {
  readonly id: string
  /** Whether it must not be kept any more. */
  isForgotten: boolean
}

/** Who reads one aggregate, and who shares the read after that. */
interface UnderWay {
  round: Round
  next: Round | undefined
  /** Whether what is being read must not be kept. */
  isForgotten: boolean
}

interface Waiting {
  readonly reads: CacheReads
  readonly resolve: (made: Made) => void
  readonly reject: (error: unknown) => void
}

/** One read, and who shares it. */
class Round {
  readonly waiting: Waiting[] = []
  readonly ended: Promise<void>
  readonly end: () => void

  constructor() {
    let end = () => {}
    this.ended = new Promise<void>((resolve) => (end = resolve))
    this.end = end
  }

  join(reads: CacheReads): Promise<Made> {
    return new Promise((resolve, reject) => this.waiting.push({ reads, resolve, reject }))
  }
}

const nothing: Made = { aggregate: undefined, topic: undefined }

/** How many events a transaction reads again and again before the cached aggregate is brought up by it. */
const farBehind = 20

function entryOf(aggregate: object, topic: string | undefined): Entry {
  return { aggregate, topic, version: versionOf(aggregate) }
}

function versionOf(aggregate: object): number {
  return (aggregate as { readonly version: number }).version
}

/** Whether it has no events since it was cached: those of a caller who has the cached one itself. */
function isAsItWas({ aggregate, version }: Entry): boolean {
  const { pendingEvents } = aggregate as { readonly pendingEvents?: readonly unknown[] }
  return versionOf(aggregate) === version && !pendingEvents?.length && !isHalfChanged(aggregate)
}

/** Whether it is the event that has made the aggregate what it is, and not another one of that version. */
function isLastOf(aggregate: object, { originatorVersion, timestamp }: DomainEvent): boolean {
  const { modifiedOn } = aggregate as { readonly modifiedOn: Date }
  return originatorVersion === versionOf(aggregate) && timestamp.getTime() === modifiedOn.getTime()
}

/** @param event  Used up. */
function apply(aggregate: object, event: DomainEvent): void {
  // what is cached was made by a definition
  ;(definitionOfMade(aggregate) as AggregateDefinition).apply(aggregate, event)
}

/** Applies events that others have too. @returns Whether it could; if not, the aggregate is spoilt. */
function wasMoved(entry: Entry, events: readonly DomainEvent[]): boolean {
  try {
    for (const event of events) {
      apply(entry.aggregate, { ...event, timestamp: new Date(event.timestamp), data: ownCopy(event.data) })
    }
    entry.version = versionOf(entry.aggregate)
    return true
  } catch {
    return false // they are stored all the same; the next to get it is told
  }
}

/** What a save does to each originator, in the order of their first events. */
function changesOf(aggregates: readonly object[], events: readonly DomainEvent[]): Change[] {
  const byId = new Map<string, DomainEvent[]>()
  for (const event of events) {
    const its = byId.get(event.originatorId)
    if (its) its.push(event)
    else byId.set(event.originatorId, [event])
  }
  // an object of the user's own that has collectEvents() may be anything
  const aggregateOf = new Map(
    aggregates.filter((each) => definitionOfMade(each)).map((each) => [(each as { readonly id: string }).id, each]),
  )
  return [...byId].map(([id, its]) => {
    const [{ originatorVersion: first, topic }, last] = [its[0], its.at(-1)] as [DomainEvent, DomainEvent]
    const aggregate = aggregateOf.get(id)
    return {
      id,
      aggregate,
      topic: first === 1 ? topic : (aggregate && definitionOfMade(aggregate))?.name,
      events: its,
      first,
      last: last.originatorVersion,
      copy: undefined,
    }
  })
}
