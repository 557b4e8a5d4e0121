import { OperationalError } from '../../errors.js'
import { sqlState } from '../errors.js'
import type { PostgresPackage, PostgresResult } from './client.js'
import type { Channel, How } from './line.js'
import { type ClientOptions, Link } from './link.js'
import { Pool, type PoolOptions } from './pool.js'
import { type Begun, commitLost, type Source } from './source.js'

/** Connections of ours: each a user's own until it is given back, transactions begun and ended by statements of ours. */
export class PooledSource implements Source {
  readonly #options: PoolOptions
  readonly #pool: Pool
  readonly #clientOptions: ClientOptions
  readonly #load: () => Promise<PostgresPackage>

  /** @param onLost  Told when a connection is gone, for whatever reason. */
  constructor(
    options: PoolOptions,
    clientOptions: ClientOptions,
    load: () => Promise<PostgresPackage>,
    onLost: () => void,
  ) {
    this.#options = options
    this.#clientOptions = clientOptions
    this.#load = load
    this.#pool = new Pool(options, (timeoutMs, onLinkLost) =>
      this.#link(timeoutMs, (link) => {
        onLost()
        onLinkLost(link)
      }),
    )
  }

  open(): Promise<void> {
    return this.outside(() => Promise.resolve())
  }

  async outside<T>(work: (channel: Channel) => Promise<T>): Promise<T> {
    const taken = this.#pool.acquire()
    const link = taken instanceof Promise ? await taken : taken
    try {
      return await work(link)
    } finally {
      this.#pool.release(link)
    }
  }

  async apart<T>(work: (channel: Channel) => Promise<T>): Promise<T> {
    const free = await this.#pool.acquireNow()
    const link = free ?? (await this.#link(Math.min(this.#options.timeoutMs, this.#options.connectTimeoutMs)))
    try {
      return await work(link)
    } finally {
      if (free) this.#pool.release(link)
      else void link.end()
    }
  }

  async begin(how: string): Promise<Begun> {
    const link = await this.#pool.acquire()
    try {
      await link.sendWithin(this.#options.timeoutMs, `BEGIN ${how}`, simple)
    } catch (error) {
      link.drop() // whether it has begun is not known
      throw error
    }
    return new PooledTransaction(link, this.#options.timeoutMs, 0, () => {
      this.#pool.release(link)
    })
  }

  close(): Promise<void> {
    return this.#pool.close()
  }

  async #link(timeoutMs: number, onLost: (link: Link) => void = () => undefined): Promise<Link> {
    return Link.open(await this.#load(), this.#clientOptions, timeoutMs, onLost)
  }
}

const simple = { prepare: false, values: false }

/** A transaction on a link, or a savepoint in it. */
class PooledTransaction implements Begun {
  readonly #link: Link
  readonly #timeoutMs: number
  readonly #depth: number
  readonly #ended: () => void
  #isOver = false
  /** The statement that failed first, after which the server does nothing until a rollback. */
  #failure: { readonly error: unknown } | undefined

  constructor(link: Link, timeoutMs: number, depth: number, ended: () => void) {
    this.#link = link
    this.#timeoutMs = timeoutMs
    this.#depth = depth
    this.#ended = ended
  }

  async send(sql: string, parameters: readonly unknown[], how: How): Promise<PostgresResult> {
    try {
      return await this.#link.send(sql, parameters, how)
    } catch (error) {
      // only what the server has refused ends a transaction
      if (sqlState(error)) this.#failure ??= { error }
      throw error
    }
  }

  async savepoint(): Promise<Begun> {
    const nested = new PooledTransaction(this.#link, this.#timeoutMs, this.#depth + 1, () => undefined)
    await this.send(`SAVEPOINT ${nested.#name}`, [], simple)
    return nested
  }

  async commit(): Promise<void> {
    if (this.#depth > 0) {
      await this.#end(`RELEASE SAVEPOINT ${this.#name}`)
      return
    }
    let result: PostgresResult
    try {
      result = await this.#end('COMMIT')
    } catch (error) {
      throw this.#link.isLost ? commitLost(error) : error
    }
    // the server's answer to the COMMIT of a transaction in which a statement has failed
    if (result.command === 'ROLLBACK') throw (this.#failure?.error as Error | undefined) ?? rolledBack()
  }

  async rollback(): Promise<void> {
    if (this.#isOver) return
    const savepoint = this.#name
    await this.#end(this.#depth > 0 ? `ROLLBACK TO SAVEPOINT ${savepoint}; RELEASE SAVEPOINT ${savepoint}` : 'ROLLBACK')
  }

  get #name(): string {
    return `nested_${this.#depth}`
  }

  async #end(sql: string): Promise<PostgresResult> {
    const isOutermost = this.#depth === 0
    try {
      // a COMMIT takes the time it takes; a rollback is as good when the connection is closed
      const result = sql.startsWith('ROLLBACK')
        ? await this.#link.sendWithin(this.#timeoutMs, sql, simple)
        : await this.#link.send(sql, [], simple)
      this.#isOver = true
      return result
    } catch (error) {
      // a COMMIT that fails has rolled back; a RELEASE that fails leaves that to be done
      this.#isOver = isOutermost || this.#link.isLost
      if (isOutermost && sql !== 'COMMIT') this.#link.drop()
      throw this.#failure && sqlState(error) === '25P02' ? this.#failure.error : error
    } finally {
      if (isOutermost) this.#ended()
    }
  }
}

function rolledBack(): OperationalError {
  return new OperationalError('PostgreSQL has rolled the transaction back instead of committing it')
}
