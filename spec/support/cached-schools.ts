import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import type { Opened } from './backend.js'
import { TrainingSchool } from './training-school.js'

/** A school with a cache, and how many events it has read. */
export interface CachedSchool {
  readonly school: TrainingSchool
  /** How many events have been read since it was last asked. */
  eventsRead(): number
}

/** What a cache is configured with, beside its size. */
export interface CacheSwitches {
  readonly maxSize?: number
  readonly fastForward?: boolean
  readonly deepCopy?: boolean
}

/** The variables of a cache. */
export function cacheEnv({ maxSize = 0, fastForward = true, deepCopy = true }: CacheSwitches = {}) {
  return {
    AGGREGATE_CACHE_MAXSIZE: String(maxSize),
    AGGREGATE_CACHE_FASTFORWARD: fastForward ? 'y' : 'n',
    DEEPCOPY_FROM_AGGREGATE_CACHE: deepCopy ? 'y' : 'n',
  }
}

/** Every way of caching. */
export const waysOfCaching: readonly { readonly title: string; readonly switches: CacheSwitches }[] = [
  { title: 'with fast-forward', switches: {} },
  { title: 'without fast-forward', switches: { fastForward: false } },
  { title: 'with fast-forward, without copies', switches: { deepCopy: false } },
  { title: 'without fast-forward, without copies', switches: { fastForward: false, deepCopy: false } },
]

/** A school on what a case has opened, on the same tables as other schools there. */
export function cachedSchool(opened: Opened, switches: CacheSwitches = {}, name = 'TrainingSchool'): CachedSchool {
  const transcoder = new CountingTranscoder()
  const school = new TrainingSchool({
    persistence: opened.factory(name, { TRANSCODER_TOPIC: transcoder }),
    name,
    env: cacheEnv(switches),
  })
  return {
    school,
    eventsRead() {
      const { decoded } = transcoder
      transcoder.decoded = 0
      return decoded
    },
  }
}

class CountingTranscoder extends JsonTranscoder {
  decoded = 0

  override decode(bytes: Uint8Array): unknown {
    this.decoded += 1
    return super.decode(bytes)
  }
}
