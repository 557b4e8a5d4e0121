import { registeredDefinition } from '../domain/aggregate.js'
import type { DomainEvent } from '../domain/event.js'
import { definitionOf } from '../domain/replay.js'
import type { AggregateDefinition } from '../domain/topics.js'
import { ProgrammingError } from '../errors.js'

/**
 * Makes what a snapshot holds, in the place of replay.
 *
 * @param initial  The aggregate as the latest snapshot has it; `undefined` where there is none.
 * @param events  What came after that, oldest first, up to the version that is to be in the snapshot.
 * @param replay  Applies events as ever, to an aggregate or from the first one; gives the aggregate.
 * @returns The aggregate, or its state as a plain object; `undefined` for no snapshot.
 */
export type SnapshotProjector<A extends object = object> = (
  initial: A | undefined,
  events: readonly DomainEvent[],
  replay: (initial: A | undefined, events: readonly DomainEvent[]) => A | undefined,
) => A | Record<string, unknown> | undefined

/** What an application says of its snapshots, as static members. */
export interface SnapshottingStatics {
  /** Whether there are snapshots, as `IS_SNAPSHOTTING_ENABLED`. */
  readonly isSnapshottingEnabled?: unknown
  /** `[[Dog, 10]]`: a snapshot of every tenth version of each `Dog`, those of subclasses included. */
  readonly snapshottingIntervals?: unknown
  /** `[[Dog, projector]]`: see `SnapshotProjector`. */
  readonly snapshottingProjectors?: unknown
}

/** Which aggregates have snapshots, when, and how they are made. */
export class SnapshottingPlan {
  readonly isOn: boolean
  readonly #intervals: ByClass<number> | undefined
  readonly #projectors: ByClass<SnapshotProjector> | undefined

  /** @throws ProgrammingError  One of them can't be; says which, and what it takes. */
  constructor({ isSnapshottingEnabled = false, snapshottingIntervals, snapshottingProjectors }: SnapshottingStatics) {
    if (typeof isSnapshottingEnabled !== 'boolean') {
      throw new ProgrammingError('static isSnapshottingEnabled is true or false')
    }
    this.#intervals = byClass('snapshottingIntervals', '[[Dog, 10]]', snapshottingIntervals, checkInterval)
    this.#projectors = byClass(
      'snapshottingProjectors',
      '[[Dog, (initial, events, replay) => …]]',
      snapshottingProjectors,
      checkProjector,
    )
    this.isOn = isSnapshottingEnabled || this.#intervals !== undefined
  }

  /** Whether snapshots are taken by themselves. */
  get hasIntervals(): boolean {
    return this.#intervals !== undefined
  }

  /** How many versions there are from one snapshot to the next; `undefined` where none are taken by themselves. */
  intervalOf(definition: AggregateDefinition): number | undefined {
    return this.#intervals?.of(definition)
  }

  projectorOf(definition: AggregateDefinition): SnapshotProjector | undefined {
    return this.#projectors?.of(definition)
  }
}

/** Whether a class of aggregates is another one, or below it. */
export function isKindOf(definition: AggregateDefinition, other: AggregateDefinition): boolean {
  for (const each of lineOf(definition)) if (each === other) return true
  return false
}

/** Something for each of some classes, and for their subclasses unless these have their own. */
class ByClass<T> {
  readonly #given: ReadonlyMap<AggregateDefinition, T>
  /** Asked for each event that is saved. */
  readonly #found = new Map<AggregateDefinition, T | undefined>()

  constructor(given: ReadonlyMap<AggregateDefinition, T>) {
    this.#given = given
  }

  of(definition: AggregateDefinition): T | undefined {
    const known = this.#found.get(definition)
    if (known !== undefined || this.#found.has(definition)) return known
    let found: T | undefined
    for (const each of lineOf(definition)) if ((found = this.#given.get(each)) !== undefined) break
    this.#found.set(definition, found)
    return found
  }
}

/** The definitions of a class and of those above it; of a decider, its own. */
function* lineOf(definition: AggregateDefinition): Generator<AggregateDefinition> {
  yield definition
  let above: unknown = definition.aggregateClass
  while (typeof above === 'function') {
    above = Object.getPrototypeOf(above)
    const found = registeredDefinition(above)
    if (found) yield found
  }
}

function byClass<T>(
  name: string,
  form: string,
  pairs: unknown,
  check: (name: string, definition: AggregateDefinition, value: unknown) => T,
): ByClass<T> | undefined {
  if (pairs === undefined || pairs === null) return undefined
  const refuse = (): never => {
    throw new ProgrammingError(`static ${name} is a list of pairs: ${form}`)
  }
  if (!Array.isArray(pairs)) return refuse()
  const given = new Map<AggregateDefinition, T>()
  for (const pair of pairs as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return refuse()
    const [aggregateClass, value] = pair as [unknown, unknown]
    const definition = definitionOf(aggregateClass)
    if (given.has(definition)) {
      throw new ProgrammingError(`static ${name} has '${definition.name}' twice`)
    }
    given.set(definition, check(name, definition, value))
  }
  return given.size === 0 ? undefined : new ByClass(given)
}

function checkInterval(name: string, definition: AggregateDefinition, interval: unknown): number {
  if (!Number.isSafeInteger(interval) || (interval as number) < 1) {
    throw new ProgrammingError(`static ${name}: the interval of '${definition.name}' must be an integer from 1`)
  }
  // now, not at the first save that is due
  definition.requireState()
  return interval as number
}

function checkProjector(name: string, definition: AggregateDefinition, projector: unknown): SnapshotProjector {
  if (typeof projector === 'function') return projector as SnapshotProjector
  throw new ProgrammingError(`static ${name}: the projector of '${definition.name}' must be a function`)
}
