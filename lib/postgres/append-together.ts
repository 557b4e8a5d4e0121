import type { TableName } from '../drizzle/dialect.js'
import type { RecordConflictError } from '../errors.js'
import { alreadyRecorded } from '../persistence/conflicts.js'
import type { StoredEvent } from '../persistence/stored-event.js'
import { numberArray } from './arrays.js'
import type { PostgresConnection } from './drivers/connection.js'
import { sqlState } from './errors.js'
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
import { contiguousBlock, type EventSequence, floor, fromRegistered } from './order.js'
import { qualified } from './tables.js'

/** The events of one insert. */
export type Events = readonly StoredEvent[]

/**
 * Records what several inserts ask for by one statement, in which each of them is stored whole or not at all.
 *
 * A conflict is rare, and a statement that expects one takes a sixth longer: so first comes one that fails at a conflict, and
 * after that, and for a while from then on, one that leaves out what is taken.
 */
export class AppendTogether {
  readonly #isUtf8: boolean
  readonly #single: string
  readonly #singleUnlessTaken: string
  readonly #mixed: string
  readonly #mixedUnlessTaken: string
  readonly #taken: string
  /** How many statements more expect a conflict. */
  #careful = 0

  /** @param lockWaitMs  How long the statement waits for a transaction that has inserted one of the keys. */
  constructor(table: TableName, sequence: EventSequence, lockWaitMs: number) {
    this.#isUtf8 = sequence.isUtf8
    const name = qualified(table)
    const into = `INSERT INTO ${name}`
    const registered = floor(fromRegistered(table, sequence, lockWaitMs))
    const unlessTaken = `ON CONFLICT (${key}) DO NOTHING`

    // ids are told by whose they are: nobody promises in which order rows are returned
    const single = (onConflict: string) =>
      `WITH ${registered}, stored AS (${into} (${columns}) SELECT ${columnsOf('e')} ` +
      `FROM floor CROSS JOIN ${givenEvents} AS e (${columns}) ${onConflict} RETURNING notification_id, originator_id) ` +
      `SELECT string_agg(notification_id::text, ','), string_agg(originator_id, $5::text) FROM stored`
    this.#single = single('')
    this.#singleUnlessTaken = single(unlessTaken)

    const block = contiguousBlock(sequence, howMany)
    const fromFirst = `block.first + e.place - 1, ${columnsOf('e')}`
    const intoBlock = `${into} (notification_id, ${columns}) OVERRIDING SYSTEM VALUE SELECT ${fromFirst} FROM block CROSS JOIN`
    this.#mixed =
      `WITH RECURSIVE ${registered}, ${block}, stored AS (${intoBlock} ${givenEvents} WITH ORDINALITY AS e (${columns}, place) ` +
      `RETURNING notification_id) SELECT min(notification_id), NULL::text FROM stored`
    const free = 'e.insert NOT IN (SELECT insert FROM taken)'
    // where somebody has got in between the look and the insert, a part of one may be stored: then none of it may be. The
    // cast fails, with this text in the server's log
    const whole =
      `CASE WHEN count(*) = (SELECT count(*) FROM given AS e WHERE ${free}) * (SELECT count(*) FROM block) THEN 0 ` +
      `ELSE (count(*) || ' events of a shared statement were free, not all: each insert is repeated by itself')::int END`
    this.#mixedUnlessTaken =
      `WITH RECURSIVE given AS MATERIALIZED (SELECT e.*, b.insert FROM ${givenEvents} WITH ORDINALITY AS e (${columns}, place) ` +
      `JOIN unnest($7::int4[]) WITH ORDINALITY AS b (insert, place) ON b.place = e.place), ` +
      `taken AS MATERIALIZED (SELECT DISTINCT e.insert FROM given AS e ${isThere(name)}), ` +
      `${registered}, ${block}, stored AS (${intoBlock} given AS e WHERE ${free} ${unlessTaken} RETURNING 1) ` +
      `SELECT (SELECT first FROM block), (SELECT array_agg(insert)::text FROM taken), ${whole} FROM stored`
    this.#taken =
      `SELECT e.place, (SELECT max(originator_version) FROM ${name} AS t WHERE t.originator_id = e.originator_id) ` +
      `FROM ${givenKeys} ${isThere(name)} ORDER BY e.place`
  }

  /**
   * Records the events of several inserts.
   *
   * @param inserts  No originator's version stands twice among them.
   * @returns For each of them its ids; `undefined` where nothing of it is stored, a version of it being taken, for example.
   */
  async insert(connection: PostgresConnection, inserts: readonly Events[]): Promise<(number[] | undefined)[]> {
    const events = inserts.flat()
    // an id may come back as another text from a database that keeps text in another encoding
    const areSingle =
      this.#isUtf8 &&
      events.length === inserts.length &&
      new Set(events.map(({ originatorId }) => originatorId)).size === events.length
    const parameters = eventsAsArrays(events, this.#isUtf8)
    if (this.#careful === 0) {
      try {
        return areSingle
          ? await this.#insertSingle(connection, this.#single, events, parameters)
          : await this.#insertMixed(connection, this.#mixed, inserts, parameters)
      } catch (error) {
        if (sqlState(error) !== uniqueViolation) throw error
        this.#careful = carefulFor
      }
    }
    this.#careful -= 1
    if (areSingle) return this.#insertSingle(connection, this.#singleUnlessTaken, events, parameters)
    const belongsTo = numberArray(inserts.flatMap((insert, index) => insert.map(() => index)))
    return this.#insertMixed(connection, this.#mixedUnlessTaken, inserts, [...parameters, belongsTo])
  }

  /**
   * The conflicts that are to be seen of inserts that were not stored.
   *
   * @returns For each of them its first one, as an INSERT by itself would find it; `undefined` where there is none.
   */
  async conflicts(
    connection: PostgresConnection,
    inserts: readonly Events[],
  ): Promise<(RecordConflictError | undefined)[]> {
    const rows = (await connection.rows(this.#taken, keysAsArrays(inserts.flat()))) as [number, number][]
    const lastVersions = new Map(rows)
    let place = 0
    return inserts.map((insert) => {
      let conflict: RecordConflictError | undefined
      for (const event of insert) {
        const lastVersion = lastVersions.get((place += 1))
        if (lastVersion !== undefined) conflict ??= alreadyRecorded(event, lastVersion, { code: uniqueViolation })
      }
      return conflict
    })
  }

  /** One event of each originator, told apart by it. */
  async #insertSingle(
    connection: PostgresConnection,
    statement: string,
    events: Events,
    parameters: readonly unknown[],
  ): Promise<(number[] | undefined)[]> {
    const [row] = await connection.rows(statement, parameters)
    const [idsText, originatorsText] = row as [string | null, string | null]
    if (idsText === null || originatorsText === null) return events.map(() => undefined)
    const originatorIds = originatorsText.split(parameters[4] as string)
    const ids = new Map(idsText.split(',').map((id, index) => [originatorIds[index], [Number(id)]]))
    return events.map(({ originatorId }) => ids.get(originatorId))
  }

  async #insertMixed(
    connection: PostgresConnection,
    statement: string,
    inserts: readonly Events[],
    parameters: readonly unknown[],
  ): Promise<(number[] | undefined)[]> {
    const [row] = await connection.rows(statement, parameters)
    const [first, takenText] = row as [number | null, string | null]
    if (first === null) return inserts.map(() => undefined)
    const taken = new Set(takenText?.slice(1, -1).split(',').map(Number))
    let next = first
    return inserts.map((insert, index) => {
      const ids = insert.map((_, place) => next + place)
      next += insert.length
      return taken.has(index) ? undefined : ids
    })
  }
}

/** SQLSTATE of what an INSERT by itself fails with at a conflict. */
const uniqueViolation = '23505'

/** Where there is one conflict there are more, mostly. */
const carefulFor = 16
