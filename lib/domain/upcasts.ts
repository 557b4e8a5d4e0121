import { kindOfError } from './error-kind.js'
import { ProgrammingError } from '../errors.js'
import { frozenCopy, isPlainObject, ownCopy } from './copy.js'
import { isPlainFunction } from './signature.js'

/**
 * One step of an upcast: takes the data of one class version, which is its own to change, and returns that of the next.
 * Runs whenever such an event is read, so it must neither read the clock nor ask anybody.
 */
export type Upcast = (data: Record<string, unknown>) => Record<string, unknown>

/** The steps of one event by the class version that they take, from 1: `{ 1: (data) => ({ ...data, by: 'nobody' }) }`. */
// `any`: an older version's data may be said as any type, or as none
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type UpcastSteps = Readonly<Record<number, (data: any) => object>>

/**
 * The steps of a class's events, by the event's name: `static readonly upcasts: Upcasts = { TrickAdded: { 1: … } }`.
 *
 * @typeParam Events  The map of events of an `EventedAggregate`: only these names are taken then.
 */
export type Upcasts<Events = Record<string, object>> = { readonly [Name in keyof Events & string]?: UpcastSteps }

/** As `UpcastSteps`, for snapshots: a version that is left out, or `undefined`, can't be used any more. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export type SnapshotUpcasts = Readonly<Record<number, ((state: any) => object) | undefined>>

/** What has never changed. */
export const noUpcasts: readonly Upcast[] = Object.freeze([])

/**
 * The steps of one event: step n, which takes the data of class version n, at index n - 1.
 *
 * @param label  Whose, for the message: `static upcasts of 'Dog.TrickAdded'`.
 * @throws ProgrammingError  It is no plain object, its keys are not 1, 2, … without a gap, or a step is no function, is async
 *   or a generator.
 */
export function checkedUpcasts(label: string, steps: unknown): readonly Upcast[] {
  const versions = versionsOf(label, steps)
  return Object.freeze(
    Array.from({ length: versions.size }, (_, index) => {
      if (!versions.has(index + 1)) {
        throw new ProgrammingError(
          `${label}: step ${index + 1} is missing. Number the steps 1, 2, … without a gap, and keep them all: events of ` +
            'each version may be stored',
        )
      }
      return checkedStep(label, index + 1, versions.get(index + 1))
    }),
  )
}

/**
 * As `checkedUpcasts`, for snapshots, which can be taken anew: a step may be left out, or be `undefined`. The highest number
 * counts.
 */
export function checkedSnapshotUpcasts(label: string, steps: unknown): readonly (Upcast | undefined)[] {
  const versions = versionsOf(label, steps)
  return Object.freeze(
    Array.from({ length: Math.max(0, ...versions.keys()) }, (_, index) => {
      const step = versions.get(index + 1)
      return step === undefined ? undefined : checkedStep(label, index + 1, step)
    }),
  )
}

/**
 * The steps of a class's events, by the event's name. A subclass has those of the classes above it for the events that it has
 * from them; steps of its own for an event stand in place of theirs.
 *
 * @param owner  The aggregate's name.
 * @param events  Its events, by name.
 * @throws ProgrammingError  `static upcasts` names an event that the class has not, or can't be steps, as `checkedUpcasts`.
 */
export function upcastsOfClass(
  owner: string,
  aggregateClass: Function,
  events: ReadonlyMap<string, unknown>,
): ReadonlyMap<string, readonly Upcast[]> {
  const found = new Map<string, readonly Upcast[]>()
  for (const { holder, value } of staticsOf(aggregateClass, 'upcasts')) {
    if (!isPlainObject(value)) {
      throw new ProgrammingError(
        `static upcasts of '${owner}' must be an object with the steps of each event: { TrickAdded: { 1: (data) => … } }`,
      )
    }
    for (const [name, steps] of Object.entries(value)) {
      // A class above may have events that this one has not: another created one.
      if (!events.has(name) && holder === aggregateClass) refuseName(owner, name, events)
      if (events.has(name) && !found.has(name)) {
        found.set(name, checkedUpcasts(`static upcasts of '${owner}.${name}'`, steps))
      }
    }
  }
  return found
}

/**
 * The steps of a class's snapshots: its own, or else those of the nearest class above it.
 *
 * @throws ProgrammingError  They can't be steps, as `checkedSnapshotUpcasts`.
 */
export function snapshotUpcastsOfClass(owner: string, aggregateClass: Function): readonly (Upcast | undefined)[] {
  const [nearest] = staticsOf(aggregateClass, 'snapshotUpcasts')
  return nearest ? checkedSnapshotUpcasts(`static snapshotUpcasts of '${owner}'`, nearest.value) : noUpcasts
}

/**
 * The data of class version `from`, brought to the current one, step by step.
 *
 * @param data  Used up.
 * @param refuse  Called where a step fails or makes something that can't be an event's data; says which, never the data.
 * @returns Values that nobody else has, also where a step put in some that others have.
 */
export function upcast(
  data: Record<string, unknown>,
  steps: readonly (Upcast | undefined)[],
  from: number,
  refuse: (why: string) => never,
): Record<string, unknown> {
  if (from > steps.length) return data
  let current = data
  for (let version = from; version <= steps.length; version++) {
    const made = resultOf(steps[version - 1], current, version, refuse)
    if (isPlainObject(made)) current = ownValues(made, refuse)
    else if (!isPromise(made)) refuse(`step ${version} of its upcasts returns no plain object: let it return the data`)
    else {
      // Nobody will await it; refused here, its failure must not end the process as well.
      Promise.resolve(made).catch(() => undefined)
      refuse(`step ${version} of its upcasts returns a promise, but events are read at once`)
    }
  }
  return current
}

/** A copy after each step: the next one may change what this one took from a constant of the module. */
function ownValues(made: Record<string, unknown>, refuse: (why: string) => never): Record<string, unknown> {
  try {
    return ownCopy(frozenCopy(made, 'what its upcasts make'))
  } catch (error) {
    return refuse(error instanceof ProgrammingError ? error.message : failed('copying what its upcasts make', error))
  }
}

/** The values of a static property of a class and of those above it, the nearest first; not where it is only declared. */
function staticsOf(aggregateClass: Function, property: string): { holder: Function; value: unknown }[] {
  const found = []
  for (let each: unknown = aggregateClass; typeof each === 'function'; each = Object.getPrototypeOf(each)) {
    const value: unknown = Object.hasOwn(each, property) ? Reflect.get(each, property) : undefined
    if (value !== undefined) found.push({ holder: each, value })
  }
  return found
}

function refuseName(owner: string, name: string, events: ReadonlyMap<string, unknown>): never {
  throw new ProgrammingError(
    `static upcasts of '${owner}': it has no event ${JSON.stringify(name)}, but ${[...events.keys()].join(', ')}. The steps ` +
      'of a renamed event stand under its present name',
  )
}

/** What the keys of an object of steps stand for, by number. */
function versionsOf(label: string, steps: unknown): ReadonlyMap<number, unknown> {
  if (!isPlainObject(steps)) {
    throw new ProgrammingError(`${label} must be an object with a function for each former version: { 1: (data) => … }`)
  }
  const versions = new Map<number, unknown>()
  for (const key of Reflect.ownKeys(steps)) {
    if (typeof key !== 'string' || !/^[1-9]\d{0,3}$/.test(key)) {
      throw new ProgrammingError(
        `${label}: ${JSON.stringify(String(key))} is no version. Number the steps 1, 2, … by the version that each takes`,
      )
    }
    versions.set(Number(key), steps[key])
  }
  return versions
}

function checkedStep(label: string, version: number, step: unknown): Upcast {
  if (typeof step === 'function' && isPlainFunction(step)) return step as Upcast
  throw new ProgrammingError(
    `${label}: step ${version} must be a function that is neither async nor a generator: events are read at once`,
  )
}

function resultOf(
  step: Upcast | undefined,
  data: Record<string, unknown>,
  version: number,
  refuse: (why: string) => never,
): unknown {
  if (step === undefined) return refuse(`there is no step ${version} of its upcasts`)
  try {
    return step(data)
  } catch (error) {
    // What is thrown may quote the data: in messages, and in what an error of the user's own holds.
    return refuse(failed(`step ${version} of its upcasts`, error))
  }
}

function failed(what: string, error: unknown): string {
  return `${what} failed with ${kindOfError(error)}`
}

function isPromise(made: unknown): boolean {
  return typeof made === 'object' && made !== null && typeof (made as { then?: unknown }).then === 'function'
}
