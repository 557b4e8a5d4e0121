import { randomBytes } from 'node:crypto'
import { expect } from 'chai'
import { Child } from '../support/child.js'
import type { FaultSoakReport } from '../support/fault-soak.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'

/** How long the soak takes, for each kind of pool. `SOAK_SECONDS=60` looks longer. */
const seconds = Number(process.env.SOAK_SECONDS ?? 2)

const kinds = { 'a pool of ours': 'max 6', "a user's own db": 'db, max 6' }

// In processes of their own, since they are to live whatever the driver does.
describePostgres('PostgreSQL behind a network that fails', () => {
  let schemaName: string

  beforeEach(() => {
    schemaName = `faults_${randomBytes(6).toString('hex')}`
  })

  afterEach(async () => {
    await Child.endAll()
    await admin().unsafe(`DROP SCHEMA IF EXISTS ${schemaName} CASCADE`)
  })

  for (const [kind, pool] of Object.entries(kinds)) {
    it(`${kind}: whatever is cut, reset or lost in the middle is there whole or not at all, and can be repeated`, async () => {
      await lives(new Child('pg-faults', [postgresUrl(), schemaName, pool.replace('6', '2')]))
    }).timeout(60_000)

    it(`${kind}: of eight workers, every acknowledged save is there once, and none twice or in part`, async () => {
      const seed = process.env.SOAK_SEED ?? String(Date.now() % 1_000_000)
      const child = new Child('pg-fault-soak', [postgresUrl(), schemaName, pool, String(seconds), seed])
      const { wrong, faults, ...figures } = (await child.message()) as FaultSoakReport
      const failing = Object.entries(faults).map(([fault, times]) => `${times} ${fault}`)
      console.log(
        `      ${figures.acknowledged} units acknowledged, ${figures.found} found stored, ${figures.undone} rolled back, ` +
          `${figures.events} events; ${figures.failures} attempts failed (${figures.inDoubt} in doubt), ` +
          `${figures.conflicts} conflicts with their own; ${failing.join(', ')}; wrong ${wrong.length}; seed ${seed}`,
      )
      expect(wrong, `seed ${seed}`).to.deep.equal([])
      await lives(child)
      // otherwise nothing has been shown
      expect(figures.acknowledged).to.be.above(100)
      expect(figures.failures).to.be.above(10)
      expect(figures.inDoubt).to.be.above(0)
    }).timeout(seconds * 1000 + 60_000)
  }
})

/** Expects that it comes to its end by itself, with nothing to complain of. */
async function lives(child: Child): Promise<void> {
  const { code, stderr } = await child.exit
  expect(stderr).to.equal('')
  expect(code).to.equal(0)
}
