/** Starts what is only started by its `then`, as Drizzle's queries are, so that it runs in the context it was made in. */
export function started<T>(result: T): T {
  const isLazy =
    typeof result === 'object' &&
    result !== null &&
    !(result instanceof Promise) &&
    typeof (result as { then?: unknown }).then === 'function'
  // whoever awaits it sees no difference
  return isLazy ? (Promise.resolve(result) as T) : result
}
