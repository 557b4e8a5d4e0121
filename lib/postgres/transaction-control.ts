import { NotSupportedError, ProgrammingError } from '../errors.js'

const transactionControl = new Set(['begin', 'start', 'commit', 'end', 'rollback', 'abort', 'savepoint', 'release'])

/**
 * Refuses statements of a user's that begin or end transactions, which is ours to do; in a text of several too.
 *
 * @throws ProgrammingError  One of the statements does. @throws NotSupportedError  COPY through the connection.
 */
export function refuseTransactionControl(sql: string): void {
  for (const words of beginnings(sql)) {
    const [first = '', second = ''] = words.toLowerCase().split(/\s+/)
    if (first === 'copy' && /\bstd(in|out)\b/i.test(sql)) {
      throw new NotSupportedError('COPY is not for a connection that others use too: use a client of your own for it')
    }
    if (!transactionControl.has(first) && !(first === 'prepare' && second === 'transaction')) continue
    throw new ProgrammingError(
      `${first.toUpperCase()} is not for statements of one's own: use transaction(), nested or not`,
    )
  }
}

/** The first words of each statement of a text. */
function* beginnings(sql: string): Generator<string> {
  // most have one statement, without anything before it
  if (!sql.includes(';') && /^\s*\w/.test(sql)) {
    yield firstWords(sql, 0)
    return
  }
  let [first, previous] = ['', '']
  /** How deep in the body of a function: BEGIN ATOMIC … END, with statements and CASE … END in it. */
  let depth = 0
  for (let at = 0; at < sql.length;) {
    const char = sql.charAt(at)
    const passed = endOfComment(sql, at) ?? (/\s/.test(char) ? at + 1 : undefined)
    if (passed !== undefined) at = passed
    else if (char === ';') {
      if (depth === 0) first = previous = ''
      at += 1
    } else {
      const word = wordAt(sql, at).toLowerCase()
      if (first === '' && word) yield firstWords(sql, at)
      if (depth > 0) depth += word === 'case' ? 1 : word === 'end' ? -1 : 0
      else if (first === 'create' && previous === 'begin' && word === 'atomic') depth = 1
      first ||= word || char
      previous = word
      at = endOfQuoted(sql, at) ?? at + (word.length || 1)
    }
  }
}

function firstWords(sql: string, at: number): string {
  const words = /\s*\w+(?:\s+\w+)?/y
  words.lastIndex = at
  return words.exec(sql)?.[0].trim() ?? ''
}

/** A name or keyword, in which a dollar begins nothing; or a number. */
function wordAt(sql: string, at: number): string {
  const word = /[\w\u0080-\uffff][\w$\u0080-\uffff]*/y
  word.lastIndex = at
  return word.exec(sql)?.[0] ?? ''
}

/** Where a text in quotes or dollars that begins there ends, which may hold semicolons; without an end, all is in it. */
function endOfQuoted(sql: string, at: number): number | undefined {
  const char = sql.charAt(at)
  // a doubled quote is the end of one text and the beginning of the next
  if (char === "'" || char === '"') return endAfter(sql, char, at + 1)
  if (/e/i.test(char) && sql.charAt(at + 1) === "'") {
    const special = /['\\]/g
    special.lastIndex = at + 2
    for (let found = special.exec(sql); found; found = special.exec(sql)) {
      if (found[0] === "'") return special.lastIndex
      special.lastIndex += 1
    }
    return sql.length
  }
  const dollars = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y
  dollars.lastIndex = at
  const tag = dollars.exec(sql)?.[0]
  return tag === undefined ? undefined : endAfter(sql, tag, at + tag.length)
}

/** Where a comment that begins there ends. Those of more than a line are nested. */
function endOfComment(sql: string, at: number): number | undefined {
  if (sql.startsWith('--', at)) return endAfter(sql, '\n', at)
  if (!sql.startsWith('/*', at)) return undefined
  const marks = /\/\*|\*\//g
  marks.lastIndex = at
  let depth = 0
  for (let found = marks.exec(sql); found; found = marks.exec(sql)) {
    depth += found[0] === '/*' ? 1 : -1
    if (depth === 0) return marks.lastIndex
  }
  return sql.length
}

function endAfter(sql: string, end: string, from: number): number {
  const found = sql.indexOf(end, from)
  return found < 0 ? sql.length : found + end.length
}
