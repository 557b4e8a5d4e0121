import { expect } from 'chai'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import { definitionOf } from '../../lib/domain/replay.js'
import { findEvent } from '../../lib/domain/topics.js'
import {
  checkedSnapshotUpcasts,
  checkedUpcasts,
  upcast,
  type SnapshotUpcasts,
  type Upcasts,
} from '../../lib/domain/upcasts.js'
import { ProgrammingError } from '../../lib/errors.js'

type Data = Record<string, unknown>

/** A class of that name with these statics, compiled as the specs are: with TC39 decorators. */
function defineLighthouse(name: string, upcasts: unknown, snapshotUpcasts?: unknown) {
  @aggregate(name, { created: event('Built', 'place') })
  class Lighthouse extends Aggregate {
    static upcasts = upcasts
    static snapshotUpcasts = snapshotUpcasts
    constructor(readonly place: string) {
      super()
    }
    @event('Lit', 'by') light(_by: string) {}
  }
  return Lighthouse
}

function defineBuoy(topic: string, upcasts: unknown, snapshotUpcasts?: unknown) {
  class Buoy extends EventedAggregate<{ Built: object; Lit: object }> {
    static readonly topic = topic
    static readonly upcasts = upcasts
    static readonly snapshotUpcasts = snapshotUpcasts
    static readonly evolve: Evolve<Buoy, { Built: object; Lit: object }> = { Built() {}, Lit() {} }
  }
  return Buoy
}

const shapes = { 'a decorated class': defineLighthouse, 'an EventedAggregate': defineBuoy }
let count = 0
const freshName = () => `Upcasting${(count += 1)}`
const versionOf = (topic: string) => findEvent(topic)?.classVersion
/** Makes an own property of any name: a literal's `__proto__` makes none. */
const odd = (key: string | symbol, value: unknown) => Object.defineProperty({}, key, { value, enumerable: true })
const same = (data: Data) => data

describe('Upcasts', () => {
  for (const [shape, define] of Object.entries(shapes)) {
    describe(`of ${shape}`, () => {
      it('count the class versions, those of the first event included', () => {
        const name = freshName()
        definitionOf(define(name, { Built: { 1: same }, Lit: { 1: same, 2: same } }, { 1: same }))
        expect([versionOf(`${name}.Built`), versionOf(`${name}.Lit`)]).to.deep.equal([2, 3])
        expect(findEvent(`${name}.Lit`)?.upcasts).to.have.length(2)
        expect(findEvent(`${name}.Lit`)?.aggregate.snapshotUpcasts).to.have.length(1)
      })

      it('may be few, none, or only declared', () => {
        for (const upcasts of [undefined, {}, { Lit: {} }]) {
          const name = freshName()
          definitionOf(define(name, upcasts))
          expect([versionOf(`${name}.Built`), versionOf(`${name}.Lit`)]).to.deep.equal([1, 1])
          expect(findEvent(`${name}.Lit`)?.aggregate.snapshotUpcasts).to.deep.equal([])
        }
      })

      it('are refused where they can’t be ones, with nothing registered', () => {
        const refused: [unknown, RegExp][] = [
          [{ Lid: { 1: same } }, /no event "Lid", but Built, Lit/],
          [{ toString: { 1: same } }, /no event "toString"/],
          [{ Lit: { 1: same, 3: same } }, /'.*\.Lit': step 2 is missing/],
          [{ Lit: { 2: same } }, /step 1 is missing/],
          [{ Lit: { 0: same } }, /"0" is no version/],
          [{ Lit: { 1.5: same } }, /"1\.5" is no version/],
          [{ Lit: { 12345: same } }, /no version/],
          [{ Lit: odd('__proto__', same) }, /"__proto__" is no version/],
          [{ Lit: odd(Symbol('secret'), same) }, /no version/],
          [{ Lit: { v1: same } }, /"v1" is no version/],
          [{ Lit: { 1: undefined } }, /step 1 must be a function/],
          [{ Lit: { 1: {} } }, /step 1 must be a function/],
          [{ Lit: { 1: async (data: Data) => data } }, /async/],
          [{ Lit: { 1: function* () {} } }, /generator/],
          [{ Lit: same }, /'.*\.Lit' must be an object/],
          [{ Lit: [same] }, /must be an object/],
          [{ Lit: undefined }, /must be an object/],
          [{ Lit: null }, /must be an object/],
          [same, /must be an object with the steps of each event/],
          [[], /must be an object/],
          [new Map(), /must be an object/],
          [null, /must be an object/],
        ]
        for (const [upcasts, why] of refused) {
          const name = freshName()
          expect(() => definitionOf(define(name, upcasts)), String(why)).to.throw(ProgrammingError, why)
          expect(() => definitionOf(define(name, upcasts)), String(why)).to.throw(ProgrammingError, why)
          expect(findEvent(`${name}.Lit`)).to.equal(undefined)
        }
        for (const snapshotUpcasts of [same, [same], { 0: same }, { one: same }, { 1: 'x' }, { 1: async () => ({}) }]) {
          const name = freshName()
          expect(() => definitionOf(define(name, {}, snapshotUpcasts))).to.throw(
            ProgrammingError,
            `static snapshotUpcasts of '${name}'`,
          )
          expect(findEvent(`${name}.Lit`)).to.equal(undefined)
        }
      })
    })
  }

  it('of a class count for its subclasses’ inherited events, unless these have their own', () => {
    const fromParent = (data: Data) => ({ ...data, from: 'parent' })
    @aggregate('Tower', { created: event('Built', 'place') })
    class Tower extends Aggregate {
      static upcasts: Upcasts = { Built: { 1: fromParent }, Lit: { 1: fromParent, 2: same }, Sold: { 1: fromParent } }
      static snapshotUpcasts: SnapshotUpcasts = { 1: fromParent }
      constructor(readonly place: string) {
        super()
      }
      @event('Lit', 'by') light(_by: string) {}
      @event('Sold', 'to') sell(_to: string) {}
      @event('Closed') close() {}
    }
    @aggregate('ClockTower', { created: event('Founded', 'place') })
    class ClockTower extends Tower {
      static override upcasts: Upcasts = { Lit: { 1: same }, Sold: {}, Wound: { 1: same } }
      @event('Wound') wind() {}
    }
    @aggregate('BellTower')
    class BellTower extends ClockTower {
      static override snapshotUpcasts = { 1: same, 2: same }
    }
    const versions = (name: string) =>
      [...(definitionOf({ Tower, ClockTower, BellTower }[name]).events.values() ?? [])].map((each) => [
        each.topic,
        each.classVersion,
      ])
    expect(versions('Tower')).to.have.deep.members([
      ['Tower.Built', 2],
      ['Tower.Lit', 3],
      ['Tower.Sold', 2],
      ['Tower.Closed', 1],
    ])
    for (const name of ['ClockTower', 'BellTower']) {
      expect(versions(name)).to.have.deep.members([
        [`${name}.Founded`, 1],
        [`${name}.Lit`, 2],
        [`${name}.Sold`, 1],
        [`${name}.Closed`, 1],
        [`${name}.Wound`, 2],
      ])
    }
    expect(definitionOf(Tower).snapshotUpcasts).to.deep.equal([fromParent])
    expect(definitionOf(ClockTower).snapshotUpcasts).to.deep.equal([fromParent])
    expect(definitionOf(BellTower).snapshotUpcasts).to.have.length(2)
  })

  it('are inherited by EventedAggregates, registered before or after the class above', () => {
    class Vessel extends EventedAggregate<{ Sailed: { to: string } }> {
      static readonly topic: string = 'Vessel'
      static readonly upcasts: Upcasts<{ Sailed: object }> = { Sailed: { 1: (data) => ({ to: data.port }) } }
      static readonly evolve: Evolve<Vessel, { Sailed: { to: string } }> = { Sailed() {} }
    }
    class Yacht extends Vessel {
      static override readonly topic = 'Yacht'
    }
    definitionOf(Yacht)
    definitionOf(Vessel)
    expect([versionOf('Vessel.Sailed'), versionOf('Yacht.Sailed')]).to.deep.equal([2, 2])
    // the compiler knows as well
    // @ts-expect-error  no such event
    const wrong: Upcasts<{ Sailed: object }> = { Sunk: { 1: same } }
    expect(wrong).to.have.property('Sunk')
  })

  it('are there for an event of a class that is still being defined', () => {
    let made: Aggregate | undefined
    @aggregate('Pier')
    class Pier extends Aggregate {
      static first = new Pier()
      static {
        made = new Pier()
      }
      static upcasts = { Created: { 1: same } }
    }
    expect(versionOf('Pier.Created')).to.equal(2)
    for (const pier of [made, Pier.first]) {
      expect(pier?.pendingEvents[0]).to.include({ topic: 'Pier.Created' })
      expect(pier).to.be.instanceOf(Pier)
    }
  })

  it('may be said of snapshots with gaps, since these can be taken anew', () => {
    expect(checkedSnapshotUpcasts('it', {})).to.deep.equal([])
    expect(checkedSnapshotUpcasts('it', { 3: same })).to.deep.equal([undefined, undefined, same])
    expect(checkedSnapshotUpcasts('it', { 1: same, 2: undefined })).to.deep.equal([same, undefined])
    expect(checkedUpcasts('it', { 2: same, 1: same })).to.deep.equal([same, same])
  })
})

describe('Upcasting', () => {
  const run = (data: Data, steps: Record<number, unknown>, from = 1) =>
    upcast(data, checkedUpcasts('it', steps), from, (why) => {
      throw new RangeError(why)
    })

  it('takes the steps that are missing, in order', () => {
    const steps = { 1: (d: Data) => ({ n: [d.n, 1] }), 2: (d: Data) => ({ n: [d.n, 2] }) }
    expect(run({ n: 0 }, steps)).to.deep.equal({ n: [[0, 1], 2] })
    expect(run({ n: 0 }, steps, 2)).to.deep.equal({ n: [0, 2] })
    expect(run({ n: 0 }, steps, 3)).to.deep.equal({ n: 0 })
  })

  it('lets a step change the data in place, and gives it what nobody else has', () => {
    const changing = { 1: (d: { tags?: string[] }) => ((d.tags ??= []).push('old'), d) }
    expect(run({}, changing)).to.deep.equal({ tags: ['old'] })
    const shared = Object.freeze({ tags: Object.freeze(['old']), by: { name: 'nobody' }, at: new Date(0) })
    const [one, other] = [run({}, { 1: () => shared }), run({}, { 1: () => shared })] as [typeof shared, typeof shared]
    expect(one).to.deep.equal(shared)
    ;(one.tags as string[]).push('new')
    one.by.name = 'Ann'
    one.at.setTime(1)
    expect(other).to.deep.equal({ tags: ['old'], by: { name: 'nobody' }, at: new Date(0) })
    expect([shared.by.name, shared.at.getTime()]).to.deep.equal(['nobody', 0])
    expect(shared.by).not.to.be.frozen
  })

  it('gives each step values of its own, also where the one before it put in some that others have', () => {
    const none: string[] = []
    const steps = {
      1: (d: Data) => ({ ...d, tags: none }),
      2: (d: { tags: string[] }) => (d.tags.push('old'), d),
    }
    for (let time = 0; time < 3; time++) expect(run({}, steps)).to.deep.equal({ tags: ['old'] })
    expect(none).to.deep.equal([])
  })

  it('calls a step as a function, with the data alone', () => {
    const calls: unknown[][] = []
    run(
      { n: 1 },
      {
        1(this: unknown, ...args: unknown[]) {
          calls.push([this, ...args])
          return args[0]
        },
      },
    )
    expect(calls).to.deep.equal([[undefined, { n: 1 }]])
  })

  it('refuses what a step makes that can’t be data, and says nothing of what is in it', () => {
    const failures: [(data: Data) => unknown, RegExp][] = [
      [() => undefined, /step 1 of its upcasts returns no plain object: let it return the data/],
      [() => ['secret'], /no plain object/],
      [() => null, /no plain object/],
      [() => 'secret', /no plain object/],
      [() => new Map([['secret', 1]]), /no plain object/],
      [(data) => Promise.resolve(data), /returns a promise/],
      [() => Promise.reject(new Error('secret')), /returns a promise/],
      [() => ({ secret: () => 1 }), /what its upcasts make holds a function/],
      [() => ({ secret: Symbol('secret') }), /symbol/],
      [
        () => {
          const self: Data = {}
          self['self'] = self
          return self
        },
        /levels, or itself/,
      ],
      [
        () => {
          throw new TypeError('secret')
        },
        /step 1 of its upcasts failed with TypeError$/,
      ],
      [
        () => {
          throw new ProgrammingError('secret')
        },
        /step 1 of its upcasts failed with ProgrammingError$/,
      ],
      [
        () => {
          // what is set as its name may be anything
          throw Object.assign(new RangeError('secret'), { name: 'secret' })
        },
        /failed with RangeError$/,
      ],
      [
        () => {
          throw 'secret'
        },
        /failed with something that is no error$/,
      ],
    ]
    for (const [step, why] of failures) {
      expect(() => run({ secret: 'secret' }, { 1: step, 2: same }), String(why))
        .to.throw(RangeError, why)
        .with.property('message')
        .that.does.not.include('secret')
    }
  })

  it('refuses a version that no step leads on from', () => {
    const steps = checkedSnapshotUpcasts('it', { 2: same })
    const refuse = (why: string): never => {
      throw new RangeError(why)
    }
    expect(() => upcast({}, steps, 1, refuse)).to.throw(RangeError, /no step 1/)
    expect(upcast({ a: 1 }, steps, 2, refuse)).to.deep.equal({ a: 1 })
  })
})
