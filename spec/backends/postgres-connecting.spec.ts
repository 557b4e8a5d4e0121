import { expect } from 'chai'
import { OperationalError, ProgrammingError } from '../../lib/errors.js'
import { type PostgresOptions, postgres } from '../../lib/postgres/index.js'
import { Child } from '../support/child.js'
import { type Server, admin, describePostgres, postgresUrl, startServerOrSkip } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'

// Each in a process of its own: the driver asks and makes these in promises that nobody waits for.
describePostgres('Connecting to PostgreSQL', () => {
  afterEach(() => Child.endAll())

  const cases: Record<string, string> = {
    'is refused with the error of a password function, or with ours where that gives none, and is tried again':
      'password',
    'is refused with certificates, keys and settings of TLS that cannot be': 'ssl',
    'is an OperationalError where the connection dies while types are asked for, and is tried again': 'types',
    "is that for a user's database too": "types for a user's database",
    'is refused with the error of a socket function, or with ours where that gives none, and is tried again': 'socket',
    'gives events back to the save that it fails for': 'a save',
  }
  for (const [title, way] of Object.entries(cases)) {
    it(title, async () => {
      const { code, stderr } = await new Child('pg-connecting', [postgresUrl(), way]).exit
      expect(stderr).to.equal('')
      expect(code).to.equal(0)
    })
  }
})

describePostgres('A URL of a PostgreSQL that is there', () => {
  it('may say in its query where that is and who asks', async () => {
    const { hostname, port, username, password, pathname } = new URL(postgresUrl())
    const query = new URLSearchParams({
      host: hostname,
      port: port || '5432',
      user: decodeURIComponent(username),
      password: decodeURIComponent(password),
      dbname: decodeURIComponent(pathname.slice(1)),
    })
    await leadsToTheServer(`postgresql://?${query.toString()}`)
    query.delete('dbname')
    await leadsToTheServer(`postgresql://${pathname}?${query.toString()}`)
    // what it says there, it says rather than in its other parts
    query.set('dbname', decodeURIComponent(pathname.slice(1)))
    await leadsToTheServer(`postgresql://nobody:wrong@nowhere.invalid:1/none?${query.toString()}`)
  })

  it('may name a port there that is none, which is refused', () => {
    for (const port of ['x', '65536', '-1', '1e3']) {
      expect(() => postgres(`postgresql://?host=localhost&port=${port}`), port).to.throw(ProgrammingError, 'accepted')
    }
  })

  it('may say how many connections there are, which an option says too and wins', async () => {
    const cases: [query: string, options: PostgresOptions, max: number][] = [
      ['max=1', {}, 1],
      ['max=2', {}, 2],
      ['max=1', { max: 2 }, 2],
    ]
    for (const [query, options, max] of cases) {
      await using datastore = postgres(withQuery(query), { poolTimeoutMs: 200, ...options })
      await datastore.ready()
      const held = await Promise.all(Array.from({ length: max }, () => datastore.transaction()))
      await rejection(
        datastore.transaction(() => expect.fail('Has begun')),
        OperationalError,
        `all ${max} of the pool`,
      )
      await Promise.all(held.map((transaction) => transaction.rollback()))
    }
  })

  it('may say how long connecting takes at most', async () => {
    await using datastore = postgres(withQuery('connect_timeout=20&idle_timeout=30&max_lifetime=60'))
    await datastore.ready()
    for (const query of ['max=0', 'max=many', 'max=', 'connect_timeout=soon', 'idle_timeout=-1', 'max_lifetime=x']) {
      expect(() => postgres(withQuery(query)), query).to.throw(ProgrammingError, query.split('=')[0])
    }
  })

  it('may say settings of the connections', async () => {
    await using datastore = postgres(withQuery('application_name=kennel'))
    await datastore.ready()
    const rows = await datastore.db.execute("SELECT current_setting('application_name') AS name")
    expect([...rows]).to.deep.equal([{ name: 'kennel' }])
  })

  describe('by a Unix socket', () => {
    let server: Server

    before(async function () {
      if (process.platform === 'win32') this.skip()
      server = await startServerOrSkip(this)
    })

    after(() => server?.remove())

    it('may name its directory in its query or as its host', async () => {
      const { username, password, pathname, port } = new URL(server.url)
      const directory = encodeURIComponent(server.socketDirectory)
      for (const url of [
        `postgresql://${username}:${password}@${pathname}?host=${directory}&port=${port}`,
        `postgresql://${username}:${password}@${directory}:${port}${pathname}`,
      ]) {
        await using datastore = postgres(url)
        await datastore.ready()
        // that of a client by TCP is an address
        const [row] = await datastore.db.execute('SELECT inet_client_addr() AS address')
        expect(row, url).to.deep.equal({ address: null })
      }
    })
  })
})

function withQuery(query: string): string {
  const url = new URL(postgresUrl())
  url.search = query
  return url.href
}

async function leadsToTheServer(url: string): Promise<void> {
  await using datastore = postgres(url, { max: 1 })
  await datastore.ready()
  const started = 'SELECT current_database() AS database, pg_postmaster_start_time()::text AS started'
  expect([...(await datastore.db.execute(started))]).to.deep.equal([...(await admin().unsafe(started))])
}
