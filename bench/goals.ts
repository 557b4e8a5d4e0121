import type { Place, Result } from './harness.js'

/** What is aimed at, and what came of it. */
export interface Outcome {
  readonly operation: string
  readonly goal: string
  readonly measured: string
  /** Unknown where it is not measured here. */
  readonly reached?: boolean
  /** By which side by hand, or how it was measured. */
  readonly how: string
}

/** A ratio that is aimed at. */
interface Goal {
  readonly place: Place
  /** Of the case. */
  readonly name: string
  /** Ours ÷ by hand, at least. */
  readonly ratio: number
  /** How the name of the side by hand ends that is meant. Default: the fastest one. */
  readonly against?: string
}

/**
 * Where the by-hand side is not the fastest there is, it is the one that does the same as people do by hand: states read
 * as the bytes that are stored, own rows written by Drizzle.
 */
const goals: readonly Goal[] = [
  { place: 'postgres', name: 'save 1 event', ratio: 0.93 },
  { place: 'postgres', name: 'save 1 event, 8 callers', ratio: 1.6 },
  { place: 'postgres', name: 'save 1 event, 32 callers', ratio: 3.2 },
  { place: 'postgres', name: 'save 10 events', ratio: 0.97 },
  { place: 'postgres', name: 'save 10 events, 32 callers', ratio: 1.4 },
  { place: 'postgres', name: 'save 100 events', ratio: 1 },
  { place: 'postgres', name: 'load, decide, save', ratio: 0.95 },
  { place: 'postgres', name: 'load, decide, save, 32 callers', ratio: 3 },
  { place: 'slow', name: 'save 1 event, 32 callers, against a table lock', ratio: 15 },
  { place: 'postgres', name: 'replay 1,000 events', ratio: 1.5, against: 'state as bytes' },
  { place: 'postgres', name: 'notifications in pages of 1,000', ratio: 1.3 },
  {
    place: 'postgres',
    name: 'own row and 1 event in a transaction',
    ratio: 0.9,
    against: 'own row by db.insert(…).values(…)',
  },
  { place: 'file', name: 'save 1 event', ratio: 0.95 },
  { place: 'file', name: 'save 1 event, 32 callers', ratio: 6 },
  { place: 'file', name: 'save 10 events', ratio: 1.05 },
  { place: 'file', name: 'save 100 events', ratio: 1.05 },
  { place: 'file', name: 'replay 1,000 events', ratio: 1.8, against: 'state as a blob' },
  { place: 'file', name: 'notifications in pages of 1,000', ratio: 1.5 },
  {
    place: 'file',
    name: 'own row and 1 event in a transaction',
    ratio: 0.9,
    against: 'own row by db.insert(…).values(…)',
  },
]

/** Goals of which no ratio is measured here. */
export const otherOutcomes: readonly Outcome[] = [
  {
    operation: 'events missed, doubled or out of order, writers that roll back and readers of many kinds',
    goal: '0',
    measured: 'by the specs',
    how: 'SOAK_SECONDS=60 for spec/backends/postgres-soak.spec.ts, and postgres-kills.spec.ts; each fails at the first',
  },
  {
    operation: 'commit to delivery on an idle machine, p99',
    goal: '≤ 20 ms',
    measured: 'not yet',
    how: 'subscriptions are not there yet',
  },
]

/** The outcomes of the goals whose cases are among the results. @param titles  What the places are called, for short. */
export function ratioOutcomes(
  results: readonly Result[],
  titles: Readonly<Record<Place, { short: string }>>,
): Outcome[] {
  return goals.flatMap((goal): Outcome[] => {
    const sides = results.filter(({ place, name }) => place === goal.place && name === goal.name)
    const counts = sideThatCounts(goal, sides)
    if (counts === undefined) return []
    const { median } = counts.ratio
    const least = Math.min(...sides.map(({ ratio }) => ratio.median))
    return [
      {
        operation: `${titles[goal.place].short}: ${goal.name}`,
        goal: `≥ ${goal.ratio}`,
        measured: median.toFixed(2),
        reached: median >= goal.ratio,
        how: counts.raw + (least < median ? `; against the fastest by hand ${least.toFixed(2)}` : ''),
      },
    ]
  })
}

/** The ratio that is aimed at, where this result is the one that counts among those of its case. */
export function goalOf(result: Result, sides: readonly Result[]): number | undefined {
  const goal = goals.find(({ place, name }) => place === result.place && name === result.name)
  return goal !== undefined && sideThatCounts(goal, sides) === result ? goal.ratio : undefined
}

/** @throws Error  A goal is about a case that there isn't. */
export function checkGoals(cases: Readonly<Record<Place, readonly { readonly name: string }[]>>): void {
  for (const { place, name } of goals) {
    if (!cases[place].some((each) => each.name === name))
      throw new Error(`No case has the goal's name: ${place}, ${name}`)
  }
}

function sideThatCounts({ against = '' }: Goal, sides: readonly Result[]): Result | undefined {
  return sides
    .filter(({ raw }) => raw.endsWith(against))
    .reduce<Result | undefined>(
      (least, side) => (least && least.ratio.median <= side.ratio.median ? least : side),
      undefined,
    )
}
