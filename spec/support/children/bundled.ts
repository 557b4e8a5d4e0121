import {
  Aggregate,
  Application,
  EventedAggregate,
  ProgrammingError,
  aggregate,
  decider,
  event,
  type Evolve,
} from 'eventsourcing-drizzle'
import { postgres } from 'eventsourcing-drizzle/postgres'
import { sqlite } from 'eventsourcing-drizzle/sqlite'

/*
 * A program with one aggregate of each shape, for spec/bundlers.spec.ts: run as it is compiled, and as bundlers make it.
 * `node bundled.js trick <url>` makes or loads each, lets it do one thing more, saves, and prints what another application
 * reads. A URL of SQLite, of PostgreSQL or none, for memory.
 */

@aggregate('Dog', { created: event('Registered', 'name') })
class Dog extends Aggregate {
  readonly tricks: string[] = []
  #fed = 0

  constructor(readonly name: string) {
    super()
  }

  static createId(name: string): string {
    return `dogs/${name}`
  }

  get fed(): number {
    return this.#fed
  }

  @event('TrickAdded', 'trick')
  addTrick(trick: string): void {
    this.tricks.push(trick)
  }

  // a parameter that no minifier may take away, although nothing reads it
  @event('Fed', 'food', 'bowl')
  feed(_food: string, _bowl: number): void {
    this.#fed++
  }
}

interface CatEvents {
  Born: { name: string }
  TrickAdded: { trick: string }
}

class Cat extends EventedAggregate<CatEvents> {
  static readonly topic = 'Cat'
  name = ''
  tricks: string[] = []

  addTrick(trick: string): void {
    this.trigger('TrickAdded', { trick })
  }

  static readonly evolve: Evolve<Cat, CatEvents> = {
    Born: (cat, { name }) => {
      cat.name = name
    },
    TrickAdded: (cat, { trick }) => {
      cat.tricks.push(trick)
    },
  }
}

const Fox = decider('Fox', { initial: () => ({ tricks: [] as string[] }) })
  .events({ TrickAdded: (state, data: { trick: string }) => ({ tricks: [...state.tricks, data.trick] }) })
  .commands((events) => ({
    addTrick: (_state, trick: string) => events.TrickAdded({ trick }),
  }))

class Shelter extends Application {
  static readonly applicationName = 'Shelter'
  static readonly aggregates = [Dog, Cat, Fox]

  async teach(trick: string): Promise<void> {
    const isKnown = await this.repository.has(Dog.createId('Fido'))
    const dog = isKnown ? await this.repository.get(Dog, 'dogs/Fido') : new Dog('Fido')
    const cat = isKnown
      ? await this.repository.get(Cat, 'cats/Tom')
      : Cat.create('Born', { name: 'Tom' }, { id: 'cats/Tom' })
    dog.addTrick(trick)
    dog.feed('bone', 1)
    cat.addTrick(trick)
    await this.transaction(async () => {
      await this.save(dog, cat)
      await this.execute(Fox, 'foxes/Basil', 'addTrick', trick)
    })
  }

  async read(): Promise<Record<string, unknown>> {
    const [dog, cat] = [await this.repository.get(Dog, 'dogs/Fido'), await this.repository.get(Cat, 'cats/Tom')]
    const { state } = await this.repository.get(Fox, 'foxes/Basil')
    const notifications = await this.notificationLog.select({ start: 1, limit: 4 })
    return {
      dog: [dog.name, dog.tricks, dog.fed],
      cat: [cat.name, cat.tricks],
      fox: state,
      topics: notifications.map(({ topic }) => topic),
    }
  }
}

/** Its tables would have another name in each bundle. */
class Nameless extends Application {}

function nameOfNameless(): string {
  try {
    return new Nameless().name
  } catch (error) {
    return error instanceof ProgrammingError ? `${error.name}: ${error.message}` : String(error)
  }
}

// a function: bundles in CommonJS can't await at their top level
async function main([trick = '', url]: readonly string[]): Promise<void> {
  await using given = url?.startsWith('sqlite:')
    ? sqlite(url)
    : url?.startsWith('postgresql:')
      ? postgres(url)
      : undefined
  await using shelter = await Shelter.create(given ? { persistence: given } : {})
  await shelter.teach(trick)
  // by its environment alone, which loads what only this needs
  await using reader = url
    ? await Shelter.create({ env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: url } })
    : shelter
  console.log(JSON.stringify({ ...(await reader.read()), nameless: nameOfNameless() }))
}

void main(process.argv.slice(2))
