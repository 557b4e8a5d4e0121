import type { registered, trickAdded } from './domain.js'

/** A dog by hand: a plain object. */
export interface RawDog {
  version: number
  name: string
  breed: string
  owner: string
  address: string
  tricks: string[]
}

/** The queries of a dog's events: state as the blob that is stored, or turned into text by SQLite. */
export const selectDog = {
  blob: 'SELECT originator_version, topic, state FROM bench_events WHERE originator_id = ? ORDER BY originator_version',
  text: 'SELECT originator_version, topic, CAST(state AS text) FROM bench_events WHERE originator_id = ? ORDER BY originator_version',
}

/** Makes a dog from its rows. */
export function foldDog(rows: readonly unknown[]): RawDog {
  const dog: RawDog = { version: 0, name: '', breed: '', owner: '', address: '', tricks: [] }
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

/** Reads a state by hand. */
export function parseState(state: Buffer | string): { timestamp: string; data: object } {
  return JSON.parse(typeof state === 'string' ? state : state.toString()) as { timestamp: string; data: object }
}
