import { ProgrammingError } from '../errors.js'
import { frozenCopy, frozenValue, isPlainObject, ownCopy } from './copy.js'

/**
 * How the arguments of a decorated method or constructor are the event's data: by name, or as the one object that they
 * are.
 */
export class Signature {
  readonly #names: readonly string[]
  readonly #object: ObjectParameter

  /** @param names  One for each parameter; `[]` where the only argument, if any, is the data. */
  constructor(names: readonly string[], object: ObjectParameter) {
    this.#names = names
    this.#object = object
  }

  /** How many parameters it speaks of. */
  get length(): number {
    return this.#names.length > 0 ? this.#names.length : this.#object === 'none' ? 0 : 1
  }

  /**
   * Checks how many arguments there are, and that the one that should be a plain object is one.
   *
   * @param owner  Whose arguments, for the message: `Event 'Dog.TrickAdded'`.
   * @throws ProgrammingError  There are too many, or it is none.
   */
  check(args: readonly unknown[], owner: string): void {
    if (args.length > this.length) {
      throw new ProgrammingError(`${owner} takes ${this.length} argument(s), but was given ${args.length}`)
    }
    if (this.#names.length > 0 || isPlainObject(args[0])) return
    if (args.length === 0 && this.#object !== 'required') return
    throw new ProgrammingError(
      `${owner} takes one plain object, its data, since no parameter names were given to event(…): pass one, or give names`,
    )
  }

  /**
   * The event's data: a frozen copy of arguments that were checked. An `undefined` argument is left out.
   *
   * @throws ProgrammingError  A value that can't be kept, as `frozenCopy`.
   */
  toData(args: readonly unknown[], owner: string): Record<string, unknown> {
    if (this.#names.length === 0) return args.length === 0 ? noData : frozenCopy(args[0] as typeof noData, owner)
    const data: Record<string, unknown> = {}
    let index = 0
    for (const name of this.#names) {
      const value = frozenValue(args[index++], owner)
      if (value !== undefined) data[name] = value
    }
    return Object.freeze(data)
  }

  /** As `toArguments(ownCopy(data))`, where these are the arguments that the data was made of. */
  ownArguments(args: readonly unknown[], data: Record<string, unknown>): unknown[] {
    const names = this.#names
    if (names.length === 0) return this.#object === 'none' ? [] : [ownCopy(data)]
    const own: unknown[] = []
    let index = 0
    for (const name of names) own.push(args[index++] === undefined ? undefined : ownCopy(data[name]))
    return own
  }

  /** The arguments for the body, which may keep and change them: `data` is an event's own, and used up. */
  toArguments(data: Record<string, unknown>): unknown[] {
    const names = this.#names
    if (names.length === 0) return this.#object === 'none' ? [] : [data]
    // Data as `toData` makes it has just these keys: seeing that costs two thirds of looking for each name.
    if (isEach(names, Object.keys(data))) return Object.values(data)
    // Own values only: a parameter may be called `toString`.
    return names.map((name) => (Object.hasOwn(data, name) ? data[name] : undefined))
  }
}

const noData: Record<string, unknown> = Object.freeze({})

function isEach(names: readonly string[], keys: readonly string[]): boolean {
  if (keys.length !== names.length) return false
  for (let index = 0; index < keys.length; index++) if (keys[index] !== names[index]) return false
  return true
}

/** Whether a form without names takes the object that is the data. */
export type ObjectParameter = 'none' | 'optional' | 'required'

/**
 * Checks the parameter names given to `event`.
 *
 * @throws ProgrammingError  One is empty, no text, `__proto__`, or stands twice.
 */
export function checkParameterNames(owner: string, names: readonly unknown[]): asserts names is readonly string[] {
  names.forEach((name, index) => {
    if (typeof name !== 'string' || name === '') {
      throw new ProgrammingError(`${owner}: parameter names must be text that is not empty`)
    }
    if (name === '__proto__') throw new ProgrammingError(`${owner}: a parameter can't be named __proto__`)
    if (names.indexOf(name) !== index) {
      throw new ProgrammingError(`${owner}: the parameter name ${JSON.stringify(name)} stands twice`)
    }
  })
}

/**
 * The signature of a method that has `parameterCount` parameters before its first default value.
 *
 * @throws ProgrammingError  The names are not as many, or without names there is more than one parameter.
 */
export function signatureOf(owner: string, names: readonly string[], parameterCount: number): Signature {
  if (names.length === 0 && parameterCount > 1) {
    throw new ProgrammingError(
      `${owner} has ${parameterCount} parameters: give event(…) a name for each, or let it take one object`,
    )
  }
  if (names.length > 0 && names.length !== parameterCount) {
    throw new ProgrammingError(
      `${owner} has ${names.length} parameter names for ${parameterCount} parameters. Give one for each. Parameters from ` +
        'the first default value or ...rest on do not count: they are refused, since what they stand for would not be in ' +
        'the event, and changing it would change history. Give defaults in an undecorated command that calls this',
    )
  }
  return new Signature(names, parameterCount === 0 ? 'none' : 'required')
}

/** Whether what it does is done when it returns: it is neither `async` nor a generator. */
export function isPlainFunction(body: Function): boolean {
  return !delayed.has(Object.getPrototypeOf(body) as object)
}

const delayed = new Set<object>([
  Object.getPrototypeOf(async function () {}) as object,
  Object.getPrototypeOf(function* () {}) as object,
  Object.getPrototypeOf(async function* () {}) as object,
])

/** `unknown` where the names given to `event` fit these parameters; otherwise something that nothing is. */
export type Fitting<Parameters extends readonly unknown[], Names extends readonly string[]> = Names extends readonly []
  ? Parameters extends readonly []
    ? unknown
    : Parameters extends readonly [infer Data]
      ? ObjectOnly<Data>
      : Misfit<'without names, an event takes nothing or one required object: name each parameter in event(…)'>
  : Required<Parameters>['length'] extends Names['length']
    ? Names['length'] extends Required<Parameters>['length']
      ? unknown
      : Misfit<'give event(…) one name for each parameter'>
    : Misfit<'give event(…) one name for each parameter'>

type ObjectOnly<Data> = [Data] extends [object]
  ? [Extract<Data, NoData>] extends [never]
    ? unknown
    : Misfit<'the one parameter of an event without names must be a plain object'>
  : Misfit<'the one parameter of an event without names must be a required object'>

type NoData = readonly unknown[] | Function | Date | ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | Uint8Array

/** Nothing has this property, so the compiler refuses, and shows the reason. */
interface Misfit<Reason extends string> {
  readonly 'does not fit': Reason
}
