import { setImmediate as nextTurn } from 'node:timers/promises'
import { RecordConflictError } from '../../lib/errors.js'
import type { ApplicationRecorder } from '../../lib/persistence/recorders.js'
import type { Notification, StoredEvent } from '../../lib/persistence/stored-event.js'
import { plain } from './stored-events.js'

/** What an insert came to. */
export type Outcome = PromiseSettledResult<number[]>

/** Inserts that were started together, what they came to, and what was stored before and after. */
export interface Together {
  /** Events with states that tell them from all others. */
  readonly inserts: readonly (readonly StoredEvent[])[]
  /** In the order of the inserts. */
  readonly outcomes: readonly Outcome[]
  readonly before: readonly Notification[]
  /** What was added. */
  readonly added: readonly Notification[]
}

/** Starts all of them in one turn, in that order, and waits until all are settled. */
export function startTogether(
  recorder: Pick<ApplicationRecorder, 'insertEvents'>,
  inserts: readonly (readonly StoredEvent[])[],
): Promise<Outcome[]> {
  return Promise.allSettled(inserts.map((events) => recorder.insertEvents(events)))
}

/** As `startTogether`, but the others only once the first is under way. */
export async function startBehindFirst(
  recorder: Pick<ApplicationRecorder, 'insertEvents'>,
  [first, ...others]: readonly (readonly StoredEvent[])[],
): Promise<Outcome[]> {
  const leading = startTogether(recorder, first ? [first] : [])
  await nextTurn()
  return (await Promise.all([leading, startTogether(recorder, others)])).flat()
}

/** Version and originator, as one text. */
export function keyOf({ originatorId, originatorVersion }: StoredEvent): string {
  return `${originatorVersion} ${originatorId}`
}

/**
 * What is wrong with it: whatever could not have happened had each insert been alone, one after the other, in whichever
 * order. Empty where all is well.
 */
export function faultsOf({ inserts, outcomes, before, added }: Together): string[] {
  const faults: string[] = []
  const unclaimed = new Map(added.map((event) => [event.id, event]))
  const last = before.at(-1)?.id ?? 0
  for (const [index, outcome] of outcomes.entries()) {
    const events = inserts[index] as readonly StoredEvent[]
    const told =
      outcome.status === 'fulfilled'
        ? faultsOfStored(events, outcome.value, unclaimed, last)
        : faultsOfRefused(events, outcome.reason, before, added)
    faults.push(...told.map((fault) => `insert ${index}, of ${events.length}: ${fault}`))
    if (outcome.status === 'fulfilled') for (const id of outcome.value) unclaimed.delete(id)
  }
  for (const event of unclaimed.values()) faults.push(`${keyOf(event)} is stored, and was not acknowledged`)
  const keys = [...before, ...added].map(keyOf)
  if (new Set(keys).size !== keys.length) faults.push('a version is stored twice')
  return faults
}

function faultsOfStored(
  events: readonly StoredEvent[],
  ids: readonly number[],
  stored: ReadonlyMap<number, Notification>,
  last: number,
): string[] {
  if (ids.length !== events.length) return [`has ${ids.length} ids`]
  return events.flatMap((event, place) => {
    const id = ids[place] as number
    const found = stored.get(id)
    if (id !== (ids[0] as number) + place) return [`has ids that are not contiguous: ${ids.join()}`]
    if (id <= last) return [`has an id that was given before: ${id}`]
    if (!found) return [`was acknowledged, and ${keyOf(event)} is not stored as ${id}`]
    return JSON.stringify(plain(found)) === JSON.stringify(plain(event)) ? [] : [`${keyOf(event)} is stored otherwise`]
  })
}

function faultsOfRefused(
  events: readonly StoredEvent[],
  reason: unknown,
  before: readonly Notification[],
  added: readonly Notification[],
): string[] {
  if (!(reason instanceof RecordConflictError)) return [`was refused with ${String(reason)}`]
  const { originatorId, originatorVersion, currentVersion } = reason
  const told = `${originatorVersion} ${originatorId}`
  const own = events.filter((event) => keyOf(event) === told).length
  const versions = (stored: readonly StoredEvent[]) =>
    stored.filter((event) => event.originatorId === originatorId).map((event) => event.originatorVersion)
  const [lowest, highest] = [Math.max(-1, ...versions(before)), Math.max(-1, ...versions([...before, ...added]))]
  const isTaken = [...before, ...added].some((event) => keyOf(event) === told)
  if (own === 0) return [`was refused for ${told}, which it does not have`]
  if (own === 1 && !isTaken) return [`was refused for ${told}, which nobody has stored`]
  const current = currentVersion ?? -1
  return current < lowest || current > highest ? [`was told that ${originatorId} stands at ${currentVersion}`] : []
}
