import type { TableName } from '../drizzle/dialect.js'
import type { RecordConflictError } from '../errors.js'
import { alreadyRecorded } from '../persistence/conflicts.js'
import type { StoredEvent } from '../persistence/stored-event.js'
import { hexArray, numberArray, textArray } from './arrays.js'
import type { PostgresConnection } from './drivers/connection.js'
import { contiguousBlock, type EventSequence, floor, fromRegistered } from './order.js'
import { qualified } from './tables.js'

/** The events of one insert. */
export type Events = readonly StoredEvent[]

/** Records what several inserts ask for by one statement, in which each of them is stored whole or not at all. */
export class AppendTogether {
  readonly #single: string
  readonly #mixed: string
  readonly #taken: string

  /** @param lockWaitMs  How long the statement waits for a transaction that has inserted one of the keys. */
  constructor(table: TableName, sequence: EventSequence, lockWaitMs: number) {
    const name = qualified(table)
    const into = `INSERT INTO ${name}`
    const isTaken =
      `CROSS JOIN LATERAL (SELECT FROM ${name} AS t ` +
      'WHERE t.originator_id = e.originator_id AND t.originator_version = e.originator_version LIMIT 1) AS found'
    this.#taken =
      `SELECT e.place, (SELECT max(originator_version) FROM ${name} AS t WHERE t.originator_id = e.originator_id) ` +
      `FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS e (${key}, place) ${isTaken} ORDER BY e.place`
    const registered = floor(fromRegistered(table, sequence, lockWaitMs))
    this.#single =
      `WITH ${registered} ${into} (${columns}) SELECT ${key}, topic, decode(state, 'hex') FROM floor ` +
      `CROSS JOIN unnest($1::text[], $2::int8[], $3::text[], $4::text[]) AS e (${columns}) ` +
      `ON CONFLICT (${key}) DO NOTHING RETURNING notification_id, originator_id`
    const free = 'e.insert NOT IN (SELECT insert FROM taken)'
    // where somebody has got in between the look and the insert, a part of one may be stored: then none of it may be. The
    // cast fails, with this text in the server's log
    const whole =
      `CASE WHEN count(*) = (SELECT count(*) FROM given AS e WHERE ${free}) * (SELECT count(*) FROM block) THEN 0 ` +
      `ELSE (count(*) || ' events of a shared statement were free, not all: each insert is repeated by itself')::int END`
    this.#mixed =
      `WITH RECURSIVE given AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::int8[], $3::text[], $4::text[], $5::int4[]) ` +
      `WITH ORDINALITY AS e (${columns}, insert, place)), ` +
      `taken AS MATERIALIZED (SELECT DISTINCT e.insert FROM given AS e ${isTaken}), ` +
      `${registered}, ${contiguousBlock(sequence, 'cardinality($2::int8[])')}, stored AS (` +
      `${into} (notification_id, ${columns}) OVERRIDING SYSTEM VALUE ` +
      `SELECT block.first + e.place - 1, e.originator_id, e.originator_version, e.topic, decode(e.state, 'hex') ` +
      `FROM block CROSS JOIN given AS e WHERE ${free} ON CONFLICT (${key}) DO NOTHING RETURNING 1) ` +
      `SELECT (SELECT first FROM block), (SELECT array_agg(insert)::text FROM taken), ${whole} FROM stored`
  }

  /**
   * Records the events of several inserts.
   *
   * @param inserts  No originator's version stands twice among them.
   * @returns For each of them its ids; `undefined` where nothing of it is stored, a version of it being taken, for example.
   */
  insert(connection: PostgresConnection, inserts: readonly Events[]): Promise<(number[] | undefined)[]> {
    const events = inserts.flat()
    const areSingle =
      events.length === inserts.length && new Set(events.map(({ originatorId }) => originatorId)).size === events.length
    return areSingle ? this.#insertSingle(connection, events) : this.#insertMixed(connection, inserts, events)
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
    const rows = (await connection.rows(this.#taken, asArrays(inserts.flat()).slice(0, 2))) as [number, number][]
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
  async #insertSingle(connection: PostgresConnection, events: Events): Promise<(number[] | undefined)[]> {
    const rows = (await connection.rows(this.#single, asArrays(events))) as [number, string][]
    const ids = new Map(rows.map(([id, originatorId]) => [originatorId, [id]]))
    return events.map(({ originatorId }) => ids.get(originatorId))
  }

  async #insertMixed(
    connection: PostgresConnection,
    inserts: readonly Events[],
    events: Events,
  ): Promise<(number[] | undefined)[]> {
    const belongsTo = numberArray(inserts.flatMap((insert, index) => insert.map(() => index)))
    const [row] = await connection.rows(this.#mixed, [...asArrays(events), belongsTo])
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

/** SQLSTATE of what an INSERT by itself would have failed with. */
const uniqueViolation = '23505'

const key = 'originator_id, originator_version'
const columns = `${key}, topic, state`

/** Four arrays, so that one statement does for any number of events. */
export function asArrays(events: Events): unknown[] {
  return [
    textArray(events.map(({ originatorId }) => originatorId)),
    numberArray(events.map(({ originatorVersion }) => originatorVersion)),
    textArray(events.map(({ topic }) => topic)),
    hexArray(events.map(({ state }) => state)),
  ]
}
