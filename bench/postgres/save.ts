import { addTrickTo, Dog, newDog, storedDogs, trickAdded } from '../domain.js'
import type { Case, Contest, Side } from '../harness.js'
import { foldDog, newDogRows, stateOf } from '../raw-dog.js'
import { Databases, type RawDatabase, selectDog } from './databases.js'

/** How many connections many callers have by hand: one each, and fewer that they share. */
const poolsOf = (callers: number) => (callers > 1 ? [callers, Math.min(8, callers / 2)] : [1])

/** Saving, and what leads to it. */
export function saveCases(url: string): Omit<Case, 'place'>[] {
  const saves = (name: string, events: number, callers = 1) => ({
    name,
    unit: 'saves',
    callers,
    open: () => save(url, events, callers),
  })
  const commands = (name: string, callers = 1) => ({
    name,
    unit: 'commands',
    callers,
    open: () => loadDecideSave(url, callers),
  })
  return [
    saves('save 1 event', 1),
    saves('save 1 event, 8 callers', 1, 8),
    lockCase(url, 8),
    saves('save 1 event, 32 callers', 1, 32),
    lockCase(url, 32),
    saves('save 10 events', 10),
    saves('save 10 events, 8 callers', 10, 8),
    saves('save 10 events, 32 callers', 10, 32),
    saves('save 100 events', 100),
    saves('save 1,000 events', 1000),
    commands('load, decide, save'),
    commands('load, decide, save, 8 callers', 8),
    commands('load, decide, save, 32 callers', 32),
  ]
}

/** Saving where each commit waits for a slow disk. */
export function slowFlushCases(url: string): Omit<Case, 'place'>[] {
  return [
    { name: 'save 1 event', unit: 'saves', open: () => save(url, 1) },
    { name: 'save 1 event, 32 callers', unit: 'saves', callers: 32, open: () => save(url, 1, 32) },
    lockCase(url, 32),
  ]
}

/** So many writers: without protection, one after the other, and ours. */
export function writersCase(url: string, callers: number): Omit<Case, 'place'> {
  return {
    name: `${callers} writers`,
    unit: 'saves',
    callers,
    async open() {
      const databases = await Databases.open(url)
      return databases.contest({
        raws: [...(await insertSides(databases, 1, poolsOf(callers))), await lockSide(databases, callers)],
        ours: saveSide(databases, 1),
      })
    },
  }
}

/** The usual way to have ids committed in order. */
function lockCase(url: string, callers: number): Omit<Case, 'place'> {
  return {
    name: `save 1 event, ${callers} callers, against a table lock`,
    unit: 'saves',
    callers,
    async open() {
      const databases = await Databases.open(url)
      const raws: Side[] = []
      for (const connections of poolsOf(callers)) raws.push(await lockSide(databases, connections))
      return databases.contest({ raws, ours: saveSide(databases, 1) })
    },
  }
}

async function save(url: string, events: number, callers = 1): Promise<Contest> {
  const databases = await Databases.open(url)
  const raws = await insertSides(databases, events, poolsOf(callers))
  return databases.contest({ raws, ours: saveSide(databases, events) })
}

function saveSide({ app }: Databases, events: number): Side {
  return { name: 'app.save', operation: () => app.save(newDog(events)) }
}

/** One for each way of inserting so many events and each number of connections. */
async function insertSides(databases: Databases, events: number, pools: readonly number[]): Promise<Side[]> {
  const sides: Side[] = []
  for (const connections of pools) {
    const side = async (way: string, insert: (raw: RawDatabase) => unknown) => {
      const raw = await databases.raw(connections)
      sides.push({ name: way + among(connections), operation: () => insert(raw) })
    }
    if (events === 1) {
      await side('prepared INSERT', (raw) => raw.insert(newDogRows(1)[0]!))
    } else {
      await side('one prepared INSERT … SELECT unnest', (raw) => raw.insertUnnested(newDogRows(events)))
      await side('one prepared INSERT … VALUES', (raw) => raw.insertAtOnce(newDogRows(events)))
    }
  }
  return sides
}

async function lockSide(databases: Databases, connections: number): Promise<Side> {
  const raw = await databases.raw(connections)
  return {
    name: `BEGIN, LOCK TABLE, INSERT, COMMIT${among(connections)}`,
    operation: () => raw.insertAlone(newDogRows(1)[0]!),
  }
}

function among(connections: number): string {
  return connections === 1 ? '' : `, ${connections} connections`
}

/** Aggregates of 10 events that get one more by each command. */
async function loadDecideSave(url: string, callers: number): Promise<Contest> {
  const dogs = 1000
  const stored = storedDogs(dogs, 10)
  const ids = stored.filter(({ originatorVersion }) => originatorVersion === 1).map(({ originatorId }) => originatorId)
  const databases = await Databases.open(url, stored)
  const { app } = databases
  const raws: Side[] = []
  for (const connections of poolsOf(callers)) {
    for (const [how, query] of [
      ['state as bytes', selectDog.bytes],
      ['state as text', selectDog.text],
    ] as const) {
      const raw = await databases.raw(connections)
      raws.push({
        name: `prepared SELECT, ${how}, and INSERT${among(connections)}`,
        async operation(turn) {
          const id = ids[turn % dogs]!
          const { version } = foldDog(await raw.query(query, [id]))
          await raw.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
        },
      })
    }
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
