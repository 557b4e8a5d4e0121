import type { Writable } from 'node:stream'

/** Rejects when the client hangs up before it has its answer, and stays pending where it doesn't. */
export function hungUp(response: Writable): Promise<never> {
  return new Promise((_, reject) => {
    response.once('close', () => reject(new Error('The client hung up')))
  })
}
