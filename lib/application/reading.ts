import type { DomainEvent } from '../domain/event.js'
import { Replay } from '../domain/replay.js'
import type { AggregateDefinition } from '../domain/topics.js'
import type { EventStore } from '../persistence/event-store.js'

/** An aggregate to go on with, as a snapshot has it. */
export interface Begun {
  readonly definition: AggregateDefinition
  readonly version: number
  /** Makes it; once. */
  restore(): object
}

/**
 * What the events of one originator make.
 *
 * @param version  The last one that counts. Default: all.
 * @param begun  What they come after. Default: nothing.
 */
export async function replayed(
  events: EventStore,
  id: string,
  version: number | undefined,
  begun?: Begun,
): Promise<Replay> {
  if (begun) return replayedOn(begun, events, id, version)
  let replay = new Replay()
  const begin = () => {
    const making = (replay = new Replay())
    return (some: readonly DomainEvent[]) => {
      for (const event of some) making.take(event)
    }
  }
  await events.take(id, begin, version === undefined ? {} : { lte: version })
  return replay
}

/** The events of one originator after a version, all at once, to be used up. @param upTo  The last one. Default: all. */
export async function eventsAfter(
  events: EventStore,
  id: string,
  version: number,
  upTo?: number,
): Promise<readonly DomainEvent[]> {
  let taken: DomainEvent[] = []
  const begin = () => {
    const all: DomainEvent[] = (taken = [])
    return (some: readonly DomainEvent[]) => {
      for (const event of some) all.push(event)
    }
  }
  await events.take(id, begin, { gt: version, lte: upTo })
  return taken
}

async function replayedOn(begun: Begun, events: EventStore, id: string, version: number | undefined): Promise<Replay> {
  // kept until all are there: they may be read anew, and the aggregate is there only once
  const taken = await eventsAfter(events, id, begun.version, version)
  const replay = new Replay({ definition: begun.definition, aggregate: begun.restore() })
  for (const event of taken) replay.take(event)
  return replay
}
