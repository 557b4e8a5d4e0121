import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { expect } from 'chai'
import postgresJs, { type Sql } from 'postgres'
import { type Direction, FaultProxy } from '../support/fault-proxy.js'
import { type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { failure } from '../support/rejection.js'
import { eventually } from '../support/victim.js'

// Seen by a client that has nothing of ours: what each fault does is what other specs build on.
describePostgres('The fault proxy before PostgreSQL', () => {
  let schema: FreshSchema
  let proxy: FaultProxy
  let client: Sql
  /** The client's, in the order in which it connected. */
  let sockets: Socket[]

  beforeEach(async () => {
    schema = await freshSchema()
    await admin().unsafe(`CREATE TABLE ${schema.searchPath}.owners (name text PRIMARY KEY)`)
    proxy = await FaultProxy.before(postgresUrl())
    sockets = []
    client = clientOf(proxy)
    await client`SELECT 1`
  })

  afterEach(async () => {
    proxy.heal()
    await client.end({ timeout: 0 })
    await proxy[Symbol.asyncDispose]()
    await schema.drop()
  })

  it('passes on what both say, also a lot of it, while it is told nothing', async () => {
    const text = 'é'.repeat(500_000)
    const [row] = await client`SELECT ${text}::text AS text, length(${text}::text) AS length`
    expect(row).to.deep.equal({ text, length: 500_000 })
    expect(proxy.connections).to.equal(1)
  })

  it('cuts: both ends are closed, without an error, in the middle of a statement', async () => {
    const ended = endOf(sockets[0]!)
    const pid = await pidOf(client)
    const sleeping = failure(client`SELECT pg_sleep(0.2)`.execute())
    await eventually('a statement that runs', async () => (await stateOf(pid)) === 'active')
    proxy.cut()
    expect(await ended).to.equal('end')
    expect(await sleeping).to.include({ code: 'CONNECTION_CLOSED' })
    await isGone(pid)
    expect(await pidOf(client)).not.to.equal(pid)
  })

  it('resets: the client has an error', async () => {
    const ended = endOf(sockets[0]!)
    const pid = await pidOf(client)
    proxy.reset()
    expect(await ended).to.equal('ECONNRESET')
    await isGone(pid)
    expect(await pidOf(client)).not.to.equal(pid)
  })

  it('cuts or resets one of several, the others live', async () => {
    await using another = disposable(clientOf(proxy))
    const { sql: other } = another
    const pids = [await pidOf(client), await pidOf(other)]
    proxy.cut(1)
    await isGone(pids[1]!)
    expect(await pidOf(client)).to.equal(pids[0])
    expect(await pidOf(other)).not.to.equal(pids[1])
    proxy.reset(0)
    await isGone(pids[0]!)
  })

  it('resets where it is told to cut who the server has not taken yet', async () => {
    const socket = connect(proxy.port, '127.0.0.1')
    const ended = endOf(socket)
    await once(socket, 'connect')
    await eventually('a second connection', async () => proxy.connections === 2)
    proxy.cut()
    expect(await ended).to.equal('ECONNRESET')
  })

  it('goes down: resets who is connected and refuses who comes; and comes up again on the same port', async () => {
    const { port, url } = proxy
    const ended = endOf(sockets[0]!)
    await proxy.down()
    expect(await ended).to.equal('ECONNRESET')
    expect(await endOf(connect(port, '127.0.0.1'))).to.equal('ECONNREFUSED')
    await proxy.up()
    expect([proxy.port, proxy.url]).to.deep.equal([port, url])
    expect(await client`SELECT 1 AS one`).to.deep.equal([{ one: 1 }])
  })

  it('delays what goes to the server', async () => {
    proxy.delay('to the server', 60)
    const asked = Date.now()
    const seen = await clockOf(client)
    // a timer may be early by the fraction of a millisecond that a date has not
    expect(seen - asked).to.be.at.least(58)
  })

  it('delays what goes to the client', async () => {
    proxy.delay('to the client', 60)
    const seen = await clockOf(client)
    expect(Date.now() - seen).to.be.at.least(58)
  })

  it('delays without changing the order, when the delay ends too', async () => {
    proxy.delay('to the server', 60)
    const first = client`INSERT INTO ${client(schema.name)}.owners VALUES ('first')`.execute()
    await new Promise((resolve) => setImmediate(resolve))
    proxy.delay('to the server', 0)
    const [second] = await client`SELECT count(*)::int AS n FROM ${client(schema.name)}.owners`
    await first
    expect(second).to.deep.equal({ n: 1 })
  })

  for (const bytes of [1, 5, 6, 1000]) {
    it(`cuts after ${bytes} bytes to the client, which has them and no more`, async () => {
      const [socket] = sockets as [Socket]
      const ended = endOf(socket)
      const read = socket.bytesRead
      const happened = proxy.cutAfter('to the client', bytes)
      const asked = failure(client`SELECT repeat('x', 5000)`.execute())
      await happened
      expect(await ended).to.equal('end')
      expect(socket.bytesRead - read).to.equal(bytes)
      expect(await asked).to.include({ code: 'CONNECTION_CLOSED' })
    })
  }

  it('cuts after so many bytes to the server, which does not do what it has half of', async () => {
    const pid = await pidOf(client)
    await cutsIn('to the server', 1000, failure(client.unsafe(inserts('x'.repeat(2000)))))
    await isGone(pid)
    expect(await names()).to.deep.equal([])
  })

  it('cuts while somebody connects, by a reset', async () => {
    await using another = disposable(clientOf(proxy))
    const { sql: other } = another
    await cutsIn('to the client', 3, failure(other`SELECT 1`.execute()))
    expect(await endOf(sockets[1]!)).to.equal('ECONNRESET')
  })

  const commits: Record<string, (name: string) => Promise<unknown>> = {
    'by itself': (name) => client.begin((sql) => sql.unsafe(inserts(name))),
    prepared: async (name) => {
      const held = await client.reserve()
      try {
        await held`BEGIN`
        await held.unsafe(inserts(name))
        await held`COMMIT`
      } finally {
        held.release()
      }
    },
    'in one text with others': (name) => client.unsafe(`BEGIN; ${inserts(name)}; COMMIT`),
  }
  for (const [how, commit] of Object.entries(commits)) {
    it(`loses the answer to a COMMIT, ${how}: it has happened, and the client is reset`, async () => {
      const ended = endOf(sockets[0]!)
      const happened = proxy.loseNextReply('COMMIT')
      // another end of a transaction is not meant
      await failure(client.begin((sql) => sql`SELECT 1 / 0`))
      const [error] = await Promise.all([failure(commit('Ann')), happened])
      expect(await ended).to.equal('ECONNRESET')
      expect((error as { code: string }).code).to.match(/^CONNECTION_CLOSED|ECONNRESET$/)
      expect(await names()).to.deep.equal(['Ann'])
      await using next = disposable(clientOf(proxy))
      await next.sql.begin((sql) => sql.unsafe(inserts('Bob')))
      expect(await names()).to.deep.equal(['Ann', 'Bob'])
    })
  }

  for (const how of ['by itself', 'prepared'] as const) {
    it(`loses a COMMIT, ${how}: it has not happened, and the client is reset`, async () => {
      const ended = endOf(sockets[0]!)
      const pid = await pidOf(client)
      const happened = proxy.loseNextStatement(/^commit$/i)
      const [error] = await Promise.all([failure(commits[how]!('Ann')), happened])
      expect(await ended).to.equal('ECONNRESET')
      expect((error as { code: string }).code).to.match(/^CONNECTION_CLOSED|ECONNRESET$/)
      await isGone(pid)
      expect(await names()).to.deep.equal([])
    })
  }

  it('does nothing more once it is healed', async () => {
    proxy.delay('to the server', 60_000)
    void proxy.cutAfter('to the client', 1)
    void proxy.loseNextReply()
    void proxy.loseNextStatement(/./)
    proxy.heal()
    await client.unsafe(inserts('Ann'))
    expect(await names()).to.deep.equal(['Ann'])
  })

  function clientOf({ port }: FaultProxy): Sql {
    return postgresJs(postgresUrl(), {
      max: 1,
      backoff: () => 0.01,
      fetch_types: false,
      onnotice: () => undefined,
      // its type knows nothing of it
      ...{
        async socket() {
          const socket = connect(port, '127.0.0.1')
          sockets.push(socket)
          await once(socket, 'connect')
          return socket
        },
      },
    })
  }

  function inserts(name: string): string {
    return `INSERT INTO ${schema.searchPath}.owners VALUES ('${name}')`
  }

  async function names(): Promise<string[]> {
    const rows = await admin()`SELECT name FROM ${admin()(schema.name)}.owners ORDER BY name`
    return rows.map(({ name }) => name as string)
  }

  async function cutsIn(direction: Direction, bytes: number, asked: Promise<unknown>): Promise<void> {
    const [error] = await Promise.all([asked, proxy.cutAfter(direction, bytes)])
    expect((error as { code: string }).code).to.match(/^CONNECTION_CLOSED|ECONNRESET$/)
  }
})

/** How it ends, as who has it sees that: `end`, or the code of an error. */
async function endOf(socket: Socket): Promise<string> {
  if (socket.errored) return (socket.errored as NodeJS.ErrnoException).code ?? ''
  return new Promise((resolve) => {
    socket.once('end', () => resolve('end'))
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? ''))
  })
}

function disposable(sql: Sql) {
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 0 }) }
}

async function pidOf(client: Sql): Promise<number> {
  const [row] = await client`SELECT pg_backend_pid() AS pid`
  return row?.pid as number
}

async function clockOf(client: Sql): Promise<number> {
  const [row] = await client`SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms`
  return Number(row?.ms)
}

async function stateOf(pid: number): Promise<string | undefined> {
  const [row] = await admin()`SELECT state FROM pg_stat_activity WHERE pid = ${pid} AND query LIKE '%sleep%'`
  return row?.state as string | undefined
}

function isGone(pid: number): Promise<void> {
  return eventually('the end of a backend', async () => {
    return (await admin()`SELECT FROM pg_stat_activity WHERE pid = ${pid}`).length === 0
  })
}
