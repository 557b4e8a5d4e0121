import type { DomainEvent } from '../domain/event.js'
import { findEvent, type EventDefinition } from '../domain/topics.js'
import { upcast } from '../domain/upcasts.js'
import {
  EventSourcingError,
  MapperDeserialisationError,
  ProgrammingError,
  TopicError,
  TranscodingNotRegisteredError,
} from '../errors.js'
import type { StoredEvent, StoredText } from './stored-event.js'
import { JsonTranscoder, formatTimestamp, parseTimestamp, type Transcoder } from './transcoder.js'

/**
 * Turns domain events into stored events, and back. `MAPPER_TOPIC` may name a subclass.
 *
 * The state is the transcoder's encoding of `{ timestamp, data, metadata?, classVersion? }`, keys in this order:
 * `timestamp` as ISO 8601 text in UTC with milliseconds, `metadata` only where there is some, `classVersion` only above
 * 1. Id, version and topic are beside it, readable by the database.
 *
 * @see docs/decisions/0008-stored-layout.md: this layout is final.
 */
export class Mapper {
  readonly #transcoder: Transcoder

  constructor({ transcoder }: { readonly transcoder: Transcoder }) {
    this.#transcoder = transcoder
  }

  /**
   * The stored event: id, version and topic as given, the rest as bytes.
   *
   * @throws ProgrammingError  It has not the shape of a domain event; says what is wrong, never with what value.
   * @throws TranscodingNotRegisteredError  A value of a type that the transcoder does not know; names topic and type.
   */
  toStoredEvent(event: DomainEvent): StoredEvent {
    checkShape(event)
    const transcoder = this.#transcoder
    const state = isJson(transcoder) ? bytesOf(textOf(event, transcoder)) : this.#encode(event)
    return storedWith(event, state)
  }

  /** As `toStoredEvent` of each. */
  toStoredEvents(events: readonly DomainEvent[]): StoredEvent[] {
    const transcoder = this.#transcoder
    const isOverridden = this.toStoredEvent !== Mapper.prototype.toStoredEvent
    if (events.length === 1 || isOverridden || !isJson(transcoder)) {
      return events.map((event) => this.toStoredEvent(event))
    }
    const texts = events.map((event) => {
      checkShape(event)
      return textOf(event, transcoder)
    })
    return statesOf(texts).map((state, index) => storedWith(events[index] as DomainEvent, state))
  }

  /**
   * The domain event, frozen: itself, its data and metadata with all plain objects and arrays in them.
   *
   * @throws TopicError  Nothing is registered for the topic.
   * @throws MapperDeserialisationError  The state can't be read, a newer version of the code wrote it, or a step of its upcasts
   *   failed. Names topic, originator id and version; the cause is there only where it can't contain state.
   */
  toDomainEvent(stored: StoredEvent | StoredText): DomainEvent {
    const event = this.decode(stored)
    freeze(event.data)
    freeze(event.metadata)
    return Object.freeze(event)
  }

  /** Whether `decode` takes states as text: where they are text, and no subclass has a way of its own with bytes. */
  get takesText(): boolean {
    const { decode, decodeText } = this.#transcoder
    const ownBytes = decode !== JsonTranscoder.prototype.decode && decodeText === JsonTranscoder.prototype.decodeText
    return decodeText !== undefined && !ownBytes && this.decode === Mapper.prototype.decode
  }

  /** As `toDomainEvent`, upcasts included, but not frozen: for replay, where the caller owns it and nobody else sees it. */
  decode(stored: StoredEvent | StoredText): DomainEvent {
    const { originatorId, originatorVersion } = stored
    const definition = findEvent(stored.topic)
    if (definition === undefined) {
      throw new TopicError(
        `Topic ${JSON.stringify(stored.topic)} of originator ${JSON.stringify(originatorId)} is not registered: import ` +
          'the class of that aggregate or list it in `static aggregates` of the application, or, if it has been ' +
          'renamed, use registerTopicAlias(old, new)',
      )
    }
    const values = this.#decode(stored)
    if (!isPlainObject(values)) refuse(stored, 'its state is no object')
    const { timestamp, data, metadata, classVersion } = values
    const date = parseTimestamp(timestamp)
    if (date === undefined) refuse(stored, 'its state has no valid timestamp')
    if (!isPlainObject(data)) refuse(stored, 'its state has no data')
    if (metadata !== undefined && !isPlainObject(metadata)) refuse(stored, 'its metadata is no object')
    if (classVersion !== undefined) checkClassVersion(stored, classVersion, definition.classVersion)
    const current = definition.classVersion === 1 ? data : upcasted(stored, data, classVersion, definition)
    const { topic } = definition
    return { originatorId, originatorVersion, topic, timestamp: date, data: current, metadata: metadata ?? {} }
  }

  // The two ends of the state: a stage that works on bytes goes after the transcoder here and after `bytesOf`, and before
  // the transcoder below.
  #encode(event: DomainEvent): Uint8Array {
    const { timestamp, data, topic } = event
    const metadata = metadataOf(event)
    const classVersion = classVersionOf(topic)
    try {
      return this.#transcoder.encode({
        timestamp: formatTimestamp(timestamp),
        data,
        ...(metadata !== undefined && { metadata }),
        ...(classVersion > 1 && { classVersion }),
      })
    } catch (error) {
      return refuseToEncode(topic, error)
    }
  }

  #decode(stored: StoredEvent | StoredText): unknown {
    const { state } = stored
    try {
      return typeof state === 'string' ? this.#transcoder.decodeText?.(state) : this.#transcoder.decode(state)
    } catch (error) {
      // Ours say what is wrong without the state; others, of a user's transcoding or of the platform, may quote it.
      if (error instanceof EventSourcingError) refuse(stored, error.message, error)
      refuse(stored, `decoding it failed with ${error instanceof Error ? error.name : 'something that is no error'}`)
    }
  }
}

/** Whether it makes bytes of the text that `encodeText` gives, as no subclass with a way of its own does. */
function isJson(transcoder: Transcoder): transcoder is JsonTranscoder {
  const { encode, encodeText } = JsonTranscoder.prototype
  return transcoder.encode === encode && (transcoder as JsonTranscoder).encodeText === encodeText
}

// JSON of the data and the text around it, joined by hand, take two thirds of the time of JSON of all of it.
function textOf(event: DomainEvent, transcoder: JsonTranscoder): string {
  const { timestamp, data, topic } = event
  const metadata = metadataOf(event)
  const classVersion = classVersionOf(topic)
  try {
    let text = `{"timestamp":"${formatTimestamp(timestamp)}","data":${transcoder.encodeText(data)}`
    if (metadata !== undefined) text += `,"metadata":${transcoder.encodeText(metadata)}`
    if (classVersion > 1) text += `,"classVersion":${classVersion}`
    return `${text}}`
  } catch (error) {
    return refuseToEncode(topic, error)
  }
}

/** Where there is some. */
function metadataOf({ metadata }: DomainEvent): Record<string, unknown> | undefined {
  return metadata !== undefined && Object.keys(metadata).length > 0 ? metadata : undefined
}

function classVersionOf(topic: string): number {
  return findEvent(topic)?.classVersion ?? 1
}

function refuseToEncode(topic: string, error: unknown): never {
  if (!(error instanceof TranscodingNotRegisteredError)) throw error
  throw new TranscodingNotRegisteredError(`${topic}: ${error.message}`, { cause: error })
}

function storedWith({ originatorId, originatorVersion, topic }: DomainEvent, state: Uint8Array): StoredEvent {
  return { originatorId, originatorVersion, topic, state }
}

/** So many states share memory: whoever keeps one keeps a few more, not all that were saved with it. */
const statesTogether = 32

/** The bytes of each: of several at once where a character is a byte, in half of the time. */
function statesOf(texts: readonly string[]): Uint8Array[] {
  const states: Uint8Array[] = []
  for (let start = 0; start < texts.length; start += statesTogether) {
    const some = texts.slice(start, start + statesTogether)
    const joined = some.join('')
    const bytes = bytesOf(joined)
    let end = 0
    for (const text of some) {
      states.push(bytes.length === joined.length ? bytes.subarray(end, (end += text.length)) : bytesOf(text))
    }
  }
  return states
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'utf8')
}

// Events may come from users: what passes here can be read again.
function checkShape(event: DomainEvent): void {
  const fault = faultOf(event)
  if (fault === undefined) return
  const topic: unknown = (event as DomainEvent | null)?.topic
  const name = typeof topic === 'string' ? ` ${JSON.stringify(topic)}` : ''
  throw new ProgrammingError(`The domain event${name} can't be stored: ${fault}`)
}

function faultOf(event: DomainEvent): string | undefined {
  if (typeof event !== 'object' || event === null) return 'it must be an object'
  const { originatorId, originatorVersion, topic, timestamp, data, metadata } = event
  if (typeof originatorId !== 'string' || originatorId === '') return 'originatorId must be text that is not empty'
  if (!Number.isSafeInteger(originatorVersion) || originatorVersion < 1)
    return 'originatorVersion must be an integer from 1'
  if (typeof topic !== 'string' || topic === '') return 'topic must be text that is not empty'
  if (!(timestamp instanceof Date) || Number.isNaN(timestamp.getTime())) return 'timestamp must be a valid Date'
  if (!isPlainObject(data)) return 'data must be a plain object'
  if (metadata !== undefined && !isPlainObject(metadata)) return 'metadata must be a plain object'
  return undefined
}

/** The data as events of the present class version have it. */
function upcasted(
  stored: StoredEvent | StoredText,
  data: Record<string, unknown>,
  classVersion: number | undefined,
  { upcasts }: EventDefinition,
): Record<string, unknown> {
  return upcast(data, upcasts, classVersion ?? 1, (why) => refuse(stored, why))
}

function checkClassVersion(
  stored: StoredEvent | StoredText,
  classVersion: unknown,
  known: number,
): asserts classVersion is number {
  if (!Number.isSafeInteger(classVersion) || (classVersion as number) < 2) {
    refuse(stored, 'its class version is no integer from 2')
  }
  if ((classVersion as number) > known) {
    refuse(stored, `its class version is ${String(classVersion)}, this code knows ${known}: it is older than the event`)
  }
}

function refuse(
  { topic, originatorId, originatorVersion }: StoredEvent | StoredText,
  why: string,
  cause?: Error,
): never {
  throw new MapperDeserialisationError(
    `Event ${JSON.stringify(topic)} of originator ${JSON.stringify(originatorId)}, version ${originatorVersion}, can't ` +
      `be read: ${why}`,
    cause === undefined ? {} : { cause },
  )
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function freeze(value: unknown): void {
  if (!Array.isArray(value) && !isPlainObject(value)) return
  Object.freeze(value)
  for (const item of Object.values(value)) freeze(item)
}
