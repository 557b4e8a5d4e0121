import { randomBytes } from 'node:crypto'
import { expect } from 'chai'
import { Child } from '../support/child.js'
import { type Server, admin, describePostgres, postgresUrl, startServerOrSkip } from '../support/postgres-server.js'
import { pools } from '../support/victim.js'

// Each in a process of its own, since what is to be shown is that it lives: a driver that writes to a connection that is
// gone takes the whole process down, from where nobody can catch it.
describePostgres('PostgreSQL connections that die', () => {
  let schemaName: string

  beforeEach(() => {
    schemaName = schemaForOne()
  })

  afterEach(async () => {
    await Child.endAll()
    await admin().unsafe(`DROP SCHEMA IF EXISTS ${schemaName} CASCADE`)
  })

  for (const pool of pools) {
    describe(`of a pool of ${pool}`, () => {
      const cases: Record<string, string> = {
        'are replaced when they die idle': 'pg-idle',
        'make an error of each call that is in flight, and nothing else': 'pg-in-flight',
        'end their transaction, whatever its code goes on to do': 'pg-in-transaction',
        'end a transaction that is being committed': 'pg-commit',
        'may be reset by the network, or their last answer be lost': 'pg-network',
      }
      for (const [title, program] of Object.entries(cases)) {
        it(title, () => lives(new Child(program, [postgresUrl(), schemaName, pool]))).timeout(60_000)
      }

      it('may die at random under load: what was acknowledged is stored once and whole', async () => {
        const child = new Child('pg-random-kills', [postgresUrl(), schemaName, pool])
        const { acknowledged, failures, kills } = (await child.message()) as Record<string, number>
        await lives(child)
        // otherwise nothing has been shown
        expect(acknowledged).to.be.above(50)
        expect(failures).to.be.above(5)
        expect(kills).to.be.above(10)
      }).timeout(60_000)
    })
  }
})

describePostgres('A PostgreSQL server that stops under load', () => {
  let server: Server

  before(async function () {
    // what it has acknowledged is to survive a crash of its own
    server = await startServerOrSkip(this, { settings: { synchronous_commit: 'on' } })
  })

  after(() => server?.remove())
  afterEach(() => Child.endAll())

  for (const mode of ['fast', 'immediate'] as const) {
    it(`(${mode}) makes errors of what is open, and all works again once it is started`, async () => {
      const children = pools.map((pool) => new Child('pg-server-stops', [server.url, schemaForOne(), pool]))
      await Promise.all(children.map((child) => child.message()))
      await server.stop(mode)
      for (const child of children) child.send('stopped')
      await Promise.all(children.map((child) => child.message()))
      await server.start()
      for (const child of children) child.send('started')
      await Promise.all(children.map(lives))
    }).timeout(60_000)
  }
})

function schemaForOne(): string {
  return `kills_${randomBytes(6).toString('hex')}`
}

/** Expects that it comes to its end by itself, with nothing to complain of. */
async function lives(child: Child): Promise<void> {
  const { code, stderr } = await child.exit
  expect(stderr).to.equal('')
  expect(code).to.equal(0)
}
