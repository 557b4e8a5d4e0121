import { admin, describePostgres, postgresUrl } from '../postgres-server.js'

// For mocha, not for node: two suites of the smallest run that needs PostgreSQL. MANNER says how it ends.
describePostgres('A suite', () => {
  it('finds a server', async function () {
    this.timeout(0)
    await admin()`SELECT 1`
    console.log(`found ${postgresUrl()}`)
    if (process.env.MANNER === 'fail') throw new Error('as it should')
    if (process.env.MANNER === 'wait') await new Promise<never>(() => undefined)
  })
})

describePostgres('Another suite', () => {
  it('finds the same', async () => {
    await admin()`SELECT 1`
    console.log(`found ${postgresUrl()}`)
  })
})
