// Connections die while a statement is under way.
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { Dog } from '../dogs.js'
import { owners } from '../postgres-backends.js'
import { Victim, lostForNow, variation } from '../victim.js'

const victim = await Victim.start()
const { admin, datastore, school } = victim
await school.save(new Dog('Fido'))

await variation('saves wait for a lock', async () => {
  const dogs = [new Dog('survivor 1'), new Dog('survivor 2'), new Dog('survivor 3')]
  let saving!: Promise<PromiseSettledResult<unknown>[]>
  await locked('SHARE', async () => {
    saving = Promise.allSettled(dogs.map((dog) => school.save(dog)))
    await victim.waitsFor('relation')
    await victim.die('seen')
  })
  const outcomes = await saving
  expect(outcomes.map(({ status }) => status)).to.include('rejected')
  for (const [i, outcome] of outcomes.entries()) {
    const dog = dogs[i] as Dog
    // those that still waited for a connection have lost nothing
    if (outcome.status === 'fulfilled') continue
    await lostForNow(Promise.reject(outcome.reason as Error))
    expect(dog.pendingEvents).to.have.length(1)
    expect(await victim.countEvents(dog.name)).to.equal(0)
  }
  await victim.expectHealthy()
  await school.save(...dogs)
  for (const dog of dogs) expect(await victim.countEvents(dog.name)).to.equal(1)
})

await variation('a save in a transaction waits for a lock', async () => {
  const dog = new Dog('survivor 4')
  await locked('SHARE', async () => {
    const transaction = lostForNow(
      school.transaction(async (session) => {
        await session.insert(owners).values({ name: 'dead 4' })
        await school.save(dog)
      }),
    )
    await victim.waitsFor('relation')
    await victim.die('seen')
    await transaction
  })
  await victim.expectHealthy()
  await school.save(dog)
})

await variation('a read waits for a lock', async () => {
  let reading!: Promise<unknown>
  await locked('ACCESS EXCLUSIVE', async () => {
    reading = school.recorder.selectNotifications({ start: 1, limit: 10 })
    reading.catch(() => undefined) // looked at below
    await victim.waitsFor('relation')
    await victim.die('seen')
  })
  // what only reads may be asked again behind the scenes
  await reading.catch((error: unknown) => lostForNow(Promise.reject(error as Error)))
  await victim.expectHealthy()
})

await variation('a statement of the user runs in a transaction', async () => {
  const transaction = lostForNow(
    school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'dead 5' })
      await session.execute(sql`SELECT pg_sleep(30)`)
    }),
  )
  await victim.waitsFor('PgSleep')
  await victim.die('seen')
  await transaction
  await victim.expectHealthy()
})

await variation('a statement of the user runs, and its error is swallowed', async () => {
  const transaction = lostForNow(
    school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'dead 6' })
      await session.execute(sql`SELECT pg_sleep(30)`).catch(() => undefined)
      await school.save(new Dog('dead 6')).catch(() => undefined)
      await session
        .insert(owners)
        .values({ name: 'dead 7' })
        .then(undefined, () => undefined)
    }),
  )
  await victim.waitsFor('PgSleep')
  await victim.die('seen')
  await transaction
  await victim.expectHealthy()
})

await variation('a query of the user runs outside transactions', async () => {
  const query = Promise.resolve(datastore.db.execute(sql`SELECT pg_sleep(30)`)).then(
    () => 'answered',
    () => 'refused',
  )
  await victim.waitsFor('PgSleep')
  await victim.die('seen')
  if ((await query) !== 'refused') throw new Error('A query that died was answered')
  await victim.expectHealthy()
})

await victim.close()

/** Runs it while the table of events is locked by another connection. */
async function locked(mode: 'SHARE' | 'ACCESS EXCLUSIVE', run: () => Promise<void>): Promise<void> {
  const holder = await admin.reserve()
  try {
    await holder.unsafe('BEGIN')
    await holder.unsafe(`LOCK TABLE school_events IN ${mode} MODE`)
    await run()
  } finally {
    await holder.unsafe('ROLLBACK')
    holder.release()
  }
}
