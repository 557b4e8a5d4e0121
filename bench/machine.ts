import Database from 'better-sqlite3'
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { median } from './harness.js'

/** What the figures were measured on and with. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly platform: string
  /** How long the disk takes to make 4 kB durable, in ms: median of 200 `fdatasync`. */
  readonly flushMs: number
  /** Processes that were running or waiting just before, on average over a minute. */
  readonly load: number
  readonly versions: Readonly<Record<string, string>>
}

/**
 * Describes this machine, as it is before anything is measured.
 *
 * @param others  Versions of what is not found in here.
 */
export function describeMachine(others: Readonly<Record<string, string>> = {}): Machine {
  const [first] = cpus()
  return {
    cpu: first?.model ?? 'unknown',
    cores: cpus().length,
    platform: `${process.platform} ${process.arch}`,
    flushMs: flushMs(),
    load: loadavg()[0] ?? 0,
    versions: {
      node: process.versions.node,
      SQLite: sqliteVersion(),
      ...others,
      ...Object.fromEntries(
        ['eventsourcing-drizzle', 'better-sqlite3', 'postgres', 'drizzle-orm'].map((name) => [
          name,
          packageVersion(name),
        ]),
      ),
    },
  }
}

function flushMs(): number {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  const file = openSync(join(folder, 'flush'), 'w')
  try {
    const page = Buffer.alloc(4096, 1)
    return median(
      Array.from({ length: 200 }, () => {
        writeSync(file, page)
        const start = performance.now()
        fdatasyncSync(file)
        return performance.now() - start
      }),
    )
  } finally {
    closeSync(file)
    rmSync(folder, { recursive: true })
  }
}

function sqliteVersion(): string {
  const client = new Database(':memory:')
  try {
    return client.prepare('SELECT sqlite_version()').pluck().get() as string
  } finally {
    client.close()
  }
}

/** Looked up beside the package's main file: not every package exports its package.json. */
function packageVersion(name: string): string {
  for (let url = new URL('.', import.meta.resolve(name)); ; url = new URL('..', url)) {
    try {
      const { name: found, version } = JSON.parse(readFileSync(new URL('package.json', url), 'utf8')) as {
        name?: string
        version?: string
      }
      if (found === name && version !== undefined) return version
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    if (url.pathname === '/') return 'unknown'
  }
}
