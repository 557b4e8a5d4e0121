import { addTrickTo, Dog, newDog, storedDogs, trickAdded } from '../domain.js'
import type { Case, Contest, Side } from '../harness.js'
import { foldDog, newDogRows, type RawDog, stateOf } from '../raw-dog.js'
import { Databases, type RawDatabase, selectDog, selectNewer } from './databases.js'

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
    { name: 'load, decide, save, 10,000 events', unit: 'commands', open: () => loadDecideSave(url, 1, long) },
    { name: 'load, decide, save, 10,000 events, cached', unit: 'commands', open: () => loadDecideSaveCached(url) },
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

/** Few aggregates of many events. */
const long = { dogs: 4, length: 10_000 }

/** Aggregates that get one more event by each command. */
async function loadDecideSave(
  url: string,
  callers: number,
  { dogs, length } = { dogs: 1000, length: 10 },
): Promise<Contest> {
  const stored = storedDogs(dogs, length)
  const databases = await Databases.open(url, stored)
  const idOf = (turn: number) => stored[(turn % dogs) * length]!.originatorId
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
          const id = idOf(turn)
          const { version } = foldDog(await raw.query(query, [id]))
          await raw.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
        },
      })
    }
  }
  return databases.contest({ raws, ours: commandSide(databases, idOf) })
}

/** The same with a cache: beside reading all by hand, and beside a cache by hand, whose caller gets a copy too. */
async function loadDecideSaveCached(url: string): Promise<Contest> {
  const { dogs, length } = long
  const stored = storedDogs(dogs, length)
  const databases = await Databases.open(url, stored, { AGGREGATE_CACHE_MAXSIZE: '100' })
  const idOf = (turn: number) => stored[(turn % dogs) * length]!.originatorId
  const [reading, caching] = [await databases.raw(), await databases.raw()]
  const cache = new Map<string, RawDog>()
  return databases.contest({
    raws: [
      {
        name: 'prepared SELECT of all, and INSERT',
        async operation(turn) {
          const id = idOf(turn)
          const { version } = foldDog(await reading.query(selectDog.text, [id]))
          await reading.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
        },
      },
      {
        name: 'a Map, prepared SELECT of what is newer, structuredClone, and INSERT',
        async operation(turn) {
          const id = idOf(turn)
          const known = cache.get(id)
          const dog = foldDog(await caching.query(selectNewer, [id, known?.version ?? 0]), known)
          cache.set(id, dog)
          const { version } = structuredClone(dog)
          await caching.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)])
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
