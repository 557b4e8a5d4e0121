import { InterfaceError } from '../errors.js'
import type { BeginTexts } from '../persistence/recorders.js'
import type { SessionByHand } from '../persistence/session-by-hand.js'
import type { Begin } from '../persistence/transactions.js'
import { CreatedConnections, type CreatorSource } from './connection-creator.js'
import type { Connection, DatastoreOfDriver, Driver, Insert, TableName } from './dialect.js'

/** How a driver is made of what a connection creator gives. */
export interface DriverMaking<Db, Session, C extends Connection, ByHand = unknown> {
  readonly source: CreatorSource
  readonly dialect: 'sqlite' | 'postgresql'
  /** Asks for the first connection, which tells what driver it takes. */
  readonly make: (connections: CreatedConnections) => Promise<Driver<Db, Session, C, ByHand>>
}

/** A driver that is made when the datastore connects, of what the user's connection creator gives. */
// Required: also what a driver may leave out has to be handed on
export class CreatedDriver<Db, Session, C extends Connection, ByHand = unknown> implements Required<
  Driver<Db, Session, C, ByHand>
> {
  readonly #making: DriverMaking<Db, Session, C, ByHand>
  #driver: Driver<Db, Session, C, ByHand> | undefined
  #connections: CreatedConnections | undefined
  #datastore: DatastoreOfDriver | undefined

  constructor(making: DriverMaking<Db, Session, C, ByHand>) {
    this.#making = making
  }

  get db(): Db | undefined {
    return this.#driver?.db
  }

  attach(datastore: DatastoreOfDriver): void {
    this.#datastore = datastore
  }

  async open(): Promise<void> {
    const { source, dialect, make } = this.#making
    const connections = new CreatedConnections(source, dialect)
    let driver: Driver<Db, Session, C, ByHand> | undefined
    try {
      driver = await make(connections)
      if (this.#datastore) driver.attach(this.#datastore)
      await driver.open()
    } catch (error) {
      // who meets this may never call close(): nothing of the attempt may stay
      await driver?.close().catch(() => undefined)
      await connections.close().catch(() => undefined)
      throw error
    }
    this.#driver = driver
    this.#connections = connections
  }

  readonly begin: Begin<Session, C> = (transaction, options) => this.#opened.begin(transaction, options)

  handleOf(session: SessionByHand<Session, C>): ByHand {
    return this.#opened.handleOf(session)
  }

  read<T>(work: (connection: C) => T | Promise<T>): Promise<T> {
    return this.#opened.read(work)
  }

  readTexts(
    table: TableName,
    originatorId: string,
    begin: BeginTexts,
    alone: (connection: C) => Promise<boolean>,
  ): Promise<boolean> {
    const driver = this.#opened
    return driver.readTexts?.(table, originatorId, begin, alone) ?? driver.read(alone)
  }

  write<T>(work: (connection: C) => T | Promise<T>): Promise<T> {
    return this.#opened.write(work)
  }

  append(insert: Insert, alone: (connection: C) => number[] | Promise<number[]>): Promise<number[]> {
    return this.#opened.append(insert, alone)
  }

  setUp(
    isDone: (connection: C) => boolean | Promise<boolean>,
    make: (connection: C) => void | Promise<void>,
    timeoutMs?: number,
  ): Promise<void> {
    return this.#opened.setUp(isDone, make, timeoutMs)
  }

  async close(): Promise<void> {
    await this.#driver?.close()
    // only then: while transactions are open, what came with their connections is in use
    await this.#connections?.close()
  }

  get #opened(): Driver<Db, Session, C, ByHand> {
    if (this.#driver) return this.#driver
    throw new InterfaceError('The datastore is not connected yet')
  }
}
