import { isHalfChanged } from '../domain/aggregate.js'
import type { DomainEvent } from '../domain/event.js'
import { ProgrammingError } from '../errors.js'
import type { AggregateRecorder } from '../persistence/recorders.js'
import type { OpenTransaction } from '../persistence/transactional.js'

/**
 * Keeps the saves of each aggregate in order, so that none leaves a gap in its stream: newer events that are stored while
 * older ones, saved elsewhere, are rolled back.
 *
 * @see docs/decisions/0010-no-gap-in-a-stream.md
 */
export class SaveOrder {
  /** The save that is under way by aggregate that it took events from. */
  readonly #underWay = new Map<object, SaveUnderWay>()
  /** The transaction or savepoint that an aggregate was last saved in. */
  readonly #savedIn = new WeakMap<object, OpenTransaction>()
  /** Aggregates that were read in a transaction which was rolled back: perhaps from events that are not there. */
  readonly #doubtful = new WeakSet<object>()
  /** Those of them too that were saved since: that says nothing of what their earlier events have made. */
  readonly #everDoubtful = new WeakSet<object>()

  /**
   * The end of another save of one of these to wait for before events are taken; then ask again.
   *
   * @throws ProgrammingError  The other one may be waiting for what this transaction holds.
   */
  other(objects: readonly unknown[], transaction: OpenTransaction | undefined): Promise<void> | undefined {
    if (this.#underWay.size === 0) return undefined
    for (const object of objects) {
      const other = typeof object === 'object' && object !== null ? this.#underWay.get(object) : undefined
      if (!other || (object as { pendingEvents?: readonly unknown[] }).pendingEvents?.length === 0) continue
      // only what is inside of this transaction is sure not to wait for it
      if (transaction && !other.transaction?.isInside(transaction)) throw savedElsewhere()
      return other.settled()
    }
    return undefined
  }

  /** Notes a save as under way, until `end`. @param aggregates  Those that it took events from. */
  begin(aggregates: readonly object[], transaction: OpenTransaction | undefined): SaveUnderWay {
    const save = new SaveUnderWay(aggregates, transaction)
    for (const aggregate of aggregates) this.#underWay.set(aggregate, save)
    return save
  }

  /** The save has settled, and what it took is stored or given back: whoever waits for it goes on. */
  end(save: SaveUnderWay): void {
    for (const aggregate of save.aggregates) {
      if (this.#underWay.get(aggregate) === save) this.#underWay.delete(aggregate)
    }
    save.settle()
  }

  /**
   * Checks that what these events come after is stored, and stays. A promise only where that has to be looked up.
   *
   * @throws ProgrammingError  Earlier events are in another transaction that is open, or are gone with one.
   */
  check(
    aggregates: readonly object[],
    events: readonly DomainEvent[],
    transaction: OpenTransaction | undefined,
    recorder: AggregateRecorder,
  ): Promise<void> | undefined {
    for (const aggregate of aggregates) {
      const undecided = this.#savedIn.get(aggregate)?.decider
      if (undecided && !transaction?.isInside(undecided)) throw savedElsewhere()
    }
    const isDoubtful = aggregates.some((aggregate) => this.#doubtful.has(aggregate))
    return isDoubtful ? this.#checkDoubtful(aggregates, events, recorder) : undefined
  }

  async #checkDoubtful(
    aggregates: readonly object[],
    events: readonly DomainEvent[],
    recorder: AggregateRecorder,
  ): Promise<void> {
    for (const aggregate of aggregates) {
      if (!this.#doubtful.has(aggregate)) continue
      const { id } = aggregate as { id?: unknown }
      await requireStoredBefore(
        recorder,
        events.find(({ originatorId }) => originatorId === id),
      )
      this.#doubtful.delete(aggregate)
    }
  }

  /** Notes where aggregates were saved. */
  saved(aggregates: readonly object[], transaction: OpenTransaction | undefined): void {
    if (transaction) for (const aggregate of aggregates) this.#savedIn.set(aggregate, transaction)
  }

  /** Whether an aggregate is what its events make it, for all that is known. */
  isSure(aggregate: object): boolean {
    return !this.#everDoubtful.has(aggregate) && !isHalfChanged(aggregate)
  }

  /** Notes that an aggregate was read in a transaction that was rolled back. */
  doubt(aggregate: object): void {
    this.#doubtful.add(aggregate)
    this.#everDoubtful.add(aggregate)
  }
}

/** A save that has not settled yet, and the transaction it is in. */
export class SaveUnderWay {
  readonly #waiting: (() => void)[] = []

  constructor(
    readonly aggregates: readonly object[],
    readonly transaction: OpenTransaction | undefined,
  ) {}

  /** Resolves once it has settled, however. */
  settled(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  settle(): void {
    for (const goOn of this.#waiting) goOn()
  }
}

/** @throws ProgrammingError  The event before this one is not stored. */
async function requireStoredBefore(recorder: AggregateRecorder, first: DomainEvent | undefined): Promise<void> {
  if (!first || first.originatorVersion === 1) return
  const { originatorId, originatorVersion: version } = first
  const before = await recorder.selectEvents(originatorId, { gt: version - 2, lte: version - 1 })
  if (before.length > 0) return
  throw new ProgrammingError(
    `The aggregate ${JSON.stringify(originatorId)} was read inside a transaction that was rolled back, with events that ` +
      'are not stored: get it again',
  )
}

function savedElsewhere(): ProgrammingError {
  return new ProgrammingError(
    'Earlier events of this aggregate are being saved elsewhere, in or beside a transaction that is still open: save it ' +
      'inside that one, or after it',
  )
}
