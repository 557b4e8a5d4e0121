import { randomUUID } from 'node:crypto'
import { registered, trickAdded } from './domain.js'

/** A dog by hand: a plain object. */
export interface RawDog {
  version: number
  name: string
  breed: string
  owner: string
  address: string
  tricks: string[]
}

/** A row of events as drivers take it: originator id, originator version, topic, state. */
export type EventRow = readonly [string, number, string, Uint8Array]

/** The events of a new dog by hand: the same layout of state as ours, by `JSON.stringify`. */
export function newDogRows(events: number): EventRow[] {
  const id = randomUUID()
  const rows: EventRow[] = [[id, 1, 'Dog.Registered', stateOf(registered)]]
  for (let version = 2; version <= events; version++) rows.push([id, version, 'Dog.TrickAdded', stateOf(trickAdded)])
  return rows
}

/** The state of an event that happens now. */
export function stateOf(data: object): Uint8Array {
  return Buffer.from(JSON.stringify({ timestamp: new Date().toISOString(), data }))
}

/** Makes a dog from its rows, or brings one up by its newer ones. */
export function foldDog(rows: readonly unknown[], dog: RawDog = noDog()): RawDog {
  for (const [version, topic, state] of rows as [number, string, Buffer | string][]) {
    const { data } = parseState(state)
    switch (topic) {
      case 'Dog.Registered':
        Object.assign(dog, data as typeof registered)
        break
      case 'Dog.TrickAdded':
        dog.tricks.push((data as typeof trickAdded).trick)
        break
    }
    dog.version = version
  }
  return dog
}

function noDog(): RawDog {
  return { version: 0, name: '', breed: '', owner: '', address: '', tricks: [] }
}

/** Makes a domain event from its row of notifications: a plain object. */
export function toPlainEvent(row: unknown) {
  const [, originatorId, originatorVersion, topic, state] = row as [number, string, number, string, Buffer | string]
  const { timestamp, data } = parseState(state)
  return { originatorId, originatorVersion, topic, timestamp: new Date(timestamp), data }
}

function parseState(state: Buffer | string): { timestamp: string; data: object } {
  return JSON.parse(typeof state === 'string' ? state : state.toString()) as { timestamp: string; data: object }
}
