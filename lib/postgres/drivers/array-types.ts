import type { PostgresParsedOptions, PostgresResult } from './client.js'

type Parser = (text: string) => unknown
type Serializer = (value: unknown) => unknown

/*
 * How a client reads and writes arrays of the server's types.
 *
 * postgres.js asks for the types by itself at each connecting (`fetch_types`), in a promise that nobody waits for: a
 * connection that dies then ends the process.
 */

/** The statement that asks for the types; its rows as arrays. */
export const arrayTypes =
  'SELECT t.oid::text, t.typarray::text, t.typdelim::text FROM pg_catalog.pg_type AS t WHERE t.typarray <> 0'

/** Adds them to a client's options. */
export function addArrayTypes(options: PostgresParsedOptions, rows: PostgresResult): void {
  for (const [element, array, delimiter] of rows as unknown as [string, string, string][]) {
    add(options, element, array, delimiter)
  }
}

function add(
  { parsers, serializers, shared }: PostgresParsedOptions,
  element: string,
  array: string,
  delimiter: string,
): void {
  if (parsers[array] && serializers[array]) return // the user's own
  shared.typeArrayMap[element] = Number(array)
  parsers[array] = (text: string) => parseArray(text, parsers[element] as Parser | undefined, delimiter)
  serializers[array] = (value: unknown) =>
    Array.isArray(value) ? arrayLiteral(value, serializers[element] as Serializer | undefined, delimiter) : value
}

/**
 * Reads an array of whatever dimensions from PostgreSQL's text.
 *
 * @see https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
 */
function parseArray(text: string, parse: Parser = String, delimiter: string): unknown[] {
  // bounds that don't begin at 1 stand in front: [0:1]={…}
  let at = text.startsWith('[') ? text.indexOf('=') + 1 : 0
  const nested = (): unknown[] => {
    const values: unknown[] = []
    at += 1 // {
    while (at < text.length && text[at] !== '}') {
      if (text[at] === '{') values.push(nested())
      else values.push(element())
      if (text[at] === delimiter) at += 1
    }
    at += 1 // }
    return values
  }
  const element = (): unknown => {
    if (text[at] !== '"') {
      const begun = at
      while (at < text.length && text[at] !== delimiter && text[at] !== '}') at += 1
      const value = text.slice(begun, at)
      return value.toUpperCase() === 'NULL' ? null : parse(value)
    }
    let value = ''
    for (at += 1; at < text.length && text[at] !== '"'; at += 1) {
      if (text[at] === '\\') at += 1
      value += text[at]
    }
    at += 1
    return parse(value)
  }
  return nested()
}

function arrayLiteral(values: readonly unknown[], serialize: Serializer = String, delimiter: string): string {
  const elements = values.map((value) => {
    if (value === null || value === undefined) return 'NULL'
    if (Array.isArray(value)) return arrayLiteral(value, serialize, delimiter)
    return `"${String(serialize(value)).replace(/["\\]/g, '\\$&')}"`
  })
  return `{${elements.join(delimiter)}}`
}
