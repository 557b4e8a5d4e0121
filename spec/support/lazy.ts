/** What starts only when it is awaited, and calls itself a promise all the same: as Drizzle's queries do. */
export function lazy<T>(start: () => Promise<T>): Promise<T> {
  const query: PromiseLike<T> = { then: (fulfilled, rejected) => start().then(fulfilled, rejected) }
  return query as Promise<T>
}
