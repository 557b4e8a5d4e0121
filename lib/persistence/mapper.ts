import { kindOfError } from '../domain/error-kind.js'
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
import type { CipherContext } from './cipher.js'
import { Openings, Sealings, inOrder } from './sealing.js'
import { type Snapshot, refuseSnapshot, snapshotOf, snapshotValues } from './snapshot.js'
import { type Awaitable, Stages, type StagesOptions, hintAt, isPromise, then } from './stages.js'
import type { StoredEvent, StoredText } from './stored-event.js'
import { JsonTranscoder, formatTimestamp, parseTimestamp, type Transcoder } from './transcoder.js'

/** What a mapper is made of. A subclass gives all of it to its `super`. */
export interface MapperOptions extends StagesOptions {
  readonly transcoder: Transcoder
}

/**
 * Turns domain events into stored events, and back. `MAPPER_TOPIC` may name a subclass.
 *
 * The state is the transcoder's encoding of `{ timestamp, data, metadata?, classVersion? }`, keys in this order:
 * `timestamp` as ISO 8601 text in UTC with milliseconds, `metadata` only where there is some, `classVersion` only above
 * 1. Id, version and topic are beside it, readable by the database. Where there is a compressor, it is compressed then; where there
 * is a cipher, it is encrypted then.
 *
 * What a subclass overrides works the same with them: the state that comes from `super.toStoredEvent` is sealed, and
 * `super.decode` opens it. With a cipher that gives promises only `sealEvents` and `openEvents` can be used, which call
 * those: there the state that comes from `super.toStoredEvent` has yet to be filled in, and is to be passed on as it is.
 *
 * @see docs/decisions/0008-stored-layout.md: this layout is final.
 */
export class Mapper {
  readonly #transcoder: Transcoder
  /** `undefined` where there is neither compressor nor cipher. */
  readonly #stages: Stages | undefined
  /** While events are sealed, or one is opened, for a caller who can wait for the cipher. */
  #sealings: Sealings | undefined
  #openings: Openings | undefined

  constructor({ transcoder, ...options }: MapperOptions) {
    this.#transcoder = transcoder
    const stages = new Stages(options)
    this.#stages = stages.areOn ? stages : undefined
  }

  /** Whether it has a compressor. */
  get compresses(): boolean {
    return this.#stages?.compresses ?? false
  }

  /** Whether it has a cipher. */
  get encrypts(): boolean {
    return this.#stages?.encrypts ?? false
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
    return this.#storedWith(event, state)
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
    return statesOf(texts).map((state, index) => this.#storedWith(events[index] as DomainEvent, state))
  }

  /** As `toStoredEvents`; a promise where the cipher gives promises. It asks for a few events at once then. */
  sealEvents(events: readonly DomainEvent[]): Awaitable<StoredEvent[]> {
    if (!this.encrypts) return this.toStoredEvents(events)
    const outer = this.#sealings
    const sealings = (this.#sealings = new Sealings())
    try {
      const stored = this.toStoredEvents(events)
      return sealings.areAny ? sealings.filledIn(stored) : stored
    } finally {
      this.#sealings = outer
    }
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
    try {
      freeze(event.data)
      freeze(event.metadata)
    } catch {
      refuse(stored, 'its state is nested too deep') // the stack's end, which no event is stored with
    }
    return Object.freeze(event)
  }

  /**
   * As `toDomainEvent` of each, or `decode`, in order; a promise where the cipher gives promises. It asks for a few events at
   * once then.
   */
  openEvents(
    stored: readonly StoredEvent[],
    by: 'toDomainEvent' | 'decode' = 'toDomainEvent',
  ): Awaitable<DomainEvent[]> {
    if (!this.encrypts) return stored.map((each) => this[by](each))
    return inOrder(stored, (each) => this.#opened(() => this[by](each), new Openings()))
  }

  /**
   * The same stored event, its state opened and sealed anew: compressed, and encrypted with the current key. To be written over the
   * stored one where a former key is to be given up, or states are plain that were stored before there was a cipher. A promise
   * where the cipher gives promises.
   *
   * @param kind  Whether it is an event or a snapshot. Default: `event`.
   * @throws MapperDeserialisationError  The state can't be opened.
   */
  reseal(stored: StoredEvent, kind: CipherContext['kind'] = 'event'): Awaitable<StoredEvent> {
    const stages = this.#stages
    if (!stages) return stored
    const { originatorId, originatorVersion, topic, state } = stored
    const context = contextOf(kind, stored)
    const withState = (sealed: Uint8Array) => ({ originatorId, originatorVersion, topic, state: sealed })
    try {
      const opened = stages.open(state, context)
      if (!isPromise(opened)) return then(stages.seal(opened, context), withState)
      return opened
        .catch((error: unknown) => refuseUnopened(stored, error))
        .then((plain) => stages.seal(plain, context))
        .then(withState)
    } catch (error) {
      return refuseUnopened(stored, error)
    }
  }

  /** Whether `decode` takes states as text: where they are text, and no subclass has a way of its own with bytes. */
  get takesText(): boolean {
    if (this.#stages) return false
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
          'renamed, use registerTopicAlias(old, new); if it is the topic of an EventSourcedLog, construct that first',
      )
    }
    const values = this.#decode(stored, 'event', refuse)
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

  /**
   * The stored snapshot: id, version and topic as given, the rest as bytes, sealed as events are. A promise where the cipher
   * gives promises.
   *
   * @throws TranscodingNotRegisteredError  A value of a type that the transcoder does not know; names topic and type.
   */
  toStoredSnapshot(snapshot: Snapshot): Awaitable<StoredEvent> {
    const { originatorId, originatorVersion, topic } = snapshot
    const state = this.#encodeSnapshot(snapshot)
    const sealed = this.#stages ? this.#stages.seal(state, contextOf('snapshot', snapshot)) : state
    const storedAs = (bytes: Uint8Array) => ({ originatorId, originatorVersion, topic, state: bytes })
    return isPromise(sealed) ? sealed.then(storedAs) : storedAs(sealed)
  }

  /**
   * The snapshot again; a promise where the cipher gives promises. Its class need not be known: nothing is upcast.
   *
   * @throws MapperDeserialisationError  It can't be read. Names topic, originator id and version; the cause is there only where
   *   it can't contain state.
   */
  toSnapshot(stored: StoredEvent): Awaitable<Snapshot> {
    const read = () => snapshotOf(stored, this.#decode(stored, 'snapshot', refuseSnapshot))
    return this.encrypts ? this.#opened(read, new Openings()) : read()
  }

  #storedWith(event: DomainEvent, state: Uint8Array): StoredEvent {
    const { originatorId, originatorVersion, topic } = event
    const sealed = this.#stages ? this.#sealed(state, contextOf('event', event)) : state
    return { originatorId, originatorVersion, topic, state: sealed }
  }

  #sealed(state: Uint8Array, context: CipherContext): Uint8Array {
    // a cast: who calls this has asked whether there are any
    const seal = () => (this.#stages as Stages).seal(state, context)
    if (this.#sealings?.areAny) return this.#sealings.standIn(seal)
    const sealed = seal()
    if (!isPromise(sealed)) return sealed
    sealed.catch(() => undefined) // the next event may fail before anybody waits for this one
    if (this.#sealings) return this.#sealings.standIn(() => sealed)
    throw new ProgrammingError(
      'The cipher gives promises: await sealEvents() of the mapper, or save by the application',
    )
  }

  /** The state as the transcoder has made it. */
  #open(stored: StoredEvent | StoredText, kind: CipherContext['kind'], refuse: Refuse): Uint8Array | string {
    const { state } = stored
    if (!this.#stages) return state
    const sealed = typeof state === 'string' ? bytesOf(state) : state
    try {
      const known = this.#openings?.opened(sealed)
      if (known !== undefined) return known
      const opened = this.#stages.open(sealed, contextOf(kind, stored))
      if (!isPromise(opened)) return opened
      if (this.#openings) return this.#openings.waitFor(sealed, opened)
      opened.catch(() => undefined)
    } catch (error) {
      if (error instanceof MapperDeserialisationError) refuse(stored, error.message)
      throw error
    }
    throw new ProgrammingError(
      'The cipher gives promises: await openEvents() of the mapper, or read by the application',
    )
  }

  /** What a function that opens states gives; where it has to wait for one, it is called again afterwards. */
  #opened<T>(read: () => T, openings: Openings): Awaitable<T> {
    const outer = this.#openings
    this.#openings = openings
    try {
      const result = read()
      if (!openings.areUnderWay) return result
    } catch (error) {
      if (!openings.areUnderWay) throw error
    } finally {
      this.#openings = outer
    }
    return openings.settled().then(() => this.#opened(read, openings))
  }

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

  #encodeSnapshot(snapshot: Snapshot): Uint8Array {
    try {
      return this.#transcoder.encode(snapshotValues(snapshot))
    } catch (error) {
      return refuseToEncode(`The snapshot of ${snapshot.topic}`, error)
    }
  }

  #decode(stored: StoredEvent | StoredText, kind: CipherContext['kind'], refuse: Refuse): unknown {
    const state = this.#open(stored, kind, refuse)
    try {
      return typeof state === 'string' ? this.#transcoder.decodeText?.(state) : this.#transcoder.decode(state)
    } catch (error) {
      // Ours say what is wrong without the state; others, of a user's transcoding or of the platform, may quote it.
      if (error instanceof EventSourcingError) refuse(stored, error.message + hintAt(state), error)
      refuse(stored, `decoding it failed with ${kindOfError(error)}`)
    }
  }
}

/**
 * Checks that a mapper has what it was to be made of: otherwise states would be stored other than asked for.
 *
 * @throws ProgrammingError  It has no compressor or no cipher, and was given one.
 */
export function requireStages(mapper: Mapper, { compressor, cipher }: StagesOptions): void {
  if ((!cipher || mapper.encrypts) && (!compressor || mapper.compresses)) return
  throw new ProgrammingError(
    'The mapper leaves out the compressor or the cipher that it is to be made of: let its class pass all that its ' +
      'constructor is given on to super',
  )
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

function contextOf(
  kind: CipherContext['kind'],
  { originatorId, originatorVersion, topic }: DomainEvent | StoredEvent | StoredText | Snapshot,
): CipherContext {
  return { kind, originatorId, originatorVersion, topic }
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

/** Says which event or snapshot can't be read, and why. */
type Refuse = (stored: StoredEvent | StoredText, why: string, cause?: Error) => never

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

/** Those that say what is wrong with the state get its name; others are of the cipher, or of whoever wrote it. */
function refuseUnopened(stored: StoredEvent | StoredText, error: unknown): never {
  if (error instanceof MapperDeserialisationError) refuse(stored, error.message)
  throw error
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
