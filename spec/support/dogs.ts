import { aggregate, event } from '../../lib/domain/decorators.js'
import { Dog } from '../../docs/examples/training-school/domain.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'

// the example's own: a name belongs to one class in a process
export { Dog }

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
