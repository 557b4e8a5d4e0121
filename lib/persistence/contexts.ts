import { AsyncLocalStorage } from 'node:async_hooks'

// What is current in this async context, kept by whose it is: a save on another datastore must not land in this one's
// transaction. One storage for all of them, since Node 20 asks every storage that was ever used at each new promise, and
// never forgets one.
const contexts = new AsyncLocalStorage<ReadonlyMap<object, unknown>>()

/** What `owner` has in the current async context. */
export function inContext(owner: object): unknown {
  return contexts.getStore()?.get(owner)
}

/** Whether something was said of `owner` in the current async context, be it that it has nothing. */
export function isSetInContext(owner: object): boolean {
  return contexts.getStore()?.has(owner) ?? false
}

/** Runs `fn` in a context where each of these owners has that value. */
export function runInContext<T>(values: readonly (readonly [owner: object, value: unknown])[], fn: () => T): T {
  const map = new Map(contexts.getStore())
  for (const [owner, value] of values) map.set(owner, value)
  return contexts.run(map, fn)
}

/** What anybody has in the current async context. */
export function allInContext(): unknown[] {
  return [...(contexts.getStore()?.values() ?? [])]
}
