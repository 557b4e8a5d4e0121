/** An event as the order is judged by. */
export interface Placed {
  readonly id: number
  readonly originatorId: string
  readonly originatorVersion: number
}

/** What is wrong with what a reader was given, by notification id. */
export interface Findings {
  /** Stored, and never given. */
  readonly missed: number[]
  /** Given again. */
  readonly doubled: number[]
  /** Given after a higher one. */
  readonly outOfOrder: number[]
  /** Given before a lower version of the same originator, or instead of it. */
  readonly outOfVersionOrder: number[]
  /** Given, and not what is stored. */
  readonly invented: number[]
}

/** Compares all that a reader was given, in the order it was given, with all that is stored. */
export function compare(stored: readonly Placed[], given: readonly Placed[]): Findings {
  const findings: Findings = { missed: [], doubled: [], outOfOrder: [], outOfVersionOrder: [], invented: [] }
  const storedById = new Map(stored.map((event) => [event.id, event]))
  const seen = new Set<number>()
  const versions = new Map<string, number>()
  let highest = 0
  for (const { id, originatorId, originatorVersion } of given) {
    const same = storedById.get(id)
    if (same?.originatorId !== originatorId || same.originatorVersion !== originatorVersion) findings.invented.push(id)
    if (seen.has(id)) findings.doubled.push(id)
    else if (id < highest) findings.outOfOrder.push(id)
    if (originatorVersion <= (versions.get(originatorId) ?? 0) && !seen.has(id)) findings.outOfVersionOrder.push(id)
    seen.add(id)
    versions.set(originatorId, Math.max(originatorVersion, versions.get(originatorId) ?? 0))
    highest = Math.max(highest, id)
  }
  for (const { id } of stored) if (!seen.has(id)) findings.missed.push(id)
  return findings
}

/** What `compare` finds where all is well. */
export const nothing: Findings = { missed: [], doubled: [], outOfOrder: [], outOfVersionOrder: [], invented: [] }
