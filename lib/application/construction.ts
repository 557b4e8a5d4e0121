import { ProgrammingError } from '../errors.js'
import type { Cipher } from '../persistence/cipher.js'
import type { Compressor } from '../persistence/compressor.js'
import { Environment } from '../persistence/environment.js'
import { EventStore } from '../persistence/event-store.js'
import { type Factory, resolveFactoryClass } from '../persistence/factory.js'
import type { Mapper } from '../persistence/mapper.js'
import type { AggregateRecorder, ApplicationRecorder } from '../persistence/recorders.js'
import { SnapshotStore } from '../persistence/snapshot-store.js'
import { cipherOf, compressorOf, readsPlain } from '../persistence/stage-topics.js'
import { isPromise } from '../persistence/stages.js'
import { PassesTransactionsOn } from '../persistence/transactional.js'
import { JsonTranscoder, type Transcoder } from '../persistence/transcoder.js'
import { NotificationLog } from './notification-log.js'
import { Repository, type RepositorySource } from './repository.js'

/** What a mapper is made of: a transcoder, perhaps a compressor and a cipher. */
export type MapperParts = ConstructorParameters<typeof Mapper>[0]

/**
 * How an application comes by what it is made of: a hook for each part, which a subclass may override.
 *
 * @see Python eventsourcing, `Application.construct_…`.
 */
export abstract class Construction<Session> extends PassesTransactionsOn<Session> {
  abstract readonly env: Environment
  readonly #topicBase: string | URL | undefined

  constructor(topicBase: string | URL | undefined) {
    super()
    this.#topicBase = topicBase
  }

  /**
   * Makes the application's environment. Called once, by the constructor: fields of a subclass are not there yet, and
   * `this.env` neither.
   *
   * @param layers  Plain variables, weakest first: `static env`, `process.env`, the option `env`.
   */
  protected constructEnv(
    name: string,
    layers: readonly (Readonly<Record<string, unknown>> | null | undefined)[],
  ): Environment {
    return new Environment(name, ...layers)
  }

  /**
   * Makes the factory where the option `persistence` has not given any; by default the one that `PERSISTENCE_MODULE` names.
   * Called when the application connects; `close()` closes what it gave.
   */
  protected async constructFactory(env: Environment): Promise<Factory> {
    const topicBase = this.#topicBase
    const topic = env.get('PERSISTENCE_MODULE') ?? 'eventsourcing-drizzle/memory'
    const factoryClass = await resolveFactoryClass(topic, topicBase)
    return new factoryClass({ env, topicBase })
  }

  /** Makes the transcoder, which `registerTranscodings` gets after that. Called when the application connects. */
  protected async constructTranscoder(factory: Factory): Promise<Transcoder> {
    return factory.transcoder()
  }

  /**
   * Registers transcodings of the application's own types. Called when the application connects, before anything is stored
   * or read, where the transcoder is a `JsonTranscoder`.
   */
  protected registerTranscodings(_transcoder: JsonTranscoder): void {
    // none unless a subclass has some
  }

  /** Makes what makes states shorter, if anything does. Called when the application connects. */
  protected async constructCompressor(factory: Factory): Promise<Compressor | undefined> {
    // a factory that was given may know nothing of what is asked for here
    return (await factory.compressor()) ?? compressorOf(this.env, this.#topicBase)
  }

  /** Makes what encrypts states, if anything does. Called when the application connects. */
  protected async constructCipher(factory: Factory): Promise<Cipher | undefined> {
    return (await factory.cipher()) ?? cipherOf(this.env, this.#topicBase)
  }

  /**
   * Makes the mapper, by which events become bytes. Called when the application connects.
   *
   * @param parts  All that a mapper is made of. Give all of it to a mapper of your own: `new AuditedMapper(parts)`.
   */
  protected async constructMapper(factory: Factory, parts: MapperParts): Promise<Mapper> {
    return factory.mapper(parts)
  }

  /** Makes the recorder, which creates its tables at its first use. Called when the application connects. */
  protected async constructRecorder(factory: Factory): Promise<ApplicationRecorder> {
    return factory.applicationRecorder({ ready: false })
  }

  /** Makes the event store, a mapper in front of a recorder. Called when the application connects. */
  protected async constructEventStore(mapper: Mapper, recorder: ApplicationRecorder): Promise<EventStore> {
    return new EventStore(mapper, recorder)
  }

  /** Makes the snapshot store, where there are snapshots. Called when the application connects. */
  protected async constructSnapshotStore(mapper: Mapper, recorder: AggregateRecorder): Promise<SnapshotStore> {
    return new SnapshotStore(mapper, recorder)
  }

  /** Makes the repository. Called once, by the constructor: fields of a subclass are not there yet. */
  protected constructRepository(source: RepositorySource): Repository {
    return new Repository(source)
  }

  /** Makes the notification log. Called once, by the constructor: fields of a subclass are not there yet. */
  protected constructNotificationLog(
    recorder: Pick<ApplicationRecorder, 'selectNotifications'>,
    sectionSize: number,
  ): NotificationLog {
    return new NotificationLog(recorder, sectionSize)
  }

  /** Makes all that a mapper is made of, by the hooks for each. */
  protected async mapperParts(factory: Factory): Promise<MapperParts> {
    const transcoder = made('constructTranscoder', await this.constructTranscoder(factory), ['encode', 'decode'])
    if (transcoder instanceof JsonTranscoder) refuseToWait(this.registerTranscodings(transcoder))
    const compressor = await this.constructCompressor(factory)
    const cipher = await this.constructCipher(factory)
    return {
      transcoder,
      compressor: compressor ? made('constructCompressor', compressor, ['compress', 'decompress']) : undefined,
      cipher: cipher ? made('constructCipher', cipher, ['encrypt', 'decrypt']) : undefined,
      readsPlain: readsPlain(this.env) || undefined, // where it says nothing, the factory's own variables count
    }
  }
}

/**
 * What a hook has made.
 *
 * @throws ProgrammingError  It has made something else, as an override that forgets to return it does.
 */
export function made<T>(
  hook: string,
  value: T,
  type: (abstract new (...args: never[]) => unknown) | readonly string[],
): T {
  if (typeof type === 'function' ? value instanceof type : hasMethods(value, type)) return value
  throw new ProgrammingError(
    `${hook}() of the application must return what it is to make: call super.${hook}(…), or make it yourself`,
  )
}

function hasMethods(value: unknown, names: readonly string[]): boolean {
  return names.every((name) => typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function')
}

/** @throws ProgrammingError  An override is async, which the compiler lets pass: events could be stored before it is done. */
function refuseToWait(registered: unknown): void {
  if (!isPromise(registered)) return
  // nobody will await it; refused here, its failure must not end the process as well
  registered.catch(() => undefined)
  throw new ProgrammingError(
    'registerTranscodings() of the application must be done when it returns: override constructTranscoder(factory), which ' +
      'may be async, and register there what has to be loaded first',
  )
}
