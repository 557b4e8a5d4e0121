import { Aggregate, aggregate, event } from 'eventsourcing-drizzle'
import { v5 as uuidv5 } from 'uuid'

/** A dog and the tricks it has learned. Each decorated body runs when its event happens, and again on every replay. */
@aggregate('Dog', { created: event('Registered', 'name') })
export class Dog extends Aggregate {
  readonly tricks: string[] = []

  constructor(readonly name: string) {
    super()
  }

  /** The same name gives the same id, so a dog is found by its name. */
  static createId(name: string): string {
    return uuidv5(`/dogs/${name}`, uuidv5.URL)
  }

  @event('TrickAdded', 'trick')
  addTrick(trick: string): void {
    this.tricks.push(trick)
  }
}
