import { expect } from 'chai'
import { isDeepStrictEqual } from 'node:util'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { event } from '../../lib/domain/decorators.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import { definitionOf } from '../../lib/domain/replay.js'
import { findEvent } from '../../lib/domain/topics.js'
import { ProgrammingError } from '../../lib/errors.js'
import { Cat, Dog } from '../support/dogs.js'
import { replayed } from '../support/replayed.js'

describe('An aggregate with an event map', () => {
  it('is made by its first event', () => {
    const cat = Cat.register('Tom')
    expect(cat).to.be.instanceOf(Cat)
    expect(cat.constructor).to.equal(Cat)
    expect([cat.name, cat.version]).to.deep.equal(['Tom', 1])
    const { timestamp, ...rest } = cat.pendingEvents[0]!
    expect(rest).to.deep.equal({
      originatorId: cat.id,
      originatorVersion: 1,
      topic: 'Cat.Registered',
      data: { name: 'Tom' },
      metadata: {},
    })
    expect(cat.createdOn).to.deep.equal(timestamp)
    expect(cat.id).to.match(/^[0-9a-f]{8}-[0-9a-f]{4}-4/)
  })

  it('triggers further events, and equals what they make', () => {
    const cat = Cat.register('Tom')
    cat.nap(3)
    cat.trigger('Napped', { minutes: 4 })
    expect(cat.minutesSlept).to.equal(7)
    expect(cat.version).to.equal(3)
    expect(cat.pendingEvents[2]).to.deep.include({ topic: 'Cat.Napped', data: { minutes: 4 }, originatorVersion: 3 })
    expect(isDeepStrictEqual(replayed(cat), cat)).to.equal(true)
  })

  it('may be made by any of its events', () => {
    const cat = Cat.create('Napped', { minutes: 5 })
    expect(cat.minutesSlept).to.equal(5)
    cat.trigger('Registered', { name: 'Tom' })
    expect(isDeepStrictEqual(replayed(cat), cat)).to.equal(true)
  })

  it('takes an id', () => {
    expect(Cat.create('Registered', { name: 'Tom' }, { id: 'tom' }).id).to.equal('tom')
    expect(Cat.create('Registered', { name: 'Tom' }, { id: undefined }).id).to.have.length(36)
    for (const id of ['', 'a\0', 1, null, {}]) {
      expect(() => Cat.create('Registered', { name: 'Tom' }, { id: id as string }), String(id)).to.throw(
        TypeError,
        /Cat/,
      )
    }
  })

  it('copies the data for the event, and again for the handler', () => {
    class Basket extends EventedAggregate<{ Filled: { items: string[] } }> {
      static readonly topic = 'Basket'
      items: string[] = []
      static readonly evolve: Evolve<Basket, { Filled: { items: string[] } }> = {
        Filled(basket, { items }) {
          basket.items = items
        },
      }
    }
    const items = ['a']
    const basket = Basket.create('Filled', { items })
    items.push('b')
    basket.items.push('c')
    const data = basket.pendingEvents[0]!.data as { items: string[] }
    expect(data).to.deep.equal({ items: ['a'] })
    expect(() => data.items.push('d')).to.throw(TypeError)
  })

  it('refuses to be constructed with new', () => {
    expect(() => new Cat()).to.throw(ProgrammingError, /'Cat'.*create/)
  })

  it('refuses unknown events, and data that is no plain object', () => {
    const cat = Cat.register('Tom')
    expect(() => cat.trigger('Barked' as 'Napped', { minutes: 1 })).to.throw(ProgrammingError, /'Cat'.*"Barked"/)
    expect(() => cat.trigger('toString' as 'Napped', { minutes: 1 })).to.throw(ProgrammingError)
    expect(() => Cat.create('Barked' as 'Napped', { minutes: 1 })).to.throw(ProgrammingError, /"Barked"/)
    for (const data of [undefined, null, 1, 'text', [1], new Date()]) {
      expect(() => cat.trigger('Napped', data as never)).to.throw(ProgrammingError, /Cat\.Napped.*plain object/)
      expect(() => Cat.create('Napped', data as never)).to.throw(ProgrammingError, /Cat\.Napped.*plain object/)
    }
    expect(cat.version).to.equal(1)
  })

  it('refuses a trigger in a handler, in a constructor, and in a decorated body', () => {
    type Events = { Born: object; Chained: object }
    class Chain extends EventedAggregate<Events> {
      static readonly topic = 'Chain'
      static readonly evolve: Evolve<Chain, Events> = {
        Born() {},
        Chained: (chain) => chain.trigger('Born', {}),
      }
    }
    class Impatient extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'Impatient'
      static readonly evolve: Evolve<Impatient, { Born: object }> = { Born() {} }
      constructor() {
        super()
        this.trigger('Born', {})
      }
    }
    const chain = Chain.create('Born', {})
    expect(() => chain.trigger('Chained', {})).to.throw(ProgrammingError, /Chain\.Born/)
    expect(() => Chain.create('Chained', {})).to.throw(ProgrammingError, /Chain\.Born/)
    expect(() => Impatient.create('Born', {})).to.throw(ProgrammingError, /Impatient\.Born/)
    expect([chain.version, chain.pendingEvents.length]).to.deep.equal([1, 1])
    chain.trigger('Born', {})
    expect(chain.version).to.equal(2)
  })

  it('has no event pending when a handler throws or returns a promise', () => {
    type Events = { Born: object; Failed: object; Promised: object }
    class Failing extends EventedAggregate<Events> {
      static readonly topic = 'Failing'
      static readonly evolve: Evolve<Failing, Events> = {
        Born() {},
        Failed() {
          throw new RangeError('no')
        },
        Promised: () => Promise.resolve() as unknown as void,
      }
    }
    const failing = Failing.create('Born', {})
    expect(() => failing.trigger('Failed', {})).to.throw(RangeError)
    expect(() => failing.trigger('Promised', {})).to.throw(ProgrammingError, /Failing\.Promised.*promise/)
    expect(() => Failing.create('Failed', {})).to.throw(RangeError)
    expect([failing.version, failing.pendingEvents.length]).to.deep.equal([1, 1])
  })

  it('is registered at first use', () => {
    class Late extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'Late'
      static readonly evolve: Evolve<Late, { Born: object }> = { Born() {} }
    }
    expect(findEvent('Late.Born')).to.equal(undefined)
    const definition = definitionOf(Late)
    expect(findEvent('Late.Born')?.aggregate).to.equal(definition)
    expect(definitionOf(Late)).to.equal(definition)
  })

  it('may be subclassed, with a topic of its own', () => {
    class Kitten extends Cat {
      static override readonly topic: 'Cat' = 'Kitten' as 'Cat'
    }
    class Stray extends Cat {}
    const kitten = Kitten.create('Registered', { name: 'Kit' })
    kitten.nap(1)
    expect(kitten).to.be.instanceOf(Kitten)
    expect(kitten.pendingEvents.map(({ topic }) => topic)).to.deep.equal(['Kitten.Registered', 'Kitten.Napped'])
    expect(isDeepStrictEqual(replayed(kitten), kitten)).to.equal(true)
    expect(() => Stray.create('Registered', { name: 'x' })).to.throw(ProgrammingError, /'Cat'.*topic of its own/)
    expect(() => definitionOf(Stray)).to.throw(ProgrammingError, /topic of its own/)
  })

  it('refuses a class without topic or handlers, or whose constructor takes something', () => {
    class NoTopic extends EventedAggregate<{ Born: object }> {
      static readonly evolve = { Born() {} }
    }
    class NoEvolve extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'NoEvolve'
    }
    class Empty extends EventedAggregate<{ Born: object }> {
      static readonly topic = ''
      static readonly evolve = { Born() {} }
    }
    class Dotted extends EventedAggregate<{ 'A.B': object }> {
      static readonly topic = 'Dotted'
      static readonly evolve = { 'A.B'() {} }
    }
    class Async extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'Async'
      static readonly evolve = { async Born() {} }
    }
    class NoFunction extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'NoFunction'
      static readonly evolve = { Born: 'born' }
    }
    class Taking extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'Taking'
      static readonly evolve = { Born() {} }
      constructor(readonly name: string) {
        super()
      }
    }
    expect(() => NoTopic.create('Born', {})).to.throw(ProgrammingError, /static readonly topic/)
    expect(() => NoEvolve.create('Born', {})).to.throw(ProgrammingError, /'NoEvolve'.*evolve/)
    expect(() => Empty.create('Born', {})).to.throw(ProgrammingError, /not empty/)
    expect(() => Dotted.create('A.B', {})).to.throw(ProgrammingError, /dot/)
    expect(() => Async.create('Born', {})).to.throw(ProgrammingError, /Async\.Born.*async/)
    expect(() => NoFunction.create('Born', {})).to.throw(ProgrammingError, /NoFunction\.Born.*function/)
    expect(() => Taking.create('Born', {})).to.throw(ProgrammingError, /'Taking'.*take nothing/)
    for (const name of ['NoEvolve', 'Async', 'NoFunction', 'Taking']) {
      expect(findEvent(`${name}.Born`), name).to.equal(undefined)
    }
  })

  it('refuses create on what is no class of this shape', () => {
    const { create } = EventedAggregate as unknown as { create(this: unknown, name: string, data: object): unknown }
    for (const self of [undefined, {}, Aggregate, Dog, EventedAggregate]) {
      expect(() => create.call(self, 'Born', {})).to.throw(ProgrammingError, /extends EventedAggregate/)
    }
  })

  it('refuses a field that every aggregate has', () => {
    class Versioned extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'VersionedEvented'
      static readonly evolve: Evolve<Versioned, { Born: object }> = { Born() {} }
      override version = 5
    }
    expect(() => Versioned.create('Born', {})).to.throw(ProgrammingError, /'version'/)
  })

  it('takes no decorated methods beside its handlers', () => {
    class Mixed extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'Mixed'
      static readonly evolve: Evolve<Mixed, { Born: object }> = { Born() {} }
      @event('Born') bear() {}
    }
    const mixed = Mixed.create('Born', {})
    expect(() => mixed.bear()).to.throw(ProgrammingError, /@aggregate/)
    expect(mixed.version).to.equal(1)
  })
})
