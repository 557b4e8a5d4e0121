import type { StoredEvent } from '../persistence/stored-event.js'
import { asBytes, numberArray, separatorFor, statesAsText } from './arrays.js'

/*
 * Events as parameters of a statement, and their rows in it: one text does for any number of events.
 */

export const key = 'originator_id, originator_version'
export const columns = `${key}, topic, state`

/** The events as rows of `columns`, from the parameters of `eventsAsArrays`. */
export const givenEvents =
  'unnest(string_to_array($1::text, $5::text), $2::int8[], string_to_array($3::text, $5::text), string_to_array($4::text, $5::text))'

/** How many there are. */
export const howMany = 'cardinality($2::int8[])'

/** Six parameters. @param isUtf8  Whether the database keeps text in UTF-8. */
export function eventsAsArrays(events: readonly StoredEvent[], isUtf8: boolean): unknown[] {
  const ids = events.map(({ originatorId }) => originatorId)
  const versions = events.map(({ originatorVersion }) => originatorVersion)
  const topics = events.map(({ topic }) => topic)
  const { texts, areText } = statesAsText(
    events.map(({ state }) => state),
    isUtf8,
  )
  const separator = separatorFor(ids, topics, texts)
  return [ids.join(separator), numberArray(versions), topics.join(separator), texts.join(separator), separator, areText]
}

/** Such a row's values, as they are stored. */
export function columnsOf(alias: string): string {
  return `${alias}.originator_id, ${alias}.originator_version, ${alias}.topic, ${asBytes(`${alias}.state`, '$6::boolean')}`
}

/** Their keys alone, with their places from 1, as `e`; from the parameters of `keysAsArrays`. */
export const givenKeys = `unnest(string_to_array($1::text, $3::text), $2::int8[]) WITH ORDINALITY AS e (${key}, place)`

export function keysAsArrays(events: readonly StoredEvent[]): unknown[] {
  const ids = events.map(({ originatorId }) => originatorId)
  const separator = separatorFor(ids)
  return [ids.join(separator), numberArray(events.map(({ originatorVersion }) => originatorVersion)), separator]
}

/** Leaves those rows of `e` whose keys the table has: one look into the index for each, whatever the planner thinks of its size. */
export function isThere(table: string): string {
  return (
    `CROSS JOIN LATERAL (SELECT FROM ${table} AS t ` +
    'WHERE t.originator_id = e.originator_id AND t.originator_version = e.originator_version LIMIT 1) AS found'
  )
}
