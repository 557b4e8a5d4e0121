/**
 * What an error may be called where its own words, its `name` too, could hold what it met: the name of its class.
 */
export function kindOfError(error: unknown): string {
  if (!(error instanceof Error)) return 'something that is no error'
  const { constructor } = Object.getPrototypeOf(error) as { constructor?: unknown }
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'an error'
}
