// The server stops under load, and is started again: `pg-server-stops <url> <schema> <pool>`, told 'stopped', 'started'.
import { expect } from 'chai'
import { OperationalError } from '../../../lib/errors.js'
import { Dog } from '../dogs.js'
import { gate } from '../gate.js'
import { owners } from '../postgres-backends.js'
import { Victim, eventually, lost, lostForNow } from '../victim.js'
import { tell, told } from './parent.js'

const victim = await Victim.start({ poolTimeoutMs: 1500 })
const { school } = victim

const acknowledged: string[] = []
let isStopped = false
const saving = [1, 2, 3, 4].map(async (caller) => {
  for (let n = 1; !isStopped; n += 1) {
    const name = `saved ${caller} ${n}`
    const dog = new Dog(name)
    try {
      if (!isTransacted(name)) await school.save(dog)
      else {
        await school.transaction(async (session) => {
          await session.insert(owners).values({ name })
          await school.save(dog)
        })
      }
      acknowledged.push(name)
    } catch (error) {
      // lost, or not served in time beside the transaction that is left open
      expect(error).to.be.instanceOf(OperationalError).with.property('retryable', true)
      expect(dog.pendingEvents).to.have.length(1)
    }
  }
})
await eventually('some saves', async () => acknowledged.length > 20)
const open = gate()
const stopped = told()
const transaction = lost(
  school.transaction(async (session) => {
    await session.insert(owners).values({ name: 'dead 1' })
    open.open()
    await stopped
    await school.save(new Dog('dead 1'))
  }),
)
await Promise.race([open.passed, transaction])
await tell('ready')
await stopped
isStopped = true
await transaction
await Promise.all(saving)

const again = told()
await lostForNow(school.save(new Dog('dead 2')))
await lostForNow(school.repository.get(Dog, Dog.createId('saved 1 1')))
await lostForNow(school.transaction(() => expect.fail('Has begun')))
const dog = new Dog('survivor')
await lostForNow(school.save(dog))
await tell('refused')
await again

await victim.expectHealthy()
await school.save(dog)
expect(acknowledged.length).to.be.above(0)
const rows = new Set((await victim.admin`SELECT name FROM owners`).map(({ name }) => name as string))
for (const name of acknowledged) {
  expect((await school.repository.get(Dog, Dog.createId(name))).version, name).to.equal(1)
  if (isTransacted(name)) expect(rows.has(name), `${name}: its row`).to.equal(true)
}
await victim.close()

/** Every other one is saved in a transaction, with a row of its own. */
function isTransacted(name: string): boolean {
  return Number(name.split(' ').at(-1)) % 2 === 1
}
