import type { TableName } from '../drizzle/dialect.js'
import type { Together } from '../drizzle/pages.js'
import * as statements from '../drizzle/statements.js'
import type { StoredText } from '../persistence/stored-event.js'
import { separatorFor } from './arrays.js'
import type { PostgresConnection } from './drivers/connection.js'
import { sqlState } from './errors.js'
import { keepsUtf8 } from './order.js'
import { qualified } from './tables.js'

/*
 * States as text, and many rows as few texts.
 *
 * See docs/decisions/0019-reads-come-as-few-long-texts.md
 */

/**
 * Reads the streams of several originators by one query, outside of a transaction.
 *
 * @returns For each its events by version; `undefined` for one that has to be read by itself, being long, for example.
 */
export async function selectTextsTogether(
  connection: PostgresConnection,
  table: TableName,
  originatorIds: readonly string[],
): Promise<(StoredText[] | undefined)[]> {
  const separator = separatorFor(originatorIds)
  const lines = await connection.column(
    `SELECT e.place || '${statements.separator}' || s.event FROM unnest(string_to_array($1::text, $2::text)) ` +
      `WITH ORDINALITY AS e (id, place) CROSS JOIN LATERAL (SELECT ${statements.eventAsText(asText('state'))} AS event ` +
      `FROM ${qualified(table)} WHERE originator_id = e.id ORDER BY originator_version LIMIT ${longStream}) AS s`,
    [originatorIds.join(separator), separator],
  )
  const streams: (StoredText[] | undefined)[] = originatorIds.map(() => [])
  for (const line of lines as (string | null)[]) {
    // nobody knows whose it is
    if (line === null) return originatorIds.map(() => undefined)
    const place = line.indexOf(statements.separator)
    const index = Number(line.slice(0, place)) - 1
    const stream = streams[index]
    const event = statements.storedText(originatorIds[index] as string, line.slice(place + 1))
    const isNext = event && event.originatorVersion > (stream?.at(-1)?.originatorVersion ?? -1)
    if (isNext) stream?.push(event)
    if (!isNext || stream?.length === longStream) streams[index] = undefined
  }
  return streams
}

/** Streams of so many events are read by themselves: nobody else should wait for them. */
const longStream = 200

/** Bytes as text, in SQL; NULL where they would be brought into another encoding, and maybe not all the way back. */
export function asText(bytes: string): string {
  return `CASE WHEN (SELECT ${keepsUtf8}) THEN convert_from(${bytes}, 'UTF8') END`
}

/**
 * What `read` gives; undefined where it may meet what is no text: an error there, which would spoil a transaction.
 *
 * @param onNoText  Called where it has met that.
 */
export async function unlessNoText<T>(
  connection: PostgresConnection,
  read: () => Promise<T>,
  onNoText: () => unknown = () => undefined,
): Promise<T | undefined> {
  if (connection.inTransaction) return undefined
  try {
    return await read()
  } catch (error) {
    if (sqlState(error) !== noText) throw error
    onNoText()
    return undefined
  }
}

/** SQLSTATE of bytes that are no text in UTF-8. */
const noText = '22021'

const joined = (column: string) => `string_agg(${column}, ''::bytea)`

const lists = {
  numbers: (column: string) => `json_agg(${column})::text`,
  // as JSON the server takes a quarter longer
  texts: (column: string) => `string_agg(${column}, '${statements.separator}')`,
  asTexts: (selected: string) => selected.split(statements.separator),
}

export const inOneText: Together = {
  ...lists,
  joined: (column) => asText(joined(column)),
  asBytes: (selected) => Buffer.from(selected as string),
}

export const inOneHex: Together = {
  ...lists,
  joined: (column) => `encode(${joined(column)}, 'hex')`,
  asBytes: (selected) => Buffer.from(selected as string, 'hex'),
}
