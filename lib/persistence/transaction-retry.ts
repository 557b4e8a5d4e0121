import { ProgrammingError } from '../errors.js'
import { isRetryable } from './retryable.js'
import { startTimer } from './timers.js'
import { isInTransaction } from './transactions.js'

/** What can be rolled back before a unit of work is repeated in it: a session managed by hand, a scope. */
export interface RetriedSession {
  /** Undoes what the attempt that failed has done. */
  rollback(): unknown
}

/** What `transactionRetry` takes. Times are in seconds. */
export interface TransactionRetryOptions {
  /**
   * What the unit of work runs in, where that was opened before; or a function that gets it from `this`. Rolled back after
   * each failure that may be repeated. Needed inside an open transaction only.
   */
  // the methods of any class may be decorated
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly session?: RetriedSession | ((self: any) => RetriedSession) | undefined
  /** How often it is repeated at most, after the first time; 0 turns it off. Default: 1. */
  readonly total?: number | undefined
  /** Seconds. The first repetition follows at once, the n-th after `backoffFactor * 2 ** (n - 1)`. Default: 0. */
  readonly backoffFactor?: number | undefined
  /** The longest wait, in seconds. Default: none is too long. */
  readonly backoffMax?: number | undefined
  /** `full`: waits between nothing and that time, so that many don't come back in step. Default: none. */
  readonly jitter?: 'full' | undefined
  /** After which errors it is repeated. Default: `isRetryable`. */
  readonly retryOn?: ((error: unknown) => boolean) | undefined
  /** Ends waiting, and keeps it from being repeated: rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** How it waits, in seconds; to be settled early by the signal. For tests. Default: a timer. */
  readonly sleep?: ((seconds: number, signal?: AbortSignal) => PromiseLike<unknown>) | undefined
}

// `any`: functions with parameters and `this` of any type
/* eslint-disable @typescript-eslint/no-explicit-any */
type AsyncFunction = (this: any, ...args: any) => Promise<unknown>
/* eslint-enable @typescript-eslint/no-explicit-any */

/** What `transactionRetry(options)` returns: for a function, or as the decorator of a method, TC39 or `experimentalDecorators`. */
export interface TransactionRetry {
  <Method extends AsyncFunction>(method: Method, context: ClassMethodDecoratorContext): Method
  <Method extends AsyncFunction>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Method>,
  ): void
  <Fn extends AsyncFunction>(fn: Fn): Fn
  <This, Args extends unknown[], T>(
    fn: (this: This, ...args: Args) => T | PromiseLike<T>,
  ): (this: This, ...args: Args) => Promise<T>
}

/**
 * Repeats a whole unit of work, such as a call of `transaction()`, when it fails with an error after which it may succeed: a
 * lost connection, a serialization failure, a deadlock, a busy database (see `isRetryable`).
 *
 * For functions, `transactionRetry(fn, options)` or `transactionRetry(options)(fn)`, and for methods, `@transactionRetry` or
 * `@transactionRetry(options)`. What it gives back takes the same arguments, and returns a promise.
 *
 * Put one transaction into a unit. Of several, those that were committed are done again when a later one fails. And a commit
 * whose answer was lost may have happened (`isOutcomeUnknown`): it is repeated as well, unless `retryOn` says otherwise.
 *
 * With `total: 5, backoffFactor: 0.1, backoffMax: 1` it waits 0, 0.2, 0.4, 0.8 and 1 s.
 *
 * @throws ProgrammingError  An option can't be, or it is on something else than a function or method. Called inside an open
 *   transaction without `session`, it rejects with one: what is lost there can't be repaired from inside. In a session that has
 *   done nothing yet it is called, and repeated until something was done in that.
 * @throws unknown  From the function it makes: the last error, unchanged; others at once; where rolling `session` back fails,
 *   the error of that; the signal's reason.
 * @see nameko-sqlalchemy, `transaction_retry`: same schedule.
 */
export function transactionRetry<Method extends AsyncFunction>(
  method: Method,
  context: ClassMethodDecoratorContext,
): Method
export function transactionRetry<Method extends AsyncFunction>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<Method>,
): void
export function transactionRetry<Fn extends AsyncFunction>(fn: Fn, options?: TransactionRetryOptions): Fn
export function transactionRetry<This, Args extends unknown[], T>(
  fn: (this: This, ...args: Args) => T | PromiseLike<T>,
  options?: TransactionRetryOptions,
): (this: This, ...args: Args) => Promise<T>
export function transactionRetry(options?: TransactionRetryOptions): TransactionRetry
export function transactionRetry(first?: unknown, second?: unknown, descriptor?: PropertyDescriptor): unknown {
  if (isKey(second) || isDecoratorContext(second)) return decorate(new Retry({}), first, second, descriptor)
  if (typeof first === 'function') return repeated(new Retry(second), first)
  const retry = new Retry(first)
  // one function stands for all of its forms; which of them it is called as is seen at run time
  return (target: unknown, context?: unknown, property?: PropertyDescriptor) =>
    isKey(context) || isDecoratorContext(context) ? decorate(retry, target, context, property) : repeated(retry, target)
}

/** The wait before the n-th repetition, from 1, in seconds. */
export function backoffSeconds(n: number, { factor, max }: { readonly factor: number; readonly max: number }): number {
  return n === 1 ? 0 : Math.min(factor * 2 ** (n - 1), max)
}

/** How often, when, and after what a unit of work is repeated. */
class Retry {
  readonly #session: TransactionRetryOptions['session']
  readonly #total: number
  readonly #backoff: { readonly factor: number; readonly max: number }
  readonly #hasJitter: boolean
  readonly #retryOn: (error: unknown) => boolean
  readonly #signal: AbortSignal | undefined
  readonly #sleep: (seconds: number, signal?: AbortSignal) => PromiseLike<unknown>

  constructor(given: unknown) {
    const options = checkOptions(given)
    this.#session = options.session
    this.#total = options.total ?? 1
    this.#backoff = { factor: options.backoffFactor ?? 0, max: options.backoffMax ?? Infinity }
    this.#hasJitter = options.jitter === 'full'
    this.#retryOn = options.retryOn ?? isRetryable
    this.#signal = options.signal
    this.#sleep = options.sleep ?? sleep
  }

  async run(self: unknown, work: () => unknown): Promise<unknown> {
    if (this.#total === 0) return work()
    if (this.#session === undefined && isInTransaction()) throw insideTransaction()
    this.#signal?.throwIfAborted()
    for (let errors = 1; ; errors += 1) {
      let failure: unknown
      try {
        return await work()
      } catch (error) {
        if (!this.#retryOn(error)) throw error
        // a session's transaction that was idle, and has begun: what was done in it would be done twice
        if (this.#session === undefined && isInTransaction()) throw error
        failure = error
      }
      // the last time too: whoever catches the error can go on with the session
      failure = await this.#afterRollback(self, failure)
      if (errors > this.#total) throw failure
      this.#signal?.throwIfAborted()
      await this.#sleep(this.#seconds(errors), this.#signal)
      this.#signal?.throwIfAborted()
    }
  }

  /** @returns The error to know: of the rollback, if that has failed too. @throws unknown  It is none to repeat after. */
  async #afterRollback(self: unknown, failure: unknown): Promise<unknown> {
    if (this.#session === undefined) return failure
    const session = sessionOf(this.#session, self)
    try {
      await session.rollback()
      return failure
    } catch (error) {
      if (!this.#retryOn(error)) throw error
      return error
    }
  }

  #seconds(n: number): number {
    const seconds = backoffSeconds(n, this.#backoff)
    return this.#hasJitter ? seconds * Math.random() : seconds
  }
}

function sessionOf(given: NonNullable<TransactionRetryOptions['session']>, self: unknown): RetriedSession {
  const session: unknown = typeof given === 'function' && !canRollBack(given) ? given(self) : given
  if (canRollBack(session)) return session
  throw new ProgrammingError(
    'The session of transactionRetry() has no rollback(): give a session, or a function that does',
  )
}

function canRollBack(session: unknown): session is RetriedSession {
  return typeof (session as Partial<RetriedSession> | null | undefined)?.rollback === 'function'
}

function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', wake)
      resolve()
    }
    const timer = startTimer(wake, seconds * 1000)
    signal?.addEventListener('abort', wake)
  })
}

type Context = { readonly kind: string; readonly name: PropertyKey } | string | symbol

function decorate(
  retry: Retry,
  target: unknown,
  context: Context,
  descriptor: PropertyDescriptor | undefined,
): unknown {
  if (!isKey(context)) {
    if (context.kind !== 'method') throw notAMethod(context.name, context.kind)
    return repeated(retry, target)
  }
  const method: unknown = descriptor?.value
  if (typeof method !== 'function') throw notAMethod(context, descriptor ? 'accessor' : 'field')
  return { ...descriptor, value: repeated(retry, method) }
}

function repeated(retry: Retry, fn: unknown): Function {
  if (typeof fn !== 'function' || /^class\b(?!\s*\()/.test(Function.prototype.toString.call(fn))) {
    throw new ProgrammingError('transactionRetry() takes a function or is on a method; with options, these come first')
  }
  if (/^(Async)?GeneratorFunction$/.test(fn.constructor.name)) {
    throw new ProgrammingError(`transactionRetry(): the generator ${fn.name || '(without a name)'} can't be repeated`)
  }
  const repeating = function (this: unknown, ...args: unknown[]): Promise<unknown> {
    return retry.run(this, (): unknown => Reflect.apply(fn, this, args))
  }
  Object.defineProperty(repeating, 'name', { value: fn.name, configurable: true })
  Object.defineProperty(repeating, 'length', { value: fn.length, configurable: true })
  return repeating
}

function isKey(context: unknown): context is string | symbol {
  return typeof context === 'string' || typeof context === 'symbol'
}

function isDecoratorContext(context: unknown): context is Exclude<Context, string | symbol> {
  return typeof context === 'object' && context !== null && 'kind' in context && 'addInitializer' in context
}

const known = ['session', 'total', 'backoffFactor', 'backoffMax', 'jitter', 'retryOn', 'signal', 'sleep']

function checkOptions(given: unknown = {}): TransactionRetryOptions {
  if (typeof given !== 'object' || given === null) {
    throw new ProgrammingError('transactionRetry() takes a function, or options')
  }
  const unknown = Object.keys(given).find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new ProgrammingError(`transactionRetry() has no option ${unknown}; it takes ${known.join(', ')}`)
  }
  const options = given as TransactionRetryOptions
  const { session, total = 0, backoffFactor = 0, backoffMax = 0, jitter, retryOn, signal, sleep } = options
  if (!Number.isSafeInteger(total) || total < 0) {
    throw new ProgrammingError('The option total must be an integer from 0: how often it is repeated at most')
  }
  if (!(typeof backoffFactor === 'number' && backoffFactor >= 0 && backoffFactor < Infinity)) {
    throw new ProgrammingError('The option backoffFactor must be a number from 0, in seconds')
  }
  if (!(typeof backoffMax === 'number' && backoffMax >= 0)) {
    throw new ProgrammingError('The option backoffMax must be a number from 0, in seconds')
  }
  if (jitter !== undefined && jitter !== 'full') throw new ProgrammingError("The option jitter takes 'full'")
  for (const [name, fn] of Object.entries({ retryOn, sleep })) {
    if (fn !== undefined && typeof fn !== 'function') throw new ProgrammingError(`The option ${name} takes a function`)
  }
  if (signal !== undefined && typeof (signal as Partial<AbortSignal> | null)?.throwIfAborted !== 'function') {
    throw new ProgrammingError('The option signal takes an AbortSignal')
  }
  if (session !== undefined && typeof session !== 'function' && !canRollBack(session)) {
    throw new ProgrammingError('The option session takes what has rollback(), or a function that gets it from this')
  }
  return options
}

function notAMethod(name: PropertyKey, kind: string): ProgrammingError {
  return new ProgrammingError(`@transactionRetry on '${String(name)}' (${kind}): only methods can be repeated`)
}

function insideTransaction(): ProgrammingError {
  return new ProgrammingError(
    'transactionRetry() was called inside an open transaction, which cannot be repaired from inside: put it around the ' +
      'outermost transaction, or give it the session that it may roll back (the option session)',
  )
}
