import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'

/**
 * Runs `fn` as if nobody had called: outside of any transaction, request or other async context. For what outlives the call
 * that starts it, or is nobody's in particular.
 */
// of when the package was loaded: a room that is loaded later may be loaded by a request
export const outsideOfEverything: <T>(fn: () => T) => T = AsyncLocalStorage.snapshot()

/** `fn` as if it were called here, wherever it is called: in this transaction, request or other async context. */
export function inThisContext<F extends (...parameters: never[]) => unknown>(fn: F): F {
  // typed for functions of any parameters, with a `this` that none of ours has
  return AsyncResource.bind(fn as never)
}
