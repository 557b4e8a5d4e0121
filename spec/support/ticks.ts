/** Lets that many steps of other promises go first: where in a call something meets it, no gate can say. */
export async function ticks(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await Promise.resolve()
}
