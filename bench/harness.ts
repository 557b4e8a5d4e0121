/** One way of doing an operation. */
export interface Side {
  /** How, in the table's words. */
  readonly name: string
  /**
   * Does it once. `turn` is 0, 1, 2, …; all sides of a contest get to the same number. With several callers, the next
   * turn may begin before this one has ended.
   */
  readonly operation: (turn: number) => unknown
}

/** Sides that do the same work, each on a database of its own. */
export interface Contest {
  /** By hand on the plain driver; where it is not clear beforehand which way is the fastest, several. */
  readonly raws: readonly Side[]
  readonly ours: Side
  /** Throws where the sides have not done the same work; called before the first round and after the last. */
  readonly check: () => void | Promise<void>
  readonly close: () => Promise<void>
}

/** One row of the table. */
export interface Case {
  readonly name: string
  /** Where the events are. */
  readonly place: Place
  /** What is counted, in the plural: `saves`. */
  readonly unit: string
  /** How many of them are in one operation. Default: 1. */
  readonly units?: number
  /** How many operations are under way: each caller begins its next one as soon as its last has ended. Default: 1. */
  readonly callers?: number
  readonly open: (place: Place) => Promise<Contest>
}

/**
 * SQLite on a file (WAL) with synchronous FULL or NORMAL, SQLite in memory, a PostgreSQL server, or the same server where
 * every flush takes 1 ms more.
 */
export type Place = 'file' | 'normal' | 'memory' | 'postgres' | 'slow'

/** How long is measured. */
export interface Settings {
  readonly rounds: number
  /** In each round, every side has this many slices of time, in turn with the others. */
  readonly slicesPerRound: number
  /** How long a slice of the slowest side is, in ms. */
  readonly sliceMs: number
  /** How many turns each of several callers has in a slice, at least: not all of them are busy at its ends. */
  readonly turnsPerCaller: number
  readonly warmUpMs: number
}

/** What was measured of ours against one raw side. */
export interface Result {
  readonly name: string
  readonly place: Place
  readonly unit: string
  readonly raw: string
  /** Units in a second: medians over the rounds. */
  readonly rawPerSecond: number
  readonly oursPerSecond: number
  /** Ours divided by raw, units in a second, one for each round. */
  readonly ratios: readonly number[]
  readonly ratio: { readonly median: number; readonly min: number; readonly max: number }
}

/**
 * Measures a case: every side in every round, slice by slice in alternating order, so that what slows the machine for a
 * moment slows all of them. A ratio is taken within each round; the median of the rounds counts.
 *
 * @returns One result for each raw side.
 */
export async function measure(measured: Case, settings: Settings): Promise<Result[]> {
  const contest = await measured.open(measured.place)
  try {
    const sides = [...contest.raws, contest.ours]
    await contest.check()
    const callers = measured.callers ?? 1
    const clock = new Clock(sides, callers)
    const operations = Math.max(await warmUp(clock, settings), callers > 1 ? settings.turnsPerCaller * callers : 1)
    const rounds: number[][] = []
    for (let round = 0; round < settings.rounds; round++) {
      rounds.push(await clock.round(operations, settings.slicesPerRound))
    }
    await contest.check()
    const units = operations * settings.slicesPerRound * (measured.units ?? 1)
    return contest.raws.map((raw, index) => result(measured, raw, units, rounds, index))
  } finally {
    await contest.close()
  }
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2
}

/** Runs the sides in turn, and knows which turn it is. */
class Clock {
  readonly #sides: readonly Side[]
  readonly #callers: number
  #turn = 0
  #slice = 0

  constructor(sides: readonly Side[], callers: number) {
    this.#sides = sides
    this.#callers = callers
  }

  /** The ms that each side took for all its slices of so many operations. */
  async round(operations: number, slices: number): Promise<number[]> {
    const elapsed = this.#sides.map(() => 0)
    for (let slice = 0; slice < slices; slice++, this.#slice++) {
      for (let place = 0; place < this.#sides.length; place++) {
        const side = (place + this.#slice) % this.#sides.length
        elapsed[side]! += await this.#run(this.#sides[side]!, operations)
      }
      this.#turn += operations
    }
    return elapsed
  }

  async #run({ operation }: Side, operations: number): Promise<number> {
    const end = this.#turn + operations
    let turn = this.#turn
    async function caller(): Promise<void> {
      while (turn < end) {
        const result = operation(turn++)
        // a driver may be synchronous: awaiting what is no promise would charge it for something it doesn't do
        if (result instanceof Promise) await result
      }
    }
    const start = performance.now()
    await Promise.all(Array.from({ length: this.#callers }, caller))
    return performance.now() - start
  }
}

/** Runs everything until it is compiled. @returns How many operations of the slowest side fill a slice. */
async function warmUp(clock: Clock, { warmUpMs, sliceMs }: Settings): Promise<number> {
  for (let operations = 1; ; operations *= 2) {
    const slowestMs = Math.max(...(await clock.round(operations, 1)))
    if (slowestMs >= warmUpMs / 2) return Math.round((operations * sliceMs) / slowestMs)
  }
}

function result(
  { name, place, unit }: Case,
  { name: raw }: Side,
  units: number,
  rounds: readonly (readonly number[])[],
  index: number,
): Result {
  const rawMs = rounds.map((elapsed) => elapsed[index]!)
  const oursMs = rounds.map((elapsed) => elapsed.at(-1)!)
  const ratios = rawMs.map((ms, round) => Number((ms / oursMs[round]!).toFixed(3)))
  return {
    name,
    place,
    unit,
    raw,
    rawPerSecond: (units * 1000) / median(rawMs),
    oursPerSecond: (units * 1000) / median(oursMs),
    ratios,
    ratio: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
  }
}
