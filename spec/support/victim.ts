import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application } from '../../lib/application/application.js'
import { OperationalError } from '../../lib/errors.js'
import { postgres } from '../../lib/postgres/index.js'
import { Dog } from './dogs.js'
import { gate } from './gate.js'
import { terminate } from './killer.js'
import { owners, schema } from './postgres-backends.js'
import { rejection } from './rejection.js'

/** The pools whose connections die: ours, and those of a user's own database. */
export const pools = ['max 1', 'max 3', 'db, max 1', 'db, max 3'] as const

/** How connections come to their end. `unseen`: the event loop has had no turn to notice. */
export const deaths = ['seen', 'unseen'] as const

/**
 * What dies in the cases: a datastore and a school on it, in a process of their own, beside connections that kill and
 * count. Its backends are told by their application name.
 *
 * What must not be there in the end has a name that begins with `dead`.
 */
export class Victim {
  readonly datastore
  readonly school
  /** For killing and counting. Its search path is the victim's. */
  readonly admin: postgresJs.Sql
  readonly max: number
  /** Whether the pool is the user's. */
  readonly isGivenDb: boolean
  readonly #applicationName = `victim ${process.pid}`
  readonly #client: postgresJs.Sql | undefined
  readonly #killed = new Int32Array(new SharedArrayBuffer(4))
  readonly #killer: Worker
  readonly #killerIsReady: Promise<unknown>
  #rounds = 0

  private constructor(options: {
    url: string
    adminUrl: string
    schemaName: string
    pool: string
    poolTimeoutMs: number
    retries: number
  }) {
    const { url, adminUrl, schemaName, pool, poolTimeoutMs, retries } = options
    const connection = { application_name: this.#applicationName, search_path: schemaName }
    this.max = Number(pool.at(-1))
    this.isGivenDb = pool.startsWith('db')
    if (this.isGivenDb) {
      this.#client = postgresJs(url, {
        max: this.max,
        connection,
        onnotice: () => undefined,
        // postgres.js asks for types when it has connected, and nobody catches it when that fails: the process ends
        fetch_types: false,
        backoff: () => 0.05,
      })
      this.datastore = postgres(drizzle(this.#client, { schema }), { poolTimeoutMs, retries })
    } else {
      this.datastore = postgres(url, { schema, max: this.max, poolTimeoutMs, connection, retries })
    }
    this.school = new Application<typeof this.datastore>({ name: 'School', persistence: this.datastore })
    this.#killer = new Worker(new URL('./children/pg-killer.js', import.meta.url), {
      workerData: { url: adminUrl, applicationName: this.#applicationName, done: this.#killed },
    })
    this.#killerIsReady = once(this.#killer, 'message')
    this.admin = postgresJs(adminUrl, {
      max: 3,
      connection: { search_path: schemaName },
      onnotice: () => undefined,
    })
  }

  /**
   * Starts it as the arguments of the process say: the server's URL, a schema to be made, one of `pools`.
   *
   * @param options.through  The URL that the victim itself connects by. Default: the server's.
   * @param options.retries  Default: none, each loss is seen.
   */
  static async start({
    through,
    poolTimeoutMs = 10_000,
    retries = 0,
  }: { through?: string; poolTimeoutMs?: number; retries?: number } = {}): Promise<Victim> {
    const [adminUrl = '', schemaName = '', pool = ''] = process.argv.slice(2)
    const victim = new Victim({ url: through ?? adminUrl, adminUrl, schemaName, pool, poolTimeoutMs, retries })
    await victim.admin.unsafe(`CREATE SCHEMA ${schemaName}; CREATE TABLE owners (name text PRIMARY KEY)`)
    await Promise.all([victim.school.ready(), victim.#killerIsReady])
    await victim.warm()
    return victim
  }

  /** Opens as many connections as there may be. */
  async warm(): Promise<void> {
    const all = gate()
    let missing = this.max
    const arrived = () => {
      missing -= 1
      if (missing === 0) all.open()
    }
    const transactions = Array.from({ length: this.max }, () =>
      this.datastore.transaction(async (session) => {
        await session.select().from(owners).limit(1)
        arrived()
        await all.passed
      }),
    )
    // who can't begin lets the others go
    for (const transaction of transactions) transaction.catch(() => all.open())
    await Promise.all(transactions)
  }

  /**
   * Ends all its connections from the server's side.
   *
   * @param how  `seen`: it has noticed when this resolves; `unseen`: it has had no chance to.
   */
  async die(how: (typeof deaths)[number]): Promise<void> {
    if (how === 'unseen') {
      this.#killer.postMessage('now')
      // this thread stands still until it has happened: what follows meets a connection that seems to be fine
      if (Atomics.wait(this.#killed, 0, 0, 10_000) === 'timed-out') throw new Error('The backends did not end')
      Atomics.store(this.#killed, 0, 0)
      return
    }
    await terminate(this.admin, this.#applicationName)
    await delay(20) // what the server has said last is here by now
  }

  /** Ends one of its connections, whichever. @returns How many: none, if it had none just then. */
  async terminateOne(): Promise<number> {
    const killed = await this.admin`
      SELECT pg_terminate_backend(pid)
        FROM (SELECT pid FROM pg_stat_activity WHERE application_name = ${this.#applicationName} ORDER BY random() LIMIT 1) one`
    return killed.length
  }

  /** Resolves when so many of its backends wait for that: `relation`, `PgSleep`. */
  async waitsFor(event: string, count = 1): Promise<void> {
    await eventually(`${count} backends that wait for ${event}`, async () => {
      const waiting = await this.admin`
        SELECT 1 FROM pg_stat_activity
         WHERE application_name = ${this.#applicationName} AND wait_event = ${event} AND state = 'active'`
      return waiting.length >= count
    })
  }

  /** Resolves when none of its backends is in a transaction. */
  async isInNoTransaction(): Promise<void> {
    await eventually('the end of its transactions', async () =>
      (await this.#backends()).every(({ state }) => state === 'idle'),
    )
  }

  /** How many rows of the user's own table have such a name. */
  async countOwners(like: string): Promise<number> {
    const [row] = await this.admin`SELECT count(*)::int AS n FROM owners WHERE name LIKE ${like}`
    return row?.n as number
  }

  /** How many events hold such a text. */
  async countEvents(like: string): Promise<number> {
    const [row] = await this.admin`
      SELECT count(*)::int AS n FROM school_events WHERE convert_from(state, 'UTF8') LIKE ${`%${like}%`}`
    return row?.n as number
  }

  /**
   * Expects that saves, reads and transactions work at the first attempt, on all connections; that nothing of a dead
   * transaction is there; and that the pool has no more connections than it may, none of them in a transaction.
   */
  async expectHealthy(): Promise<void> {
    await delay(20)
    if (this.isGivenDb) await this.#forget()
    const { school } = this
    this.#rounds += 1
    const names = Array.from({ length: this.max + 1 }, (_, n) => `alive ${this.#rounds} ${n}`)
    await Promise.all(names.map((name) => school.save(new Dog(name))))
    await Promise.all(
      names.map((name) =>
        school.transaction(async (session) => {
          const dog = await school.repository.get(Dog, Dog.createId(name))
          dog.addTrick('survive')
          await session.insert(owners).values({ name })
          await school.transaction(() => school.save(dog))
        }),
      ),
    )
    for (const name of names) {
      expect((await school.repository.get(Dog, Dog.createId(name))).tricks).to.deep.equal(['survive'])
    }
    expect(await this.countOwners(`alive ${this.#rounds} %`)).to.equal(names.length)
    expect(await this.countOwners('dead%'), 'rows of dead transactions').to.equal(0)
    expect(await this.countEvents('dead'), 'events of dead transactions').to.equal(0)

    const ids: number[] = []
    for await (const { id } of school.notificationLog.read({})) ids.push(id)
    const [stored] = await this.admin`SELECT count(*)::int AS n FROM school_events`
    expect(ids).to.have.length(stored?.n as number)
    expect([...ids].sort((a, b) => a - b)).to.deep.equal(ids)

    await eventually('a pool of idle connections, no more than there may be', async () => {
      const backends = await this.#backends()
      return backends.length <= this.max && backends.every(({ state }) => state === 'idle')
    })
  }

  /** Closes what it has, after which the process ends by itself. */
  async close(): Promise<void> {
    await this.school.close()
    await this.datastore.close()
    await this.#client?.end()
    await this.admin.end()
    await this.#killer.terminate()
  }

  /**
   * Lets the user's client say what it has kept: a connection that died with a statement under way rejects the next one,
   * which it has not sent, with the last words of the old server process.
   *
   * @see https://github.com/porsager/postgres/issues/1216
   */
  async #forget(): Promise<void> {
    for (let n = 0; n < this.max; n += 1) {
      await this.warm().catch((error: unknown) => lostForNow(Promise.reject(error as Error)))
    }
  }

  #backends() {
    return this.admin`SELECT state FROM pg_stat_activity WHERE application_name = ${this.#applicationName}`
  }
}

/** What the server and the driver call it. */
export const codesOfLoss = /^(57P0\d|25P0[34]|08\w{3}|CONNECTION_\w+|CONNECT_TIMEOUT|ECONN\w+|EPIPE)$/

/** Expects that a promise rejects as the loss of a connection does, and gives the error back. */
export async function lost(promise: Promise<unknown>): Promise<OperationalError> {
  const error = await rejection(promise, OperationalError)
  expect(error.code, error.message).to.match(codesOfLoss)
  // the driver's own, and not Drizzle's, which holds all parameters
  if (error.cause !== undefined) expect(error.cause).to.be.instanceOf(Error).and.not.to.have.property('params')
  expect(error.message).not.to.include('dead')
  return error
}

/** As `lost`, with nothing left to know: the same again may succeed. */
export async function lostForNow(promise: Promise<unknown>): Promise<void> {
  const error = await lost(promise)
  expect(error.retryable, error.message).to.equal(true)
}

/** Says in which of several variations of a case something failed. */
export async function variation(name: string, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    throw new Error(`Where ${name}: ${(error as Error).message}`, { cause: error })
  }
}

/** Asks until the answer is yes. @throws Error  It was not, for ten seconds. */
export async function eventually(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 10_000; performance.now() < deadline; await delay(10)) {
    if (await isSo()) return
  }
  throw new Error(`Waited ten seconds for ${what}`)
}

/** As the promise. @throws Error  It was not settled within ten seconds. */
export async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = new AbortController()
  const deadline = delay(10_000, undefined, { signal: late.signal }).then(() => {
    throw new Error(`Waited ten seconds for ${what}`)
  })
  deadline.catch(() => undefined) // it may come to nothing
  try {
    return await Promise.race([promise, deadline])
  } finally {
    late.abort()
  }
}
