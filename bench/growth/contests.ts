import { setImmediate as nextTurn } from 'node:timers/promises'
import { addTrickTo, Dog, newDog, trickAdded } from '../domain.js'
import { median } from '../harness.js'
import { type EventRow, foldDog, newDogRows, stateOf } from '../raw-dog.js'
import type { Store, Streams } from './store.js'

/** What is measured again at each size, by this library and by hand. */
export interface Operation {
  readonly name: string
  /** What the ms are for: one save, one command, one page. */
  readonly unit: string
  /** How many units are in one slice of time. */
  readonly units: number
  readonly ours: (units: number) => Promise<unknown>
  readonly byHand: (units: number) => Promise<unknown>
}

/** What was measured of an operation at one size. */
export interface Measured {
  readonly operation: string
  readonly unit: string
  /** Milliseconds for one unit. */
  readonly ours: Spread
  readonly byHand: Spread
  /** Our time divided by that by hand, in the same round: what slows the machine for a while slows both. */
  readonly ratio: Spread
}

/** The median of the rounds, and their quartiles: a quarter of the rounds was below `low`, one above `high`. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** @param lastId  The last notification id there is. */
export function operationsOn({ app, raw }: Store, streams: Streams, lastId: () => number): Operation[] {
  const page = async (start: number, byUs: boolean) => {
    const rows = byUs ? await app.recorder.selectNotifications({ start, limit: 1000 }) : await raw.page(start, 1000)
    if (rows.length !== 1000) throw new Error(`A page from ${start} on has ${rows.length} events`)
  }
  const middle = () => Math.floor(lastId() * (0.4 + Math.random() * 0.2))
  const end = () => lastId() - 999
  return [
    {
      name: 'save 1 event',
      unit: 'save',
      units: 60,
      ours: (units) => inTurn(units, () => app.save(newDog())),
      byHand: (units) => inTurn(units, () => raw.insert(newDogRows(1)[0]!)),
    },
    {
      name: 'save 1 event, 32 callers at a time',
      unit: 'save',
      units: 320,
      ours: (units) => inTurn(units / 32, () => Promise.all(thirtyTwo(() => app.save(newDog())))),
      byHand: (units) => inTurn(units / 32, () => raw.insertTogether(thirtyTwo(() => newDogRows(1)[0]!))),
    },
    {
      name: 'load a stream of 10 or more, decide, save 1',
      unit: 'command',
      units: 40,
      ours: (units) =>
        inTurn(units, async () => {
          const dog = await app.repository.get(Dog, streams.random())
          addTrickTo(dog)
          await app.save(dog)
        }),
      byHand: (units) =>
        inTurn(units, async () => {
          const id = streams.random()
          const { version } = foldDog(await raw.load(id))
          await raw.insert([id, version + 1, 'Dog.TrickAdded', stateOf(trickAdded)] satisfies EventRow)
        }),
    },
    {
      name: 'a page of 1,000 from the middle',
      unit: 'page',
      units: 5,
      ours: (units) => inTurn(units, () => page(middle(), true)),
      byHand: (units) => inTurn(units, () => page(middle(), false)),
    },
    {
      name: 'a page of 1,000 at the end',
      unit: 'page',
      units: 5,
      ours: (units) => inTurn(units, () => page(end(), true)),
      byHand: (units) => inTurn(units, () => page(end(), false)),
    },
  ]
}

/** Measures an operation: both sides in every round, and who begins alternates. */
export async function measure({ name, unit, units, ours, byHand }: Operation, rounds: number): Promise<Measured> {
  const sides = [ours, byHand]
  const ms: [number[], number[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    for (let place = 0; place < sides.length; place++) {
      const side = (place + round) % sides.length
      await nextTurn() // what the other side has left for later is its own
      const start = performance.now()
      await sides[side]!(units)
      ms[side]!.push((performance.now() - start) / units)
    }
  }
  const ratios = ms[0].map((each, round) => each / ms[1][round]!)
  return { operation: name, unit, ours: spread(ms[0]), byHand: spread(ms[1]), ratio: spread(ratios) }
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (part: number) => sorted[Math.round(part * (sorted.length - 1))]!
  return { median: median(values), low: at(0.25), high: at(0.75) }
}

async function inTurn(times: number, work: () => unknown): Promise<void> {
  for (let done = 0; done < times; done++) {
    const result = work()
    // a driver may be synchronous: awaiting what is no promise would charge it for something it doesn't do
    if (result instanceof Promise) await result
  }
}

function thirtyTwo<T>(make: () => T): T[] {
  return Array.from({ length: 32 }, make)
}
