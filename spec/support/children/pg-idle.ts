// Idle connections die; then the pool is used.
import { expect } from 'chai'
import { Dog } from '../dogs.js'
import { owners } from '../postgres-backends.js'
import { Victim, codesOfLoss, deaths, lostForNow, variation } from '../victim.js'

const victim = await Victim.start()
const { datastore, school } = victim
await school.save(new Dog('Fido'))
let n = 0

const uses: Record<string, () => Promise<unknown>> = {
  'an event is saved': () => school.save(new Dog(`survivor ${(n += 1)}`)),
  'an aggregate is read': () => school.repository.get(Dog, Dog.createId('Fido')),
  'notifications are read': () => school.recorder.selectNotifications({ start: 1, limit: 10 }),
  'a transaction is begun': () =>
    school.transaction(async (session) => {
      await session.insert(owners).values({ name: `survivor ${(n += 1)}` })
      await school.save(new Dog(`survivor ${n}`))
    }),
  'a transaction is begun by hand': async () => {
    await using transaction = await school.transaction()
    await transaction.session.insert(owners).values({ name: `survivor ${(n += 1)}` })
    await transaction.commit()
  },
}

const refused = (error: unknown) => lostForNow(Promise.reject(error))

for (const [use, run] of Object.entries(uses)) {
  for (const death of deaths) {
    await variation(`${use} after an end that is ${death}`, async () => {
      await victim.warm()
      await victim.die(death)
      // an end that nobody had a chance to notice may be met by one call
      if (death === 'seen') await run()
      else await run().catch(refused)
      await victim.expectHealthy()
      await run()
    })
  }
}

for (const death of deaths) {
  await variation(`the database is used directly after an end that is ${death}`, async () => {
    await victim.warm()
    await victim.die(death)
    const insert = async () => {
      await datastore.db.insert(owners).values({ name: `survivor ${(n += 1)}` })
    }
    if (death === 'seen') await insert()
    // its errors are Drizzle's, around the driver's
    else await insert().catch(({ cause }: { cause: { code: string } }) => expect(cause.code).to.match(codesOfLoss))
    await victim.expectHealthy()
    await insert()
  })
}
await victim.close()
