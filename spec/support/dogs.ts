import { v5 as uuidv5 } from 'uuid'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'

/** The one everybody knows: made by name, learns tricks. */
@aggregate('Dog', { created: event('Registered', 'name') })
export class Dog extends Aggregate {
  tricks: string[] = []
  constructor(readonly name: string) {
    super()
  }

  static createId(name: string) {
    return uuidv5(`/dogs/${name}`, uuidv5.URL)
  }

  @event('TrickAdded', 'trick')
  addTrick(trick: string) {
    this.tricks.push(trick)
  }
}

/** A dog with an event of its own. */
@aggregate('Puppy')
export class Puppy extends Dog {
  toys: { name: string; squeaks: boolean }[] = []

  @event('ToyGiven')
  giveToy(toy: { name: string; squeaks: boolean }) {
    this.toys.push(toy)
  }
}

export type CatEvents = { Registered: { name: string }; Napped: { minutes: number } }

/** The one without decorators. */
export class Cat extends EventedAggregate<CatEvents> {
  static readonly topic = 'Cat'
  name = ''
  minutesSlept = 0
  static register(name: string) {
    return Cat.create('Registered', { name })
  }
  nap(minutes: number) {
    this.trigger('Napped', { minutes })
  }

  static readonly evolve: Evolve<Cat, CatEvents> = {
    Registered(cat, { name }) {
      cat.name = name
    },
    Napped(cat, { minutes }) {
      cat.minutesSlept += minutes
    },
  }
}
