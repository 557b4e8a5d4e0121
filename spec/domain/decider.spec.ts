import { expect } from 'chai'
import { decider, type Decision } from '../../lib/domain/decider.js'
import { definitionOf, definitionOfMade, Replay } from '../../lib/domain/replay.js'
import { Dog } from '../support/dogs.js'
import { Fox } from '../support/foxes.js'
import { readAgain } from '../support/replayed.js'
import { findEvent, registerTopicAlias } from '../../lib/domain/topics.js'
import type { DomainEvent } from '../../lib/domain/event.js'
import { OriginatorIdError, OriginatorVersionError, ProgrammingError, TopicError } from '../../lib/errors.js'

let count = 0

/** A name that nobody has. */
function fresh(): string {
  return `Decider${++count}`
}

describe('A decider by itself', () => {
  it('decides from what is given', () => {
    const { Born, Ran, Slept } = Fox.events
    const given = [Born({ name: 'Basil' }), Ran({ km: 3 })]
    const state = given.reduce(Fox.evolve, Fox.initial())
    expect(state).to.deep.equal({ name: 'Basil', km: 3, cubs: [] })
    expect(Fox.decide(state, 'run', { km: 9 })).to.deep.equal([Ran({ km: 9 })])
    expect(Fox.decide(state, 'sleep')).to.deep.equal([Slept()])
    expect(Fox.decide(state, 'roam', { legs: [1, 2] })).to.deep.equal([Ran({ km: 1 }), Ran({ km: 2 }), Slept()])
  })

  it('decides nothing by an empty array and by nothing', () => {
    expect(Fox.decide({ name: '', km: 11, cubs: [] }, 'run', { km: 1 })).to.deep.equal([])
    expect(Fox.decide(Fox.initial(), 'sleep')).to.deep.equal([])
  })

  it('refuses by what the command throws', () => {
    expect(() => Fox.decide({ name: 'Basil', km: 0, cubs: [] }, 'rename', { name: 'Basil' })).to.throw(
      RangeError,
      'Basil',
    )
  })

  it('makes events that say what they are, and that nobody can change', () => {
    const ran = Fox.events.Ran({ km: 3 })
    expect(ran).to.deep.equal({ topic: 'Fox.Ran', name: 'Ran', data: { km: 3 } })
    expect(ran).to.be.frozen
    expect(Fox.events.Slept().data).to.deep.equal({})
  })

  it('refuses data that is no plain object', () => {
    for (const data of [7, null, 'x', [], new Date(), () => 1]) {
      expect(() => Fox.events.Ran(data as never)).to.throw(ProgrammingError, /Fox\.Ran.*plain object/)
    }
  })

  it('refuses commands and events that it has not, and says what it has', () => {
    const state = Fox.initial()
    const decide = Fox.decide as (state: unknown, name: unknown) => unknown
    expect(() => decide(state, 'bark')).to.throw(ProgrammingError, /'Fox' has no command "bark": it has bear, run/)
    expect(() => decide(state, 'toString')).to.throw(ProgrammingError, /no command/)
    expect(() => decide(state, undefined)).to.throw(ProgrammingError, /no command/)
    expect(() => Fox.evolve(state, { topic: 'Fox.Barked', data: {} })).to.throw(TopicError, /"Fox.Barked".*'Fox'/)
    expect(() => Fox.evolve(state, { topic: 'Dog.TrickAdded', data: {} })).to.throw(TopicError)
  })

  it('evolves by events that were read, under former names too', () => {
    registerTopicAlias('Vulpes', 'Fox')
    expect(Fox.evolve(Fox.initial(), { topic: 'Vulpes.Ran', data: { km: 3 } }).km).to.equal(3)
  })

  it('refuses what is no decision', () => {
    const other = decider(fresh(), { initial: () => 0 }).events({
      Born: (_state, data: { name: string }) => data.name.length,
    })
    const wrong: Record<string, unknown> = {
      number: 7,
      false: false,
      null: null,
      data: { km: 3 },
      nested: [[]],
      name: ['Ran'],
      others: other.events.Born({ name: 'x' }),
      hole: [undefined],
      noData: { topic: 'W.Ran', name: 'Ran' },
    }
    for (const [what, result] of Object.entries(wrong)) {
      const Wrong = decider(fresh(), { initial: () => 0 })
        .events({ Ran: (state) => state, Born: (state) => state })
        .commands(() => ({ err: () => result as undefined }))
      expect(() => Wrong.decide(0, 'err'), what).to.throw(ProgrammingError, /command 'err'.*must return events/)
    }
  })

  it('refuses promises, whose failure is nobody’s', async () => {
    const failures: unknown[] = []
    const noteFailure = (reason: unknown) => failures.push(reason)
    process.on('unhandledRejection', noteFailure)
    try {
      const failing = (): never => Promise.reject(new Error('nobody’s')) as never
      const Late = decider<number>(fresh(), { initial: failing })
        .events({ Ran: failing })
        .commands(() => ({ run: failing }))
      expect(() => Late.decide(0, 'run')).to.throw(ProgrammingError, /command 'run'.*promise/)
      expect(() => Late.evolve(0, Late.events.Ran())).to.throw(ProgrammingError, /promise/)
      expect(() => Late.initial()).to.throw(ProgrammingError, /initial.*promise/)
      await new Promise((resolve) => setImmediate(resolve))
    } finally {
      process.off('unhandledRejection', noteFailure)
    }
    expect(failures).to.deep.equal([])
  })

  it('refuses a handler and an initial that return no state', () => {
    const Forgetful = decider(fresh(), { initial: () => undefined as unknown as number }).events({
      Ran: (state) => void state as unknown as number,
    })
    expect(() => Forgetful.initial()).to.throw(ProgrammingError, /initial.*must return/)
    expect(() => Forgetful.evolve(0, Forgetful.events.Ran())).to.throw(
      ProgrammingError,
      /handler of .*Ran.*must return/,
    )
  })

  it('may have any other state: a number, null, a list', () => {
    const Count = decider(fresh(), { initial: () => null as number | null }).events({
      Counted: (state) => (state ?? 0) + 1,
      Cleared: () => null,
    })
    const { Counted, Cleared } = Count.events
    expect([Counted(), Counted()].reduce(Count.evolve, Count.initial())).to.equal(2)
    expect([Counted(), Cleared()].reduce(Count.evolve, Count.initial())).to.equal(null)
  })

  it('lets handlers and commands call their siblings by this', () => {
    const Own = decider(fresh(), { initial: () => 0 })
      .events({
        Ran(state, data: { km: number }) {
          return state + data.km
        },
        Returned(state, data: { km: number }): number {
          return this.Ran(state, { km: -data.km })
        },
      })
      .commands((events) => ({
        run(_state, km: number) {
          return events.Ran({ km })
        },
        back(state, km: number): Decision<{ Ran: { km: number }; Returned: { km: number } }> {
          return this.run(state, -km)
        },
      }))
    expect(Own.evolve(5, Own.events.Returned({ km: 2 }))).to.equal(3)
    expect(Own.decide(5, 'back', 2)).to.deep.equal([Own.events.Ran({ km: -2 })])
  })

  it('refuses that another aggregate’s event happens in a handler', () => {
    const dog = new Dog('Fido')
    const Meddler = decider(fresh(), { initial: () => 0 }).events({
      Ran: (state) => {
        dog.addTrick('sit')
        return state
      },
    })
    expect(() => Meddler.evolve(0, Meddler.events.Ran())).to.throw(ProgrammingError, /Dog\.TrickAdded.*applied/)
    expect(dog.version).to.equal(1)
  })
})

describe('The definition of a decider', () => {
  it('is registered with its events when these are given', () => {
    const name = fresh()
    const start = decider(name, { initial: () => 0 })
    expect(() => definitionOf(start)).to.throw(ProgrammingError, /with events/)
    expect(findEvent(`${name}.Ran`)).to.equal(undefined)
    const withEvents = start.events({ Ran: (state) => state })
    expect(findEvent(`${name}.Ran`)).to.include({ name: 'Ran', topic: `${name}.Ran`, classVersion: 1 })
    const complete = withEvents.commands(() => ({}))
    expect(definitionOf(complete)).to.equal(definitionOf(withEvents))
    expect(definitionOf(complete).aggregateClass).to.equal(complete)
    expect(complete.name).to.equal(name)
  })

  it('has a name that nothing else has', () => {
    expect(() => decider('Dog', { initial: () => 0 }).events({})).to.throw(TopicError, /"Dog"/)
    expect(() => decider('Fox', { initial: () => 0 }).events({})).to.throw(TopicError, /"Fox"/)
    const start = decider(fresh(), { initial: () => 0 })
    start.events({ Ran: (state) => state })
    expect(() => start.events({ Ran: (state) => state })).to.throw(TopicError)
  })

  it('is refused where a name can’t be one', () => {
    const initial = () => 0
    for (const name of ['', 'a\0b', 7, undefined]) {
      expect(() => decider(name as string, { initial }), String(name)).to.throw(ProgrammingError, /decider/)
    }
    const handler = (state: number) => state
    expect(() => decider(fresh(), { initial }).events({ 'a.b': handler })).to.throw(ProgrammingError, /dot/)
    expect(() => decider(fresh(), { initial }).events({ '': handler })).to.throw(ProgrammingError)
  })

  it('is refused where a function is none, or is not done when it returns', () => {
    const notOnes: unknown[] = [undefined, 7, {}, async () => 0, function* () {}, async function* () {}]
    for (const wrong of notOnes) {
      const fn = wrong as () => number
      const start = () => decider(fresh(), { initial: () => 0 })
      const none = /function that is neither async nor a generator/
      expect(() => decider(fresh(), { initial: fn })).to.throw(ProgrammingError, none)
      expect(() => start().events({ Ran: fn })).to.throw(ProgrammingError, none)
      const Ran = start().events({ Ran: (state) => state })
      expect(() => Ran.commands(() => ({ run: fn as () => never }))).to.throw(ProgrammingError, none)
      expect(() => Ran.commands(wrong as () => never)).to.throw(ProgrammingError, none)
    }
    const start = decider(fresh(), { initial: () => 0 })
    for (const wrong of [undefined, 7, [], () => 0]) {
      expect(() => decider(fresh(), wrong as never)).to.throw(ProgrammingError)
      expect(() => start.events(wrong as object)).to.throw(ProgrammingError, /handler for each event/)
    }
    const Ran = start.events({ Ran: (state) => state })
    for (const wrong of [undefined, 7, []]) {
      expect(() => Ran.commands(() => wrong as unknown as object)).to.throw(ProgrammingError, /must return an object/)
    }
  })

  it('registers nothing where a handler is refused', () => {
    const name = fresh()
    const start = decider(name, { initial: () => 0 })
    expect(() => start.events({ Ran: (state) => state, Slept: 7 as unknown as () => number })).to.throw(
      ProgrammingError,
    )
    expect(findEvent(`${name}.Ran`)).to.equal(undefined)
    start.events({ Ran: (state) => state })
  })

  it('takes upcasts behind its events, before its commands and after them, once', () => {
    const name = fresh()
    const steps = { Ran: { 1: (data: object) => data, 2: (data: object) => data } }
    const Events = decider(name, { initial: () => 0 }).events({ Ran: (state) => state, Slept: (state) => state })
    const Complete = Events.upcasts(steps).commands((events) => ({ run: () => events.Ran() }))
    expect(findEvent(`${name}.Ran`)).to.include({ classVersion: 3 })
    expect(findEvent(`${name}.Ran`)?.upcasts).to.have.length(2)
    expect(findEvent(`${name}.Slept`)?.classVersion).to.equal(1)
    expect(() => Complete.upcasts({})).to.throw(ProgrammingError, /once/)
    expect(Complete.snapshotUpcasts({ 1: (state) => state as number }).decide(0, 'run')).to.have.length(1)
    expect(definitionOf(Complete).snapshotUpcasts).to.have.length(1)
    expect(() => Complete.snapshotUpcasts({})).to.throw(ProgrammingError, /once/)
  })

  it('refuses upcasts that can’t be ones, and takes none of them', () => {
    const name = fresh()
    const wrong: unknown[] = [
      7,
      { Barked: { 1: (data: object) => data } },
      { toString: { 1: (data: object) => data } },
      { Ran: { 1: (data: object) => data }, Slept: { 2: (data: object) => data } },
    ]
    for (const [index, steps] of wrong.entries()) {
      const Wrong = decider(`${name}_${index}`, { initial: () => 0 }).events({ Ran: (s) => s, Slept: (s) => s })
      expect(() => Wrong.upcasts(steps as object), String(index)).to.throw(ProgrammingError, /upcasts|event/)
      expect(findEvent(`${name}_${index}.Ran`)?.classVersion).to.equal(1)
    }
  })

  it('keeps the state for a snapshot, and has snapshot upcasts of that state', () => {
    const Kept = decider(fresh(), { initial: () => ({ km: 0 }) })
      .events({ Ran: (state, data: { km: number }) => ({ km: state.km + data.km }) })
      .snapshotUpcasts({ 1: (state: { miles: number }) => ({ km: state.miles * 2 }), 2: undefined, 3: () => undefined })
    const definition = definitionOf(Kept) as ReturnType<typeof definitionOf> & {
      stateOf(aggregate: object): Record<string, unknown>
      restore(origin: object, state: Record<string, unknown>): object
    }
    const [first, second, third] = definition.snapshotUpcasts
    expect(first?.({ state: { miles: 3 } })).to.deep.equal({ state: { km: 6 } })
    expect(second).to.equal(undefined)
    expect(third?.({ state: {} })).to.equal(undefined)
    const origin = { id: 'a', version: 3, createdOn: new Date(1), modifiedOn: new Date(2) }
    const restored = definition.restore(origin, { state: { km: 6 } })
    expect(restored).to.deep.include({ ...origin, state: { km: 6 } })
    expect(definitionOfMade(restored)).to.equal(definition)
    expect(definition.stateOf(restored)).to.deep.equal({ state: { km: 6 } })
    expect(() => definition.restore(origin, {})).to.throw(ProgrammingError, /must return|no state/i)
  })
})

describe('Replay of a decider’s events', () => {
  it('makes id, version, state and times', () => {
    const replay = new Replay()
    for (const event of readAgain(events())) replay.take(event)
    expect(replay.aggregate).to.deep.include({
      id: 'basil',
      version: 3,
      state: { name: 'Basil', km: 5, cubs: [] },
      createdOn: new Date(1),
      modifiedOn: new Date(3),
    })
    expect(Object.keys(replay.aggregate!)).to.deep.equal(['id', 'version', 'state', 'createdOn', 'modifiedOn'])
    expect(replay.aggregate!.createdOn).not.to.equal(replay.aggregate!.modifiedOn)
    expect(definitionOfMade(replay.aggregate)).to.equal(definitionOf(Fox))
    expect(definitionOfMade(new Dog('Fido'))).to.equal(definitionOf(Dog))
    expect(definitionOfMade({})).to.equal(undefined)
  })

  it('refuses events that are not the next one, of another originator, or of something else', () => {
    const [first, second, third] = events() as [DomainEvent, DomainEvent, DomainEvent]
    const take = (...each: DomainEvent[]) => {
      const replay = new Replay()
      for (const event of readAgain(each)) replay.take(event)
    }
    expect(() => take(second)).to.throw(OriginatorVersionError, /next version is 1/)
    expect(() => take(first, third)).to.throw(OriginatorVersionError, /next version is 2/)
    expect(() => take(first, { ...second, originatorId: 'other' })).to.throw(OriginatorIdError, /'Fox' "basil"/)
    expect(() => take(first, { ...second, topic: 'Dog.TrickAdded' })).to.throw(TopicError, /'Fox'/)
    expect(() => take(first, { ...second, topic: 'Fox.Unheard' })).to.throw(TopicError)
  })
})

function events(): DomainEvent[] {
  const happened = [Fox.events.Born({ name: 'Basil' }), Fox.events.Ran({ km: 2 }), Fox.events.Ran({ km: 3 })]
  return happened.map(({ topic, data }, index) => ({
    originatorId: 'basil',
    originatorVersion: index + 1,
    topic,
    timestamp: new Date(index + 1),
    data: data,
    metadata: {},
  }))
}
