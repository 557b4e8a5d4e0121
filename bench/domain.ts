import { Aggregate, aggregate, event, JsonTranscoder, Mapper, type StoredEvent } from 'eventsourcing-drizzle'

/** A dog whose events have about 200 bytes of state each. */
@aggregate('Dog', { created: event('Registered', 'name', 'breed', 'owner', 'address') })
export class Dog extends Aggregate {
  readonly tricks: string[] = []

  constructor(
    readonly name: string,
    readonly breed: string,
    readonly owner: string,
    readonly address: string,
  ) {
    super()
  }

  @event('TrickAdded', 'trick', 'trainer', 'place', 'minutes', 'note')
  addTrick(trick: string, _trainer: string, _place: string, _minutes: number, _note: string): void {
    this.tricks.push(trick)
  }
}

/** What a dog is registered with. */
export const registered = {
  name: 'Fido of the Riverside Kennels',
  breed: 'Border Collie',
  owner: 'Ann Byron of Lovelace',
  address: '12 St. James Square, London SW1Y 4LB',
}

/** What a trick is added with. */
export const trickAdded = {
  trick: 'roll over',
  trainer: 'Mary Somerville',
  place: 'Riverside training ground, field 2',
  minutes: 25,
  note: 'three treats at first, then none',
}

/** A new dog with so many pending events. */
export function newDog(events = 1): Dog {
  const { name, breed, owner, address } = registered
  const dog = new Dog(name, breed, owner, address)
  for (let added = 1; added < events; added++) addTrickTo(dog)
  return dog
}

export function addTrickTo(dog: Dog): void {
  const { trick, trainer, place, minutes, note } = trickAdded
  dog.addTrick(trick, trainer, place, minutes, note)
}

/** The stored events of dogs: so many streams, each of the same length, one stream after the other. */
export function storedDogs(streams: number, length: number): StoredEvent[] {
  const mapper = new Mapper({ transcoder: new JsonTranscoder() })
  return Array.from({ length: streams }, () => newDog(length).collectEvents())
    .flat()
    .map((event) => mapper.toStoredEvent(event))
}
