import { expect } from 'chai'
import { nothing } from '../support/order-findings.js'
import { soak } from '../support/order-soak.js'
import { describePostgres } from '../support/postgres-server.js'

/** How long each of them takes. `SOAK_SECONDS=60` looks longer. */
const seconds = Number(process.env.SOAK_SECONDS ?? 2)

describePostgres('Sixteen writers, readers of many kinds and strangers on PostgreSQL', () => {
  for (const placement of ['a pool of ours', "a user's own db"] as const) {
    it(`${placement}: nothing is missed, doubled or out of order`, async () => {
      const seed = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000)
      const report = await soak(placement, seconds, seed)
      const { readers, scattered, misplaced, unsteadyMaximums, ...figures } = report
      const findings = Object.values(readers)
      const sum = (of: keyof typeof nothing) => findings.reduce((total, { [of]: ids }) => total + ids.length, 0)
      console.log(
        `      ${figures.events} events by ${figures.inserts} inserts (${figures.rolledBack} transactions rolled back, ` +
          `${figures.conflicts} conflicts), ${findings.length} readers with ${figures.pages} pages: ` +
          `missed ${sum('missed')}, doubled ${sum('doubled')}, out of order ${sum('outOfOrder')}, ` +
          `versions out of order ${sum('outOfVersionOrder')}; greatest delay ${figures.greatestDelayMs.toFixed(0)} ms ` +
          `beside ${figures.strangers} strangers' transactions of a second or more; seed ${seed}`,
      )
      for (const [name, found] of Object.entries(readers)) expect(found, `${name}, seed ${seed}`).to.deep.equal(nothing)
      expect({ scattered, misplaced, unsteadyMaximums }).to.deep.equal({
        scattered: [],
        misplaced: [],
        unsteadyMaximums: [],
      })
      expect(findings).to.have.length(6)
    }).timeout(seconds * 1000 + 30_000)
  }
})
