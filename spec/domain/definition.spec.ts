import { expect } from 'chai'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { EventedAggregate } from '../../lib/domain/evented-aggregate.js'
import { findEvent } from '../../lib/domain/topics.js'
import { ProgrammingError, TopicError } from '../../lib/errors.js'
import { Dog } from '../support/dogs.js'

// What the compiler refuses as well is given as from JavaScript.
const untypedEvent = event as (...args: unknown[]) => MethodDecorator & ((...args: unknown[]) => never)
const untypedAggregate = aggregate as unknown as (...args: unknown[]) => <C>(target: C, context?: unknown) => C

describe('The definition of an aggregate', () => {
  it('refuses default values where names are given', () => {
    expect(() => {
      class A extends Aggregate {
        @event('A', 'a') withDefault(_a = 'x') {}
      }
      return A
    }).to.throw(ProgrammingError, /'A'\) on 'withDefault'.*default/)
    expect(() => {
      @aggregate('WithDefault', { created: event('Born', 'name', 'age') })
      class B extends Aggregate {
        constructor(
          readonly name: string,
          readonly age = 1,
        ) {
          super()
        }
      }
      return B
    }).to.throw(ProgrammingError, /'WithDefault'.*default/)
    expect(findEvent('WithDefault.Born')).to.equal(undefined)
  })

  it('refuses a number of names that is not that of the parameters', () => {
    expect(() => {
      class A extends Aggregate {
        @untypedEvent('A', 'a') method(_a: string, _b: string) {}
      }
      return A
    }).to.throw(ProgrammingError, /1 parameter names for 2 parameters/)
    expect(() => {
      class A extends Aggregate {
        @untypedEvent('A') method(_a: string, _b: string) {}
      }
      return A
    }).to.throw(ProgrammingError, /2 parameters/)
    expect(() => {
      class A extends Aggregate {
        @untypedEvent('A', 'rest') method(..._rest: string[]) {}
      }
      return A
    }).to.throw(ProgrammingError, /\.\.\.rest/)
    expect(() => {
      @untypedAggregate('TooMany')
      class A extends Aggregate {
        constructor(_a: string, _b: string) {
          super()
        }
      }
      return A
    }).to.throw(ProgrammingError, /constructor of 'TooMany'.*2 parameters/)
  })

  it('refuses parameter names that can’t be ones', () => {
    for (const names of [['a', 'a'], [''], [1], ['__proto__'], [undefined], [['a']]]) {
      expect(() => untypedEvent('A', ...names), JSON.stringify(names)).to.throw(ProgrammingError)
    }
  })

  it('refuses names of events and aggregates that can’t be ones', () => {
    for (const name of ['', 'a\0b', undefined, 1, null]) {
      expect(() => untypedEvent(name), String(name)).to.throw(ProgrammingError)
      expect(() => untypedAggregate(name), String(name)).to.throw(ProgrammingError)
    }
    expect(() => event('Dog.Barked')).to.throw(ProgrammingError, /dot/)
  })

  it('refuses one event name on two methods, or on a method and the constructor', () => {
    class Base extends Aggregate {
      @event('Done') one() {}
    }
    expect(() => {
      @aggregate('Twice')
      class Twice extends Base {
        @event('Done') two() {}
      }
      return Twice
    }).to.throw(ProgrammingError, /'Twice'.*'Done'.*'one'.*'two'/)
    expect(() => {
      @aggregate('CreatedTwice')
      class CreatedTwice extends Aggregate {
        @event('Created') make() {}
      }
      return CreatedTwice
    }).to.throw(ProgrammingError, /'CreatedTwice'.*'Created'/)
  })

  it('refuses anything but a method of the instances', () => {
    const refused: Record<string, () => unknown> = {
      'static method': () => {
        class A extends Aggregate {
          @event('A') static method() {}
        }
        return A
      },
      '#private method': () => {
        class A extends Aggregate {
          @event('A') #method() {}
          use() {
            this.#method()
          }
        }
        return A
      },
      getter: () => {
        class A extends Aggregate {
          // @ts-expect-error  the compiler knows as well
          @event('A') get value() {
            return 1
          }
        }
        return A
      },
      setter: () => {
        class A extends Aggregate {
          // @ts-expect-error  the compiler knows as well
          @event('A', 'value') set value(_value: number) {}
        }
        return A
      },
      field: () => {
        class A extends Aggregate {
          // @ts-expect-error  the compiler knows as well
          @event('A') value = () => {}
        }
        return A
      },
      accessor: () => {
        class A extends Aggregate {
          // @ts-expect-error  the compiler knows as well
          @event('A') accessor value = 1
        }
        return A
      },
      class: () => {
        // @ts-expect-error  the compiler knows as well
        @event('A')
        class A extends Aggregate {}
        return A
      },
    }
    for (const [kind, define] of Object.entries(refused)) {
      expect(define, kind).to.throw(ProgrammingError, `(${kind})`)
    }
  })

  it('refuses methods that end later than they return', () => {
    expect(() => {
      class A extends Aggregate {
        @event('A') async method() {}
      }
      return A
    }).to.throw(ProgrammingError, /async/)
    expect(() => {
      class A extends Aggregate {
        @event('A') *method() {}
      }
      return A
    }).to.throw(ProgrammingError, /generator/)
    expect(() => {
      class A extends Aggregate {
        @event('A') async *method() {}
      }
      return A
    }).to.throw(ProgrammingError, /generator/)
  })

  it('refuses a method that is two events', () => {
    expect(() => {
      class A extends Aggregate {
        @event('A') @event('B') method() {}
      }
      return A
    }).to.throw(ProgrammingError, /event already/)
  })

  it('says so when another decorator stands outside of @event', () => {
    const logged = (method: (this: Hidden) => void) =>
      function (this: Hidden) {
        method.call(this)
      }
    @aggregate('Hidden')
    class Hidden extends Aggregate {
      @logged @event('Done') method() {}
    }
    expect(() => new Hidden().method()).to.throw(ProgrammingError, /'Hidden'.*'Done'.*outermost/)
  })

  it('refuses a name that another class has, of either shape', () => {
    expect(() => {
      @aggregate('Dog')
      class Other extends Aggregate {}
      return Other
    }).to.throw(TopicError, /"Dog"/)
    expect(() => {
      @aggregate('Aggregate')
      class Other extends Aggregate {}
      return Other
    }).to.throw(TopicError, /"Aggregate"/)
    class Other extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'Dog'
      static readonly evolve = { Born() {} }
    }
    expect(() => Other.create('Born', {})).to.throw(TopicError, /"Dog"/)
    expect(findEvent('Dog.Registered')?.aggregate.aggregateClass).to.equal(Dog)
  })

  it('refuses classes that are no aggregates, or are decorated already', () => {
    const decorate = untypedAggregate('Refused')
    class Evented extends EventedAggregate<object> {}
    for (const target of [class {}, Aggregate, () => 1, undefined, {}]) {
      expect(() => decorate(target)).to.throw(ProgrammingError, /'Refused'.*extends Aggregate/)
    }
    expect(() => decorate(Dog)).to.throw(ProgrammingError, /already/)
    expect(() => {
      @untypedAggregate('Refused')
      @untypedAggregate('RefusedInside')
      class Both extends Aggregate {}
      return Both
    }).to.throw(ProgrammingError, /already/)
    expect(findEvent('RefusedInside.Created')).to.equal(undefined)
    expect(() => decorate(Evented)).to.throw(ProgrammingError, /static topic/)
    expect(() => untypedAggregate('Refused', { created: 'Born' })).to.throw(ProgrammingError, /event\('…'\)/)
  })

  it('refuses a createId that is no function', () => {
    @aggregate('BadId')
    class BadId extends Aggregate {
      static createId = 'id'
    }
    expect(() => new BadId()).to.throw(ProgrammingError, /createId of 'BadId'/)
  })
})
