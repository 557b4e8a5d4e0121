/*
 * Arrays as PostgreSQL reads them from text. postgres.js writes them only once it has fetched the server's types, which
 * a client may be told not to do (`fetch_types: false`).
 *
 * See https://www.postgresql.org/docs/current/arrays.html#ARRAYS-INPUT
 */

/** As `text[]`. */
export function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replace(/["\\]/g, '\\$&')}"`).join(',')}}`
}

/** As `int8[]`. */
export function numberArray(values: readonly number[]): string {
  return `{${values.join(',')}}`
}

/** Bytes in hexadecimal, as `text[]`. */
export function hexArray(values: readonly Uint8Array[]): string {
  // digits need no quotes, nothing does
  return `{${values.map((value) => hex(value) || '""').join(',')}}`
}

/** Bytes in hexadecimal, as PostgreSQL's `decode` takes them. */
export function hex({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('hex')
}
