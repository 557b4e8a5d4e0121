import { setTimeout as pause } from 'node:timers/promises'
import { newDog } from '../domain.js'
import type { Outcome } from '../goals.js'
import { Databases, owners } from './databases.js'

const pollMs = 50

/**
 * How long a reader that polls is held back from events that are saved beside two transactions that stay open: one of
 * ours that has written a table of the user's, and a stranger's.
 *
 * @param seconds  How long they stay open.
 */
export async function readerBesideTransactions(url: string, seconds: number): Promise<Outcome> {
  const databases = await Databases.open(url)
  try {
    const ours = await databases.app.transaction()
    await ours.session.insert(owners).values({ name: 'Ann', dog: 'Fido' })
    const { client: stranger } = await databases.raw()
    await stranger`BEGIN`
    await stranger`INSERT INTO owners (name, dog) VALUES ('Bob', 'Rex')`
    const { events, polls, delayMs } = await follow(databases, seconds)
    await stranger`COMMIT`
    await ours.commit()
    return {
      operation: `PostgreSQL: reader beside two transactions that wrote other tables and stay open for ${seconds} s`,
      goal: '≤ 1 poll',
      measured: `${polls} poll${polls === 1 ? '' : 's'}`,
      reached: polls <= 1,
      how: `${events} events, polling every ${pollMs} ms: each was seen ${Math.ceil(delayMs)} ms after its save at most`,
    }
  } finally {
    await databases.close()
  }
}

/** Saves and reads at the same time. @returns The greatest delay between the two, in polls (the next one is 1) and ms. */
async function follow(
  { app }: Databases,
  seconds: number,
): Promise<{ events: number; polls: number; delayMs: number }> {
  const end = performance.now() + seconds * 1000
  /** By notification id: when it was saved, in ms and polls. */
  const unseen = new Map<number, { readonly at: number; readonly poll: number }>()
  const greatest = { events: 0, polls: 0, delayMs: 0 }
  let poll = 0
  let position = 0
  async function save(): Promise<void> {
    for (; performance.now() < end; await pause(10)) {
      const [recording] = await app.save(newDog())
      const { id } = recording!.notification
      // it may have been read before we know that it is saved
      if (id > position) unseen.set(id, { at: performance.now(), poll })
      greatest.events++
    }
  }
  async function read(): Promise<void> {
    for (let next = performance.now(); next < end || unseen.size > 0; next += pollMs) {
      await pause(Math.max(next - performance.now(), 0))
      poll++
      for (const { id } of await app.recorder.selectNotifications({ start: position + 1, limit: 1000 })) {
        position = id
        const saved = unseen.get(id)
        if (saved === undefined) continue
        unseen.delete(id)
        greatest.polls = Math.max(greatest.polls, poll - saved.poll)
        greatest.delayMs = Math.max(greatest.delayMs, performance.now() - saved.at)
      }
    }
  }
  await Promise.all([save(), read()])
  return greatest
}
