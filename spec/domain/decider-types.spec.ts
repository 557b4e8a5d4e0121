// Of any type: what users may leave to the compiler's mercy.
/* eslint-disable @typescript-eslint/no-explicit-any */
import { expect } from 'chai'
import { decider, type AnyDecider, type Decider, type StateOf } from '../../lib/domain/decider.js'
import type { DecidedEvent, DeciderAggregate } from '../../lib/domain/decider-definition.js'
import type { Application } from '../../lib/application/application.js'
import { Fox } from '../support/foxes.js'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** The compiler refuses the file when the argument is not `true`. */
function holds<_ extends true>(): void {}

interface FoxState {
  name: string
  km: number
  cubs: string[]
}
interface FoxEvents {
  Born: { name: string }
  Ran: { km: number }
  Littered: { cubs: string[] }
  Slept: unknown
}

// Defined in functions that nobody calls: what the compiler refuses is not to run.
const compiled = {
  inference: async (app: Application) => {
    holds<Equal<StateOf<typeof Fox>, FoxState>>()
    // as it reads when hovered over: state, events and commands, each by name
    const same: Decider<
      FoxState,
      FoxEvents,
      {
        bear: { name: string }
        run: { km: number }
        litter: { cubs: string[] }
        roam: { legs: number[] }
        sleep: unknown
        rename: { name: string }
      }
    > = Fox
    holds<Equal<typeof Fox, typeof same>>()
    const any: AnyDecider[] = [Fox]

    const state = await app.execute(Fox, 'basil', 'run', { km: 3 })
    holds<Equal<typeof state, FoxState>>()
    const fox = await app.repository.get(Fox, 'basil', { version: 2 })
    holds<Equal<typeof fox, DeciderAggregate<FoxState>>>()
    holds<Equal<typeof fox.createdOn, Date>>()
    const ran = Fox.events.Ran({ km: 3 })
    holds<Equal<typeof ran, DecidedEvent<'Ran', { km: number }>>>()
    const [first] = Fox.decide(state, 'sleep')
    if (first?.name === 'Ran') holds<Equal<typeof first.data, { km: number }>>()
    const folded = [ran].reduce(Fox.evolve, Fox.initial())
    holds<Equal<typeof folded, FoxState>>()
    Fox.evolve(state, (await app.events.get('basil'))[0]!)
    await app.execute(any[0]!, 'basil', 'whatever', { of: 'any' }, { retries: 1 })
    return same
  },
  executing: async (app: Application) => {
    await app.execute(Fox, 'basil', 'run', { km: 3 }, { retries: 3 })
    await app.execute(Fox, 'basil', 'sleep')
    await app.execute(Fox, 'basil', 'sleep', undefined, { retries: 3 })
    // @ts-expect-error  no such command
    await app.execute(Fox, 'basil', 'bark', { km: 3 })
    // @ts-expect-error  an event is no command
    await app.execute(Fox, 'basil', 'Ran', { km: 3 })
    // @ts-expect-error  another command's parameter
    await app.execute(Fox, 'basil', 'run', { name: 'Basil' })
    // @ts-expect-error  of another type
    await app.execute(Fox, 'basil', 'run', { km: '3' })
    // @ts-expect-error  too much
    await app.execute(Fox, 'basil', 'run', { km: 3, miles: 2 })
    // @ts-expect-error  no parameter
    await app.execute(Fox, 'basil', 'run')
    // @ts-expect-error  a parameter for a command without
    await app.execute(Fox, 'basil', 'sleep', { km: 3 })
    // @ts-expect-error  an option that is none
    await app.execute(Fox, 'basil', 'sleep', undefined, { tries: 3 })
    // @ts-expect-error  no id
    await app.execute(Fox, 'bear', { name: 'Basil' })
    // @ts-expect-error  the same without an application
    Fox.decide(Fox.initial(), 'run')
    // @ts-expect-error  another state
    Fox.decide({ km: 3 }, 'sleep')
    // @ts-expect-error  no such command
    Fox.decide(Fox.initial(), 'bark')
  },
  parameters: async (app: Application) => {
    const Vixen = decider('Vixen', { initial: () => 0 })
      .events({
        Moved: (_state, data: { to?: number }) => data.to ?? 0,
        Anything: (state, _data: any) => state,
      })
      .commands((events) => ({
        optional: (_state, command?: { to: number }) => events.Moved(command),
        text: (_state, to: string) => [events.Moved(), events.Moved({ to: Number(to) })],
        either: (_state, to: 'den' | 'wood') => (to === 'den' ? events.Moved() : undefined),
        any: (_state, data: any) => events.Anything(data),
        none: () => [],
        mixed: (state) => (state > 1 ? events.Moved() : state > 0 ? [] : [events.Moved({ to: 1 }), events.Anything()]),
        nothing() {},
      }))
    holds<Equal<StateOf<typeof Vixen>, number>>()
    await app.execute(Vixen, 'vixen', 'optional')
    await app.execute(Vixen, 'vixen', 'optional', { to: 3 })
    await app.execute(Vixen, 'vixen', 'text', '3')
    await app.execute(Vixen, 'vixen', 'either', 'den')
    await app.execute(Vixen, 'vixen', 'any', Symbol())
    await app.execute(Vixen, 'vixen', 'nothing')
    // @ts-expect-error  another value
    await app.execute(Vixen, 'vixen', 'either', 'sea')
    // @ts-expect-error  no text
    await app.execute(Vixen, 'vixen', 'text', 3)
  },
  unions: () => {
    type Account = { status: 'none' } | { status: 'open'; balance: number } | { status: 'closed' }
    decider('AccountOfTypes', { initial: (): Account => ({ status: 'none' }) }).events({
      // @ts-expect-error  no such state
      Frozen: () => ({ status: 'frozen' }),
    })
    return decider('AccountOfTypes', { initial: (): Account => ({ status: 'none' }) })
      .events({
        Opened: () => ({ status: 'open', balance: 0 }),
        Deposited: (state, data: { amount: number }) =>
          state.status === 'open' ? { ...state, balance: state.balance + data.amount } : state,
        Closed: () => ({ status: 'closed' }),
      })
      .commands((events) => ({
        open: (state) => (state.status === 'none' ? events.Opened() : []),
        deposit: (state, amount: number) => {
          if (state.status !== 'open') throw new RangeError('It is not open')
          return events.Deposited({ amount })
        },
      }))
  },
  defining: () => {
    const start = decider('Vole', { initial: () => ({ km: 0 }) })
    start.events({
      // @ts-expect-error  no state
      Ran: (_state, _data: { km: number }) => ({ miles: 1 }),
    })
    start.events({
      // @ts-expect-error  a promise
      Ran: async (state) => state,
    })
    start.events({
      // @ts-expect-error  data that is no object
      Ran: (state, km: number) => ({ km: state.km + km }),
    })
    // @ts-expect-error  events come first
    start.commands(() => ({}))
    const Vole = start.events({
      Ran: (state, data: { km: number }) => ({ km: state.km + data.km }),
      Slept: (state) => state,
    })
    // @ts-expect-error  other data
    Vole.events.Ran({ km: '3' })
    // @ts-expect-error  no data
    Vole.events.Ran()
    // @ts-expect-error  data for an event without
    Vole.events.Slept({ hours: 3 })
    // @ts-expect-error  no such event
    Vole.events.Barked()
    // @ts-expect-error  it has no commands yet
    Vole.decide({ km: 0 }, 'run')
    Vole.commands((events) => ({
      // @ts-expect-error  other data
      run: (_state, command: { km: string }) => events.Ran(command),
      // @ts-expect-error  no such event
      bark: () => events.Barked(),
    }))
    Vole.commands(() => ({
      // @ts-expect-error  no event
      run: () => ({ km: 3 }),
    }))
    Vole.commands((events) => ({
      // @ts-expect-error  a promise
      run: async () => events.Ran({ km: 3 }),
    }))
    Vole.commands(() => ({
      // @ts-expect-error  an event of another decider
      run: () => Fox.events.Littered({ cubs: [] }),
    }))
    const Ready = Vole.commands((events) => ({ run: () => events.Ran({ km: 1 }) }))
    // @ts-expect-error  commands are said once
    Ready.commands(() => ({}))
    Ready.upcasts({ Ran: { 1: (data: { miles: number }) => ({ km: data.miles * 1.6 }), 2: (data) => data } })
      .snapshotUpcasts({ 1: (state: { miles: number }) => ({ km: state.miles }), 2: undefined })
      .decide({ km: 3 }, 'run')
    Vole.upcasts({ Ran: { 1: (data) => ({ ...data }) } }).commands((events) => ({ run: () => events.Ran({ km: 1 }) }))
    // @ts-expect-error  no such event
    Ready.upcasts({ Barked: { 1: (data) => data } })
    // @ts-expect-error  data that is no object
    Ready.upcasts({ Ran: { 1: () => 7 } })
    // @ts-expect-error  no initial state
    decider('Vole', {})
  },
}

describe('The types of deciders', () => {
  it('are inferred from handlers and commands, and refuse what does not fit', () => {
    // Compiling the file is the test.
    expect(Object.keys(compiled)).to.deep.equal(['inference', 'executing', 'parameters', 'unions', 'defining'])
  })
})
