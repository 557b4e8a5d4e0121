import { ProgrammingError } from '../errors.js'

const transactionControl = new Set(['begin', 'start', 'commit', 'end', 'rollback', 'abort', 'savepoint', 'release'])

/**
 * Refuses statements of a user's that begin or end transactions, which is ours to do; in a text of several too.
 *
 * @throws ProgrammingError  One of the statements does.
 */
export function refuseTransactionControl(sql: string): void {
  for (const words of beginnings(sql)) {
    const [first = '', second = ''] = words.toLowerCase().split(/\s+/)
    if (!transactionControl.has(first) && !(first === 'prepare' && second === 'transaction')) continue
    throw new ProgrammingError(
      `${first.toUpperCase()} is not for statements of one's own: use transaction(), nested or not`,
    )
  }
}

// what may hold a semicolon that ends no statement; an opening one without an end reaches to the end of the text
const passedOver =
  /'(?:[^']|'')*(?:'|$)|"(?:[^"]|"")*(?:"|$)|--[^\n]*|\$([A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$[\s\S]*?(?:\$\1\$|$)|\/\*/y

/** The first words of each statement of a text. */
function* beginnings(sql: string): Generator<string> {
  // most have one statement, without anything before it
  if (!sql.includes(';') && /^\s*\w/.test(sql)) {
    yield firstWords(sql, 0)
    return
  }
  let isAtBeginning = true
  for (let at = 0; at < sql.length;) {
    const char = sql.charAt(at)
    if (/[\s;]/.test(char)) {
      if (char === ';') isAtBeginning = true
      at += 1
      continue
    }
    const isEscaped = /[eE]/.test(char) && sql.charAt(at + 1) === "'" && !/\w/.test(sql.charAt(at - 1))
    if (isEscaped) {
      at = endOfEscapedString(sql, at + 2)
      isAtBeginning = false
      continue
    }
    passedOver.lastIndex = at
    const passed = passedOver.exec(sql)?.[0]
    if (passed === '/*') at = endOfComment(sql, at + 2)
    else if (passed !== undefined) {
      at += passed.length
      if (!passed.startsWith('--')) isAtBeginning = false
    } else {
      const word = /\w+/y
      word.lastIndex = at
      if (isAtBeginning) yield firstWords(sql, at)
      isAtBeginning = false
      at += word.exec(sql)?.[0].length ?? 1
    }
  }
}

function firstWords(sql: string, at: number): string {
  const words = /\s*\w+(?:\s+\w+)?/y
  words.lastIndex = at
  return words.exec(sql)?.[0].trim() ?? ''
}

function endOfEscapedString(sql: string, at: number): number {
  const end = /(?:[^'\\]|''|\\[\s\S])*(?:'|$)/y
  end.lastIndex = at
  return at + (end.exec(sql)?.[0].length ?? 1)
}

/** Comments are nested here. */
function endOfComment(sql: string, at: number): number {
  for (let depth = 1; at < sql.length; at += 1) {
    if (sql.startsWith('/*', at)) depth += 1
    else if (sql.startsWith('*/', at)) depth -= 1
    else continue
    at += 1
    if (depth === 0) return at + 1
  }
  return at
}
