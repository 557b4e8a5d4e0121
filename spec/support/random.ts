/** A repeatable sequence of numbers: the same seed gives the same case. */
export interface Random {
  /** An integer from 0, below `bound`. */
  below(bound: number): number
  /** Lets other work go first, a random number of times (0 to 3). Never a matter of time. */
  yield(): Promise<void>
}

/** @see Numerical Recipes, "quick and dirty" linear congruential generator: enough to vary interleavings. */
export function random(seed: number): Random {
  let state = seed >>> 0
  const below = (bound: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
  return {
    below,
    async yield() {
      for (let turns = below(4); turns > 0; turns -= 1) await new Promise((resolve) => setImmediate(resolve))
    },
  }
}
