import { OperationalError, ProgrammingError } from '../errors.js'
import type { Environment } from '../persistence/environment.js'
import { outsideOfEverything } from '../persistence/outside.js'
import { startTimer } from '../persistence/timers.js'
import { resolveTopic } from '../persistence/topic-loader.js'

/** What a connection creator is asked for. */
export interface ConnectionRequest {
  readonly dialect: 'sqlite' | 'postgresql'
  /** `DRIZZLE_URL` as it is set, with a password in it if there is one. */
  readonly url: string
  /** The variables of the application that connects: `env.text('DB_USER')`. Where several share a datastore, of the first. */
  readonly env: Environment
  /** What the connection is for: `'read'` is SQLite's second connection. */
  readonly purpose: 'write' | 'read' | 'listen'
}

/** What a connection creator gives: one of `options`, `client` and `db`. */
export type CreatedConnection<Options extends object = object> = (
  | {
      /** Of the driver, over those of the URL. The connection is opened and closed by us. */
      readonly options: Options
      readonly client?: undefined
      readonly db?: undefined
    }
  | {
      /** A client of the driver, ready. It stays the creator's: never closed by us, but by its `close`. */
      readonly client: object
      readonly options?: undefined
      readonly db?: undefined
    }
  | {
      /** A Drizzle database, ready. It stays the creator's, as a `client` does. */
      readonly db: object
      readonly options?: undefined
      readonly client?: undefined
    }
) & {
  /**
   * Called once, when the datastore has closed its connections, or could not be opened. One function that is given several
   * times is called once.
   */
  readonly close?: (() => unknown) | undefined
}

/** A function that makes connections; what is promised to it stands at the door, where `Options` are known. */
export type ConnectionCreator<Options extends object = object> = (
  request: ConnectionRequest,
) => CreatedConnection<Options> | Promise<CreatedConnection<Options>>

/** Where an environment's connections are asked for. */
export interface CreatorSource {
  readonly topic: unknown
  /** Where a relative topic starts. */
  readonly topicBase: string | URL | undefined
  readonly url: string
  readonly env: Environment
}

/** The connection creator that an environment names, if it names one. */
export function creatorSource(
  env: Environment,
  url: string,
  topicBase: string | URL | undefined,
): CreatorSource | undefined {
  const topic = env.get(variable)
  return topic === undefined ? undefined : { topic, topicBase, url, env }
}

/** What creators that are the same have in common. */
export function creatorKey({ topic, topicBase }: CreatorSource): readonly string[] {
  if (typeof topic === 'string') return [topic, String(topicBase ?? process.cwd())]
  // by identity: two functions of one text may be closures over different things
  const identity = Object(topic) as object
  const known = identities.get(identity) ?? `${(lastIdentity += 1)}`
  identities.set(identity, known)
  return [known]
}

/** The connections of one datastore that a creator is asked for, and what is to be closed after them. */
export class CreatedConnections {
  readonly #source: CreatorSource
  readonly #dialect: ConnectionRequest['dialect']
  readonly #closings = new Set<() => unknown>()
  #isClosed = false

  constructor(source: CreatorSource, dialect: ConnectionRequest['dialect']) {
    this.#source = source
    this.#dialect = dialect
  }

  /**
   * Asks the creator.
   *
   * @param timeoutMs  How long to wait for its answer; 0 is for ever.
   * @throws OperationalError  It has not answered in that time; retryable.
   * @throws ProgrammingError  The topic names no function, or its answer can't be; says what is accepted, and shows no values.
   * @throws  What it throws; unchanged.
   */
  ask(purpose: ConnectionRequest['purpose'], timeoutMs: number): Promise<CreatedConnection> {
    const answer = outsideOfEverything(() => this.#ask(purpose))
    return timeoutMs === 0 ? answer : within(timeoutMs, answer, this.#name)
  }

  /** Closes what came with the connections. @throws  What the creator's own functions throw, when all were called. */
  async close(): Promise<void> {
    this.#isClosed = true
    const closings = [...this.#closings]
    this.#closings.clear()
    const outcomes = await Promise.allSettled(closings.map(async (close) => outsideOfEverything(close)))
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as Error] : []))
    if (failures.length > 1) throw new AggregateError(failures, 'Several connections could not be closed, see errors')
    if (failures[0] !== undefined) throw failures[0]
  }

  async #ask(purpose: ConnectionRequest['purpose']): Promise<CreatedConnection> {
    const { topic, topicBase, url, env } = this.#source
    const create = await resolveTopic<unknown>(topic, topicBase)
    if (typeof create !== 'function') throw new ProgrammingError(`${this.#name} must name a function`)
    const answer: unknown = await (create as ConnectionCreator)({ dialect: this.#dialect, url, env, purpose })
    await this.#keepClosing(answer)
    return checked(answer, this.#name)
  }

  /** Before anything is refused: what was made is closed all the same. */
  async #keepClosing(answer: unknown): Promise<void> {
    // a client or a database given as it is may have a close of its own
    if (typeof answer !== 'object' || answer === null || !forms.some((form) => form in answer)) return
    const { close } = answer as { close?: unknown }
    if (typeof close !== 'function') return
    const closing = () => (close as () => unknown).call(answer)
    if (this.#isClosed) return void (await closing()) // an answer that comes too late
    // a class's method is one for all its objects
    const identity = Object.hasOwn(answer, 'close') ? close : answer
    if (this.#known.has(identity)) return
    this.#known.add(identity)
    this.#closings.add(closing)
  }

  readonly #known = new WeakSet<object>()

  get #name(): string {
    return this.#source.env.variable(variable)
  }
}

const variable = 'DRIZZLE_CONNECTION_CREATOR_TOPIC'
const forms = ['options', 'client', 'db'] as const
const identities = new WeakMap<object, string>()
let lastIdentity = 0

async function within<T>(timeoutMs: number, answer: Promise<T>, name: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_, reject) => {
    timer = startTimer(() => {
      reject(
        new OperationalError(`The function of ${name} has given no connection within ${timeoutMs} ms`, {
          code: 'CONNECT_TIMEOUT',
          retryable: true,
        }),
      )
    }, timeoutMs)
  })
  try {
    return await Promise.race([answer, timeout])
  } finally {
    clearTimeout(timer)
  }
}

function checked(answer: unknown, name: string): CreatedConnection {
  const accepted = `The function of ${name} has to return one of { options }, { client } and { db }, with a close() if need be`
  if (typeof answer !== 'object' || answer === null) {
    throw new ProgrammingError(
      `${accepted}; it returned ${answer === null ? 'null' : `a value of type ${typeof answer}`}`,
    )
  }
  const entries = Object.entries(answer).filter(([, value]) => value !== undefined)
  const given = entries.filter(([key]) => (forms as readonly string[]).includes(key))
  const [form] = given
  if (given.length !== 1 || !form || entries.some(([key]) => key !== 'close' && key !== form[0])) {
    const keys = entries.slice(0, 5).map(([key]) => key)
    throw new ProgrammingError(`${accepted}; it returned an object with ${keys.join(', ') || 'nothing in it'}`)
  }
  const [key, value] = form
  const type = value === null ? 'null' : typeof value
  // a client of postgres.js is a function
  if (type !== 'object' && !(key === 'client' && type === 'function')) {
    throw new ProgrammingError(`${accepted}; its ${key} is of type ${type}`)
  }
  const { close } = answer as { close?: unknown }
  if (close !== undefined && typeof close !== 'function') {
    throw new ProgrammingError(`${accepted}; its close is of type ${typeof close}`)
  }
  return answer as CreatedConnection
}
