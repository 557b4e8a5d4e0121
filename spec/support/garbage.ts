import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Remembers objects without keeping them, to see which of them something else keeps. */
export class Remembered {
  readonly #refs: WeakRef<object>[] = []

  add(object: object): void {
    this.#refs.push(new WeakRef(object))
  }

  get count(): number {
    return this.#refs.length
  }

  /**
   * How many of them are still kept once garbage is collected.
   *
   * @param enough  So many are no surprise, and what the wait is over for: what has just run may keep a few for a while.
   */
  async kept(enough: number): Promise<number> {
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    let kept = this.#refs.length
    for (let tries = 0; kept > enough && tries < 10; tries += 1) {
      // an object that was made or asked for in a turn of the event loop is kept to the end of that turn
      await nextTurn()
      collectGarbage()
      kept = this.#refs.filter((ref) => ref.deref() !== undefined).length
    }
    return kept
  }
}
