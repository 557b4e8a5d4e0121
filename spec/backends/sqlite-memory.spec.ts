import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { runEveryConformanceSuite } from '../conformance/every.js'
import { Dog } from '../support/dogs.js'
import { sqliteMemory } from '../support/sqlite-backends.js'

runEveryConformanceSuite(sqliteMemory)

describe('A SQLite database in memory', () => {
  it('lets a reader outside wait for the transaction that has its one connection', async () => {
    await using datastore = sqlite(':memory:')
    const school = new Application({ name: 'School', persistence: datastore })
    await school.ready()
    const tx = await school.transaction()
    await tx.run(() => school.save(new Dog('Fido')))
    let hasRead = false
    const reading = school.recorder.maxNotificationId().finally(() => (hasRead = true))
    await new Promise((resolve) => setImmediate(resolve))
    expect(hasRead).to.equal(false)
    await tx.commit()
    expect(await reading).to.equal(1)
  })
})
