import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, readdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import postgres from 'postgres'
import {
  describePostgres,
  postgresUrl,
  type Server,
  startServer,
  startServerOrSkip,
} from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'

describePostgres('The PostgreSQL of a run', () => {
  /** Where no server can put its data. */
  const nowhere = { TMPDIR: '/nowhere', TEMP: '/nowhere', TMP: '/nowhere' }

  it('is left out with one line where none can be started, and the run does not fail', async () => {
    const run = await runOf(nowhere)
    expect(run.code).to.equal(0)
    expect(run.lines(/PostgreSQL:/)).to.have.length(1)
    expect(run.lines(/PostgreSQL:/)[0])
      .to.include('Set DATABASE_URL')
      .and.to.include('/nowhere')
    expect(run.lines(/passing|pending|failing/)).to.match(/0 passing.*,2 pending$/)
  })

  it('fails the run where none can be started and CI is set, and says why', async () => {
    const run = await runOf({ ...nowhere, CI: 'true' })
    expect(run.code).to.be.greaterThan(0)
    expect(run.output).to.include('/nowhere')
  })

  for (const variable of ['DATABASE_URL', 'POSTGRES_URL']) {
    it(`is the one that ${variable} names, if it does, and then none is started`, async () => {
      const run = await runOf({ ...nowhere, [variable]: postgresUrl() })
      expect(run.lines(/found/)).to.deep.equal([`found ${postgresUrl()}`, `found ${postgresUrl()}`])
      expect(run.code).to.equal(0)
    })
  }

  it('fails the run where DATABASE_URL leads to none, and keeps the password to itself', async () => {
    const run = await runOf({ DATABASE_URL: 'postgres://somebody:secret@127.0.0.1:1/none' })
    expect(run.code).to.be.greaterThan(0)
    expect(run.output).to.include('DATABASE_URL leads to no PostgreSQL').and.not.to.include('secret')
  })

  it('is not started where BACKENDS names other backends', async () => {
    const run = await runOf({ ...nowhere, BACKENDS: 'memory,sqlite-file' })
    expect(run.code).to.equal(0)
    expect(run.lines(/PostgreSQL:/)).to.deep.equal(['PostgreSQL: not in BACKENDS, so its specs are left out'])
  })

  describe('if they bring it themselves', () => {
    let directory: string

    before(async function () {
      const server = await startServerOrSkip(this)
      await server.remove()
    })

    beforeEach(async () => {
      directory = await temporaryDirectory()
      // those who run the server of root go through it
      await chmod(directory, 0o755)
    })

    afterEach(() => remove(directory))

    it('is one for all suites, and gone with its data at the end', async () => {
      const run = await runOf({ TMPDIR: directory })
      expect(run.code).to.equal(0)
      const urls = run.lines(/found/)
      expect(urls).to.have.length(2)
      expect(urls[0]).to.equal(urls[1])
      await expectGone(urls[0]!)
    })

    it('is gone after a run that failed, which says so by its exit code', async () => {
      const run = await runOf({ TMPDIR: directory, MANNER: 'fail' })
      expect(run.code).to.equal(1)
      await expectGone(run.lines(/found/)[0]!)
    })

    it('is each worker’s own where files run in parallel: kept from file to file, and gone at the end', async () => {
      const folder = await temporaryDirectory()
      try {
        const files = ['a', 'b', 'c', 'd', 'e'].map((name) => join(folder, `${name}.spec.mjs`))
        // a module of its own to each, as files with suites of their own would be
        for (const file of files) await writeFile(file, `import ${JSON.stringify(`${suites}?${file}`)}\n`)
        const run = await runOf({ TMPDIR: directory }, { args: ['--parallel', '--jobs=2', ...files] })
        expect(run.code, run.output).to.equal(0)
        expect(run.lines(/passing/)[0]).to.match(/^10 passing/)
        const found = run.lines(/found/)
        expect(found).to.have.length(10)
        const servers = [...new Set(found)]
        expect(servers).to.have.length(2)
        for (const server of servers) await expectGone(server)
      } finally {
        await remove(folder)
      }
    })

    for (const [signal, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
      it(`is gone after a run that was ended by ${signal}, which failed`, async () => {
        const run = await runOf({ TMPDIR: directory, MANNER: 'wait' }, { signal })
        expect(run.code).to.equal(code)
        await expectGone(run.lines(/found/)[0]!)
      })
    }

    it('works for root and for others', async function () {
      if (process.getuid?.() !== 0) return this.skip()
      const nobody = 65534
      await chown(directory, nobody, nobody)
      const run = await runOf({ TMPDIR: directory }, { uid: nobody })
      expect(run.code).to.equal(0)
      await expectGone(run.lines(/found/)[0]!)
    })

    async function expectGone(found: string): Promise<void> {
      expect(await readdir(directory)).to.deep.equal([])
      const { port } = new URL(found.replace('found ', ''))
      const error = await rejection(once(connect(Number(port), '127.0.0.1'), 'connect'), Error)
      expect(error).to.have.property('code', 'ECONNREFUSED')
    }
  })
})

describePostgres('A PostgreSQL server of a suite’s own', () => {
  let server: Server

  before(async function () {
    server = await startServerOrSkip(this, { settings: { max_connections: 7 } })
  })

  after(() => server?.remove())

  it('has the settings that were asked for', async () => {
    expect(await ask(server.url, 'SHOW max_connections')).to.deep.equal([{ max_connections: '7' }])
  })

  it('has its port and its data again after it was stopped', async () => {
    for (const mode of ['fast', 'immediate'] as const) {
      const table = `kept_${mode}`
      await ask(server.url, `CREATE TABLE ${table} (name text)`)
      await server.stop(mode)
      expect(await rejection(ask(server.url, 'SELECT 1'), Error)).to.have.property('code', 'ECONNREFUSED')
      await server.start()
      expect(await ask(server.url, `SELECT * FROM ${table}`)).to.deep.equal([])
    }
  })

  it('asks for the password', async () => {
    const url = new URL(server.url)
    url.password = 'guessed'
    expect(await rejection(ask(url.href, 'SELECT 1'), Error)).to.have.property('code', '28P01')
  })

  it('says in the error why it does not start', async () => {
    const error = await rejection(startServer({ settings: { max_connections: 0 } }), Error)
    expect(error.message).to.include('max_connections')
  })

  async function ask(url: string, statement: string): Promise<unknown[]> {
    const sql = postgres(url, { max: 1 })
    try {
      return [...(await sql.unsafe(statement))]
    } finally {
      await sql.end({ timeout: 1 })
    }
  }
})

/** How a run ended, and what it printed. */
interface Run {
  readonly code: number | null
  readonly output: string
  /** The lines that match, trimmed. */
  lines(pattern: RegExp): string[]
}

const suites = new URL('../support/children/postgres-user.js', import.meta.url).href

/**
 * Runs mocha on the suites of `children/postgres-user.ts`, with these variables and none that speak of PostgreSQL or of
 * the worker that this is.
 */
async function runOf(
  variables: Readonly<Record<string, string>>,
  {
    signal,
    uid,
    args = [fileURLToPath(suites)],
  }: { signal?: NodeJS.Signals; uid?: number; args?: readonly string[] } = {},
): Promise<Run> {
  const { TEST_POSTGRES_URL, DATABASE_URL, POSTGRES_URL, CI, BACKENDS, MOCHA_WORKER_ID, ...env } = process.env
  const mocha = createRequire(import.meta.url).resolve('mocha/bin/mocha.js')
  const child = spawn(process.execPath, [mocha, '--no-config', ...args], {
    env: { ...env, ...variables },
    uid,
    gid: uid,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (signal && output.includes('found')) child.kill(signal)
    })
  }
  const [code] = (await once(child, 'close')) as [number | null]
  const lines = output.split('\n').map((line) => line.trim())
  return { code, output, lines: (pattern) => lines.filter((line) => pattern.test(line)) }
}
