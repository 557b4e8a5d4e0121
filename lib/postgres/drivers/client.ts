import { InterfaceError, ProgrammingError } from '../../errors.js'

/*
 * What we use of postgres.js. Its own types promise more than its transactions and options hold at run time.
 *
 * See https://github.com/porsager/postgres
 */

/** The rows of a statement, with what the server said of it. */
export interface PostgresResult extends Array<unknown> {
  /** How many rows it returned or changed; null where that means nothing. */
  readonly count: number | null
  /** The first words of the server's answer: `INSERT`, `COMMIT`. Absent from the results of several statements. */
  readonly command?: string
  readonly columns?: readonly { readonly type: number }[]
}

/** A statement; sent when it is first awaited. */
export interface PostgresQuery extends Promise<PostgresResult> {
  /** Gives rows as arrays. */
  values(): PostgresQuery
  execute(): PostgresQuery
  /** What it runs on; null while it waits for a connection. */
  readonly state: unknown
  /** The text and its parameters, read when it is sent. */
  strings: readonly string[]
  args: readonly unknown[]
  /** What is done with each row, as `forEach(fn)` sets it. Default: it is put into the result, at the place that is counted. */
  forEachFn?: (row: unknown[]) => void
}

/** How a statement is sent. */
export interface PostgresQueryOptions {
  readonly prepare: boolean
  /**
   * Told which connection has taken it, unless its parameters have to be described first.
   *
   * @returns Whether others may follow it at once.
   */
  readonly onexecute?: (connection: PostgresClientConnection) => boolean
}

/** One connection of a client, closed and opened again as often as need be. */
export interface PostgresClientConnection {
  readonly id: number
  /** Closes it, and rejects what it has not answered. */
  terminate(): void
}

/** What a client and a transaction of it have in common. */
export interface PostgresSql {
  unsafe(sql: string, parameters: readonly unknown[], options: PostgresQueryOptions): PostgresQuery
}

/** A transaction of a client, or a savepoint in one. */
export interface PostgresTransactionSql extends PostgresSql {
  savepoint<T>(work: (sql: PostgresTransactionSql) => Promise<T>): Promise<T>
}

/** A client: a pool of connections. */
export interface PostgresClient extends PostgresSql {
  readonly options: PostgresParsedOptions
  begin<T>(options: string, work: (sql: PostgresTransactionSql) => Promise<T>): Promise<T>
  end(options: { readonly timeout: number }): Promise<void>
}

/** A client's options as it keeps them; given to `postgres()` again, they are taken as they are. */
export interface PostgresParsedOptions {
  readonly host: readonly string[]
  readonly port: readonly number[]
  readonly path?: string | false
  readonly max: number
  readonly connect_timeout?: number | null
  readonly idle_timeout?: number | null
  readonly max_lifetime?: number | (() => number) | null
  readonly transform: { readonly value: { readonly from?: unknown }; readonly row: { readonly from?: unknown } }
  readonly socket?: ((options: PostgresParsedOptions) => unknown) | undefined
  onclose?: ((id: number) => void) | undefined
  /** Called with each statement that is sent, and with the number of the connection that sends it. */
  debug?: ((id: number, ...what: unknown[]) => void) | boolean | undefined
  readonly ssl?: unknown
  readonly pass?: unknown
  readonly password?: unknown
  /** By the number of a type. */
  readonly parsers: Record<string, unknown>
  readonly serializers: Record<string, unknown>
  /** Read at each connecting. */
  fetch_types: boolean
  readonly shared: { readonly typeArrayMap: Record<string, number> }
}

/** The package `postgres`, and Drizzle's way to set its clients up. */
export interface PostgresPackage {
  readonly postgres: (...options: unknown[]) => PostgresClient
  readonly prepare: (client: PostgresClient) => void
}

/** Loads postgres.js. @throws InterfaceError  It is not installed. */
export async function loadPostgres(): Promise<PostgresPackage> {
  try {
    const [{ default: postgres }, { drizzle }] = await Promise.all([
      import('postgres'),
      import('drizzle-orm/postgres-js'),
    ])
    return {
      postgres: postgres as unknown as PostgresPackage['postgres'],
      // Drizzle reads dates and JSON itself, and sets the client's parsers for that
      prepare: (client) => void drizzle({ client: client as never }),
    }
  } catch (error) {
    throw new InterfaceError('PostgreSQL needs the package postgres: npm install postgres@3', { cause: error })
  }
}

/** @throws ProgrammingError  A client's options would change what is read. */
export function requireUntransformed({ options }: PostgresClient, what: string): void {
  const { value, row } = options.transform
  if (!(value.from ?? row.from)) return
  throw new ProgrammingError(
    `${what} has a client with the option transform for values or rows, which would change events; give it one without`,
  )
}
