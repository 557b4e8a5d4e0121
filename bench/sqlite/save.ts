import { randomUUID } from 'node:crypto'
import { addTrickTo, Dog, newDog, registered, storedDogs, trickAdded } from '../domain.js'
import type { Case, Contest, Place, Side } from '../harness.js'
import { foldDog, newDogRows, type RawDog, stateOf } from '../raw-dog.js'
import { Databases, selectDog, selectNewer } from './databases.js'

/** Saving. */
export const saveCases: readonly Omit<Case, 'place'>[] = [
  { name: 'save 1 event', unit: 'saves', open: saveOne },
  { name: 'save 1 event, 8 callers', unit: 'saves', callers: 8, open: saveOne },
  { name: 'save 1 event, 32 callers', unit: 'saves', callers: 32, open: saveOne },
  { name: 'save 10 events', unit: 'saves', open: (place) => saveSeveral(place, 10) },
  { name: 'save 10 events, 8 callers', unit: 'saves', callers: 8, open: (place) => saveSeveral(place, 10) },
  { name: 'save 10 events, 32 callers', unit: 'saves', callers: 32, open: (place) => saveSeveral(place, 10) },
  { name: 'save 100 events', unit: 'saves', open: (place) => saveSeveral(place, 100) },
  { name: 'save 1,000 events', unit: 'saves', open: (place) => saveSeveral(place, 1000) },
]

/** A whole command: what is there is loaded before it is decided. */
export const commandCases: readonly Omit<Case, 'place'>[] = [
  { name: 'load, decide, save', unit: 'commands', open: (place) => loadDecideSave(place) },
  { name: 'load, decide, save, 8 callers', unit: 'commands', callers: 8, open: (place) => loadDecideSave(place) },
  { name: 'load, decide, save, 32 callers', unit: 'commands', callers: 32, open: (place) => loadDecideSave(place) },
  { name: 'load, decide, save, 10,000 events', unit: 'commands', open: (place) => loadDecideSave(place, long) },
  { name: 'load, decide, save, 10,000 events, cached', unit: 'commands', open: loadDecideSaveCached },
]

/** Few aggregates of many events. */
const long = { dogs: 4, length: 10_000 }

async function saveOne(place: Place): Promise<Contest> {
  const databases = await Databases.open(place)
  const { app } = databases
  const raw = databases.raw()
  return databases.contest({
    raws: [
      {
        name: 'prepared INSERT',
        operation: () => raw.insert([randomUUID(), 1, 'Dog.Registered', stateOf(registered)]),
      },
    ],
    ours: { name: 'app.save', operation: () => app.save(newDog()) },
  })
}

async function saveSeveral(place: Place, events: number): Promise<Contest> {
  const databases = await Databases.open(place)
  const { app } = databases
  const [looping, atOnce] = [databases.raw(), databases.raw()]
  return databases.contest({
    raws: [
      { name: 'prepared INSERTs in a transaction', operation: () => looping.insertInLoop(newDogRows(events)) },
      { name: 'one prepared INSERT of all rows', operation: () => atOnce.insertAtOnce(newDogRows(events)) },
    ],
    ours: { name: 'app.save', operation: () => app.save(newDog(events)) },
  })
}

/** Aggregates that get one more event by each command. */
async function loadDecideSave(place: Place, { dogs, length } = { dogs: 500, length: 10 }): Promise<Contest> {
  const stored = storedDogs(dogs, length)
  const databases = await Databases.open(place, stored)
  const idOf = (turn: number) => stored[(turn % dogs) * length]!.originatorId
  const raws = (
    [
      ['state as a blob', selectDog.blob],
      ['state cast to text', selectDog.text],
    ] as const
  ).map(([how, query]): Side => {
    const raw = databases.raw()
    const select = raw.query(query)
    return {
      name: `prepared SELECT, ${how}, and INSERT`,
      operation(turn) {
        const id = idOf(turn)
        const { version } = foldDog(select.all(id))
        raw.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
      },
    }
  })
  return databases.contest({ raws, ours: commandSide(databases, idOf) })
}

/** The same with a cache: beside reading all by hand, and beside a cache by hand, whose caller gets a copy too. */
async function loadDecideSaveCached(place: Place): Promise<Contest> {
  const { dogs, length } = long
  const stored = storedDogs(dogs, length)
  const databases = await Databases.open(place, stored, { AGGREGATE_CACHE_MAXSIZE: '100' })
  const idOf = (turn: number) => stored[(turn % dogs) * length]!.originatorId
  const [reading, caching] = [databases.raw(), databases.raw()]
  const [select, newer] = [reading.query(selectDog.text), caching.query(selectNewer)]
  const cache = new Map<string, RawDog>()
  return databases.contest({
    raws: [
      {
        name: 'prepared SELECT of all, and INSERT',
        operation(turn) {
          const id = idOf(turn)
          const { version } = foldDog(select.all(id))
          reading.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
        },
      },
      {
        name: 'a Map, prepared SELECT of what is newer, structuredClone, and INSERT',
        operation(turn) {
          const id = idOf(turn)
          const known = cache.get(id)
          const dog = foldDog(newer.all(id, known?.version ?? 0), known)
          cache.set(id, dog)
          const { version } = structuredClone(dog)
          caching.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
        },
      },
    ],
    ours: commandSide(databases, idOf),
  })
}

function commandSide({ app }: Databases, idOf: (turn: number) => string): Side {
  return {
    name: 'repository.get, app.save',
    async operation(turn) {
      const dog = await app.repository.get(Dog, idOf(turn))
      addTrickTo(dog)
      await app.save(dog)
    },
  }
}
