import { isUtf8 } from 'node:buffer'
import { randomUUID } from 'node:crypto'

/*
 * Arrays as parameters. postgres.js writes them only once it has fetched the server's types, which a client may be told
 * not to do (`fetch_types: false`).
 */

/** As `text[]`. @see https://www.postgresql.org/docs/current/arrays.html#ARRAYS-INPUT */
export function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replace(/["\\]/g, '\\$&')}"`).join(',')}}`
}

/** As `int8[]`. */
export function numberArray(values: readonly number[]): string {
  return `{${values.join(',')}}`
}

/**
 * What stands between texts that come as one, for `string_to_array`: an array's own form has to be escaped, and takes the
 * server longer to read (a tenth of an INSERT).
 */
export function separatorFor(...columns: readonly (readonly string[])[]): string {
  const isIn = columns.some((values) => values.some((value) => value.includes(recordSeparator)))
  return isIn ? randomUUID() : recordSeparator
}

const recordSeparator = '\x1e'

/** States as text for statements, and whether they are the text that the bytes are, or their hexadecimal digits. */
export interface StatesAsText {
  readonly texts: string[]
  readonly areText: boolean
}

/** Half as long as hexadecimal digits. @param isAllowed  Whether the database keeps text in UTF-8. */
export function statesAsText(states: readonly Uint8Array[], isAllowed: boolean): StatesAsText {
  const buffers = states.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength))
  // PostgreSQL's text has no NUL
  const areText = isAllowed && buffers.every((state) => isUtf8(state) && !state.includes(0))
  return { texts: buffers.map((state) => state.toString(areText ? 'utf8' : 'hex')), areText }
}

/** The bytes again, in SQL. @param areText  What `StatesAsText` says, in SQL. */
export function asBytes(text: string, areText: string): string {
  return `CASE WHEN ${areText} THEN convert_to(${text}, 'UTF8') ELSE decode(${text}, 'hex') END`
}
