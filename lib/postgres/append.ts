import { setTimeout as pause } from 'node:timers/promises'
import type { TableName } from '../drizzle/dialect.js'
import { OperationalError, type RecordConflictError } from '../errors.js'
import { alreadyRecorded, findTwice, standsTwice } from '../persistence/conflicts.js'
import type { StoredEvent } from '../persistence/stored-event.js'
import { asBytes, numberArray, statesAsText } from './arrays.js'
import type { PostgresConnection } from './drivers/connection.js'
import { sqlState } from './errors.js'
import { contiguousBlock, type EventSequence, floor, fromRegistered, fromRegisteredOnce, isTable } from './order.js'
import {
  columns,
  columnsOf,
  eventsAsArrays,
  givenEvents,
  givenKeys,
  howMany,
  isThere,
  key,
  keysAsArrays,
} from './given-events.js'
import { qualified } from './tables.js'

/** Records events by one statement. */
export class Append {
  readonly #table: TableName
  readonly #sequence: EventSequence | null
  readonly #timeoutMs: number
  readonly #one: string
  readonly #several: string
  readonly #oneUnlessTaken: string
  readonly #severalUnlessTaken: string
  readonly #takeBack: string
  readonly #firstTaken: string
  readonly #lastVersion: string

  /**
   * @param sequence  Of a table of events; null for a table without ids.
   * @param timeoutMs  How long an insert whose ids were never contiguous is repeated.
   * @param lockWaitMs  How long an insert outside of a transaction waits for a transaction that has inserted the same key.
   *   Default: as the connection is set.
   */
  constructor(table: TableName, sequence: EventSequence | null, timeoutMs: number, lockWaitMs?: number) {
    this.#table = table
    this.#sequence = sequence
    this.#timeoutMs = timeoutMs
    const name = qualified(table)
    const into = `INSERT INTO ${name}`
    const one = `$1::text, $2::int8, $3::text, ${asBytes('$4::text', '$5::boolean')}`
    const given = `${givenEvents} WITH ORDINALITY AS e (${columns}, place)`
    const alreadyThere = `${given} ${isThere(name)}`
    const fromFirst = `block.first + e.place - 1, ${columnsOf('e')}`
    const summary = 'SELECT min(notification_id), count(*)'

    if (sequence) {
      this.#one =
        `${into} (${columns}) SELECT ${one} ` +
        `${fromRegistered(table, sequence, lockWaitMs)} RETURNING notification_id`
      const isFree = `NOT EXISTS (SELECT FROM ${name} WHERE originator_id = $1::text AND originator_version = $2::int8)`
      this.#oneUnlessTaken =
        `${into} (${columns}) SELECT ${one} ` +
        `${fromRegisteredOnce(table, sequence, isFree)} ON CONFLICT (${key}) DO NOTHING RETURNING notification_id`
      this.#several =
        `WITH RECURSIVE ${floor(fromRegistered(table, sequence, lockWaitMs))}, ${contiguousBlock(sequence, howMany)}, stored AS (` +
        `${into} (notification_id, ${columns}) OVERRIDING SYSTEM VALUE SELECT ${fromFirst} FROM block CROSS JOIN ${given} ` +
        `RETURNING notification_id) ${summary} FROM stored`
      this.#severalUnlessTaken =
        `WITH RECURSIVE taken AS MATERIALIZED (SELECT count(*) AS rows FROM ${alreadyThere}), ` +
        `${floor(fromRegisteredOnce(table, sequence, '(SELECT rows FROM taken) = 0'))}, ${contiguousBlock(sequence, howMany)}, stored AS (` +
        `${into} (notification_id, ${columns}) OVERRIDING SYSTEM VALUE SELECT ${fromFirst} FROM block CROSS JOIN ${given} ` +
        `ON CONFLICT (${key}) DO NOTHING RETURNING notification_id) ` +
        `${summary}, (SELECT rows FROM taken), (SELECT count(*) FROM block), array_agg(notification_id)::text FROM stored`
      this.#takeBack = `DELETE FROM ${name} WHERE notification_id = ANY ($1::int8[])`
    } else {
      this.#one = `${into} (${columns}) VALUES (${one})`
      this.#oneUnlessTaken = `${this.#one} ON CONFLICT (${key}) DO NOTHING RETURNING 1::int8`
      this.#several = `${into} (${columns}) SELECT ${columnsOf('e')} FROM ${given}`
      this.#severalUnlessTaken =
        `WITH taken AS MATERIALIZED (SELECT count(*) AS rows FROM ${alreadyThere}), stored AS (` +
        `${into} (${columns}) SELECT ${columnsOf('e')} FROM ${given} WHERE (SELECT rows FROM taken) = 0 ` +
        `ON CONFLICT (${key}) DO NOTHING RETURNING ctid) ` +
        `SELECT NULL::int8, count(*), (SELECT rows FROM taken), 1::int8, array_agg(ctid)::text FROM stored`
      this.#takeBack = `DELETE FROM ${name} WHERE ctid = ANY ($1::tid[])`
    }
    this.#firstTaken = `SELECT min(e.place) FROM ${givenKeys} ${isThere(name)}`
    this.#lastVersion = `SELECT max(originator_version) FROM ${name} WHERE originator_id = $1`
  }

  /**
   * Records events, all or none.
   *
   * In a transaction the statement does not fail on a conflict, since one that fails spoils the transaction.
   *
   * @returns undefined  Nothing is stored: the table's name is another table's by now.
   * @throws RecordConflictError  A version is already recorded or stands twice; nothing is stored.
   */
  async insert(connection: PostgresConnection, events: readonly StoredEvent[]): Promise<number[] | undefined> {
    const [first] = events
    if (!first) return []
    const deadline = performance.now() + this.#timeoutMs
    for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 64)) {
      const ids = connection.inTransaction
        ? await this.#inTransaction(connection, events, first)
        : await this.#outside(connection, events, first)
      if (ids) return ids
      if (!(await this.#isStillThere(connection))) return undefined
      if (performance.now() > deadline) {
        throw new OperationalError(
          `The ids for ${events.length} events could not be drawn one after the other within ${this.#timeoutMs} ms: others ` +
            'draw between them',
          { retryable: true },
        )
      }
      // unequal pauses: who draws against each other doesn't meet again
      await pause(pauseMs * (0.5 + Math.random()))
    }
  }

  async #outside(
    connection: PostgresConnection,
    events: readonly StoredEvent[],
    event: StoredEvent,
  ): Promise<number[] | undefined> {
    const isOne = events.length === 1
    try {
      if (!this.#sequence) {
        await (isOne
          ? connection.change(this.#one, this.#asParameters(event))
          : connection.change(this.#several, this.#asArrays(events)))
        return []
      }
      if (isOne) {
        const [row] = await connection.rows(this.#one, this.#asParameters(event))
        return row as [number] | undefined
      }
      const [row] = await connection.rows(this.#several, this.#asArrays(events))
      const [first, stored] = row as [number, number]
      return stored === 0 ? undefined : from(first, events)
    } catch (error) {
      throw (await this.#conflictBehind(error, connection, events)) ?? error
    }
  }

  async #inTransaction(
    connection: PostgresConnection,
    events: readonly StoredEvent[],
    event: StoredEvent,
  ): Promise<number[] | undefined> {
    if (events.length === 1) {
      const [row] = await connection.rows(this.#oneUnlessTaken, this.#asParameters(event))
      if (row) return this.#sequence ? (row as [number]) : []
      const conflict = await this.#conflict(connection, events)
      if (!conflict && !(await this.#isStillThere(connection))) return undefined
      throw conflict ?? alreadyRecorded(event, undefined)
    }
    const [row] = await connection.rows(this.#severalUnlessTaken, this.#asArrays(events))
    const [first, stored, taken, blocks, places] = row as [number, number, number, number, string | null]
    if (stored === events.length) return this.#sequence ? from(first, events) : []
    if (taken === 0 && blocks === 0) return undefined
    // a part got in before somebody else, and may not stay
    if (places !== null) await connection.change(this.#takeBack, [places])
    throw (await this.#conflict(connection, events)) ?? alreadyRecorded(event, undefined)
  }

  #asParameters({ originatorId, originatorVersion, topic, state }: StoredEvent): unknown[] {
    const { texts, areText } = statesAsText([state], this.#sequence?.isUtf8 ?? false)
    return [originatorId, originatorVersion, topic, texts[0], areText]
  }

  #asArrays(events: readonly StoredEvent[]): unknown[] {
    return eventsAsArrays(events, this.#sequence?.isUtf8 ?? false)
  }

  async #isStillThere(connection: PostgresConnection): Promise<boolean> {
    if (!this.#sequence) return true
    const [row] = await connection.rows(`SELECT ${isTable(this.#table, this.#sequence)}`, [])
    return (row as [boolean])[0]
  }

  /** Takes back events that were just stored in this transaction. */
  async takeBack(connection: PostgresConnection, ids: readonly number[]): Promise<void> {
    await connection.change(this.#takeBack, [numberArray(ids)])
  }

  /** The conflict that made an INSERT fail, if it was one: found in the table, not in the error's text. */
  async #conflictBehind(
    error: unknown,
    connection: PostgresConnection,
    events: readonly StoredEvent[],
  ): Promise<RecordConflictError | undefined> {
    const code = sqlState(error)
    return code === '23505' ? this.#conflict(connection, events, { cause: error, code }) : undefined
  }

  async #conflict(
    connection: PostgresConnection,
    events: readonly StoredEvent[],
    details?: { readonly cause: unknown; readonly code: string },
  ): Promise<RecordConflictError | undefined> {
    const [row] = await connection.rows(this.#firstTaken, keysAsArrays(events))
    const [place] = row as [number | null]
    const event = place === null ? findTwice(events) : events[place - 1]
    if (!event) return undefined
    const [last] = await connection.rows(this.#lastVersion, [event.originatorId])
    const currentVersion = (last as [number | null])[0] ?? undefined
    return place === null
      ? standsTwice(event, currentVersion, details)
      : alreadyRecorded(event, currentVersion, details)
  }
}

function from(first: number, events: readonly StoredEvent[]): number[] {
  return events.map((_, index) => first + index)
}
