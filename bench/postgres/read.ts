import { deepStrictEqual } from 'node:assert'
import { Dog, storedDogs } from '../domain.js'
import type { Case, Contest } from '../harness.js'
import { foldDog, toPlainEvent } from '../raw-dog.js'
import { Databases, selectDog, selectPage, selectPageOfTexts } from './databases.js'

const streams = 24
const length = 1000

/** Reading, by stream and in the order of all. */
export function readCases(url: string): Omit<Case, 'place'>[] {
  return [
    { name: 'replay 1,000 events', unit: 'events', units: length, open: () => replay(url) },
    { name: 'notifications in pages of 1,000', unit: 'events', units: 1000, open: () => pages(url) },
    { name: 'domain events in pages of 1,000', unit: 'events', units: 1000, open: () => pagesOfDomainEvents(url) },
  ]
}

async function replay(url: string): Promise<Contest> {
  const stored = storedDogs(streams, length)
  const idOf = (turn: number) => stored[(turn % streams) * length]!.originatorId
  const databases = await Databases.open(url, stored)
  const { app } = databases
  const raw = await databases.raw()
  const byBytes = async (turn: number) => foldDog(await raw.query(selectDog.bytes, [idOf(turn)]))
  const byTexts = async (turn: number) => foldDog(await raw.query(selectDog.text, [idOf(turn)]))
  const byUs = (turn: number) => app.repository.get(Dog, idOf(turn))
  return databases.contest({
    raws: [
      { name: 'prepared SELECT, state as bytes', operation: byBytes },
      { name: 'prepared SELECT, state as text', operation: byTexts },
    ],
    ours: { name: 'repository.get', operation: byUs },
    async check() {
      const { version, name, breed, owner, address, tricks } = await byUs(1)
      const dog = { version, name, breed, owner, address, tricks }
      deepStrictEqual([await byBytes(1), await byTexts(1)], [dog, dog])
    },
  })
}

const startOf = (turn: number) => (turn % streams) * length + 1

async function pages(url: string): Promise<Contest> {
  const databases = await Databases.open(url, storedDogs(streams, length))
  const { app } = databases
  const raw = await databases.raw()
  const byHand = (turn: number) => raw.query(selectPage, [startOf(turn), 1000])
  const byUs = (turn: number) => app.recorder.selectNotifications({ start: startOf(turn), limit: 1000 })
  return databases.contest({
    raws: [{ name: 'prepared SELECT, rows as arrays', operation: byHand }],
    ours: { name: 'recorder.selectNotifications', operation: byUs },
    async check() {
      const ours = (await byUs(1)).map((each) => [
        each.id,
        each.originatorId,
        each.originatorVersion,
        each.topic,
        Buffer.from(each.state),
      ])
      deepStrictEqual(Array.from(await byHand(1)), ours)
    },
  })
}

async function pagesOfDomainEvents(url: string): Promise<Contest> {
  const databases = await Databases.open(url, storedDogs(streams, length))
  const { app } = databases
  const mapper = await app.factory.mapper()
  const raw = await databases.raw()
  const byBytes = async (turn: number) => (await raw.query(selectPage, [startOf(turn), 1000])).map(toPlainEvent)
  const byTexts = async (turn: number) => (await raw.query(selectPageOfTexts, [startOf(turn), 1000])).map(toPlainEvent)
  const byUs = async (turn: number) => {
    const notifications = await app.recorder.selectNotifications({ start: startOf(turn), limit: 1000 })
    return notifications.map((notification) => mapper.toDomainEvent(notification))
  }
  return databases.contest({
    raws: [
      { name: 'prepared SELECT, state as bytes', operation: byBytes },
      { name: 'prepared SELECT, state as text', operation: byTexts },
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
      deepStrictEqual([Array.from(await byBytes(1)), Array.from(await byTexts(1))], [events, events])
    },
  })
}
