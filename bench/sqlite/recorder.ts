import type { StoredEvent } from 'eventsourcing-drizzle'
import { randomUUID } from 'node:crypto'
import { storedDogs } from '../domain.js'
import type { Case, Contest, Place } from '../harness.js'
import type { EventRow } from '../raw-dog.js'
import { Databases } from './databases.js'

/** The recorder without aggregates and mapper: the difference to saving is what those cost. */
export const recorderCases: readonly Omit<Case, 'place'>[] = [
  { name: 'recorder alone: insert 1 stored event', unit: 'inserts', open: (place) => insert(place, 1) },
  { name: 'recorder alone: insert 10 stored events', unit: 'inserts', open: (place) => insert(place, 10) },
]

async function insert(place: Place, events: number): Promise<Contest> {
  const databases = await Databases.open(place)
  const { recorder } = databases
  const raw = databases.raw()
  const stored = storedDogs(1, events)
  return databases.contest({
    raws: [{ name: 'one prepared INSERT of all rows', operation: () => raw.insertAtOnce(rowsOf(stored)) }],
    ours: { name: 'recorder.insertEvents', operation: () => recorder.insertEvents(withNewId(stored)) },
  })
}

function withNewId(events: readonly StoredEvent[]): StoredEvent[] {
  const originatorId = randomUUID()
  return events.map(({ originatorVersion, topic, state }) => ({ originatorId, originatorVersion, topic, state }))
}

function rowsOf(events: readonly StoredEvent[]): EventRow[] {
  const originatorId = randomUUID()
  return events.map(({ originatorVersion, topic, state }) => [originatorId, originatorVersion, topic, state])
}
