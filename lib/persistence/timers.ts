// a timer of a longer time fires at once; 25 days are as good as for ever
const longestMs = 2 ** 31 - 1

/** As `setTimeout`, for however long a time. */
export function startTimer(fn: () => void, ms: number): NodeJS.Timeout {
  return setTimeout(fn, Math.min(ms, longestMs))
}
