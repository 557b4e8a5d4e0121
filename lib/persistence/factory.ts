import { InfrastructureFactoryError, ProgrammingError } from '../errors.js'
import type { Cipher } from './cipher.js'
import type { Compressor } from './compressor.js'
import type { AnyDatastore } from './datastore.js'
import { Environment, snakeCase } from './environment.js'
import { Mapper, type MapperOptions, requireStages } from './mapper.js'
import type { AggregateRecorder, ApplicationRecorder, ProcessRecorder, TrackingRecorder } from './recorders.js'
import { cipherOf, compressorOf, readsPlain } from './stage-topics.js'
import { resolveTopic } from './topic-loader.js'
import { JsonTranscoder, type Transcoder } from './transcoder.js'

/** What a factory is made from: an environment, or a datastore with an environment beside it. */
export interface FactoryOptions<D extends AnyDatastore = AnyDatastore> {
  /** Wins over the environment. */
  readonly datastore?: D | undefined
  /** `Environment`, or plain variables. Default: none. */
  readonly env?: Environment | Readonly<Record<string, unknown>> | undefined
  /** The application's name: prefix of variables and tables. Default: none. */
  readonly name?: string | undefined
  /** Where relative topics start. Default: the current directory. */
  readonly topicBase?: string | URL | undefined
}

/** How a recorder is made. */
export interface RecorderMaking {
  /** Whether it connects and creates its tables now, or at its first use. Default: true, now. */
  readonly ready?: boolean | undefined
}

/**
 * Makes an application's recorders, mapper and transcoder from its environment.
 *
 * @see Python eventsourcing, `InfrastructureFactory`.
 */
export abstract class Factory {
  readonly env: Environment
  /** Where relative topics start. */
  protected readonly topicBase: string | URL | undefined

  constructor(source: Environment | Readonly<Record<string, unknown>> | FactoryOptions = {}) {
    const { env = {}, name, topicBase } = factoryOptions(source)
    this.env = env instanceof Environment ? env : new Environment(name ?? '', env)
    this.topicBase = topicBase
  }

  /** Where the recorders keep their events. */
  // of which session is its subclass's to say
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  abstract readonly datastore: AnyDatastore<any>
  /** A recorder of events, stream by stream. @param purpose  `snapshots` has no notification ids. Default: `events`. */
  abstract aggregateRecorder(purpose?: 'events' | 'snapshots', making?: RecorderMaking): Promise<AggregateRecorder>
  /** A recorder of events in one order. */
  abstract applicationRecorder(making?: RecorderMaking): Promise<ApplicationRecorder>
  /** A recorder of how far upstream applications were processed. */
  abstract trackingRecorder(making?: RecorderMaking): Promise<TrackingRecorder>
  /** A recorder of events and tracking, together. */
  abstract processRecorder(making?: RecorderMaking): Promise<ProcessRecorder>
  /** Closes what the factory opened; a datastore that it was given stays open. */
  abstract close(): Promise<void>

  /**
   * Checks what can be checked without a database.
   *
   * @throws ProgrammingError  A variable has a value that can't be.
   */
  check(): void {
    this.env.yes('CREATE_TABLE', true)
    this.isSnapshottingEnabled()
    readsPlain(this.env)
    this.env.integer('COMPRESSOR_MAX_SIZE', 1, 1)
    this.poolTimeoutMs()
    this.autoflush()
  }

  /** `MAPPER_TOPIC`, or `Mapper`; with the transcoder, the compressor and the cipher of the environment where none is given. */
  async mapper(given: Partial<MapperOptions> = {}): Promise<Mapper> {
    const topic = this.env.get('MAPPER_TOPIC')
    const mapperClass = topic ? await resolveTopic<typeof Mapper>(topic as string, this.topicBase) : Mapper
    if (mapperClass !== Mapper && !(mapperClass.prototype instanceof Mapper)) {
      throw new ProgrammingError('MAPPER_TOPIC must name a subclass of Mapper')
    }
    const options: MapperOptions = {
      transcoder: given.transcoder ?? (await this.transcoder()),
      compressor: given.compressor ?? (await this.compressor()),
      cipher: given.cipher ?? (await this.cipher()),
      readsPlain: given.readsPlain ?? readsPlain(this.env),
    }
    const mapper = new mapperClass(options)
    requireStages(mapper, options)
    return mapper
  }

  /** `TRANSCODER_TOPIC`, a class or an object with `encode` and `decode`; or `JsonTranscoder`. */
  async transcoder(): Promise<Transcoder> {
    const topic = this.env.get('TRANSCODER_TOPIC')
    if (!topic) return new JsonTranscoder()
    const found = await resolveTopic<Transcoder | (new () => Transcoder)>(topic as string, this.topicBase)
    const transcoder = typeof found === 'function' ? new found() : found
    if (typeof transcoder?.encode !== 'function' || typeof transcoder.decode !== 'function') {
      throw new ProgrammingError('TRANSCODER_TOPIC must name a class or an object with encode and decode')
    }
    return transcoder
  }

  /**
   * `COMPRESSOR_TOPIC`: `zlib`, `brotli`, a class constructed with the environment, or an object with `compress` and
   * `decompress`. `undefined` where it is not set.
   */
  async compressor(): Promise<Compressor | undefined> {
    return compressorOf(this.env, this.topicBase)
  }

  /**
   * `CIPHER_TOPIC`, a class constructed with the environment or an object with `encrypt` and `decrypt`; else `AesCipher` where
   * `CIPHER_KEY` is set. `undefined` where neither is.
   */
  async cipher(): Promise<Cipher | undefined> {
    return cipherOf(this.env, this.topicBase)
  }

  /** `IS_SNAPSHOTTING_ENABLED`. */
  isSnapshottingEnabled(): boolean {
    return this.env.yes('IS_SNAPSHOTTING_ENABLED', false)
  }

  /** `<prefix>_events` and so on, the prefix being the name in snake case; other names where there is none. */
  protected tableName(kind: 'events' | 'snapshots' | 'tracking'): string {
    const prefix = snakeCase(this.env.name)
    if (prefix) return `${prefix}_${kind}`
    return kind === 'tracking' ? 'notification_tracking' : `stored_${kind}`
  }

  protected poolTimeoutMs(): number {
    return this.env.integer('DRIZZLE_POOL_TIMEOUT_MS', 30_000)
  }

  protected autoflush(): boolean {
    return this.env.yes('DRIZZLE_AUTOFLUSH', true)
  }
}

/**
 * Finds the factory class that `PERSISTENCE_MODULE` names: such a class, or a module that exports exactly one.
 *
 * @throws TopicError  Nothing is there. @throws InfrastructureFactoryError  No factory, or several.
 */
export async function resolveFactoryClass(
  topic: unknown,
  topicBase?: string | URL,
): Promise<new (options: FactoryOptions) => Factory> {
  const found = await resolveTopic<unknown>(topic, topicBase)
  if (isFactoryClass(found)) return found
  const exported = typeof found === 'object' && found !== null ? Object.values(found).filter(isFactoryClass) : []
  const [factoryClass] = new Set(exported)
  if (factoryClass && new Set(exported).size === 1) return factoryClass
  throw new InfrastructureFactoryError(
    `PERSISTENCE_MODULE must name a factory class or a module that exports exactly one; ` +
      `${typeof topic === 'string' ? JSON.stringify(topic) : 'what it names'} has ${exported.length}`,
  )
}

function isFactoryClass(value: unknown): value is new (options: FactoryOptions) => Factory {
  return typeof value === 'function' && value.prototype instanceof Factory
}

function factoryOptions(source: Environment | Readonly<Record<string, unknown>> | FactoryOptions): FactoryOptions {
  if (source instanceof Environment) return { env: source }
  // variables are upper case, options are not
  if ('datastore' in source || 'env' in source || 'name' in source || 'topicBase' in source) return source
  return { env: source as Readonly<Record<string, unknown>> }
}
