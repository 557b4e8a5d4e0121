import { Mapper } from '../../lib/persistence/mapper.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import type { DomainEvent } from '../../lib/domain/event.js'
import type { Transcoder } from '../../lib/persistence/transcoder.js'

/** What topics name: JSON backwards, so that nobody takes it for ours. */
export class BackwardsTranscoder implements Transcoder {
  encode(value: unknown): Uint8Array {
    return Buffer.from(JSON.stringify(value)).reverse()
  }

  decode(state: Uint8Array): unknown {
    return JSON.parse(Buffer.from(state).reverse().toString())
  }
}

/** Keeps events under topics of another system. */
export class ForeignMapper extends Mapper {
  override toStoredEvent(event: DomainEvent): StoredEvent {
    const stored = super.toStoredEvent(event)
    return { ...stored, topic: `foreign:${stored.topic}` }
  }

  override decode(stored: StoredEvent): DomainEvent {
    return super.decode({ ...stored, topic: stored.topic.replace('foreign:', '') })
  }
}

export const notATranscoder = { encode: () => new Uint8Array() }
