import { expect } from 'chai'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import type { Dog, Puppy } from '../support/dogs.js'
import { Cat, type CatEvents } from '../support/dogs.js'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** The compiler refuses the file when the argument is not `true`. */
function holds<_ extends true>(): void {}

// Defined in functions that nobody calls: what the compiler refuses is not to run.
const compiled = {
  methods: () => {
    class Kennel extends Aggregate {
      @event('A') nothing() {}
      @event('B') object(_to: { x: number; y?: string }) {}
      @event('C', 'a') one(_a: string) {}
      @event('D', 'a', 'b') two(_a: string, _b: number) {}
      @event('E', 'a', 'b') optional(_a: string, _b?: number) {}
      @event('F', 'list') list(_list: readonly string[]) {}
      @event('G', 'item') generic<T>(item: T): T {
        return item
      }
      @event('H') any(_data: Named) {}
      @event('I', 'a') protected protectedOne(_a: string) {}
      @event('J', 'a') private privateOne(_a: string) {}
      use() {
        this.privateOne('a')
        // @ts-expect-error  the parameters survive decoration
        this.one(1)
        // @ts-expect-error  and their number
        this.two('a')
        const item: string = this.generic('a')
        return item
      }

      // @ts-expect-error  a name too few
      @event('N', 'a') tooFew(_a: string, _b: string) {}
      // @ts-expect-error  a name too many
      @event('O', 'a', 'b') tooMany(_a: string) {}
      // @ts-expect-error  a name for nothing
      @event('P', 'a') none() {}
      // @ts-expect-error  no names, two parameters
      @event('Q') twoObjects(_a: object, _b: object) {}
      // @ts-expect-error  no names, not an object
      @event('R') text(_a: string) {}
      // @ts-expect-error  no names, not an object
      @event('S') number(_a: number) {}
      // @ts-expect-error  no names, an array
      @event('T') array(_a: string[]) {}
      // @ts-expect-error  no names, a Date
      @event('U') date(_a: Date) {}
      // @ts-expect-error  no names, an optional object
      @event('V') optionalObject(_a?: { x: number }) {}
      // @ts-expect-error  no names, a default value
      @event('W') defaultObject(_a: { x: number } = { x: 1 }) {}
      // @ts-expect-error  no names, perhaps undefined
      @event('X') maybe(_a: { x: number } | undefined) {}
      // @ts-expect-error  no names, unknown
      @event('Y') unknown(_a: unknown) {}
      // @ts-expect-error  rest, without names
      @event('Z') rest(..._a: string[]) {}
      // @ts-expect-error  rest, with a name
      @event('AA', 'a') namedRest(..._a: string[]) {}
      // @ts-expect-error  a field
      @event('BB', 'a') field = (_a: string) => {}
      // @ts-expect-error  a getter
      @event('CC') get getter() {
        return 1
      }
      // @ts-expect-error  an accessor
      @event('DD') accessor accessor = 1
    }
    return Kennel
  },
  constructors: () => {
    @aggregate('A')
    class A extends Aggregate {}
    @aggregate('B', { created: event('Born') })
    class B extends Aggregate {
      constructor(readonly data: { name: string }) {
        super()
      }
    }
    @aggregate('C', { created: event('Born', 'name', 'age') })
    class C extends Aggregate {
      constructor(
        readonly name: string,
        readonly age?: number,
      ) {
        super()
      }
    }
    @aggregate('D', { created: event('Born', 'name') })
    class D extends Aggregate {
      private constructor(readonly name: string) {
        super()
      }
      static bear(name: string) {
        return new D(name)
      }
    }
    @aggregate('E')
    abstract class E extends Aggregate {}
    // @ts-expect-error  a name too few
    @aggregate('N', { created: event('Born') })
    class N extends Aggregate {
      constructor(readonly name: string) {
        super()
      }
    }
    // @ts-expect-error  a name too many
    @aggregate('O', { created: event('Born', 'name', 'age') })
    class O extends Aggregate {
      constructor(readonly name: string) {
        super()
      }
    }
    // @ts-expect-error  an optional object
    @aggregate('P', { created: event('Born') })
    class P extends Aggregate {
      constructor(readonly data: { x: number } = { x: 1 }) {
        super()
      }
    }
    // @ts-expect-error  no aggregate
    @aggregate('Q')
    class Q {}
    // @ts-expect-error  created is an event(…)
    @aggregate('R', { created: 'Born' })
    class R extends Aggregate {}
    return [A, B, C, D, E, N, O, P, Q, R]
  },
  evented: () => {
    const cat = Cat.create('Registered', { name: 'Tom' }, { id: 'tom' })
    holds<Equal<typeof cat, Cat>>()
    holds<Equal<ReturnType<typeof Cat.register>, Cat>>()
    cat.trigger('Napped', { minutes: 1 })
    // @ts-expect-error  no such event
    cat.trigger('Barked', { minutes: 1 })
    // @ts-expect-error  other data
    cat.trigger('Napped', { minutes: 'one' })
    // @ts-expect-error  another event's data
    cat.trigger('Napped', { name: 'Tom' })
    // @ts-expect-error  too much data
    cat.trigger('Napped', { minutes: 1, hours: 1 })
    // @ts-expect-error  no such event
    Cat.create('Barked', {})
    // @ts-expect-error  other data
    Cat.create('Registered', { name: 1 })
    // @ts-expect-error  no data
    Cat.create('Registered')
    // @ts-expect-error  an id that is no text
    Cat.create('Registered', { name: 'Tom' }, { id: 1 })
    // @ts-expect-error  a handler is missing
    const missing: Evolve<Cat, CatEvents> = { Registered() {} }
    const excess: Evolve<Cat, CatEvents> = {
      Registered() {},
      Napped() {},
      // @ts-expect-error  a handler for no event
      Barked() {},
    }
    // @ts-expect-error  data that is no object
    class Wrong extends EventedAggregate<{ Named: string }> {}
    interface Events {
      Named: { name: string }
    }
    class Right extends EventedAggregate<Events> {}
    return [missing, excess, Wrong, Right]
  },
}

interface Named {
  name: string
}

describe('The types of aggregates', () => {
  it('survive decoration, and refuse names that do not fit', () => {
    holds<Equal<Parameters<Dog['addTrick']>, [trick: string]>>()
    holds<Equal<ReturnType<Dog['addTrick']>, void>>()
    holds<Equal<ConstructorParameters<typeof Dog>, [name: string]>>()
    holds<Equal<ConstructorParameters<typeof Puppy>, [name: string]>>()
    holds<Equal<Parameters<typeof Dog.createId>, [name: string]>>()
    // Compiling the file is the test; the rest of it is above.
    expect(Object.keys(compiled)).to.deep.equal(['methods', 'constructors', 'evented'])
  })
})
