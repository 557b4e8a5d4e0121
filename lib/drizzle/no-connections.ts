import { ProgrammingError } from '../errors.js'
import type { Driver } from './dialect.js'

/** The driver of a datastore without a URL, whose scopes bring their sessions: outside of them there is nothing. */
export class NoConnections implements Driver<never, never, never> {
  readonly db = undefined

  constructor(private readonly advice: string) {}

  attach(): void {
    // it has nothing to tell
  }

  async open(): Promise<void> {
    // nothing to connect to: the first scope says where
  }

  readonly begin = async () => this.#refuse()

  handleOf(): never {
    return this.#refuse()
  }

  async read(): Promise<never> {
    return this.#refuse()
  }

  async write(): Promise<never> {
    return this.#refuse()
  }

  async append(): Promise<never> {
    return this.#refuse()
  }

  async setUp(): Promise<never> {
    return this.#refuse()
  }

  async close(): Promise<void> {
    // nothing is open
  }

  #refuse(): never {
    throw new ProgrammingError(this.advice)
  }
}
