import { setTimeout as delay } from 'node:timers/promises'
import { drizzle } from 'drizzle-orm/postgres-js'
import { pgSchema, text } from 'drizzle-orm/pg-core'
import postgresJs, { type Sql } from 'postgres'
import { Application } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { type PostgresDatastore, postgres } from '../../lib/postgres/index.js'
import { type owners, createOwners, freshSchema, schema } from './postgres-backends.js'
import { admin, postgresUrl } from './postgres-server.js'

/** Whose connections, and where the tables are. */
export const placements = ['a pool of ours', 'a pool of ours, DRIZZLE_SCHEMA', "a user's own db"] as const

export type Placement = (typeof placements)[number]

/** What a datastore of an `OrderDatabase` is opened with. */
export interface ConnectOptions {
  readonly max?: number
  /** Another server address, such as that of somebody who listens in. */
  readonly url?: string
  /** Settings of its connections. */
  readonly connection?: Readonly<Record<string, string>>
}

/**
 * A schema of its own with the user's table `owners`, and whoever works on it: as many datastores as a case wants, each
 * as another process would have it, and connections for statements by hand.
 */
export class OrderDatabase implements AsyncDisposable {
  readonly schemaName: string
  readonly #placement: Placement
  readonly #searchPath: string
  readonly #drop: () => Promise<void>
  readonly #open: (() => Promise<unknown>)[] = []

  private constructor(placement: Placement, schemaName: string, drop: () => Promise<void>) {
    this.schemaName = schemaName
    this.#placement = placement
    this.#searchPath = `"${schemaName.replaceAll('"', '""')}"`
    this.#drop = drop
  }

  static async open(placement: Placement = 'a pool of ours'): Promise<OrderDatabase> {
    const { name, drop } = await freshSchema('Order "of" events ')
    await createOwners(name)
    return new OrderDatabase(placement, name, drop)
  }

  /** The one that another process has opened, and removes. */
  static at(schemaName: string, placement: Placement): OrderDatabase {
    return new OrderDatabase(placement, schemaName, () => Promise.resolve())
  }

  /** The user's own table, wherever it is. */
  get owners(): typeof owners {
    if (this.#placement !== 'a pool of ours, DRIZZLE_SCHEMA') return schema.owners
    const table = pgSchema(this.schemaName).table('owners', { name: text('name').primaryKey() })
    return table as unknown as typeof owners // of the same columns
  }

  datastore({ max = 8, url = postgresUrl(), connection: settings }: ConnectOptions = {}): PostgresDatastore<
    typeof schema
  > {
    const isBySchema = this.#placement === 'a pool of ours, DRIZZLE_SCHEMA'
    const connection = { ...this.#identity(), ...(isBySchema && { search_path: 'public' }), ...settings }
    const ours = { schema: { owners: this.owners }, poolTimeoutMs: 10_000 }
    if (this.#placement !== "a user's own db") {
      const datastore = postgres(url, { ...ours, max, connection })
      this.#open.push(() => datastore.close())
      return datastore
    }
    const client = postgresJs(url, { max, connection, onnotice: () => undefined })
    const { poolTimeoutMs } = ours
    const datastore = postgres(drizzle(client, { schema }), { poolTimeoutMs })
    this.#open.push(async () => {
      await datastore.close()
      await client.end({ timeout: 1 })
    })
    return datastore
  }

  /** An application on a datastore of its own, unless that is given. */
  async application(name = 'Kennel', datastore = this.datastore()) {
    const isBySchema = this.#placement === 'a pool of ours, DRIZZLE_SCHEMA'
    const env = isBySchema ? { DRIZZLE_SCHEMA: this.schemaName } : {}
    const persistence = new DrizzleFactory({ datastore, name, env })
    const application = new Application<typeof datastore>({ name, persistence })
    await application.ready()
    return application
  }

  /** One connection, for statements by hand; `search_path` leads here. */
  client(): Sql {
    const client = postgresJs(postgresUrl(), { max: 1, connection: this.#identity(), onnotice: () => undefined })
    this.#open.push(() => client.end({ timeout: 1 }))
    return client
  }

  /** One connection to another database of the same server, which is there as long as this one. */
  async elsewhere(): Promise<Sql> {
    const name = `elsewhere ${this.schemaName.slice(-13)}`
    await admin()`CREATE DATABASE ${admin()(name)}`
    const url = new URL(postgresUrl())
    url.pathname = encodeURIComponent(name)
    const client = postgresJs(url.href, { database: name, max: 1, onnotice: () => undefined })
    this.#open.push(async () => {
      await client.end({ timeout: 1 })
      await admin()`DROP DATABASE ${admin()(name)} WITH (FORCE)`
    })
    return client
  }

  /** A table's name as it stands in statements, found without a `search_path`. */
  table(name = 'kennel_events'): string {
    return `${this.#searchPath}."${name}"`
  }

  /** How many writers' registrations there are for a table of events, of all transactions together. */
  async registrations(name = 'kennel_events'): Promise<number> {
    const [row] = await admin()`
      SELECT count(*)::int AS n FROM pg_locks
       WHERE locktype = 'advisory' AND objsubid = 2 AND classid = ${this.table(name)}::regclass::oid`
    return row?.n as number
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closing = this.close().catch(() => undefined)
    // what a failed case has left open would be waited for
    await Promise.race([closing, delay(1000, undefined, { ref: false })])
    await admin()`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = ${this.#mark}`
    await closing
    await this.#drop()
  }

  /** Closes all connections, once their transactions are over. */
  async close(): Promise<void> {
    await Promise.all(this.#open.splice(0).map((close) => close()))
  }

  #identity() {
    return { search_path: this.#searchPath, application_name: this.#mark }
  }

  /** Tells its backends; without characters that an application name can't have. */
  get #mark(): string {
    return this.schemaName.slice(-13)
  }
}
