import { ProgrammingError } from '../errors.js'
import { requireSwitch } from './session.js'
import { started } from './started.js'

/** Whether what is saved is written at once: as was set, and not while a `noAutoflush` is under way. */
export class Autoflush {
  #isSet: boolean
  readonly #holding: { count: number }

  /** @param holding  How many `noAutoflush` are under way, perhaps counted with other transactions. */
  constructor(isSet: boolean, holding: { count: number }) {
    this.#isSet = isSet
    this.#holding = holding
  }

  get isOn(): boolean {
    return this.#isSet && this.#holding.count === 0
  }

  /** What is set while a `noAutoflush` is under way holds once that has ended. */
  set(on: boolean): void {
    this.#isSet = requireSwitch("A session's autoflush", on)
  }

  /** Runs `fn` with it off, until what it returns has settled. Several at a time: until the last of them has. */
  without<T>(fn: () => T): T {
    if (typeof fn !== 'function') throw new ProgrammingError('noAutoflush() takes a function')
    this.#holding.count += 1
    const done = () => {
      this.#holding.count -= 1
    }
    let result: T
    try {
      result = started(fn())
    } catch (error) {
      done()
      throw error
    }
    if (result instanceof Promise) return result.finally(done) as T
    done()
    return result
  }
}
