import { deepStrictEqual } from 'node:assert'
import { Dog, storedDogs } from '../domain.js'
import type { Case, Contest, Place } from '../harness.js'
import { foldDog, toPlainEvent } from '../raw-dog.js'
import { Databases, selectDog, selectPage, selectPageOfTexts } from './databases.js'

const streams = 24
const length = 1000

/** Reading, by stream and in the order of all. */
export const readCases: readonly Omit<Case, 'place'>[] = [
  { name: 'replay 1,000 events', unit: 'events', units: length, open: replay },
  { name: 'notifications in pages of 1,000', unit: 'events', units: 1000, open: pages },
  { name: 'domain events in pages of 1,000', unit: 'events', units: 1000, open: pagesOfDomainEvents },
]

async function replay(place: Place): Promise<Contest> {
  const stored = storedDogs(streams, length)
  const idOf = (turn: number) => stored[(turn % streams) * length]!.originatorId
  const databases = await Databases.open(place, stored)
  const { app } = databases
  const raw = databases.raw()
  const [blobs, texts] = [raw.query(selectDog.blob), raw.query(selectDog.text)]
  const byBlobs = (turn: number) => foldDog(blobs.all(idOf(turn)))
  const byTexts = (turn: number) => foldDog(texts.all(idOf(turn)))
  const byUs = (turn: number) => app.repository.get(Dog, idOf(turn))
  return databases.contest({
    raws: [
      { name: 'prepared SELECT, state as a blob', operation: byBlobs },
      { name: 'prepared SELECT, state cast to text', operation: byTexts },
    ],
    ours: { name: 'repository.get', operation: byUs },
    async check() {
      const { version, name, breed, owner, address, tricks } = await byUs(1)
      const dog = { version, name, breed, owner, address, tricks }
      deepStrictEqual([byBlobs(1), byTexts(1)], [dog, dog])
    },
  })
}

const startOf = (turn: number) => (turn % streams) * length + 1

async function pages(place: Place): Promise<Contest> {
  const databases = await Databases.open(place, storedDogs(streams, length))
  const { app } = databases
  const raw = databases.raw()
  const [arrays, objects] = [raw.query(selectPage), raw.client.prepare(selectPage)]
  const byArrays = (turn: number) => arrays.all(startOf(turn), 1000)
  const byObjects = (turn: number) => objects.all(startOf(turn), 1000)
  const byUs = (turn: number) => app.recorder.selectNotifications({ start: startOf(turn), limit: 1000 })
  return databases.contest({
    raws: [
      { name: 'prepared SELECT, rows as arrays', operation: byArrays },
      { name: 'prepared SELECT, rows as objects', operation: byObjects },
    ],
    ours: { name: 'recorder.selectNotifications', operation: byUs },
    async check() {
      const rows = (await byUs(1)).map((each) => [
        each.id,
        each.originatorId,
        each.originatorVersion,
        each.topic,
        each.state,
      ])
      deepStrictEqual(byArrays(1), rows)
      deepStrictEqual((byObjects(1) as object[]).map(Object.values), rows)
    },
  })
}

async function pagesOfDomainEvents(place: Place): Promise<Contest> {
  const databases = await Databases.open(place, storedDogs(streams, length))
  const { app } = databases
  const mapper = await app.factory.mapper()
  const raw = databases.raw()
  const [blobs, texts] = [raw.query(selectPage), raw.query(selectPageOfTexts)]
  const byBlobs = (turn: number) => blobs.all(startOf(turn), 1000).map(toPlainEvent)
  const byTexts = (turn: number) => texts.all(startOf(turn), 1000).map(toPlainEvent)
  const byUs = async (turn: number) => {
    const notifications = await app.recorder.selectNotifications({ start: startOf(turn), limit: 1000 })
    return notifications.map((notification) => mapper.toDomainEvent(notification))
  }
  return databases.contest({
    raws: [
      { name: 'prepared SELECT, state as a blob', operation: byBlobs },
      { name: 'prepared SELECT, state cast to text', operation: byTexts },
    ],
    ours: { name: 'recorder.selectNotifications, mapper', operation: byUs },
    async check() {
      const events = (await byUs(1)).map(({ originatorId, originatorVersion, topic, timestamp, data }) => ({
        originatorId,
        originatorVersion,
        topic,
        timestamp,
        data,
      }))
      deepStrictEqual([byBlobs(1), byTexts(1)], [events, events])
    },
  })
}
