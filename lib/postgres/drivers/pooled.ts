import { markUnsent } from '../../drizzle/driver-errors.js'
import { OperationalError } from '../../errors.js'
import { sqlState } from '../errors.js'
import type { PostgresPackage, PostgresResult } from './client.js'
import { type How, unprepared } from './line.js'
import { type ClientOptions, Link } from './link.js'
import { Pool, type PoolOptions } from './pool.js'
import { type Begun, commitLost, Lease, type OutsideChannel, type Source } from './source.js'

/** Connections of ours: each a user's own until it is given back, transactions begun and ended by statements of ours. */
export class PooledSource implements Source {
  readonly #options: PoolOptions
  readonly #pool: Pool
  readonly #open: (timeoutMs: number, onLost: (link: Link) => void) => Promise<Link>
  readonly #channels = new WeakMap<Link, OutsideChannel>()
  /** Connections beside the pool's, until they are closed. */
  readonly #beside = new Set<Promise<void>>()

  /** @param clientOptions  What each connection is opened with; a function is asked for each, and has that long. */
  constructor(
    options: PoolOptions,
    clientOptions: ClientOptions | ((timeoutMs: number) => Promise<ClientOptions>),
    load: () => Promise<PostgresPackage>,
  ) {
    this.#options = options
    this.#open = async (timeoutMs, onLost) => {
      const driver = await load()
      if (typeof clientOptions !== 'function') return Link.open(driver, clientOptions, timeoutMs, onLost)
      const start = performance.now()
      const asked = await clientOptions(timeoutMs)
      const leftMs = Math.max(1, Math.ceil(timeoutMs - (performance.now() - start)))
      return Link.open(driver, asked, leftMs, onLost)
    }
    this.#pool = new Pool(options, this.#open)
  }

  open(): Promise<void> {
    return this.outside(() => Promise.resolve())
  }

  async outside<T>(work: (channel: OutsideChannel) => T | Promise<T>): Promise<T> {
    let link: Link
    try {
      const taken = this.#pool.acquire()
      link = taken instanceof Promise ? await taken : taken
    } catch (error) {
      throw markUnsent(error)
    }
    try {
      return await work(this.#outsideOn(link))
    } finally {
      this.#pool.release(link)
    }
  }

  async apart<T>(work: (channel: OutsideChannel) => Promise<T>): Promise<T> {
    const free = await this.#pool.acquireNow()
    if (free) {
      try {
        return await work(this.#outsideOn(free))
      } finally {
        this.#pool.release(free)
      }
    }
    const { timeoutMs, connectTimeoutMs } = this.#options
    const link = await this.#open(Math.min(timeoutMs, connectTimeoutMs), () => undefined)
    const working = work(this.#outsideOn(link)).finally(() => link.end())
    const ended = working.then(
      () => undefined,
      () => undefined,
    )
    this.#beside.add(ended)
    void ended.then(() => this.#beside.delete(ended))
    return working
  }

  async begin(how: string): Promise<Begun> {
    const link = await this.#pool.acquire()
    const release = () => {
      this.#pool.release(link)
    }
    try {
      return await this.#beginOn(link, how, release)
    } catch (error) {
      release()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#pool.close()
    await Promise.all(this.#beside)
  }

  #outsideOn(link: Link): OutsideChannel {
    const known = this.#channels.get(link)
    if (known) return known
    const channel: OutsideChannel = {
      send: (sql, parameters, how) => link.send(sql, parameters, how),
      begin: () => this.#beginOn(link, '', () => undefined),
    }
    this.#channels.set(link, channel)
    return channel
  }

  async #beginOn(link: Link, how: string, ended: () => void): Promise<Begun> {
    try {
      await link.sendWithin(this.#options.timeoutMs, `BEGIN ${how}`, unprepared)
    } catch (error) {
      link.drop() // whether it has begun is not known
      throw error
    }
    return new PooledTransaction({ link, timeoutMs: this.#options.timeoutMs, ended })
  }
}

interface OnLink {
  readonly link: Link
  readonly timeoutMs: number
  /** Gives the link back. */
  readonly ended: () => void
}

/** A transaction on a link, or a savepoint in it. */
class PooledTransaction implements Begun {
  readonly #on: OnLink
  readonly #parent: PooledTransaction | undefined
  readonly #depth: number
  readonly #lease: Lease
  /** The statement that failed first, after which the server does nothing until a rollback. */
  #failure: { readonly error: unknown } | undefined

  constructor(on: OnLink, parent?: PooledTransaction) {
    this.#on = on
    this.#parent = parent
    this.#depth = parent ? parent.#depth + 1 : 0
    this.#lease = new Lease(parent ? parent.#lease : undefined)
  }

  async send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    this.#lease.require()
    try {
      return await this.#on.link.send(sql, parameters, how)
    } catch (error) {
      // only what the server has refused ends a transaction
      if (sqlState(error)) this.#failure ??= { error }
      throw error
    }
  }

  async savepoint(): Promise<Begun> {
    const nested = new PooledTransaction(this.#on, this)
    await this.send(`SAVEPOINT ${nested.#name}`, [], unprepared)
    return nested
  }

  async commit(): Promise<void> {
    const { link, ended } = this.#on
    this.#lease.require()
    if (this.#parent) {
      this.#lease.end()
      try {
        await link.send(`RELEASE SAVEPOINT ${this.#name}`, [], unprepared)
      } catch (error) {
        this.#lease.renew()
        throw this.#firstFailure(error)
      }
      return
    }
    this.#lease.end()
    try {
      if (link.isLost) return void (await link.send('COMMIT', [], unprepared)) // refused, and never sent
      const { command } = await link.send('COMMIT', [], unprepared).catch((error: unknown) => {
        throw link.isLost ? commitLost(error) : error
      })
      // the server's answer to the COMMIT of a transaction in which a statement has failed
      if (command === 'ROLLBACK') throw (this.#failure?.error as Error | undefined) ?? rolledBack()
    } finally {
      ended()
    }
  }

  async rollback(): Promise<void> {
    if (this.#lease.isOver) return
    this.#lease.end()
    const { link, timeoutMs, ended } = this.#on
    const name = this.#name
    const undo = this.#parent ? `ROLLBACK TO SAVEPOINT ${name}; RELEASE SAVEPOINT ${name}` : 'ROLLBACK'
    try {
      await link.sendWithin(timeoutMs, undo, unprepared)
    } catch {
      link.drop() // which rolls all of it back
    } finally {
      if (!this.#parent) ended()
    }
  }

  get #name(): string {
    return `nested_${this.#depth}`
  }

  /** In an aborted transaction every statement is refused; what aborted it is the error to know. */
  #firstFailure(error: unknown): Error {
    return (sqlState(error) === '25P02' ? (this.#failure?.error ?? error) : error) as Error
  }
}

function rolledBack(): OperationalError {
  return new OperationalError('PostgreSQL has rolled the transaction back instead of committing it')
}
