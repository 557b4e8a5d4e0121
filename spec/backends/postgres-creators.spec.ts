import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chmod, chown, copyFile, mkdtemp, rm, stat } from 'node:fs/promises'
import { connect as connectSocket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs, { type Sql } from 'postgres'
import { Application } from '../../lib/application/application.js'
import type { ConnectionCreator, ConnectionRequest } from '../../lib/drizzle/index.js'
import { OperationalError, ProgrammingError } from '../../lib/errors.js'
import '../../lib/index.js'
import type { PostgresConnectionOptions, PostgresDatastore } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { type Server, describePostgres, nobody, startServerOrSkip } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'

const certificates = join(dirname(fileURLToPath(import.meta.url)), '../../../spec/fixtures/tls')
const [ca, otherCa] = ['ca.crt', 'other-ca.crt'].map((name) => readFileSync(join(certificates, name), 'utf8'))

// A server of its own, whose users have passwords by scram, and which has a certificate.
describePostgres('Connections to PostgreSQL by a function of the user’s', function () {
  let server: Server
  let keys: string
  let superuser: Sql
  let number = 0
  const applications: Application[] = []
  const clients: Sql[] = []

  before(async function () {
    this.timeout(120_000)
    keys = await mkdtemp(join(tmpdir(), 'keys-'))
    const [key, certificate] = ['server.key', 'server.crt'].map((name) => join(keys, name))
    for (const file of [key!, certificate!]) await copyFile(join(certificates, file.slice(keys.length + 1)), file)
    const settings = { ssl: 'on', ssl_cert_file: certificate!, ssl_key_file: key! }
    await givenToServers(keys, key!, certificate!)
    server = await startServerOrSkip(this, { auth: 'scram-sha-256', settings })
    superuser = postgresJs(server.url, { max: 1, onnotice: () => undefined })
    await superuser`CREATE ROLE pupil LOGIN PASSWORD 'first'`
    await superuser`CREATE DATABASE school OWNER pupil`
  })

  beforeEach(async () => {
    await superuser`ALTER ROLE pupil PASSWORD 'first'`
  })

  afterEach(async () => {
    for (const application of applications.splice(0)) await application.close()
    for (const client of clients.splice(0)) await client.end({ timeout: 1 })
  })

  after(async () => {
    await superuser?.end({ timeout: 1 })
    await server?.remove()
    await rm(keys, { recursive: true, force: true })
  })

  describe('that gives options', () => {
    it('has the rest from the URL, whose host may be empty', async () => {
      const requests: ConnectionRequest[] = []
      const school = made((request) => {
        requests.push(request)
        return { options: place() }
      })
      await school.save(new Dog('Fido'))
      expect(await session(school)).to.include({ user: 'pupil', database: 'school', ssl: false })
      expect(requests[0]).to.include({ dialect: 'postgresql', url: 'postgresql+creator:///school', purpose: 'write' })
      expect(requests[0]!.env).to.equal(school.env)

      const elsewhere = made(() => ({ options: { host: '127.0.0.1', database: undefined } }), {
        DRIZZLE_URL: `postgresql://pupil:first@nowhere.invalid:${server.port}/school`,
      })
      await elsewhere.save(new Dog('Fido'))
      expect(await session(elsewhere)).to.include({ user: 'pupil', database: 'school' })
    })

    it('is asked again for each connection, so that a changed password is used by the next one', async () => {
      let password = 'first'
      let asked = 0
      const school = made(() => {
        asked += 1
        return { options: { ...place(), password } }
      })
      await school.save(new Dog('Fido'))
      expect(asked).to.equal(1)
      await superuser`ALTER ROLE pupil PASSWORD 'second'`
      password = 'second'
      await school.transaction(async () => {
        await school.save(new Dog('Rex'))
        await withoutTransaction(school, () => school.save(new Dog('Ada')))
      })
      expect(asked).to.equal(2)

      await superuser`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pupil'`
      password = 'third'
      const refused = await untilRefused(() => school.save(new Dog('Bob')))
      expect(refused).to.be.instanceOf(OperationalError).with.property('code', '28P01')
      await superuser`ALTER ROLE pupil PASSWORD 'third'`
      await school.save(new Dog('Bob'))
      for (const name of ['Fido', 'Rex', 'Ada', 'Bob']) {
        expect(await school.repository.has(Dog.createId(name)), name).to.equal(true)
      }
    })

    it('may give a function as the password, which is asked for each connection too', async () => {
      const passwords = ['first', 'second']
      const school = made(() => ({ options: { ...place(), password: async () => passwords.shift()! } }))
      await school.save(new Dog('Fido'))
      await superuser`ALTER ROLE pupil PASSWORD 'second'`
      await school.transaction(() => withoutTransaction(school, () => school.save(new Dog('Rex'))))
      expect(passwords).to.deep.equal([])
    })

    it('says how many connections there are, before DRIZZLE_POOL_SIZE', async () => {
      const school = made(() => ({ options: { ...place(), max: 1 } }), {
        DRIZZLE_POOL_SIZE: '5',
        DRIZZLE_POOL_TIMEOUT_MS: '500',
      })
      await school.ready()
      await school.transaction(async () => {
        await rejection(
          withoutTransaction(school, () => school.save(new Dog('Rex'))),
          OperationalError,
          'all 1 of the pool',
        )
      })
    })

    it('may connect sockets itself', async function () {
      if (process.platform === 'win32') return this.skip()
      const path = join(server.socketDirectory, `.s.PGSQL.${server.port}`)
      const school = made(() => ({
        options: {
          ...credentials,
          socket: async () => {
            const socket = connectSocket({ path })
            await once(socket, 'connect')
            return socket
          },
        },
      }))
      await school.save(new Dog('Fido'))
      expect(await session(school)).to.include({ user: 'pupil', address: null })
      await rejection(
        made(() => ({
          options: { ...credentials, socket: () => Promise.reject(new RangeError('no socket')) },
        })).ready(),
        RangeError,
        'no socket',
      )
    })

    it('may connect by a Unix socket’s directory', async function () {
      if (process.platform === 'win32') return this.skip()
      const school = made(() => ({ options: { ...place(), host: server.socketDirectory } }))
      await school.save(new Dog('Fido'))
      expect(await session(school)).to.include({ user: 'pupil', address: null })
    })

    it('may give sockets that are encrypted already, as connectors of clouds do', async () => {
      const school = made(() => ({
        options: {
          ...credentials,
          socket: async () => {
            const { port } = server
            const socket = connectTls({ host: 'localhost', port, ca, ALPNProtocols: ['postgresql'] })
            await once(socket, 'secureConnect')
            return socket
          },
        },
      }))
      await Promise.all(['Fido', 'Rex'].map((name) => school.save(new Dog(name))))
      expect(await session(school)).to.include({ user: 'pupil', ssl: true })
    })

    const tls: [title: string, ssl: PostgresConnectionOptions['ssl'], code?: RegExp][] = [
      ['encrypts without a look at the certificate', 'require'],
      ['encrypts and verifies the certificate', { ca }],
      ['is refused a certificate of an authority that it does not know', 'verify-full', /UNABLE_TO_VERIFY|SELF_SIGNED/],
      ['is refused a certificate of another authority', { ca: otherCa }, /UNABLE_TO_VERIFY|SELF_SIGNED|CERT/],
      [
        'is refused a certificate for another host',
        { ca, servername: 'db.example.org' },
        /ERR_TLS_CERT_ALTNAME_INVALID/,
      ],
    ]
    for (const [title, ssl, code] of tls) {
      it(`${title}: ssl ${typeof ssl === 'string' ? ssl : Object.keys(ssl as object).join()}`, async () => {
        const school = made(() => ({ options: { ...place(), host: 'localhost', ssl } }))
        if (code) {
          const error = await rejection(school.ready(), OperationalError, 'ssl')
          expect(error.code).to.match(code)
          return
        }
        await school.save(new Dog('Fido'))
        expect(await session(school)).to.include({ user: 'pupil', ssl: true })
      })
    }
  })

  describe('that gives a client', () => {
    it('is asked once, and the client stays the user’s', async () => {
      const client = clientOf()
      let asked = 0
      const school = made(() => {
        asked += 1
        return { client }
      })
      await school.transaction(async () => {
        await school.save(new Dog('Fido'))
        await withoutTransaction(school, () => school.save(new Dog('Rex')))
      })
      expect(await school.repository.has(Dog.createId('Rex'))).to.equal(true)
      expect(asked).to.equal(1)
      await school.close()
      expect([...(await client`SELECT 1 AS one`)]).to.deep.equal([{ one: 1 }])
    })

    it('has it closed by its own function, after the last statement', async () => {
      const client = clientOf()
      let closed = 0
      const school = made(() => ({
        client,
        async close() {
          closed += 1
          await client.end()
        },
      }))
      await school.ready()
      const transaction = await school.transaction()
      const closing = school.close()
      await transaction.run(() => school.recorder.maxNotificationId())
      expect(closed).to.equal(0)
      await transaction.rollback()
      await closing
      await school.close()
      expect(closed).to.equal(1)
      expect(await failure(client`SELECT 1`.execute())).to.have.property('code', 'CONNECTION_ENDED')
    })
  })

  describe('that gives a Drizzle database', () => {
    it('has its schema in sessions, and the database itself as the datastore’s', async () => {
      const owners = pgTable('owners', { name: text('name').primaryKey() })
      const client = clientOf()
      await client`CREATE TABLE owners (name text PRIMARY KEY)`
      const db = drizzle(client, { schema: { owners } })
      const school = made(() => ({ db }))
      await school.ready()
      const datastore = school.factory.datastore as unknown as PostgresDatastore<{ owners: typeof owners }>
      await datastore.transaction(async (session) => {
        await session.insert(owners).values({ name: 'Ann' })
        await school.save(new Dog('Fido'))
        expect(await session.query.owners.findMany()).to.deep.equal([{ name: 'Ann' }])
      })
      expect(await datastore.db.query.owners.findMany()).to.deep.equal([{ name: 'Ann' }])
      expect((datastore.db as unknown as { $client: unknown }).$client).to.equal(client)
      await school.close()
      expect(await db.query.owners.findMany()).to.deep.equal([{ name: 'Ann' }])
    })
  })

  it('is asked outside of the context of whoever needs the connection', async () => {
    const requests = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    const school = made(() => {
      seen.push(requests.getStore())
      return { options: place() }
    })
    await requests.run('one', () => school.save(new Dog('Fido')))
    await requests.run('two', () =>
      school.transaction(() => withoutTransaction(school, () => school.save(new Dog('Rex')))),
    )
    expect(seen).to.deep.equal([undefined, undefined])
  })

  it('has what it throws for a later connection come out of the operation that needed it', async () => {
    let isDown = false
    const school = made(() => {
      if (isDown) throw new RangeError('no token now')
      return { options: place() }
    })
    await school.ready()
    isDown = true
    await school.transaction(async () => {
      for (const operation of [
        () => school.save(new Dog('Rex')),
        () => school.repository.has(Dog.createId('Rex')),
        () => school.transaction(() => undefined),
      ]) {
        await rejection(withoutTransaction(school, operation), RangeError, 'no token now')
      }
      isDown = false
      await withoutTransaction(school, () => school.save(new Dog('Rex')))
    })
    expect(await school.repository.has(Dog.createId('Rex'))).to.equal(true)
  })

  it('has what it gave closed where the server refuses it, and is asked anew by the next attempt', async () => {
    const closed: string[] = []
    const passwords = ['wrong', 'first']
    const school = made(() => {
      const password = passwords.shift()!
      return {
        options: { ...place(), password },
        close() {
          closed.push(password)
          throw new RangeError('nor can it be closed')
        },
      }
    })
    expect(await failure(school.ready())).to.have.property('code', '28P01')
    expect(closed).to.deep.equal(['wrong'])
    await school.save(new Dog('Fido'))
    await rejection(school.close(), RangeError, 'nor can it be closed')
    expect(closed).to.deep.equal(['wrong', 'first'])
    await school.close()
  })

  it('has a while to answer that counts as waiting for a connection', async () => {
    let answer: (given: { options: PostgresConnectionOptions; close: () => void }) => void = () => undefined
    let isSlow = true
    const school = made(() => (isSlow ? new Promise((resolve) => (answer = resolve)) : { options: place() }), {
      DRIZZLE_POOL_TIMEOUT_MS: '500',
    })
    const error = await rejection(school.ready(), OperationalError, '500 ms')
    expect(error).to.include({ retryable: true, code: 'CONNECT_TIMEOUT' })
    await new Promise<void>((close) => answer({ options: place(), close }))
    isSlow = false
    await school.ready()
    isSlow = true
    await school.transaction(() =>
      rejection(
        withoutTransaction(school, () => school.transaction(() => undefined)),
        OperationalError,
        'ms',
      ),
    )
  })

  const refused: [title: string, answer: () => unknown, says: RegExp][] = [
    ['an option that there is not', () => ({ options: { pasword: 'secret' } }), /no option pasword/],
    ['an option of the datastore', () => ({ options: { schema: {} } }), /no option schema/],
    ['a password that is no text', () => ({ options: { ...place(), password: 5 } }), /password takes text/],
    ['a pool of none', () => ({ options: { max: 0 } }), /max must be/],
    ['another client', () => ({ client: { query: 'secret' } }), /none of postgres\.js/],
    ['another database', () => ({ db: { url: 'secret' } }), /Drizzle database of postgres\.js/],
    [
      'a client that changes what it reads',
      () => ({ client: clientOf({ transform: postgresJs.camel, max: 2 }, { value: { from: String } }) }),
      /transform/,
    ],
    ['a client as it is', () => clientOf(), /\{ client \}.*type function/],
    ['a database as it is', () => drizzle(clientOf()), /\{ db \}.*an object with/],
  ]
  for (const [title, answer, says] of refused) {
    it(`may not give ${title}`, async () => {
      const school = made(answer as ConnectionCreator)
      const error = await rejection(school.ready(), ProgrammingError, says)
      expect(String(error.stack)).not.to.include('secret')
    })
  }

  it('may not give a client after options', async () => {
    const client = clientOf()
    let asked = 0
    const school = made(() => ((asked += 1) === 1 ? { options: place() } : { client }))
    await school.ready()
    await school.transaction(() =>
      rejection(
        withoutTransaction(school, () => school.save(new Dog('Rex'))),
        ProgrammingError,
        'each time',
      ),
    )
  })

  const credentials = { user: 'pupil', password: 'first' }

  function place(): PostgresConnectionOptions {
    return { ...credentials, host: '127.0.0.1', port: server.port }
  }

  function clientOf(options: object = {}, transform?: object): Sql {
    const client = postgresJs({
      ...(place() as object),
      database: 'school',
      max: 2,
      onnotice: () => undefined,
      ...options,
      ...(transform && { transform }),
    })
    clients.push(client)
    return client
  }

  /** Each with tables of its own. */
  function made(creator: ConnectionCreator, env: Record<string, string> = {}): Application {
    const application = new Application({
      name: `School ${(number += 1)}`,
      env: {
        PERSISTENCE_MODULE: 'eventsourcing-drizzle',
        DRIZZLE_URL: 'postgresql+creator:///school',
        DRIZZLE_CONNECTION_CREATOR_TOPIC: creator,
        ...env,
      },
    })
    applications.push(application)
    return application
  }

  function withoutTransaction(school: Application, fn: () => Promise<unknown>): Promise<unknown> {
    return school.factory.datastore.outside(fn)
  }

  /** What the server says of the connection. */
  async function session(school: Application): Promise<unknown> {
    const { db } = school.factory.datastore as unknown as PostgresDatastore
    const [row] = await db.execute(sql`
      SELECT current_user AS user, current_database() AS database, inet_server_addr() AS address, ssl
      FROM pg_stat_ssl WHERE pid = pg_backend_pid()`)
    return row
  }

  /** The first statement may still meet the connection that was ended. */
  async function untilRefused(operation: () => Promise<unknown>): Promise<unknown> {
    for (;;) {
      const error = await failure(operation())
      if ((error as OperationalError).code === '28P01') return error
      expect(error).to.be.instanceOf(OperationalError)
    }
  }
})

/** PostgreSQL takes a key that is its own, and nobody else's to read. */
async function givenToServers(directory: string, key: string, certificate: string): Promise<void> {
  await chmod(key, 0o600)
  if (process.getuid?.() !== 0) return
  const { uid, gid } = nobody()
  for (const path of [directory, key, certificate]) await chown(path, uid, gid)
  expect((await stat(key)).uid).to.equal(uid)
}
