import postgres from 'postgres'
import { startServer } from '../../spec/support/postgres-server.js'

/** A server to measure on. */
export interface BenchServer {
  /** Of somebody who may create schemas. */
  readonly url: string
  /** The same, where every flush takes 1 ms more. Absent where that user may not ask for it. */
  readonly slowFlushUrl?: string
  /** With the settings that say when a commit is durable. */
  readonly version: string
  /** Stops it, where it is ours. */
  readonly close: () => Promise<void>
}

/** The server of `DATABASE_URL`, or else one of our own: PostgreSQL's defaults, so every commit reaches the disk. */
export async function openServer(): Promise<BenchServer> {
  const given = process.env.DATABASE_URL
  if (given !== undefined) return described(given, 'of DATABASE_URL', () => Promise.resolve())
  const server = await startServer({ settings: { fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on' } })
  return described(server.url, 'all defaults', () => server.remove())
}

async function described(url: string, what: string, close: () => Promise<void>): Promise<BenchServer> {
  try {
    const slowFlushUrl = slowFlush(url)
    const version = await versionOf(url, what)
    return { url, version, close, ...((await connects(slowFlushUrl)) && { slowFlushUrl }) }
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * Settings of the connection by which whoever flushes the log waits 1 ms (1000 µs) before, holding the lock that all
 * others wait for who want to flush: about what a disk in a cloud takes. It is meant for batching, and with 0 siblings
 * it also waits where there is nobody to wait for.
 *
 * @see https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-COMMIT-DELAY
 */
function slowFlush(url: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}commit_delay=1000&commit_siblings=0`
}

async function connects(url: string): Promise<boolean> {
  const client = postgres(url, { max: 1 })
  try {
    await client`SELECT 1`
    return true
  } catch {
    return false
  } finally {
    await client.end()
  }
}

async function versionOf(url: string, what: string): Promise<string> {
  const client = postgres(url, { max: 1 })
  try {
    const settings = await client<{ setting: string }[]>`
      SELECT setting FROM pg_settings WHERE name IN ('fsync', 'server_version', 'synchronous_commit') ORDER BY name`
    const [fsync, version, synchronousCommit] = settings.map(({ setting }) => setting)
    return `${version} (${what}; fsync ${fsync}, synchronous_commit ${synchronousCommit})`
  } finally {
    await client.end()
  }
}
