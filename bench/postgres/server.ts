import postgres from 'postgres'
import { startServer } from '../../spec/support/postgres-server.js'

/** A server to measure on. */
export interface BenchServer {
  /** Of somebody who may create schemas. */
  readonly url: string
  /** With the settings that say when a commit is durable. */
  readonly version: string
  /** Stops it, where it is ours. */
  readonly close: () => Promise<void>
}

/** The server of `DATABASE_URL`, or else one of our own: PostgreSQL's defaults, so every commit reaches the disk. */
export async function openServer(): Promise<BenchServer> {
  const given = process.env.DATABASE_URL
  if (given !== undefined)
    return { url: given, version: await versionOf(given, 'of DATABASE_URL'), close: () => Promise.resolve() }
  const server = await startServer({ settings: { fsync: 'on', synchronous_commit: 'on', full_page_writes: 'on' } })
  return { url: server.url, version: await versionOf(server.url, 'all defaults'), close: () => server.remove() }
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
