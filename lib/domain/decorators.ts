import { v4 as uuidv4 } from 'uuid'
import { OriginatorVersionError, ProgrammingError } from '../errors.js'
import {
  Aggregate,
  Definition,
  checkId,
  construct,
  createNew,
  define,
  definitionOfInstance,
  isBeingRestored,
  refuseWhileApplying,
  trigger,
  type AggregateEvent,
  type EventBody,
  type MakeAggregate,
} from './aggregate.js'
import { EventedAggregate } from './evented-aggregate.js'
import { Signature, checkParameterNames, isPlainFunction, signatureOf, type Fitting } from './signature.js'
import { checkEventName, checkName } from './topics.js'

/**
 * Names a method's event, or a constructor's as `created` of `aggregate`.
 *
 * The body of the method applies the event: it runs when the event happens and on every replay, so it must neither
 * decide nor read the clock. Works as a TC39 decorator and under `experimentalDecorators`, outermost on its method.
 *
 * @param name  In the past tense, without a dot: `'TrickAdded'`. Never change it without `registerTopicAlias`.
 * @param parameterNames  One for each parameter: the data is `{ [name]: argument }`, without what is `undefined`. None:
 *   the method takes nothing, or one plain object, which is the data.
 * @throws ProgrammingError  A name that can't be one; at definition, on anything but a plain method (not static, private,
 *   an accessor, `async` or a generator), or where names and parameters don't match; when called, while an event is
 *   applied, with other arguments, or when the body returns a promise.
 */
export function event<const Names extends readonly string[]>(
  name: string,
  ...parameterNames: Names
): EventDecorator<Names> {
  checkEventName(name)
  checkParameterNames(`Event '${name}'`, parameterNames)
  const spec: EventSpec = { name, parameterNames: Object.freeze([...parameterNames]) }
  const decorate = (target: unknown, context: unknown, descriptor?: PropertyDescriptor): unknown =>
    isMethodContext(context)
      ? decorateMethod(spec, target, context)
      : decorateProperty(spec, target, context as PropertyKey, descriptor)
  specs.set(decorate, spec)
  // One function stands for both forms of decorator; which of them it is called as is seen at run time.
  return decorate as EventDecorator<Names>
}

/**
 * Makes a subclass of `Aggregate` an aggregate with events of its own. Each subclass carries its own: inherited events
 * then have the subclass's name.
 *
 * `static createId(...)` of the class, if any, is given the constructor's arguments and returns the id; otherwise ids are
 * random UUIDs (v4). `static upcasts` brings data of older class versions to the current one, `static snapshotUpcasts` the state
 * of older snapshots: see `Upcasts` and `SnapshotUpcasts`. Both have to be in the class's body.
 *
 * Static `#private` members of the class need TC39 decorators as tsc compiles them: under `experimentalDecorators` tsc
 * refuses them, and esbuild leaves them on the class as it was before decoration.
 *
 * @param name  The first part of its events' topics: `'Dog'`. Never change it without `registerTopicAlias`.
 * @param options.created  The constructor's event. Default: the decorated parent's, where the class has no constructor
 *   of its own with parameters; otherwise `Created`, and the constructor takes nothing or one plain object.
 * @throws ProgrammingError  The class is no aggregate, is decorated already, or its constructor, events or upcasts can't be as
 *   said.
 * @throws TopicError  The name belongs to another class.
 */
export function aggregate<const Names extends readonly string[] = never>(
  name: string,
  options: { readonly created?: EventDecorator<Names> | undefined } = {},
): AggregateDecorator<Names> {
  checkName('An aggregate', name)
  const { created } = options
  const spec = created === undefined ? undefined : specs.get(created)
  if (created !== undefined && spec === undefined) {
    throw new ProgrammingError(
      `Aggregate '${name}': created must be event('…'), with names for the constructor's parameters`,
    )
  }
  const decorate = (target: unknown, context?: Partial<ClassDecoratorContext>): Function => {
    const definition = decorateClass(name, target, spec)
    // A TC39 decorator runs before the static fields are there, of which upcasts are one; the initializer after.
    if (context?.addInitializer === undefined) define(definition)
    else context.addInitializer(() => define(definition))
    return definition.aggregateClass
  }
  return decorate as AggregateDecorator<Names>
}

/** What `event` returns: a decorator for a method whose parameters fit the names, and the `created` of `aggregate`. */
export interface EventDecorator<Names extends readonly string[]> {
  <Method extends AnyMethod>(
    method: Method,
    context: ClassMethodDecoratorContext & Fitting<Parameters<Method>, Names>,
  ): Method
  <Method extends AnyMethod>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Method> & Fitting<Parameters<Method>, Names>,
  ): void
}

/** What `aggregate` returns: a decorator for a class whose constructor fits its created event. */
export type AggregateDecorator<Names extends readonly string[]> = <Class extends { readonly prototype: Aggregate }>(
  target: Class & FittingClass<Class, Names>,
  // Not `ClassDecoratorContext`, which refuses a private constructor.
  context?: { readonly kind: 'class' },
) => Class

// `any`: parameters of any type fit nothing else, `never` and `unknown` included, without losing their inference.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type AnyMethod = (...args: any) => unknown

// Without `created` the parent's constructor may count, of which a class's type knows nothing: checked at run time. A
// private constructor can't be seen from here either.
type FittingClass<Class, Names extends readonly string[]> = [Names] extends [never]
  ? unknown
  : // eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
    Class extends abstract new (...args: infer Args extends any[]) => unknown
    ? Fitting<Args, Names>
    : unknown

interface EventSpec {
  readonly name: string
  readonly parameterNames: readonly string[]
}

/** A method that makes an event happen. */
class DecoratedMethod {
  /** Applies the event by this method's body. */
  readonly apply: EventBody = (self, data) => this.#run(self, this.#signature.toArguments(data))
  readonly #signature: Signature
  readonly #body: Function
  #definition: Definition | undefined
  #event: AggregateEvent | undefined

  constructor(
    readonly spec: EventSpec,
    signature: Signature,
    body: Function,
  ) {
    this.#signature = signature
    this.#body = body
  }

  /** Called as a method of `self`. */
  trigger(self: unknown, args: readonly unknown[]): unknown {
    const definition = definitionOfInstance(self)
    if (definition === undefined) {
      throw new ProgrammingError(
        `The method of event '${this.spec.name}' was called without its aggregate: call it as a method, or bind it`,
      )
    }
    const aggregate = self as Aggregate
    const event = this.#eventIn(definition)
    refuseWhileApplying(event.topic)
    const signature = this.#signature
    signature.check(args, event.label)
    const data = signature.toData(args, event.label)
    // a subclass that overrides the method has the event applied by its own
    if (event.body !== this.apply) return trigger(aggregate, event, data)
    return trigger(aggregate, event, data, () => this.#run(aggregate, signature.ownArguments(args, data)))
  }

  #run(self: Aggregate, args: unknown[]): unknown {
    return Reflect.apply(this.#body, self, args)
  }

  /** Its event in that class. @throws ProgrammingError  The class has none of that name. */
  #eventIn(definition: Definition): AggregateEvent {
    // Most methods are called on one class: asking the maps each time costs as much as the rest of the call.
    if (this.#event !== undefined && this.#definition === definition) return this.#event
    const event = classes.has(definition.aggregateClass) ? definition.events.get(this.spec.name) : undefined
    if (event === undefined) {
      throw new ProgrammingError(
        `'${definition.name}' has no event '${this.spec.name}': put @event outermost on its method, in a class with @aggregate`,
      )
    }
    this.#definition = definition
    this.#event = event
    return event
  }
}

interface DecoratedClass {
  readonly created: EventSpec
  readonly signature: Signature
}

const defaultCreated: EventSpec = { name: 'Created', parameterNames: [] }

const specs = new WeakMap<Function, EventSpec>()
/** By what stands in the method's place. */
const methods = new WeakMap<Function, DecoratedMethod>()
/** By what stands in the class's place. */
const classes = new WeakMap<Function, DecoratedClass>([
  [Aggregate, { created: defaultCreated, signature: new Signature([], 'none') }],
])

function isMethodContext(context: unknown): context is DecoratorContext {
  return typeof context === 'object' && context !== null && 'kind' in context
}

function decorateMethod(spec: EventSpec, method: unknown, context: DecoratorContext): Function {
  const owner = `@event('${spec.name}') on ${shown(context.name)}`
  if (context.kind !== 'method') refuseKind(owner, context.kind)
  if (context.static) refuseKind(owner, 'static method')
  if (context.private) refuseKind(owner, '#private method')
  return decorated(owner, spec, method as Function)
}

function decorateProperty(
  spec: EventSpec,
  target: unknown,
  key: PropertyKey,
  descriptor: PropertyDescriptor | undefined,
): PropertyDescriptor {
  const owner = `@event('${spec.name}') on ${shown(key)}`
  if (typeof target === 'function') refuseKind(owner, key === undefined ? 'class' : 'static method')
  if (descriptor === undefined) refuseKind(owner, 'field')
  if (typeof descriptor.value !== 'function') refuseKind(owner, descriptor.get ? 'getter' : 'setter')
  return { ...descriptor, value: decorated(owner, spec, descriptor.value as Function) }
}

function refuseKind(owner: string, kind: string): never {
  throw new ProgrammingError(
    `${owner} (${kind}): only a method of the instances can be an event. Decorate one, ` +
      (kind === '#private method'
        ? 'with the keyword `private` or `protected` if it should be'
        : 'and call it from there'),
  )
}

function decorated(owner: string, spec: EventSpec, body: Function): Function {
  if (!isPlainFunction(body)) {
    throw new ProgrammingError(
      `${owner}: an async method or a generator can't be an event, which is applied at once. Await in an undecorated ` +
        'command, and decorate a method that it then calls',
    )
  }
  if (methods.has(body)) throw new ProgrammingError(`${owner}: it is an event already. Give each its own method`)
  const signature = signatureOf(owner, spec.parameterNames, body.length)
  const decorated = new DecoratedMethod(spec, signature, body)
  const method = function (this: unknown, ...args: unknown[]): unknown {
    return decorated.trigger(this, args)
  }
  Object.defineProperty(method, 'name', { value: body.name, configurable: true })
  Object.defineProperty(method, 'length', { value: body.length, configurable: true })
  methods.set(method, decorated)
  return method
}

/** What stands in the class's place is its definition's, not registered yet. */
function decorateClass(name: string, target: unknown, given: EventSpec | undefined): Definition {
  checkClass(name, target)
  const { created, signature } = createdEvent(name, target, given)
  const aggregateClass: Function = new Proxy(target, {
    construct: (_target, args: unknown[], newTarget) =>
      // A subclass's super(…) comes by here too, and makes no event of this class.
      newTarget === aggregateClass && !isBeingRestored(target)
        ? createByConstructor(definition, creation, signature, target, args)
        : (Reflect.construct(target, args, newTarget === aggregateClass ? target : newTarget) as object),
  })
  const make: MakeAggregate = (event, { body }) => {
    if (body !== undefined) {
      throw new OriginatorVersionError(
        `Event '${event.topic}' of ${JSON.stringify(event.originatorId)} can't be the first: '${created.name}' makes a '${name}'`,
      )
    }
    return construct(definition, target, signature.toArguments(event.data), event)
  }
  const definition: Definition = new Definition(name, aggregateClass, make, target)
  const creation = definition.add(created.name)
  for (const [eventName, method] of eventMethods(name, target)) {
    if (eventName === created.name) {
      throw new ProgrammingError(`Aggregate '${name}': '${eventName}' is its created event and a method's: rename one`)
    }
    definition.add(eventName, method.apply)
  }
  classes.set(aggregateClass, { created, signature })
  Object.defineProperty(target.prototype, 'constructor', { value: aggregateClass, writable: true, configurable: true })
  return definition
}

function createByConstructor(
  definition: Definition,
  created: AggregateEvent,
  signature: Signature,
  target: Function,
  args: readonly unknown[],
): Aggregate {
  signature.check(args, created.label)
  const id = checkId(definition.name, newId(definition, args))
  const data = signature.toData(args, created.label)
  return createNew(created, id, data, (event) =>
    construct(definition, target, signature.ownArguments(args, data), event),
  )
}

function newId({ name, aggregateClass }: Definition, args: readonly unknown[]): unknown {
  const { createId } = aggregateClass as { createId?: unknown }
  if (createId === undefined) return uuidv4()
  if (typeof createId === 'function') return Reflect.apply(createId, aggregateClass, args)
  throw new ProgrammingError(`static createId of '${name}' must be a function that returns an id`)
}

function checkClass(name: string, target: unknown): asserts target is AggregateClass {
  const owner = `@aggregate('${name}')`
  if (typeof target !== 'function' || !(target.prototype instanceof Aggregate)) {
    throw new ProgrammingError(`${owner} must be on a class that extends Aggregate`)
  }
  if (target.prototype instanceof EventedAggregate) {
    throw new ProgrammingError(`${owner}: an EventedAggregate is named by its static topic and takes no decorator`)
  }
  if (classes.has(target)) {
    throw new ProgrammingError(`${owner}: the class has an @aggregate already`)
  }
}

interface AggregateClass extends Function {
  readonly prototype: Aggregate
}

function createdEvent(name: string, target: Function, given: EventSpec | undefined): DecoratedClass {
  const owner = `The constructor of '${name}'`
  // A class without a constructor of its own has a length of 0, as one that takes nothing: the one above it counts then.
  let constructing = target
  while (constructing.length === 0 && !classes.has(constructing))
    constructing = Object.getPrototypeOf(constructing) as Function
  const parent = classes.get(constructing)
  const created = given ?? parent?.created ?? defaultCreated
  if (parent === undefined)
    return { created, signature: signatureOf(owner, created.parameterNames, constructing.length) }
  if (given === undefined) return parent
  if (given.parameterNames.length > 0) {
    return { created, signature: signatureOf(owner, given.parameterNames, parent.signature.length) }
  }
  return { created, signature: new Signature([], parent.signature.length === 0 ? 'none' : 'optional') }
}

/** The events of a class's methods by name, the nearest first where a subclass overrides a method. */
function eventMethods(name: string, target: AggregateClass): Map<string, DecoratedMethod> {
  const found = new Map<string, DecoratedMethod>()
  const keys = new Map<string, PropertyKey>()
  for (
    let each: object = target.prototype;
    each !== Aggregate.prototype;
    each = Object.getPrototypeOf(each) as object
  ) {
    for (const key of Reflect.ownKeys(each)) {
      const value: unknown = Object.getOwnPropertyDescriptor(each, key)?.value
      const method = typeof value === 'function' ? methods.get(value) : undefined
      if (method === undefined) continue
      const { name: eventName } = method.spec
      const known = keys.get(eventName)
      if (known === undefined) {
        found.set(eventName, method)
        keys.set(eventName, key)
      } else if (known !== key) {
        throw new ProgrammingError(
          `Aggregate '${name}': the event '${eventName}' is on ${shown(key)} and on ${shown(known)}: rename one`,
        )
      }
    }
  }
  return found
}

function shown(key: PropertyKey | undefined): string {
  return `'${String(key)}'`
}
