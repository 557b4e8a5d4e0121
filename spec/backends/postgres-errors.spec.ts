import { randomBytes, randomUUID } from 'node:crypto'
import { createServer } from 'node:net'
import { inspect } from 'node:util'
import { expect } from 'chai'
import { DrizzleQueryError, sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import {
  DatabaseProgrammingError,
  DataError,
  type EventSourcingError,
  IntegrityError,
  InterfaceError,
  InternalError,
  NotSupportedError,
  OperationalError,
} from '../../lib/errors.js'
import { markDriverError } from '../../lib/drizzle/driver-errors.js'
import { driverCode, isConnectionLost, sqlState, translate } from '../../lib/postgres/errors.js'
import { admin, describePostgres, postgresUrl, type Server, startServerOrSkip } from '../support/postgres-server.js'
import { failure } from '../support/rejection.js'

interface Expected {
  readonly errorClass: new (...args: never[]) => EventSourcingError
  readonly code: string
  readonly retryable?: boolean
  readonly lost?: boolean
  readonly says?: string | RegExp
}

describePostgres('The errors of PostgreSQL', () => {
  const schema = `errors_${randomUUID().replaceAll('-', '')}`
  let client: postgres.Sql

  before(async () => {
    const setUp = admin()
    await setUp.unsafe(`
      CREATE SCHEMA ${schema};
      CREATE TABLE ${schema}.dogs (id integer PRIMARY KEY, name varchar(10) NOT NULL CHECK (name <> 'cat'),
        mother integer REFERENCES ${schema}.dogs);
      CREATE VIEW ${schema}.young AS SELECT * FROM ${schema}.dogs WHERE id > 100 WITH CHECK OPTION;
      CREATE TABLE ${schema}.names (name text PRIMARY KEY);
      INSERT INTO ${schema}.dogs VALUES (1, 'Fido', NULL), (2, 'Rex', 1);
      CREATE ROLE ${schema}`)
  })

  beforeEach(() => {
    client = connect()
  })

  afterEach(() => client.end({ timeout: 1 }))

  after(async () => {
    await admin().unsafe(`DROP SCHEMA ${schema} CASCADE; DROP ROLE ${schema}`)
  })

  const connect = () =>
    postgres(postgresUrl(), { max: 1, connection: { search_path: schema }, onnotice: () => undefined })

  // what is refused, and as what; 'S3CRET' stands for a value of the user, which no message repeats
  const statements: readonly (Expected & { sql: string; parameters?: unknown[] })[] = [
    { sql: "INSERT INTO dogs VALUES (1, 'S3CRET')", errorClass: IntegrityError, code: '23505', says: 'dogs_pkey' },
    { sql: 'INSERT INTO dogs VALUES (3, NULL)', errorClass: IntegrityError, code: '23502', says: '"name"' },
    { sql: "INSERT INTO dogs VALUES (3, 'S3CRET', 9)", errorClass: IntegrityError, code: '23503', says: 'mother' },
    { sql: "INSERT INTO dogs VALUES (3, 'cat')", errorClass: IntegrityError, code: '23514', says: 'dogs_name_check' },
    {
      sql: "INSERT INTO young VALUES (3, 'S3CRET')",
      errorClass: DatabaseProgrammingError,
      code: '44000',
      says: 'young',
    },
    { sql: "INSERT INTO dogs VALUES (3, 'S3CRET too long')", errorClass: DataError, code: '22001' },
    { sql: 'SELECT 1/0', errorClass: DataError, code: '22012' },
    { sql: 'SELECT $1::text::integer', parameters: ['S3CRET'], errorClass: DataError, code: '22P02' },
    { sql: 'SELECT $1::smallint', parameters: [99_999], errorClass: DataError, code: '22003' },
    { sql: 'SELECT $1::text', parameters: ['a\0S3CRET'], errorClass: DataError, code: '22021' },
    { sql: 'SELECT (SELECT id FROM dogs)', errorClass: DatabaseProgrammingError, code: '21000' },
    { sql: 'SELEC 1', errorClass: DatabaseProgrammingError, code: '42601', says: 'SELEC' },
    { sql: 'SELECT 1 FROM cats', errorClass: DatabaseProgrammingError, code: '42P01', says: '"cats"' },
    { sql: 'SELECT tail FROM dogs', errorClass: DatabaseProgrammingError, code: '42703', says: '"tail"' },
    {
      sql: 'CREATE TABLE missing.dogs ()',
      errorClass: DatabaseProgrammingError,
      code: '3F000',
      says: /"missing".*CREATE SCHEMA/,
    },
    { sql: 'SELECT DISTINCT 1 FOR UPDATE', errorClass: NotSupportedError, code: '0A000' },
    { sql: 'DROP SCHEMA errors', errorClass: DatabaseProgrammingError, code: '3F000' },
    { sql: 'SELECT lastval()', errorClass: OperationalError, code: '55000' },
    { sql: 'FETCH missing', errorClass: OperationalError, code: '34000' },
    { sql: 'EXECUTE missing', errorClass: OperationalError, code: '26000', says: 'prepare: false' },
    { sql: "LOAD 'missing'", errorClass: OperationalError, code: '58P01' },
    {
      sql: "DO 'BEGIN RAISE EXCEPTION ''as told''; END'",
      errorClass: DatabaseProgrammingError,
      code: 'P0001',
      says: 'as told',
    },
    {
      sql: 'INSERT INTO names VALUES ($1)',
      parameters: [randomBytes(5000).toString('hex')],
      errorClass: OperationalError,
      code: '54000',
    },
  ]
  for (const { sql: text, parameters = [], ...expected } of statements) {
    it(`say ${expected.code} of ${text}`, async () => {
      const plain = await failure(client.unsafe(text, parameters as never[]))
      expectError(plain, expected)
      const wrapped = await failure(drizzle(client).execute(withParameters(text, parameters)))
      expect(wrapped).to.be.instanceOf(DrizzleQueryError)
      expectError(wrapped, expected)
      expect(await client`SELECT 1 AS one`).to.deep.include({ one: 1 })
    })
  }

  it('say of a table that the user may not make what to do', async () => {
    await admin().unsafe(`GRANT USAGE ON SCHEMA ${schema} TO ${schema}`)
    await client.unsafe(`SET ROLE ${schema}`)
    expectError(await failure(client.unsafe('CREATE TABLE cats ()')), {
      errorClass: DatabaseProgrammingError,
      code: '42501',
      says: /permission denied for schema errors_.*GRANT it/,
    })
  })

  it('say of a parameter that is missing nothing of a connection that is lost', async () => {
    const error = await failure(client.unsafe('SELECT $1::integer, $2::integer', [1]))
    expectError(error, { errorClass: OperationalError, code: '08P01' })
    expect(await client`SELECT 1 AS one`).to.deep.include({ one: 1 })
  })

  it('say that an earlier one has aborted the transaction', async () => {
    await client`BEGIN`
    await failure(client`SELECT 1/0`)
    expectError(await failure(client`SELECT 1`), { errorClass: InternalError, code: '25P02', says: 'earlier error' })
  })

  it('say that a transaction is read-only', async () => {
    await client`BEGIN READ ONLY`
    expectError(await failure(client`DELETE FROM dogs`), {
      errorClass: OperationalError,
      code: '25006',
      says: 'read-only',
    })
  })

  it('say that a statement took too long, and was cancelled', async () => {
    await client`SET statement_timeout = 10`
    expectError(await failure(client`SELECT pg_sleep(10)`), { errorClass: OperationalError, code: '57014' })
  })

  it('say that a lock is not available, which is worth another try', async () => {
    const other = connect()
    try {
      await other`BEGIN`
      await other`SELECT 1 FROM dogs FOR UPDATE`
      expectError(await failure(client`SELECT 1 FROM dogs FOR UPDATE NOWAIT`), {
        errorClass: OperationalError,
        code: '55P03',
        retryable: true,
      })
    } finally {
      await other.end({ timeout: 1 })
    }
  })

  it('say that a transaction could not be serialized, which is worth another try', async () => {
    const other = connect()
    try {
      await client`BEGIN ISOLATION LEVEL REPEATABLE READ`
      await client`SELECT 1 FROM dogs`
      await other`UPDATE dogs SET mother = NULL WHERE id = 1`
      expectError(await failure(client`UPDATE dogs SET mother = NULL WHERE id = 1`), {
        errorClass: OperationalError,
        code: '40001',
        retryable: true,
      })
    } finally {
      await other.end({ timeout: 1 })
    }
  })

  it('say that transactions wait for each other, which is worth another try', async () => {
    const clients = [client, connect()]
    try {
      for (const [index, each] of clients.entries()) {
        await each`BEGIN`
        await each`SET LOCAL deadlock_timeout = 10`
        await each`UPDATE dogs SET mother = NULL WHERE id = ${index + 1}`
      }
      const crossed = clients.map((each, index) => each`UPDATE dogs SET mother = NULL WHERE id = ${2 - index}`)
      const error = await failure(Promise.all(crossed))
      expectError(error, { errorClass: OperationalError, code: '40P01', retryable: true })
      await Promise.all(clients.map((each) => each`ROLLBACK`))
    } finally {
      await clients[1]!.end({ timeout: 1 })
    }
  })

  it('show a value in no message, though Drizzle shows all', async () => {
    const error = await failure(drizzle(client).execute(sql`INSERT INTO dogs VALUES (1, ${'S3CRET'})`))
    expect((error as Error).message).to.include('S3CRET')
    const ours = translated(error)
    expect(ours.message).not.to.include('S3CRET')
    expect(ours.cause).to.equal((error as Error).cause)
  })

  it("have a class for each of PostgreSQL's", async () => {
    const expected: readonly [errorClass: Expected['errorClass'], ...classes: string[]][] = [
      [DatabaseProgrammingError, '03', '20', '21', '3D', '3F', '42', '44', 'P0'],
      [DataError, '22'],
      [IntegrityError, '23'],
      [InternalError, '24', '25', '2B', '2D', '2F', '38', '39', '3B', 'F0', 'XX', 'ZZ'],
      [NotSupportedError, '0A'],
      [OperationalError, '08', '26', '27', '28', '34', '40', '53', '54', '55', '57', '58', 'HV'],
    ]
    for (const [errorClass, ...classes] of expected) {
      for (const each of classes) {
        const code = `${each}9X9`
        expectError(await failure(client.unsafe(raising(code))), { errorClass, code })
      }
    }
  })

  it('end a session, or are worth another try, by their codes', async () => {
    for (const code of ['25P03', '25P04', '57P01', '57P02', '57P03', '57P05']) {
      const error = await failure(client.unsafe(raising(code)))
      expectError(error, { errorClass: OperationalError, code, retryable: true, lost: true })
    }
    for (const code of ['40001', '40P01', '53300', '55P03']) {
      const error = await failure(client.unsafe(raising(code)))
      expectError(error, { errorClass: OperationalError, code, retryable: true })
    }
    expectError(await failure(client.unsafe(raising('57P04'))), {
      errorClass: OperationalError,
      code: '57P04',
      lost: true,
    })
    for (const code of ['08006', '25006', '26000', '28000', '28P01', '40003', '53100', '57014']) {
      expectError(await failure(client.unsafe(raising(code))), { errorClass: OperationalError, code })
    }
    expectError(await failure(client.unsafe(raising('42P05'))), {
      errorClass: DatabaseProgrammingError,
      code: '42P05',
      says: 'prepare: false',
    })
  })

  describe('of connections', () => {
    let server: Server
    let clients: postgres.Sql[]

    before(async function () {
      const settings = { max_connections: 4, superuser_reserved_connections: 0, reserved_connections: 0 }
      server = await startServerOrSkip(this, { settings })
    })

    beforeEach(() => {
      clients = []
    })

    afterEach(async () => {
      for (const each of clients) await each.end({ timeout: 1 })
      await server.start()
    })

    after(() => server?.remove())

    const client = (change: (url: URL) => void = () => undefined, options: postgres.Options<never> = {}) => {
      const url = new URL(server.url)
      url.password ||= 'S3CRET'
      change(url)
      const opened = postgres(url.href, { max: 1, onnotice: () => undefined, connect_timeout: 5, ...options })
      clients.push(opened)
      return opened
    }

    it('say of a wrong password to check it', async () => {
      const refused = client((url) => (url.password = 'S3CRET'))
      expectError(await failure(refused`SELECT 1`), {
        errorClass: OperationalError,
        code: '28P01',
        lost: true,
        says: /user "postgres"; check user and password/,
      })
    })

    it('say of a user that may not connect to check its rights', async () => {
      await client()`CREATE ROLE ann PASSWORD 'S3CRET'`
      const refused = client((url) => Object.assign(url, { username: 'ann', password: 'S3CRET' }))
      expectError(await failure(refused`SELECT 1`), {
        errorClass: OperationalError,
        code: '28000',
        lost: true,
        says: /"ann".*pg_hba/,
      })
    })

    it('say of a missing database which, and what to do', async () => {
      expectError(await failure(client((url) => (url.pathname = 'missing'))`SELECT 1`), {
        errorClass: DatabaseProgrammingError,
        code: '3D000',
        lost: true,
        says: /"missing".*CREATE DATABASE/,
      })
    })

    it('say of a setting that there is none', async () => {
      const refused = client(undefined, { connection: { collar: 'red' } })
      expectError(await failure(refused`SELECT 1`), {
        errorClass: DatabaseProgrammingError,
        code: '42704',
        lost: true,
        says: '"collar"',
      })
    })

    it('say that there are too many, and what to do', async () => {
      const all = Array.from({ length: 8 }, () => client())
      const error = await failure(Promise.all(all.map((each) => each`SELECT pg_sleep(0.1)`)))
      expectError(error, {
        errorClass: OperationalError,
        code: '53300',
        retryable: true,
        lost: true,
        says: 'DRIZZLE_POOL_SIZE',
      })
    })

    it('say that the server took a session away, or a transaction for its time', async () => {
      const [ended, other, slow] = [client(), client(), client()]
      const [row] = await ended`SELECT pg_backend_pid() AS pid`
      const error = failure(ended`SELECT pg_sleep(10)`)
      await other`SELECT pg_sleep(0.1), pg_terminate_backend(${(row as { pid: number }).pid})`
      // postgres.js keeps the server's word to itself
      const expected = { errorClass: OperationalError, code: 'CONNECTION_CLOSED', retryable: true, lost: true }
      expectError(await error, expected)
      expectError(await failure(slow.unsafe('SET transaction_timeout = 50; SELECT pg_sleep(10)')), expected)
    })

    it('say that the server is shutting down, and then that there is none', async () => {
      const patient = client()
      await patient`SELECT 1`
      const stopped = server.stop('smart') // once its clients have gone
      let error: unknown
      do
        error = await client()`SELECT 1`.then(
          () => undefined,
          (refused: unknown) => refused,
        )
      while (error === undefined)
      expectError(error, {
        errorClass: OperationalError,
        code: '57P03',
        retryable: true,
        lost: true,
        says: 'try again',
      })
      await patient.end()
      await stopped
      expectError(await failure(client()`SELECT 1`), {
        errorClass: OperationalError,
        code: 'ECONNREFUSED',
        retryable: true,
        lost: true,
        says: String(server.port),
      })
    })

    it('say that a pooler has ended the connection', () => {
      // as PgBouncer words it, which sends no severity but the localized one
      const error = Object.assign(new Error('query_wait_timeout'), { severity_local: 'FATAL', code: '08P01' })
      expectError(error, { errorClass: OperationalError, code: '08P01', retryable: true, lost: true })
    })

    it('say that several addresses of a host were tried', async () => {
      await server.stop()
      const error = Object.assign(
        new AggregateError([new Error('connect to ::1'), new Error('connect to 127.0.0.1')]),
        {
          code: 'ECONNREFUSED', // as Node has it for a name with two addresses
        },
      )
      expectError(error, {
        errorClass: OperationalError,
        code: 'ECONNREFUSED',
        retryable: true,
        lost: true,
        says: 'connect to ::1, connect to 127.0.0.1',
      })
    })

    it('say that there is no such host, or no such socket', async () => {
      const nowhere = client((url) => (url.hostname = 'host.invalid'))
      const error = await failure(nowhere`SELECT 1`)
      // ENOTFOUND, or EAI_AGAIN where there is no network to ask
      const code = driverCode(error)!
      expect(code).to.match(/^(ENOTFOUND|EAI_AGAIN)$/)
      expectError(error, { errorClass: OperationalError, code, retryable: true, lost: true, says: 'host.invalid' })
      const noSocket = client(undefined, { host: '/missing', path: '/missing/.s.PGSQL.5432' })
      expectError(await failure(noSocket`SELECT 1`), {
        errorClass: OperationalError,
        code: 'ENOENT',
        retryable: true,
        lost: true,
        says: '/missing',
      })
    })

    it('say that the server gave no answer, or went away', async () => {
      const sockets = new Set<{ destroy(): void }>()
      let silent = true
      const peer = createServer((socket) => {
        sockets.add(socket.on('error', () => undefined))
        if (!silent) socket.once('data', () => socket.resetAndDestroy())
      })
      await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve))
      const { port } = peer.address() as { port: number }
      try {
        const unanswered = client((url) => (url.port = String(port)), { connect_timeout: 0.1 })
        expectError(await failure(unanswered`SELECT 1`), {
          errorClass: OperationalError,
          code: 'CONNECT_TIMEOUT',
          retryable: true,
          lost: true,
        })
        silent = false
        const reset = client((url) => (url.port = String(port)))
        expectError(await failure(reset`SELECT 1`), {
          errorClass: OperationalError,
          code: 'ECONNRESET',
          retryable: true,
          lost: true,
        })
      } finally {
        for (const socket of sockets) socket.destroy()
        peer.close()
      }
    })

    it('say that a client was ended, which no other try mends', async () => {
      const ended = client()
      await ended.end()
      expectError(await failure(ended`SELECT 1`), { errorClass: InterfaceError, code: 'CONNECTION_ENDED', lost: true })
    })

    it('say that the connection went while a statement was under way', async () => {
      const crashed = client()
      await crashed`SELECT 1`
      const error = failure(crashed`SELECT pg_sleep(10)`)
      await server.stop('immediate')
      const code = driverCode(await error)!
      expect(code).to.match(/^(CONNECTION_CLOSED|ECONNRESET|57P0[12])$/)
      expectError(await error, { errorClass: OperationalError, code, retryable: true, lost: true })
    })
  })

  describe('of the driver', () => {
    it('say that a value cannot be sent, and not which', async () => {
      for (const value of [undefined, Symbol('S3CRET'), { toString: () => raise(new TypeError('S3CRET')) }]) {
        const error = await failure(client.unsafe('SELECT $1::text', [value as never]))
        const ours = translated(error)
        expect(ours).to.be.instanceOf(InterfaceError)
        expect([ours.cause, ours.retryable, isConnectionLost(error)]).to.deep.equal([error, false, false])
        expect(ours.message).not.to.include('S3CRET')
      }
    })

    it('say that a statement has too many parameters', async () => {
      const error = await failure(client.unsafe('SELECT 1', Array<number>(65_536).fill(1)))
      expectError(error, { errorClass: DatabaseProgrammingError, code: 'MAX_PARAMETERS_EXCEEDED', says: '65534' })
    })

    it('say that a statement was cancelled, before it was sent too', async () => {
      const full = postgres(postgresUrl(), { max: 1, max_pipeline: 0 } as object)
      try {
        const busy = full`SELECT pg_sleep(0.1)`.execute()
        const waiting = full`SELECT 1`.execute()
        const error = failure(waiting)
        setImmediate(() => {
          waiting.cancel()
        })
        expectError(await error, { errorClass: OperationalError, code: '57014', says: 'cancelled' })
        expect(sqlState(await error), 'of the server').to.equal(undefined)
        await busy
      } finally {
        await full.end({ timeout: 1 })
      }
    })
  })

  it('come out of as many wrappers of Drizzle as there are', async () => {
    const error = await failure(client`SELECT 1/0`)
    const wrapped = new DrizzleQueryError(
      'SELECT S3CRET',
      [],
      new DrizzleQueryError('SELECT', ['S3CRET'], error as Error),
    )
    expectError(wrapped, { errorClass: DataError, code: '22012' }, error)
  })

  it("are no one else's", async () => {
    const alike = Object.assign(new Error('as if'), { code: '23505', severity: 'ERROR' })
    const real = await failure(client`SELECT 1/0`) // of another client of the user's, so to speak
    for (const error of [alike, real, new DrizzleQueryError('SELECT', [], real as Error), undefined, null, 'text', 1]) {
      expect(translate(error)).to.equal(error)
    }
    const around = new Error('of the user', { cause: markDriverError(await failure(client`SELECT 1/0`)) })
    expect(translate(around)).to.equal(around)
    const ours = new InterfaceError('ours')
    expect(translate(new DrizzleQueryError('SELECT', [], ours))).to.equal(ours)
  })
})

/** What it is translated to, and what is said of the driver's own error. */
function expectError(error: unknown, expected: Expected, own = driverError(error)): void {
  const ours = translated(error, own)
  expect(ours).to.be.instanceOf(expected.errorClass)
  const { code, retryable = false, lost = false, says = '' } = expected
  expect([ours.code, ours.retryable], ours.message).to.deep.equal([code, retryable])
  expect(isConnectionLost(own), 'lost').to.equal(lost)
  expect(ours.cause).to.equal(own)
  if (typeof says === 'string') expect(ours.message).to.include(says)
  else expect(ours.message).to.match(says)
  expect(ours.message).not.to.match(/S3CRET|undefined|only-for-tests/)
  if (lost) expect(inspect(ours, { depth: Infinity, showHidden: true })).not.to.match(/S3CRET|only-for-tests/)
}

function translated(error: unknown, own = driverError(error)): EventSourcingError {
  markDriverError(own)
  return translate(error) as EventSourcingError
}

function driverError(error: unknown): unknown {
  return error instanceof DrizzleQueryError ? error.cause : error
}

/** Drizzle's form of a statement with placeholders. */
function withParameters(text: string, parameters: readonly unknown[]) {
  const texts = text.split(/\$\d/)
  return sql.join(
    texts.flatMap((part, i) => (i < parameters.length ? [sql.raw(part), sql`${parameters[i]}`] : [sql.raw(part)])),
  )
}

function raising(code: string): string {
  return `DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '${code}'; END $$`
}

function raise(error: Error): never {
  throw error
}
