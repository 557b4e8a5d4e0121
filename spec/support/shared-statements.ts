import { setTimeout as pause } from 'node:timers/promises'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs, { type Sql } from 'postgres'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import type { ProcessRecorder } from '../../lib/persistence/recorders.js'
import { type PostgresDatastore, type PostgresOptions, postgres } from '../../lib/postgres/index.js'
import { type FreshSchema, createOwners, freshSchema, schema } from './postgres-backends.js'
import { admin, postgresUrl } from './postgres-server.js'
import { eventually } from './victim.js'

/** Whose connections they are. */
export const poolOwners = ['a pool of ours', "a user's own db"] as const

/** What a datastore of a `Place` is opened with. */
export interface PlaceOptions {
  readonly max?: number
  readonly poolTimeoutMs?: number
  readonly shareStatements?: boolean
  readonly prepare?: boolean
  /** Default: none, each loss is seen. */
  readonly retries?: number
  readonly retryIntervalMs?: number
  /** Another server address, such as that of somebody who listens in. */
  readonly url?: string
  /** Settings of its connections. */
  readonly connection?: Readonly<Record<string, string | number>>
}

/** A datastore, and a recorder of its events in the table `school_events`. */
export interface School {
  readonly datastore: PostgresDatastore<typeof schema>
  readonly recorder: ProcessRecorder
  readonly factory: DrizzleFactory<PostgresDatastore<typeof schema>>
}

/** A schema of its own, who saves events there, and who is in their way. */
export class Place implements AsyncDisposable {
  readonly #poolOwner: (typeof poolOwners)[number]
  readonly #schema: FreshSchema
  readonly #open: (() => Promise<unknown>)[] = []

  private constructor(poolOwner: (typeof poolOwners)[number], schema: FreshSchema) {
    this.#poolOwner = poolOwner
    this.#schema = schema
  }

  static async open(poolOwner: (typeof poolOwners)[number]): Promise<Place> {
    const place = await freshSchema('shared_')
    await createOwners(place.name)
    return new Place(poolOwner, place)
  }

  /** One whose tables are there. Each is as another process would have it. */
  async school(options: PlaceOptions = {}): Promise<School> {
    const { max = 4, poolTimeoutMs = 20_000, url = postgresUrl(), shareStatements, prepare, connection } = options
    const { retries = 0, retryIntervalMs } = options
    const client = {
      ...(prepare !== undefined && { prepare }),
      max,
      connection: { search_path: this.#schema.searchPath, application_name: this.#schema.name, ...connection },
    }
    const ours: PostgresOptions<typeof schema> & { shareStatements?: boolean } = {
      poolTimeoutMs,
      retries,
      ...(retryIntervalMs !== undefined && { retryIntervalMs }),
      ...(shareStatements !== undefined && { shareStatements }),
    }
    const datastore = this.#datastore(url, client, ours)
    const factory = new DrizzleFactory({ datastore, name: 'School' })
    return { datastore, factory, recorder: await factory.processRecorder() }
  }

  /** One connection, for statements by hand, which `waits` does not count. */
  rival(): Sql {
    const connection = { search_path: this.#schema.searchPath }
    const client = postgresJs(postgresUrl(), { max: 1, connection, onnotice: () => undefined })
    this.#open.push(() => client.end({ timeout: 0 }))
    return client
  }

  /** Resolves when one of the schools' backends waits: for a lock, or for what it is told by its name. */
  async waits(event?: string): Promise<void> {
    await eventually('a backend that waits', async () => (await this.#waiting(event)).length > 0)
  }

  /** How many of the schools' backends sleep just now. */
  async asleep(): Promise<number> {
    return (await this.#waiting('PgSleep')).length
  }

  /** Ends those backends that wait for that. @returns How many. */
  async end(event: string): Promise<number> {
    const waiting = await this.#waiting(event)
    await Promise.all(waiting.map(({ pid }) => admin()`SELECT pg_terminate_backend(${pid}, 5000)`))
    return waiting.length
  }

  /** Resolves when no backend of the schools runs anything. */
  async isIdle(): Promise<void> {
    await eventually('idle backends', async () => {
      const active = await admin()`
        SELECT FROM pg_stat_activity WHERE application_name = ${this.#schema.name} AND state IS DISTINCT FROM 'idle'`
      return active.length === 0
    })
  }

  /** The keys of all that is committed, as another connection sees them, in the order of their ids. */
  async stored(): Promise<string[]> {
    const rows = await admin().unsafe<{ key: string }[]>(
      `SELECT originator_id || ' ' || originator_version AS key FROM ${this.#schema.searchPath}.school_events ORDER BY notification_id`,
    )
    return rows.map(({ key }) => key)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = Promise.allSettled(this.#open.splice(0).map((close) => close()))
    // what a failed case has left open would be waited for
    await Promise.race([closing, pause(1000, undefined, { ref: false })])
    await admin()`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = ${this.#schema.name}`
    await closing
    await this.#schema.drop()
  }

  #datastore(url: string, client: object, ours: PostgresOptions<typeof schema>): PostgresDatastore<typeof schema> {
    if (this.#poolOwner === 'a pool of ours') {
      const datastore = postgres(url, { schema, ...ours, ...client })
      this.#open.push(() => datastore.close())
      return datastore
    }
    const users = postgresJs(url, { onnotice: () => undefined, backoff: () => 0.05, ...client })
    const datastore = postgres(drizzle(users, { schema }), ours)
    this.#open.push(async () => {
      await datastore.close().catch(() => undefined)
      await users.end({ timeout: 1 })
    })
    return datastore
  }

  #waiting(event?: string) {
    return event === undefined
      ? admin()<{ pid: number }[]>`
          SELECT pid FROM pg_stat_activity
           WHERE application_name = ${this.#schema.name} AND state = 'active' AND wait_event_type = 'Lock'`
      : admin()<{ pid: number }[]>`
          SELECT pid FROM pg_stat_activity
           WHERE application_name = ${this.#schema.name} AND state = 'active' AND wait_event = ${event}`
  }
}
