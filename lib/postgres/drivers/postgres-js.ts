import type { DatastoreOfDriver, Driver, Insert, TableName } from '../../drizzle/dialect.js'
import { InterfaceError } from '../../errors.js'
import type { SessionByHand } from '../../persistence/session-by-hand.js'
import type { Transaction, Unit } from '../../persistence/transaction.js'
import type { BeginTexts } from '../../persistence/recorders.js'
import type { TransactionOptions } from '../../persistence/transactional.js'
import type { DrizzleHandles, PostgresDatabase, PostgresSession, PostgresSessionByHand } from '../session.js'
import { translate } from '../errors.js'
import type { SharedReads } from './shared-reads.js'
import type { SharedStatements, SharingOptions } from './shared-statements.js'
import { PostgresConnection } from './connection.js'
import type { Begun, OutsideChannel, Source } from './source.js'

/** What a driver is made from. */
export interface DriverOptions<Schema extends Record<string, unknown>> {
  readonly source: Source
  readonly handles: DrizzleHandles<Schema>
  /** The user's own database, where they gave one. */
  readonly db?: object | undefined
  /** Makes what inserts and reads share statements by, where they do. */
  readonly sharing?: ((outside: SharingOptions['outside']) => Sharing) | undefined
}

/** By what inserts and reads share statements. */
export interface Sharing {
  readonly inserts: SharedStatements
  readonly reads: SharedReads
}

/** postgres.js: statements outside transactions each on a connection that is free, a transaction on one of its own. */
export class PostgresJsDriver<Schema extends Record<string, unknown>> implements Driver<
  PostgresDatabase<Schema>,
  PostgresSession<Schema>,
  PostgresConnection,
  PostgresSessionByHand<Schema>
> {
  db: PostgresDatabase<Schema> | undefined
  readonly #source: Source
  readonly #handles: DrizzleHandles<Schema>
  /** What the recorders' statements run on outside of transactions. */
  readonly #connections = new WeakMap<OutsideChannel, PostgresConnection>()
  readonly #sharing: Sharing | undefined
  #datastore: () => DatastoreOfDriver = () => {
    throw new InterfaceError('The driver has no datastore yet')
  }

  constructor({ source, handles, db, sharing }: DriverOptions<Schema>) {
    this.#source = source
    this.#handles = handles
    this.#sharing = sharing?.((work) => this.read(work))
    if (db) this.db = this.#database(db)
  }

  attach(datastore: DatastoreOfDriver): void {
    this.#datastore = () => datastore
  }

  async open(): Promise<void> {
    await this.#source.open()
    this.db ??= this.#database()
  }

  readonly begin = async (
    transaction: Transaction<PostgresSession<Schema>, PostgresConnection>,
    { isolationLevel, accessMode }: TransactionOptions,
  ): Promise<Unit<PostgresSession<Schema>, PostgresConnection>> => {
    const how = [isolationLevel && `isolation level ${isolationLevel}`, accessMode].filter(Boolean).join(' ')
    return this.#unit(await this.#source.begin(how), transaction)
  }

  handleOf(session: SessionByHand<PostgresSession<Schema>, PostgresConnection>): PostgresSessionByHand<Schema> {
    return this.#handles.sessionByHand(session)
  }

  read<T>(work: (connection: PostgresConnection) => T | Promise<T>): Promise<T> {
    return this.#source.outside((channel) => work(this.#outside(channel)))
  }

  readTexts(
    table: TableName,
    originatorId: string,
    begin: BeginTexts,
    alone: (connection: PostgresConnection) => Promise<boolean>,
  ): Promise<boolean> {
    return this.#sharing?.reads.read(table, { originatorId, begin }, alone) ?? this.read(alone)
  }

  write<T>(work: (connection: PostgresConnection) => T | Promise<T>): Promise<T> {
    return this.read(work)
  }

  append(insert: Insert, alone: (connection: PostgresConnection) => number[] | Promise<number[]>): Promise<number[]> {
    // only events have ids to share; with tracking it takes a transaction
    const shares = insert.table.kind === 'events' && !insert.tracking
    if (shares && this.#sharing) return this.#sharing.inserts.insert(insert, alone)
    return this.read(alone).catch((error: unknown) => {
      throw translate(error)
    })
  }

  async setUp(
    isDone: (connection: PostgresConnection) => boolean | Promise<boolean>,
    make: (connection: PostgresConnection) => void | Promise<void>,
  ): Promise<void> {
    await this.#source.apart(async (channel) => {
      const connection = this.#outside(channel)
      if (!(await isDone(connection))) await make(connection)
    })
  }

  close(): Promise<void> {
    return this.#source.close()
  }

  #database(given?: object): PostgresDatabase<Schema> {
    return this.#handles.database(
      {
        send: (sql, parameters, how) => this.#source.outside((channel) => channel.send(sql, parameters, how)),
        transaction: (work, options) => this.#datastore().transaction(work, options),
      },
      given,
    )
  }

  #unit(
    begun: Begun,
    transaction: Transaction<PostgresSession<Schema>, PostgresConnection>,
  ): Unit<PostgresSession<Schema>, PostgresConnection> {
    return {
      session: this.#handles.session(begun, transaction),
      connection: new PostgresConnection(begun),
      commit: () => begun.commit(),
      rollback: () => begun.rollback(),
      nest: async (nested) => this.#unit(await begun.savepoint(), nested),
    }
  }

  #outside(channel: OutsideChannel): PostgresConnection {
    const known = this.#connections.get(channel)
    if (known) return known
    const connection = new PostgresConnection(channel, (work) => atomically(channel, work))
    this.#connections.set(channel, connection)
    return connection
  }
}

async function atomically<T>(
  channel: OutsideChannel,
  work: (connection: PostgresConnection) => Promise<T>,
): Promise<T> {
  const begun = await channel.begin()
  let result: T
  try {
    result = await work(new PostgresConnection(begun))
  } catch (error) {
    await begun.rollback().catch(() => undefined)
    throw error
  }
  await begun.commit()
  return result
}
