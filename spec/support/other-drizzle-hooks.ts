import type { InitializeHook, ResolveHook } from 'node:module'

let other: string

/** Node's: takes the name of the package that stands in for drizzle-orm. */
export const initialize: InitializeHook<string> = (name) => {
  other = name
}

/** Node's: finds that package, in this project, wherever drizzle-orm or a sub-path of it is imported. */
export const resolve: ResolveHook = (specifier, context, next) => {
  if (!/^drizzle-orm(?=\/|$)/.test(specifier)) return next(specifier, context)
  return next(specifier.replace('drizzle-orm', other), { ...context, parentURL: import.meta.url })
}
