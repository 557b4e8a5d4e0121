import { realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ProgrammingError } from '../errors.js'

/** Which database is meant: a file, by absolute path, or one in memory. */
export interface SqliteSource {
  /** Absolute path, or `:memory:`. */
  readonly file: string
}

/** The URL forms, as errors and the documentation name them. */
export const urlForms = [
  'sqlite::memory:',
  'sqlite:school.db',
  'sqlite:///school.db (relative)',
  'sqlite:////var/school.db (absolute)',
  'file:school.db',
] as const

/** Whether a URL is one of SQLite's, by its scheme. */
export function isSqliteUrl(url: string): boolean {
  return /^(sqlite|file):/i.test(url)
}

/**
 * Reads a URL or a file name.
 *
 * @throws ProgrammingError  It is neither; says what is accepted and doesn't show the text, which may hold a password.
 */
export function parseSource(text: string): SqliteSource {
  // a single letter before the colon is a Windows drive
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(text)?.[1]?.toLowerCase()
  if (scheme === undefined || text === ':memory:') return fileSource(text)
  if (scheme === 'file') return fileSource(fileUrlPath(text))
  if (scheme === 'sqlite') return fileSource(sqliteUrlPath(text.slice('sqlite:'.length)))
  throw notKnown()
}

/** One name for a file, whichever way it is written: absolute, symbolic links followed as far as it exists. */
export function sameFile(file: string): string {
  const path = resolve(file)
  for (const [existing, rest] of [
    [path, ''],
    [dirname(path), basename(path)],
  ] as const) {
    try {
      return join(realpathSync(existing), rest)
    } catch {
      // not there yet
    }
  }
  return path
}

/** Whether a database, by its file's name, is nobody's but its connection's. */
export function isInMemory({ name }: { readonly name: string }): boolean {
  return name === ':memory:' || name === ''
}

function fileSource(name: string): SqliteSource {
  if (name === ':memory:') return { file: name }
  if (name.trim() === '') throw notKnown()
  if (name.includes('\0')) throw new ProgrammingError('A file name can hold no NUL character')
  return { file: resolve(name) }
}

/** SQLAlchemy's forms: three slashes and a relative path, four and an absolute one; or a path right after the colon. */
function sqliteUrlPath(rest: string): string {
  if (rest.includes('?') || rest.includes('#')) {
    throw new ProgrammingError('An sqlite: URL takes no ?options: give them to sqlite(source, options)')
  }
  if (rest.startsWith('///')) return rest.slice(3)
  if (rest.startsWith('//')) throw notKnown() // a host, where SQLite has none
  return rest
}

function fileUrlPath(url: string): string {
  if (url.includes('?') || url.includes('#')) {
    throw new ProgrammingError('A file: URL takes no ?options: give them to sqlite(source, options)')
  }
  const path = url.slice('file:'.length)
  try {
    return path.startsWith('/') ? fileURLToPath(url) : decodeURIComponent(path)
  } catch (error) {
    throw new ProgrammingError('The file: URL names no file of this machine', { cause: error })
  }
}

function notKnown(): ProgrammingError {
  return new ProgrammingError(`That names no SQLite database; accepted are a file name and ${urlForms.join(', ')}`)
}
