import type { TableName } from '../drizzle/dialect.js'
import type { Together } from '../drizzle/pages.js'
import * as statements from '../drizzle/statements.js'
import type { BeginTexts } from '../persistence/recorders.js'
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

/** Whose events are read, and who takes them. */
export interface StreamToRead {
  readonly originatorId: string
  readonly begin: BeginTexts
}

/**
 * Reads the streams of several originators by one query, outside of a transaction.
 *
 * @returns For each whether that were all its events, by version. If not, it has to be read by itself: a long one, or one
 *   whose events were refused by who took them.
 */
export async function selectTextsTogether(
  connection: PostgresConnection,
  table: TableName,
  streams: readonly StreamToRead[],
): Promise<boolean[]> {
  const originatorIds = streams.map(({ originatorId }) => originatorId)
  const separator = separatorFor(originatorIds)
  const readings = streams.map(() => ({ events: [] as StoredText[], isAll: true }))
  const lines = await connection.column(
    `SELECT e.place || '${statements.separator}' || s.event FROM unnest(string_to_array($1::text, $2::text)) ` +
      `WITH ORDINALITY AS e (id, place) CROSS JOIN LATERAL (SELECT ${statements.eventAsText(asText('state'))} AS event ` +
      `FROM ${qualified(table)} WHERE originator_id = e.id ORDER BY originator_version LIMIT ${longStream}) AS s`,
    [originatorIds.join(separator), separator],
  )
  for (const line of lines as (string | null)[]) {
    // nobody knows whose it is
    if (line === null) return streams.map(() => false)
    const place = line.indexOf(statements.separator)
    const index = Number(line.slice(0, place)) - 1
    const reading = readings[index] as (typeof readings)[number]
    const stored = statements.storedText(originatorIds[index] as string, line.slice(place + 1))
    reading.isAll &&=
      stored !== undefined && stored.originatorVersion > (reading.events.at(-1)?.originatorVersion ?? -1)
    if (stored) reading.events.push(stored)
  }
  return readings.map(({ events, isAll }, index) => {
    if (!isAll || events.length === longStream) return false
    try {
      streams[index]?.begin()(events)
      return true
    } catch {
      return false // by itself it is told why
    }
  })
}

/** Streams of so many events are read by themselves: nobody else should wait for them. */
export const longStream = 200

/**
 * As `statements.selectTexts`, of a whole stream, a hundred events in each row: for a long one the half of rows' cost.
 *
 * @returns Whether that were all. If not, it has to be read in another way, as it is where a state may be no text.
 */
export async function selectTextsInChunks(
  connection: PostgresConnection,
  table: TableName,
  originatorId: string,
  begin: BeginTexts,
): Promise<boolean> {
  const stream = `FROM ${qualified(table)} WHERE originator_id = $1::text`
  const take = begin()
  let isSound = true
  let [rows, version] = [0, -1]
  await connection.each(
    `SELECT (SELECT count(*) || '${betweenEvents}' || coalesce(string_agg(event, '${betweenEvents}'), '') FROM ` +
      `(SELECT ${statements.eventAsText(asText('state'))} AS event ${stream} AND originator_version >= first ` +
      `AND originator_version < first + ${eventsInChunk} ORDER BY originator_version) AS s) FROM (SELECT ` +
      `(SELECT min(originator_version) ${stream}) AS low, (SELECT max(originator_version) ${stream}) AS high) AS bounds ` +
      // versions are contiguous, or nearly: else there would be no end of rows without events
      `CROSS JOIN LATERAL generate_series(low, high, ${eventsInChunk}) AS first WHERE high - low < 1000000`,
    [originatorId],
    ([chunk]) => {
      rows += 1
      const [count, ...lines] = (chunk as string).split(betweenEvents)
      if (count === '0') return
      isSound &&= lines.length === Number(count)
      const events: StoredText[] = []
      for (const line of lines) {
        const stored = isSound ? statements.storedText(originatorId, line) : undefined
        isSound &&= stored !== undefined && stored.originatorVersion > version
        if (!isSound || !stored) return
        version = stored.originatorVersion
        events.push(stored)
      }
      take(events)
    },
  )
  return isSound && rows > 0
}

const eventsInChunk = 100

/** Stands between the events of a chunk; as `statements.separator`. */
const betweenEvents = '\x1d'

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
