import { ProgrammingError } from '../errors.js'
import { type Awaitable, isPromise } from './stages.js'
import type { StoredEvent } from './stored-event.js'

/*
 * A cipher may give promises, and what a subclass of the mapper overrides does not know that. So it is called as ever, and what
 * has to be waited for is waited for around it.
 */

/** Calls of a cipher that are under way at once for one caller. */
const atOnce = 16

/** States that have yet to be encrypted, each with what stands in for it. */
export class Sealings {
  readonly #byStandIn = new Map<Uint8Array, () => Awaitable<Uint8Array>>()

  /** Whether the cipher has given a promise. From then on it is not called before `filledIn`. */
  get areAny(): boolean {
    return this.#byStandIn.size > 0
  }

  /** What stands for the state until then. It has nothing of it: were it stored by mistake, nothing would be told. */
  standIn(seal: () => Awaitable<Uint8Array>): Uint8Array {
    const standIn = new Uint8Array(0)
    this.#byStandIn.set(standIn, seal)
    return standIn
  }

  /** The events with their states. @throws ProgrammingError  A stand-in is not among them: something was made of it. */
  filledIn(stored: readonly StoredEvent[]): Awaitable<StoredEvent[]> {
    const found = new Set(stored.map(({ state }) => state))
    for (const standIn of this.#byStandIn.keys()) {
      if (found.has(standIn)) continue
      throw new ProgrammingError(
        'The cipher gives promises, and what overrides toStoredEvent of the mapper has changed the state, which is not ' +
          'there yet: pass it on as it is',
      )
    }
    return inOrder(stored, (event) => {
      // none where it was encrypted before the cipher gave its first promise
      const sealed = this.#byStandIn.get(event.state)?.() ?? event.state
      return isPromise(sealed) ? sealed.then((state) => ({ ...event, state })) : { ...event, state: sealed }
    })
  }
}

/** States that are decrypted while an event is read: first waited for, then there. */
export class Openings {
  readonly #settled = new Map<Uint8Array, () => Uint8Array>()
  readonly #underWay: Promise<void>[] = []
  #rounds = 0

  /** Whether something has to be waited for before the event can be read. */
  get areUnderWay(): boolean {
    return this.#underWay.length > 0
  }

  /** The opened state, if it was waited for. @throws  What opening it was rejected with. */
  opened(state: Uint8Array): Uint8Array | undefined {
    return this.#settled.get(state)?.()
  }

  /** @throws ProgrammingError  Always, for nothing can be read yet; whoever reads is called again. */
  waitFor(state: Uint8Array, opening: Promise<Uint8Array>): never {
    this.#underWay.push(
      opening.then(
        (opened) => void this.#settled.set(state, () => opened),
        (error: unknown) =>
          void this.#settled.set(state, () => {
            throw error
          }),
      ),
    )
    throw new ProgrammingError('The state is not decrypted yet')
  }

  /** Resolves when nothing is under way any more. @throws ProgrammingError  It goes on and on. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay.splice(0))
    if (++this.#rounds < maxRounds) return
    throw new ProgrammingError(
      'The cipher gives promises, and what overrides decode of the mapper makes another state each time it is called: ' +
        'let it pass on the one that it was given',
    )
  }
}

/** More states than any sensible mapper makes one event of. */
const maxRounds = 10

/**
 * What `work` makes of each, in their order. As long as it gives no promise nothing is waited for; from the first one on it is
 * called for several at once. When one fails, no more are begun.
 */
export function inOrder<T, R>(items: readonly T[], work: (item: T) => Awaitable<R>): Awaitable<R[]> {
  const results: R[] = []
  for (const item of items) {
    const result = work(item)
    if (isPromise(result)) return theRest(items, work, results, result)
    results.push(result)
  }
  return results
}

async function theRest<T, R>(
  items: readonly T[],
  work: (item: T) => Awaitable<R>,
  results: R[],
  first: Promise<R>,
): Promise<R[]> {
  const at = results.length
  let next = at + 1
  let hasFailed = false
  const goOn = async (begun?: Promise<R>) => {
    try {
      if (begun) results[at] = await begun
      while (next < items.length && !hasFailed) {
        const index = next++
        results[index] = await work(items[index] as T)
      }
    } catch (error) {
      hasFailed = true
      throw error
    }
  }
  await Promise.all([goOn(first), ...Array.from({ length: atOnce - 1 }, () => goOn())])
  return results
}
