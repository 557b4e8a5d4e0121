import { ProgrammingError } from '../errors.js'

/**
 * The variables that configure one application. Each can be set for that application alone, with its name in upper
 * snake case as a prefix: `TRAINING_SCHOOL_DRIZZLE_URL` beats `DRIZZLE_URL`, whichever layer each of them is in.
 *
 * Values are text; where a topic is wanted, the object itself will do. `undefined` is not there at all. Empty text
 * means not set and hides what is weaker, so that `TRAINING_SCHOOL_COMPRESSOR_TOPIC=` turns off for one application what
 * is on for the others; only yes/no variables refuse it, since it is neither.
 *
 * @see Python eventsourcing, `Environment`: same order.
 */
export class Environment {
  /** The application's name as given; may be empty, then nothing has a prefix. */
  readonly name: string
  readonly #prefix: string
  readonly #values = new Map<string, unknown>()

  /**
   * @param name  The application's name.
   * @param layers  Weakest first: the class's `static env`, `process.env`, the `env` option. Copied now; later changes of
   *   `process.env` are not seen.
   */
  constructor(name: string, ...layers: readonly (Readonly<Record<string, unknown>> | null | undefined)[]) {
    this.name = name
    const words = snakeCase(name).toUpperCase()
    this.#prefix = words === '' ? '' : `${words}_`
    for (const layer of layers) {
      for (const [variable, value] of Object.entries(layer ?? {})) {
        if (value !== undefined) this.#values.set(variable, value)
      }
    }
  }

  /** The value for that key, `undefined` where it is not set or is empty. */
  get(key: string): unknown {
    const value = this.#values.get(this.variable(key))
    return value === '' ? undefined : value
  }

  /** The name of the variable that is read for that key: the one with the prefix where it is there, else the key. */
  variable(key: string): string {
    const prefixed = this.#prefix + key
    return this.#values.has(prefixed) ? prefixed : key
  }

  /**
   * The text for that key, `undefined` where it is not set or is empty.
   *
   * @throws ProgrammingError  It is not text. Names the variable, never the value: it may be a key or hold a password.
   */
  text(key: string): string | undefined {
    const value = this.get(key)
    if (value === undefined || typeof value === 'string') return value
    throw new ProgrammingError(`${this.variable(key)} must be text, not of type ${typeof value}`)
  }

  /**
   * Whether that key says yes: y, yes, t, true, on, 1, or n, no, f, false, off, 0, in any case.
   *
   * @throws ProgrammingError  It is anything else, empty text included. Names the variable that was read.
   */
  yes(key: string, byDefault: boolean): boolean {
    const variable = this.variable(key)
    const value = this.#values.get(variable)
    if (value === undefined) return byDefault
    const word = typeof value === 'string' ? value.toLowerCase() : ''
    if (yesWords.includes(word)) return true
    if (noWords.includes(word)) return false
    throw new ProgrammingError(
      `${variable} must be one of ${yesWords.join(', ')} or ${noWords.join(', ')}, not ${shown(value)}`,
    )
  }

  /**
   * The integer for that key.
   *
   * @param from  The least that is accepted; `-Infinity` for any. Default: 0.
   * @throws ProgrammingError  It is not a decimal integer, or too small or too large. Names the variable that was read.
   */
  integer(key: string, byDefault: number, from = 0): number {
    const value = this.get(key)
    if (value === undefined) return byDefault
    const number = typeof value === 'string' && /^[+-]?\d+$/.test(value) ? Number(value) : NaN
    if (Number.isSafeInteger(number) && number >= from) return number
    throw new ProgrammingError(
      `${this.variable(key)} must be an integer${from === -Infinity ? '' : ` from ${from}`}, not ${shown(value)}`,
    )
  }
}

/**
 * A name in lower snake case, for table names and (in upper case) prefixes of variables: `TrainingSchool` gives
 * `training_school`, `HTTPServer` `http_server`, `Order-Desk 2` `order_desk_2`. Letters of every alphabet are kept.
 * Empty where the name has neither letters nor digits.
 */
export function snakeCase(name: string): string {
  return name
    .normalize('NFC')
    .replace(/(\p{Ll}\p{M}*|\p{N})(?=\p{Lu})/gu, '$1_')
    .replace(/(\p{Lu}\p{M}*)(?=\p{Lu}\p{M}*\p{Ll})/gu, '$1_')
    .replace(/[^\p{L}\p{M}\p{N}]+/gu, '_')
    .replace(/^_|_$/g, '')
    .toLowerCase()
}

const yesWords = ['y', 'yes', 't', 'true', 'on', '1']
const noWords = ['n', 'no', 'f', 'false', 'off', '0']

// Only for yes/no and numbers: other variables may hold a secret.
function shown(value: unknown): string {
  if (typeof value !== 'string') return `of type ${typeof value}`
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
}
