import { randomUUID } from 'node:crypto'
import type { AggregateRecorder, SelectEventsOptions } from '../../lib/persistence/recorders.js'
import type { StoredEvent, StoredText } from '../../lib/persistence/stored-event.js'

/** A stored event for specs that look at recorders alone. Its state says which it is, unless another is given. */
export function storedEvent(
  originatorId: string,
  originatorVersion: number,
  { topic = 'Dog.TrickAdded', state = bytes(`{"n":${originatorVersion}}`) }: Partial<StoredEvent> = {},
): StoredEvent {
  return { originatorId, originatorVersion, topic, state }
}

/** Stored events of one originator, versions `from` to `to`. */
export function storedEvents(originatorId: string, from: number, to: number): StoredEvent[] {
  return Array.from({ length: to - from + 1 }, (_, i) => storedEvent(originatorId, from + i))
}

/** An originator id that no other case uses. */
export function freshId(): string {
  return randomUUID()
}

/** Text as UTF-8. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/** An event with its state as a plain array, so that `Buffer` and `Uint8Array` of the same bytes compare equal. */
export function plain(event: StoredEvent): Omit<StoredEvent, 'state'> & { state: number[] } {
  const { originatorId, originatorVersion, topic, state } = event
  return { originatorId, originatorVersion, topic, state: [...state] }
}

/** The versions, in the order of the events. */
export function versions(events: readonly StoredEvent[]): number[] {
  return events.map(({ originatorVersion }) => originatorVersion)
}

/** The events as `selectTexts` gives them; undefined where those are not all. */
export async function textsOf(
  recorder: Pick<AggregateRecorder, 'selectTexts'>,
  originatorId: string,
  options?: SelectEventsOptions,
): Promise<StoredText[] | undefined> {
  let texts: StoredText[] = []
  const begin = () => {
    const taken: StoredText[] = (texts = [])
    return (stored: readonly StoredText[]) => void taken.push(...stored)
  }
  return (await recorder.selectTexts?.(originatorId, begin, options)) ? texts : undefined
}
