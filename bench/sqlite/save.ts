import { randomUUID } from 'node:crypto'
import { addTrickTo, Dog, newDog, registered, storedDogs, trickAdded } from '../domain.js'
import type { Case, Contest, Place, Side } from '../harness.js'
import { foldDog, newDogRows, stateOf } from '../raw-dog.js'
import { Databases, selectDog } from './databases.js'

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
  { name: 'load, decide, save', unit: 'commands', open: loadDecideSave },
  { name: 'load, decide, save, 8 callers', unit: 'commands', callers: 8, open: loadDecideSave },
  { name: 'load, decide, save, 32 callers', unit: 'commands', callers: 32, open: loadDecideSave },
]

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

/** Aggregates of 10 events that get one more by each command. */
async function loadDecideSave(place: Place): Promise<Contest> {
  const dogs = 500
  const stored = storedDogs(dogs, 10)
  const ids = stored.filter(({ originatorVersion }) => originatorVersion === 1).map(({ originatorId }) => originatorId)
  const databases = await Databases.open(place, stored)
  const { app } = databases
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
        const id = ids[turn % dogs]!
        const { version } = foldDog(select.all(id))
        raw.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
      },
    }
  })
  return databases.contest({
    raws,
    ours: {
      name: 'repository.get, app.save',
      async operation(turn) {
        const dog = await app.repository.get(Dog, ids[turn % dogs]!)
        addTrickTo(dog)
        await app.save(dog)
      },
    },
  })
}
