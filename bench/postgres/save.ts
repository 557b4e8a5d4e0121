import { addTrickTo, Dog, newDog, storedDogs, trickAdded } from '../domain.js'
import type { Case, Contest, Side } from '../harness.js'
import { foldDog, newDogRows, stateOf } from '../raw-dog.js'
import { Databases, selectDog } from './databases.js'

/** Saving, and what leads to it. */
export function saveCases(url: string): Omit<Case, 'place'>[] {
  return [
    { name: 'save 1 event', unit: 'saves', open: () => save(url, 1) },
    {
      name: 'save 1 event, 8 callers at a time',
      unit: 'saves',
      callers: 8,
      open: () => saveByManyCallers(url, [8, 4]),
    },
    { name: '… against a table lock', unit: 'saves', callers: 8, open: () => saveAlone(url, 8) },
    {
      name: 'save 1 event, 32 callers at a time',
      unit: 'saves',
      callers: 32,
      open: () => saveByManyCallers(url, [32, 8]),
    },
    { name: '… against a table lock', unit: 'saves', callers: 32, open: () => saveAlone(url, 32) },
    { name: 'save 10 events', unit: 'saves', open: () => save(url, 10) },
    { name: 'save 10 events, 32 callers at a time', unit: 'saves', callers: 32, open: () => save(url, 10, 32) },
    { name: 'save 100 events', unit: 'saves', open: () => save(url, 100) },
    { name: 'load 10 events or more, decide, save 1', unit: 'commands', open: () => loadDecideSave(url, 1) },
    { name: '… 32 callers at a time', unit: 'commands', callers: 32, open: () => loadDecideSave(url, 32) },
  ]
}

async function save(url: string, events: number, connections = 1): Promise<Contest> {
  const databases = await Databases.open(url)
  const { app } = databases
  const raws: Side[] = []
  if (events === 1) {
    const raw = await databases.raw(connections)
    raws.push({ name: 'prepared INSERT', operation: () => raw.insert(newDogRows(1)[0]!) })
  } else {
    const [unnesting, listing] = [await databases.raw(connections), await databases.raw(connections)]
    raws.push(
      { name: 'one prepared INSERT … SELECT unnest', operation: () => unnesting.insertUnnested(newDogRows(events)) },
      { name: 'one prepared INSERT … VALUES', operation: () => listing.insertAtOnce(newDogRows(events)) },
    )
  }
  return databases.contest({ raws, ours: { name: 'app.save', operation: () => app.save(newDog(events)) } })
}

/** @param pools  How many connections by hand there are: for each caller one, and fewer that the callers share. */
async function saveByManyCallers(url: string, pools: readonly number[]): Promise<Contest> {
  const databases = await Databases.open(url)
  const { app } = databases
  const raws: Side[] = []
  for (const connections of pools) {
    const raw = await databases.raw(connections)
    raws.push({
      name: `prepared INSERT, ${connections} connections`,
      operation: () => raw.insert(newDogRows(1)[0]!),
    })
  }
  return databases.contest({ raws, ours: { name: 'app.save', operation: () => app.save(newDog()) } })
}

/** The usual way to have ids committed in order. */
async function saveAlone(url: string, connections: number): Promise<Contest> {
  const databases = await Databases.open(url)
  const { app } = databases
  const raw = await databases.raw(connections)
  return databases.contest({
    raws: [{ name: 'BEGIN, LOCK TABLE, INSERT, COMMIT', operation: () => raw.insertAlone(newDogRows(1)[0]!) }],
    ours: { name: 'app.save', operation: () => app.save(newDog()) },
  })
}

async function loadDecideSave(url: string, connections: number): Promise<Contest> {
  const dogs = 1000
  const stored = storedDogs(dogs, 10)
  const ids = stored.filter(({ originatorVersion }) => originatorVersion === 1).map(({ originatorId }) => originatorId)
  const databases = await Databases.open(url, stored)
  const { app } = databases
  const raws: Side[] = []
  for (const [how, query] of [
    ['state as bytes', selectDog.bytes],
    ['state as text', selectDog.text],
  ] as const) {
    const raw = await databases.raw(connections)
    raws.push({
      name: `prepared SELECT, ${how}, and INSERT`,
      async operation(turn) {
        const id = ids[turn % dogs]!
        const { version } = foldDog(await raw.query(query, [id]))
        await raw.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
      },
    })
  }
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
