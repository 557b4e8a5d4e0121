/** What a soak of saves on a failing network has come to. */
export interface FaultSoakReport {
  /** Units of work whose saves or transactions resolved. */
  readonly acknowledged: number
  /** Those that failed at last, and were found stored. */
  readonly found: number
  /** Transactions that were rolled back by their own code. */
  readonly undone: number
  /** Attempts that failed for the network, and how many of these could not know whether they were stored. */
  readonly failures: number
  readonly inDoubt: number
  /** Conflicts with an attempt of one's own, whose answer was lost. */
  readonly conflicts: number
  /** How often the network failed, by how. */
  readonly faults: Readonly<Record<string, number>>
  /** What was stored in the end. */
  readonly events: number
  /** What is missing, there twice, there in part, or there though nobody saved it. */
  readonly wrong: readonly string[]
}
