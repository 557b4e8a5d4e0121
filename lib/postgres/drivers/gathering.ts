import { outsideOfEverything } from '../../persistence/outside.js'

/** A statement that others wait for. */
export interface UnderWay {
  /** When it was sent, in ms. */
  readonly since: number
}

/**
 * Gathers what is started together, and what comes while a statement is under way, and sends it together: one statement for
 * all of them costs less than two that take turns (measured with 8 and 32 callers, on a fast disk and on a slow one).
 *
 * What comes alone is sent in the same tick of the event loop.
 */
export class Gathering<T> {
  readonly #send: (waiting: readonly T[]) => readonly T[]
  readonly #patienceMs: number
  #waiting: readonly T[] = []
  #coming: T[] = []
  #underWay: UnderWay | undefined
  #isAboutToSend = false
  #timer: NodeJS.Timeout | undefined

  /**
   * @param send  Sends a statement for some of those who wait, telling by `begin` and `end`; gives back those who are left,
   *   who wait for the next one. Not in the context of who happened to be first.
   * @param patienceMs  A statement that has had no answer for so long holds nobody up any more.
   */
  constructor(send: (waiting: readonly T[]) => readonly T[], patienceMs: number) {
    this.#send = send
    this.#patienceMs = patienceMs
  }

  add(item: T): void {
    this.#coming.push(item)
    if (this.#underWay) this.#watch()
    else this.#sendSoon()
  }

  begin(): UnderWay {
    return (this.#underWay = { since: performance.now() })
  }

  /** The answer is there. Called before anybody is told, so that those who come again at once are in the next statement. */
  end(statement: UnderWay): void {
    if (this.#underWay !== statement) return
    this.#underWay = undefined
    if (this.#size > 0) this.#sendSoon()
  }

  get #size(): number {
    return this.#waiting.length + this.#coming.length
  }

  #sendSoon(): void {
    if (this.#isAboutToSend) return
    this.#isAboutToSend = true
    // after all that goes on now without waiting for anything else: whoever is started together is here then
    process.nextTick(() => {
      this.#isAboutToSend = false
      if (!this.#underWay && this.#size > 0) this.#sendNext()
    })
  }

  #sendNext(): void {
    const waiting = this.#waiting.length > 0 ? [...this.#waiting, ...this.#coming] : this.#coming
    this.#coming = []
    this.#waiting = outsideOfEverything(() => this.#send(waiting))
    if (this.#waiting.length > 0) this.#watch()
  }

  /** Sends all that wait for a statement without an answer: it may be waiting for a connection, a lock, or for ever. */
  #watch(): void {
    // one goes over into the next: not in the context of who happened to be first
    this.#timer ??= outsideOfEverything(() => setTimeout(this.#sendOverdue, this.#patienceMs).unref())
  }

  readonly #sendOverdue = (): void => {
    this.#timer = undefined
    if (!this.#underWay || this.#size === 0) return
    if (performance.now() - this.#underWay.since < this.#patienceMs) this.#watch()
    else while (this.#size > 0) this.#sendNext()
  }
}
