import type { Application, DomainEvent, Recording } from 'eventsourcing-drizzle'
import { RecordConflictError } from 'eventsourcing-drizzle'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { newDog } from '../domain.js'

/** What a read of all events took. */
export interface FullRead {
  readonly events: number
  readonly perSecond: number
  /** What was in use after each so many events, in MB, garbage not counted. */
  readonly every: number
  readonly usedMb: readonly number[]
}

/** What saves took that were started at once. */
export interface SavesAtOnce {
  readonly saves: number
  readonly stored: number
  readonly conflicts: number
  readonly ms: number
  /** The longest time in which the event loop had no turn, the starting of all saves included. */
  readonly longestTurnMs: number
  /** Bytes for each save, above what was in use before: while all of them wait, garbage not counted. */
  readonly waiting: number
  /** … the most there was, garbage counted. */
  readonly peak: number
  /** … after all of them were settled and forgotten. */
  readonly left: number
}

/** Reads all events through the notification log, as an application would. */
export async function readAll(app: Application, every: number): Promise<FullRead> {
  const usedMb: number[] = []
  let [events, last, lookingMs] = [0, 0, 0]
  const start = performance.now()
  for await (const { id } of app.notificationLog.read()) {
    if (id <= last) throw new Error(`${id} came after ${last}`)
    last = id
    events += 1
    if (events % every !== 0) continue
    const looked = performance.now()
    usedMb.push((await usedBytes()) / 1e6)
    lookingMs += performance.now() - looked
  }
  const seconds = (performance.now() - start - lookingMs) / 1000
  return { events, perSecond: events / seconds, every, usedMb }
}

/**
 * Starts all saves before the first has ended, twice: once to see how long they take, once to see what they hold.
 *
 * @param conflicts  How many of them save an event that is stored already.
 */
export async function saveAtOnce(app: Application, saves: number, conflicts: number): Promise<SavesAtOnce> {
  const taken = Array.from({ length: conflicts }, () => newDog().collectEvents())
  await app.save(...taken.flat())
  const timed = await timedSaves(app, saved(saves, taken))
  const held = await heldBySaves(app, saved(saves, taken))
  return { saves, conflicts, stored: saves - conflicts, ...timed, ...held }
}

/** The events of each of the saves, new ones and those that are stored already: these are spread among the others. */
function saved(saves: number, taken: readonly (readonly DomainEvent[])[]): (readonly DomainEvent[])[] {
  const every = saves / Math.max(taken.length, 1)
  return Array.from({ length: saves }, (_, index) =>
    index % every === 0 && taken.length > 0 ? taken[index / every]! : newDog().collectEvents(),
  )
}

async function timedSaves(app: Application, all: readonly (readonly DomainEvent[])[]) {
  const before = await usedBytes()
  const watch = new Watch()
  const start = performance.now()
  const outcomes = await Promise.allSettled(all.map((events) => app.save(...events)))
  const ms = performance.now() - start
  const { longestTurnMs, mostBytes } = await watch.end()
  check(outcomes)
  return { ms, longestTurnMs, peak: Math.max(0, mostBytes - before) / all.length }
}

async function heldBySaves(app: Application, all: readonly (readonly DomainEvent[])[]) {
  const before = await usedBytes()
  const waiting = await (async () => {
    const settled = Promise.allSettled(all.map((events) => app.save(...events)))
    collectGarbage()
    const bytes = inUse()
    check(await settled)
    return bytes
  })()
  const after = await usedBytes()
  return { waiting: (waiting - before) / all.length, left: (after - before) / all.length }
}

/** @throws Error  A save failed for more than a conflict, or two were given the same id. */
function check(outcomes: readonly PromiseSettledResult<Recording[]>[]): void {
  const ids = new Set<number>()
  let recordings = 0
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') {
      if (!(outcome.reason instanceof RecordConflictError)) throw outcome.reason
      continue
    }
    for (const { notification } of outcome.value) {
      ids.add(notification.id)
      recordings += 1
    }
  }
  if (ids.size !== recordings) throw new Error(`${recordings} events were given ${ids.size} ids`)
}

/** Looks at the memory whenever the event loop has a turn. */
class Watch {
  #longestTurnMs = 0
  #mostBytes = 0
  #last = performance.now()
  #ended = false
  readonly #watching = this.#run()

  async end(): Promise<{ readonly longestTurnMs: number; readonly mostBytes: number }> {
    this.#ended = true
    await this.#watching
    return { longestTurnMs: this.#longestTurnMs, mostBytes: this.#mostBytes }
  }

  async #run(): Promise<void> {
    while (!this.#ended) {
      await nextTurn()
      const now = performance.now()
      this.#longestTurnMs = Math.max(this.#longestTurnMs, now - this.#last)
      this.#last = now
      this.#mostBytes = Math.max(this.#mostBytes, inUse())
    }
  }
}

/** What is in use once everything that nobody needs is gone, in bytes: JavaScript's own, and buffers. */
async function usedBytes(): Promise<number> {
  // what the turn has used is kept to its end
  await nextTurn()
  collectGarbage()
  return inUse()
}

function inUse(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
