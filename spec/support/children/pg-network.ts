// Connections are reset on their way, and the server can't be reached for a while; or its answer is lost.
import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { expect } from 'chai'
import { Dog } from '../dogs.js'
import { owners } from '../postgres-backends.js'
import { failure } from '../rejection.js'
import { FaultProxy } from '../fault-proxy.js'
import { Victim, lost, lostForNow, variation, within } from '../victim.js'

await using proxy = await FaultProxy.before(process.argv[2] ?? '')
const victim = await Victim.start({ through: proxy.url, poolTimeoutMs: 1500 })
const { datastore, school } = victim
let n = 0

await variation('connections are reset while they idle', async () => {
  await victim.warm()
  proxy.reset()
  await delay(50)
  await school.save(new Dog('survivor 1'))
  await victim.expectHealthy()
})

await variation('connections are reset while statements are under way', async () => {
  const transaction = lostForNow(
    school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'dead 2' })
      await session.execute(sql`SELECT pg_sleep(3)`)
    }),
  )
  await victim.waitsFor('PgSleep')
  proxy.reset()
  await transaction
  // the server learns of it when it has something to say
  await victim.die('seen')
  await victim.expectHealthy()
})

await variation('connections are reset while statements are under way, and others follow at once', async () => {
  await victim.warm()
  const sleeping = Array.from({ length: victim.max }, () =>
    Promise.resolve(datastore.db.execute(sql`SELECT pg_sleep(3)`)),
  )
  await victim.waitsFor('PgSleep', victim.max)
  proxy.reset()
  const following = sleeping.map(async (query) => {
    await failure(query)
    // nothing between: not even a turn of the event loop
    const calls = [school.repository.has(Dog.createId('survivor 1')), school.save(new Dog(`survivor 2 ${(n += 1)}`))]
    for (const outcome of await Promise.allSettled(calls)) {
      if (outcome.status === 'rejected') await lostForNow(Promise.reject(outcome.reason as Error))
    }
  })
  await within('the calls that follow', Promise.all(following))
  await victim.die('seen')
  await victim.expectHealthy()
})

const courses: Record<string, () => Promise<unknown>> = {
  'issues a statement': () => school.save(new Dog('dead 3')),
  returns: async () => undefined,
  'swallows the error': () => school.save(new Dog('dead 4')).catch(() => undefined),
}
for (const [course, goesOn] of Object.entries(courses)) {
  await variation(`connections are reset inside a transaction, whose code then ${course}`, async () => {
    const dog = new Dog(`survivor ${course}`)
    await lost(
      school.transaction(async (session) => {
        await session.insert(owners).values({ name: 'dead 5' })
        await school.save(dog)
        proxy.reset()
        await delay(50)
        await goesOn()
      }),
    )
    await victim.expectHealthy()
    expect(await school.save(dog)).to.have.length(1)
  })
}

await variation('the server cannot be reached for a while, and a transaction is open when that begins', async () => {
  await lost(
    school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'dead 6' })
      await proxy.down()
      await school.save(new Dog('dead 6'))
    }),
  )
  await lostForNow(school.save(new Dog('dead 7')))
  await lostForNow(school.repository.get(Dog, Dog.createId('survivor 1')))
  await lostForNow(school.transaction(() => expect.fail('Has begun')))
  await proxy.up()
  await victim.expectHealthy()
})

await variation('the answer to COMMIT is lost', async () => {
  const dog = new Dog('survivor 8')
  const happened = proxy.loseNextReply('COMMIT')
  const error = await lost(
    school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'survivor 8' })
      await school.save(dog)
    }),
  )
  await happened
  expect(error.message).to.match(/not known|unknown/)
  await victim.expectHealthy()
  expect([await victim.countEvents('survivor 8'), await victim.countOwners('survivor 8')]).to.deep.equal([1, 1])
  // the dog has its event again, which is found when it is saved
  expect(await school.save(dog)).to.have.length(1)
  expect(await victim.countEvents('survivor 8')).to.equal(1)
})

await variation('the answer to a save is lost', async () => {
  await victim.warm()
  const dog = new Dog('survivor 9')
  const happened = proxy.loseNextReply()
  await lost(school.save(dog))
  await happened
  await victim.expectHealthy()
  expect(await school.save(dog)).to.have.length(1)
  expect(await victim.countEvents('survivor 9')).to.equal(1)
})
await victim.close()
