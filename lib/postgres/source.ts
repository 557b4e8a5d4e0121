import { ProgrammingError } from '../errors.js'

/** Which database is meant, as postgres.js takes it: `postgres(source.url, { ...source.options, ...others })`. */
export interface PostgresSource {
  /** `postgres://?sslmode=require`: nothing but what follows the question mark, which postgres.js reads. No password. */
  readonly url: string
  /** What the URL says in its other parts, decoded; what it doesn't say is left out. */
  readonly options: {
    readonly username?: string
    readonly password?: string
    /** A name or address, several as `a:1,b:2`, or the directory of a Unix socket; a list where one is of IPv6. */
    readonly host?: string | readonly string[]
    /** A list where `host` is one. */
    readonly port?: number | readonly number[]
    readonly database?: string
    /** What the pool goes by: connections at most, and seconds. */
    readonly max?: number
    readonly connect_timeout?: number
    readonly idle_timeout?: number
    readonly max_lifetime?: number
  }
}

/** The URL forms, as errors and the documentation name them. */
export const urlForms = [
  'postgresql://user:password@host:5432/database',
  'postgres://…',
  'postgresql+driver://…',
  'postgresql://a:5432,b:5432/database (several hosts)',
  'postgresql:///database (PGHOST, or this machine)',
] as const

const scheme = /^postgres(ql)?(\+[a-z0-9_]+)?:/i

/** Whether a URL is one of PostgreSQL's, by its scheme. */
export function isPostgresUrl(url: string): boolean {
  return scheme.test(url)
}

/** One name for what URLs that differ in the way the scheme is written have in common; holds the password. */
export function sourceKey(url: string): string {
  return url.replace(scheme, 'postgresql:')
}

/**
 * Reads a URL.
 *
 * Not left to `new URL()` and postgres.js: their errors show the text, with its password, and they don't decode the
 * database's name, and know no host of IPv6 and no user without a host.
 *
 * @throws ProgrammingError  It is none of PostgreSQL's; says what is accepted and doesn't show the text.
 * @see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
export function parseSource(url: string): PostgresSource {
  const parts = /^[^:]*:\/\/(?:([^/?#]*)@)?([^@/?#]*)(?:\/([^@/?#]*))?(?:\?([^@#]*))?$/.exec(url)
  // the protocol ends a text with NUL: what follows would be another setting
  if (!parts || !isPostgresUrl(url) || /[\s\0]|%00/.test(url)) throw notKnown()
  const [, user, hosts = '', database, query = ''] = parts
  const settings = new URLSearchParams(query)
  const taken = (name: string) => {
    const value = settings.get(name) ?? undefined
    settings.delete(name)
    return value
  }
  const [host, port, username, password, dbname] = ['host', 'port', 'user', 'password', 'dbname'].map(taken)
  const pool = poolSettings(settings)
  return {
    url: `postgres://${settings.size > 0 ? `?${settings.toString()}` : ''}`,
    options: {
      ...credentials(user),
      ...addresses(hosts),
      ...(database && { database: decoded(database) }),
      // as PostgreSQL's own library takes them too
      ...(host && { host }),
      ...(port && { port: portNumber(port) }),
      ...(username && { username }),
      ...(password && { password }),
      ...(dbname && { database: dbname }),
      ...pool,
    },
  }
}

function credentials(user = ''): { username?: string; password?: string } {
  const colon = user.indexOf(':')
  const [username, password] = colon < 0 ? [user, ''] : [user.slice(0, colon), user.slice(colon + 1)]
  return { ...(username && { username: decoded(username) }), ...(password && { password: decoded(password) }) }
}

function addresses(hosts: string): Pick<PostgresSource['options'], 'host' | 'port'> {
  if (hosts === '') return {}
  const list = hosts.split(',').map(address)
  const [first] = list
  if (list.length === 1 && first && !first.host.includes(':')) {
    return { ...(first.host && { host: first.host }), ...(first.port && { port: first.port }) }
  }
  // postgres.js has one directory, and no list without names
  if (list.some(({ host }) => host === '' || host.includes('/'))) throw notKnown()
  if (list.some(({ host }) => host.includes(':'))) {
    return { host: list.map(({ host }) => host), port: list.map(({ port }) => port ?? 5432) }
  }
  return { host: list.map(({ host, port }) => (port ? `${host}:${port}` : host)).join(',') }
}

function poolSettings(settings: URLSearchParams): Partial<Record<(typeof ofThePool)[number], number>> {
  const given = ofThePool.filter((name) => settings.has(name))
  return Object.fromEntries(given.map((name) => [name, Number(settings.get(name))]))
}

function portNumber(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw notKnown()
  return Number(text)
}

const ofThePool = ['max', 'connect_timeout', 'idle_timeout', 'max_lifetime'] as const

function address(text: string): { host: string; port?: number } {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*))(?::(\d{0,5}))?$/i.exec(text)
  if (!parts) throw notKnown()
  const port = Number(parts[3] ?? 0)
  if (port > 65_535) throw notKnown()
  return { host: parts[1] ?? decoded(parts[2] ?? ''), ...(port && { port }) }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw notKnown()
  }
}

function notKnown(): ProgrammingError {
  return new ProgrammingError(
    `That names no PostgreSQL database; accepted are ${urlForms.join(', ')}; characters of a user, password, database or ` +
      'option that mean something in a URL are written as encodeURIComponent() does',
  )
}
