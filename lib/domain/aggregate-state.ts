import { ProgrammingError } from '../errors.js'
import { deepCopy } from './deep-copy.js'
import { definitionOfMade } from './replay.js'
import type { AggregateDefinition, AggregateOrigin } from './topics.js'

/**
 * A copy of an aggregate that has nothing in common with it, without its pending events.
 *
 * @param definition  What made it. Default: the one that made it.
 * @returns `undefined` where it can't be copied: its class has `#private` members and no `toSnapshot`, or it holds what can't be
 *   copied (see `deepCopy`).
 */
export function copyOfAggregate<A extends object>(
  aggregate: A,
  definition: AggregateDefinition | undefined = definitionOfMade(aggregate),
): A | undefined {
  if (definition === undefined || !canHaveState(definition)) return undefined
  let state: Record<string, unknown> | undefined
  // of one aggregate alone it may not be had, as where it has a field that no snapshot can hold
  const isHad = isFine(() => {
    state = deepCopy(definition.stateOf(aggregate))
  })
  return isHad && state !== undefined ? (definition.restore(originOf(aggregate), state) as A) : undefined
}

/** What an aggregate of any shape has beside its state. */
export function originOf(aggregate: object): AggregateOrigin {
  // whatever a definition makes has these
  const { id, version, createdOn, modifiedOn } = aggregate as AggregateOrigin
  return { id, version, createdOn, modifiedOn }
}

/** Whether the state of such aggregates can be had at all; asked once of each definition. */
export function canHaveState(definition: AggregateDefinition): boolean {
  let can = known.get(definition)
  if (can === undefined) {
    can = isFine(() => {
      definition.requireState()
    })
    known.set(definition, can)
  }
  return can
}

const known = new WeakMap<AggregateDefinition, boolean>()

function isFine(check: () => void): boolean {
  try {
    check()
    return true
  } catch (error) {
    if (error instanceof ProgrammingError) return false
    throw error
  }
}
