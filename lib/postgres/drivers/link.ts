import { connect, type Socket } from 'node:net'
import { type Duplex, PassThrough } from 'node:stream'
import { connect as connectTls, createSecureContext } from 'node:tls'
import { markDriverError } from '../../drizzle/driver-errors.js'
import { OperationalError, ProgrammingError } from '../../errors.js'
import { startTimer } from '../../persistence/timers.js'
import { addArrayTypes, arrayTypes } from './array-types.js'
import type { PostgresClient, PostgresPackage, PostgresParsedOptions, PostgresResult } from './client.js'
import { driverCode } from '../errors.js'
import { type Channel, type How, Line, unprepared } from './line.js'

/** What a link is opened with: postgres.js's options, from which it makes a client. */
export type ClientOptions = readonly [options: object] | readonly [url: string, options: object]

/**
 * One connection to PostgreSQL, with a client of postgres.js to itself.
 *
 * A client is meant to connect again by itself when its connection has died; but it keeps answers and bytes of the old
 * one, for ever tries a server that accepts and closes, and says nothing of a transaction that is gone. So each client
 * gets one connection in its life, whose socket is ours, and dies with it.
 */
export class Link implements Channel {
  readonly since = performance.now()
  readonly #line: Line
  readonly #client: PostgresClient
  #socket: Duplex | undefined
  /** How many of the client's hosts were tried. */
  #triedHosts = 0
  #isOpen = false
  #failed: (error: unknown) => void = () => undefined

  private constructor(
    { postgres, prepare }: PostgresPackage,
    given: ClientOptions,
    password: unknown,
    onLost: (link: Link) => void,
  ) {
    this.#line = new Line(() => {
      this.#socket?.destroy()
      onLost(this)
    })
    const options = optionsIn(given)
    const userSocket = options.socket
    const own = {
      ...options,
      ...(password !== undefined && { password, pass: password }),
      max: 1,
      // the pool's affair
      idle_timeout: 0,
      max_lifetime: 0,
      connect_timeout: 0,
      // asked for by us, where somebody waits for the answer
      fetch_types: false,
      socket: (parsed: PostgresParsedOptions) => this.#connect(parsed, userSocket),
      onclose: () => {
        this.#line.lose()
      },
    }
    this.#client = given.length === 2 ? postgres(given[0], own) : postgres(own)
    prepare(this.#client)
  }

  /**
   * Connects.
   *
   * @param timeoutMs  Until the server has to have answered.
   * @param onLost  Called once, when the connection has died or was dropped.
   * @throws OperationalError  No answer in that time. @throws  What the driver or the server says, marked as the driver's;
   *   what the user's own functions throw.
   */
  static async open(
    postgres: PostgresPackage,
    options: ClientOptions,
    timeoutMs: number,
    onLost: (link: Link) => void,
  ): Promise<Link> {
    const { password, pass, ssl, fetch_types } = optionsIn(options)
    requireUsable(ssl)
    let link: Link | undefined
    let expire: () => void = () => undefined
    const timer = startTimer(() => {
      expire()
    }, timeoutMs)
    try {
      await new Promise<unknown>((resolve, reject) => {
        let isLate = false
        expire = () => {
          isLate = true
          reject(noAnswer(timeoutMs))
        }
        const connecting = async () => {
          // asked here: what it throws inside of postgres.js ends the process
          const text: unknown = await asked(password ?? pass)
          if (isLate) return
          link = new Link(postgres, options, text, onLost)
          link.#failed = reject
          await link.#greet(fetch_types ?? true)
        }
        connecting().then(resolve, reject)
      })
      if (!link) throw noAnswer(timeoutMs)
      link.#isOpen = true
      return link
    } catch (error) {
      link?.drop()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  get isLost(): boolean {
    return this.#line.isLost
  }

  send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    return this.#line.send(this.#client, sql, parameters, how)
  }

  /** As `send`, for what a server answers at once: one that doesn't in that time is given up, and the connection with it. */
  async sendWithin(timeoutMs: number, sql: string, how: How): Promise<PostgresResult> {
    const timer = startTimer(() => {
      this.#line.lose(noAnswer(timeoutMs))
    }, timeoutMs)
    try {
      return await this.send(sql, [], how)
    } finally {
      clearTimeout(timer)
    }
  }

  /** Whether the connection keeps the process from ending: not while nobody uses it. */
  keepProcess(yes: boolean): void {
    const socket = this.#socket as Partial<Socket> | undefined
    if (yes) socket?.ref?.()
    else socket?.unref?.()
  }

  /** Closes the connection at once. */
  drop(): void {
    this.#line.lose()
  }

  /** Says goodbye to the server, and closes the connection, within a second. */
  async end(): Promise<void> {
    if (this.isLost) return
    await this.#client.end({ timeout: 1 }).catch(() => undefined)
    this.drop()
  }

  /** The first statement is what makes the client connect. */
  async #greet(fetchTypes: boolean): Promise<void> {
    const plainly = (sql: string) => this.send(sql, [], unprepared)
    if (fetchTypes) addArrayTypes(this.#client.options, await plainly(arrayTypes))
    else await plainly('SELECT 1')
  }

  /** Gives the client its socket: connected to the first of its hosts that takes it, and only once. */
  async #connect(options: PostgresParsedOptions, userSocket: PostgresParsedOptions['socket']): Promise<Duplex> {
    const failure = this.#isOpen || this.isLost ? closed() : undefined
    try {
      if (failure) throw failure
      return (this.#socket = await this.#nextHost(options, userSocket))
    } catch (error) {
      // the client keeps some failures to itself while there are hosts left that it thinks of; and what it rejects with is
      // marked as its own, which a user's error is not
      this.#failed(error)
      throw closed()
    }
  }

  async #nextHost(options: PostgresParsedOptions, userSocket: PostgresParsedOptions['socket']): Promise<Duplex> {
    const hosts = userSocket || options.path ? 1 : options.host.length
    let failure: unknown = closed()
    while (this.#triedHosts < hosts) {
      const index = this.#triedHosts++
      try {
        if (userSocket) {
          const socket = (await userSocket(options)) as Duplex | undefined
          if (typeof socket?.on !== 'function') {
            throw new ProgrammingError('The function given as the option socket gave no stream')
          }
          if (this.isLost) socket.destroy()
          return socket
        }
        return await connected(
          options.path
            ? connect({ path: options.path })
            : connect({ host: options.host[index] ?? 'localhost', port: options.port[index] ?? 5432, noDelay: true }),
          (socket) => {
            this.#socket = socket
            // postgres.js asks for this name in the server's certificate
            if (!options.path) Object.assign(socket, { host: options.host[index], port: options.port[index] })
          },
        )
      } catch (error) {
        failure = error
      }
      if (this.isLost) break
    }
    throw failure
  }
}

function connected(socket: Socket, known: (socket: Socket) => void): Promise<Socket> {
  known(socket)
  return new Promise((resolve, reject) => {
    const failed = (error: unknown) => {
      reject(markDriverError(error))
    }
    const gone = () => {
      reject(closed())
    }
    socket.once('error', failed).once('close', gone)
    socket.once('connect', () => {
      socket.off('error', failed).off('close', gone)
      resolve(socket)
    })
  })
}

function optionsIn(given: ClientOptions): Partial<PostgresParsedOptions> {
  return given[given.length - 1] as Partial<PostgresParsedOptions>
}

/** @throws ProgrammingError  It is no text, nor a function that gives some; inside of postgres.js that ends the process. */
async function asked(password: unknown): Promise<unknown> {
  if (typeof password !== 'function') {
    if (typeof (password ?? '') === 'string') return password
    throw new ProgrammingError('The option password takes text, or a function that gives it')
  }
  const text = await (password as () => unknown)()
  if (typeof text !== 'string') throw new ProgrammingError('The function given as the option password gave no text')
  return text
}

/** @throws ProgrammingError  Certificates or keys that can't be; inside of postgres.js they end the process. */
function requireUsable(ssl: unknown): void {
  if (typeof ssl !== 'object' || ssl === null) return
  try {
    createSecureContext(ssl)
    // some of the options it takes only here
    connectTls({ ...ssl, socket: new PassThrough() })
      .on('error', () => undefined)
      .destroy()
  } catch (error) {
    // Node's errors of a value's type show the value, a passphrase too
    if (driverCode(error)?.startsWith('ERR_INVALID_ARG_')) {
      throw new ProgrammingError("The option ssl has a value of a type that Node's tls.connect() doesn't take")
    }
    throw new ProgrammingError('The option ssl has a certificate or key that cannot be used, see cause', {
      cause: error,
    })
  }
}

function noAnswer(timeoutMs: number): OperationalError {
  return new OperationalError(`PostgreSQL did not answer within ${timeoutMs} ms`, {
    code: 'CONNECT_TIMEOUT',
    retryable: true,
  })
}

function closed(): OperationalError {
  return new OperationalError('The server closed the connection before it was ready', {
    code: 'CONNECTION_CLOSED',
    retryable: true,
  })
}
