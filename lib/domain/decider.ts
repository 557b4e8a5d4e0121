import { ProgrammingError } from '../errors.js'
import { isPlainObject } from './copy.js'
import { checkFunction, DeciderDefinition, type DecidedEvent } from './decider-definition.js'
import { checkName, registerAggregate } from './topics.js'
import type { Upcasts } from './upcasts.js'

/**
 * An aggregate as functions: a state, events that change it, and commands that decide which events happen.
 *
 * ```ts
 * const Fox = decider('Fox', { initial: () => ({ km: 0 }) })
 *   .events({ Ran: (state, data: { km: number }) => ({ km: state.km + data.km }) })
 *   .commands((events) => ({
 *     run: (state, command: { km: number }) => (state.km > 10 ? [] : events.Ran(command)),
 *   }))
 * ```
 *
 * `app.execute(Fox, id, 'run', { km: 3 })` loads, decides and saves; `repository.get(Fox, id)` gives state and version.
 *
 * @param name  The first part of its events' topics. Never change it without `registerTopicAlias`.
 * @param options.initial  Makes the state before the first event; anything but `undefined`.
 * @throws ProgrammingError  The name is no text or empty, or `initial` is no function, is async or a generator.
 * @see Chassaing, "Functional Event Sourcing Decider": decide, evolve and the initial state.
 */
export function decider<State>(name: string, options: { readonly initial: () => State }): DeciderOfState<State> {
  checkName('A decider', name)
  const given: unknown = options
  if (!isPlainObject(given)) throw new ProgrammingError(`Decider '${name}' takes an object: { initial: () => … }`)
  const initial = checkFunction<() => State>(`The option initial of decider '${name}'`, given.initial)
  return Object.freeze({
    name,
    events: <Events extends EventMap<Events>>(handlers: Handlers<State, Events>) =>
      withEvents<State, Events>(name, initial, handlers),
  })
}

/** A decider that has a name and an initial state. */
export interface DeciderOfState<State> {
  readonly name: string
  /**
   * Gives it its events, and registers it: from here on its events can be read.
   *
   * @param handlers  One for each event: returns the state after it. Runs when the event happens and on every replay, so it must
   *   neither decide nor read the clock, and must leave the state it is given as it is. The type of its second parameter, a plain
   *   object, is that of the event's data.
   * @throws TopicError  Its name, or the topic of an event, is taken.
   * @throws ProgrammingError  An event's name has a dot, or a handler is no function, is async or a generator.
   */
  events<Events extends EventMap<Events>>(handlers: Handlers<State, Events>): DeciderOfEvents<State, Events>
}

/** A decider that can be replayed, and has no commands yet. */
export interface DeciderOfEvents<State, Events> extends Decider<State, Events, unknown> {
  /**
   * Gives it its commands.
   *
   * @param make  Is given what makes the events, `events.Ran(data)`, and returns a function for each command: takes the state and
   *   the command's parameter, if there is one, and returns one event, several in an array, or `[]` or nothing where nothing is to
   *   happen. Must be pure, as it may be called again after a conflict: find out before what it needs.
   * @throws ProgrammingError  A command is no function, is async or a generator.
   */
  commands<Commands>(
    make: (events: EventMakers<Events>) => CommandFunctions<State, Events, Commands>,
  ): Decider<State, Events, Commands>
  upcasts(steps: Upcasts<Events>): DeciderOfEvents<State, Events>
  snapshotUpcasts(steps: SnapshotSteps): DeciderOfEvents<State, Events>
}

/**
 * A decider, as `decider(…).events(…).commands(…)` makes it.
 *
 * @typeParam State  What its events make.
 * @typeParam Events  The data of each event, by the event's name.
 * @typeParam Commands  The parameter of each command, by the command's name; `unknown` where there is none.
 */
export interface Decider<State, Events, Commands> {
  readonly name: string
  /** Makes each event as a command decides it: `Fox.events.Ran({ km: 3 })`. Nothing happens by that. */
  readonly events: EventMakers<Events>
  /** The state before any event. */
  initial(): State
  /**
   * The state after an event, decided or read: `[…].reduce(Fox.evolve, Fox.initial())`.
   *
   * @throws TopicError  It is no event of this decider.
   * @throws ProgrammingError  Its handler returns no state, or a promise.
   */
  evolve(state: State, event: Pick<DecidedEvent, 'topic' | 'data'>): State
  /**
   * What a command decides in that state; nothing happens by it.
   *
   * @returns The events, oldest first; `[]` where nothing is to happen.
   * @throws ProgrammingError  There is no such command, or it returns something else than events of this decider.
   * @throws unknown  What the command throws.
   */
  decide<Name extends keyof Commands & string>(
    state: State,
    name: Name,
    ...command: CommandArgument<Commands[Name]>
  ): DecidedEventOf<Events>[]
  /**
   * Brings the data of older class versions to the current one: step n takes the data of class version n to n + 1.
   *
   * @returns The same decider.
   * @throws ProgrammingError  It was said before, names an event that is not there, or a step is missing or no plain function.
   */
  upcasts(steps: Upcasts<Events>): Decider<State, Events, Commands>
  /** As `upcasts`, for the state in snapshots; a step that is left out makes older snapshots useless. */
  snapshotUpcasts(steps: SnapshotSteps): Decider<State, Events, Commands>
}

/** As the steps of `Upcasts`, for snapshots; one that is `undefined` or left out makes older ones useless. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- an older version's state may be said as any type
export type SnapshotSteps = Readonly<Record<number, ((state: any) => unknown) | undefined>>

/** A decider of any state, events and commands. */
// `any`: takes those of every type
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyDecider = Decider<any, any, any>

/** The state of a decider: `StateOf<typeof Fox>`. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as above
export type StateOf<D extends AnyDecider> = D extends Decider<infer State, any, any> ? State : never

/** The data, a plain object, of each event by name; `unknown` of those that have none. */
export type EventMap<Events> = { readonly [Name in keyof Events]: unknown extends Events[Name] ? unknown : object }

/** A handler for each event: gives the state after it. */
export type Handlers<State, Events> = {
  readonly [Name in keyof Events]: (state: State, data: Events[Name]) => State
}

/** What makes each event: `events.Ran({ km: 3 })`. The data may be left out where all of it is optional. */
export type EventMakers<Events> = {
  readonly [Name in keyof Events]: (...data: DataArgument<Events[Name]>) => DecidedEvent<Name, Events[Name]>
}

/** One of a decider's events. */
export type DecidedEventOf<Events> = {
  readonly [Name in keyof Events]: DecidedEvent<Name, Events[Name]>
}[keyof Events]

/** A function for each command. */
export type CommandFunctions<State, Events, Commands> = {
  readonly [Name in keyof Commands]: (state: State, command: Commands[Name]) => Decision<Events>
}

/** What a command returns: one event, several, or none. */
// `void`: a command that decides nothing may just end
export type Decision<Events> = DecidedEventOf<Events> | readonly DecidedEventOf<Events>[] | undefined | void

/** The parameter of a command, where it has one; optional where it is that. */
export type CommandArgument<Command> = unknown extends Command
  ? [command?: IfAny<Command>]
  : undefined extends Command
    ? [command?: Command]
    : [command: Command]

type DataArgument<Data> = unknown extends Data
  ? [data?: IfAny<Data>]
  : Record<never, never> extends Data
    ? [data?: Data]
    : [data: Data]

/** `any` for that, and nothing for `unknown`. */
type IfAny<T> = 0 extends 1 & T ? T : undefined

function withEvents<State, Events>(
  name: string,
  initial: () => State,
  handlers: Handlers<State, Events>,
): DeciderOfEvents<State, Events> {
  const definition = new DeciderDefinition(name, initial, handlers)
  registerAggregate(definition)
  return made<State, Events, unknown>(definition, undefined) as DeciderOfEvents<State, Events>
}

type CommandFunction = (state: unknown, command: unknown) => unknown

/** What users have in hand: with commands, or with the method that gives it some. */
function made<State, Events, Commands>(
  definition: DeciderDefinition,
  commands: ReadonlyMap<string, CommandFunction> | undefined,
): Decider<State, Events, Commands> {
  // what the definition does has no types, which are said by the signatures here
  const decider: Decider<State, Events, Commands> = {
    name: definition.name,
    events: definition.makers as unknown as EventMakers<Events>,
    initial: () => definition.initial() as State,
    evolve: (state, event) => definition.evolve(state, event) as State,
    decide: (state, command, ...[value]) => {
      const decide = commands?.get(command) ?? noCommand(definition.name, command, commands)
      return definition.decided(command, decide(state, value)) as DecidedEventOf<Events>[]
    },
    upcasts: (steps) => {
      definition.sayUpcasts(steps)
      return decider
    },
    snapshotUpcasts: (steps) => {
      definition.saySnapshotUpcasts(steps)
      return decider
    },
    ...(!commands && {
      commands: <Given>(make: (events: EventMakers<Events>) => CommandFunctions<State, Events, Given>) =>
        made<State, Events, Given>(definition, checkCommands(definition, make)),
    }),
  }
  definition.isInHandAs(decider)
  return Object.freeze(decider)
}

function checkCommands({ name, makers }: DeciderDefinition, make: unknown): ReadonlyMap<string, CommandFunction> {
  const commands: unknown = checkFunction<(events: unknown) => unknown>(
    `What commands(…) of '${name}' takes`,
    make,
  )(makers)
  if (!isPlainObject(commands)) {
    throw new ProgrammingError(
      `Decider '${name}': commands((events) => …) must return an object with a function for each`,
    )
  }
  return new Map(
    Object.entries(commands).map(([command, decide]) => [
      command,
      checkFunction<CommandFunction>(`The command '${command}' of decider '${name}'`, decide).bind(commands),
    ]),
  )
}

function noCommand(name: string, command: unknown, commands: ReadonlyMap<string, unknown> | undefined): never {
  const known = [...(commands?.keys() ?? [])].join(', ')
  throw new ProgrammingError(
    `Decider '${name}' has no command ${JSON.stringify(command)}${known ? `: it has ${known}` : ': give it some by commands(…)'}`,
  )
}
