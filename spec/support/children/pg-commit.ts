// Connections die during COMMIT: a deferred trigger makes it last.
import { expect } from 'chai'
import { Dog } from '../dogs.js'
import { owners } from '../postgres-backends.js'
import { Victim, lost, variation } from '../victim.js'

const victim = await Victim.start()
const { admin, school } = victim
await admin.unsafe(`
  CREATE FUNCTION sleep_at_commit() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$;
  CREATE CONSTRAINT TRIGGER sleeping_owner AFTER INSERT ON owners DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (new.name LIKE 'dead sleeper%') EXECUTE FUNCTION sleep_at_commit();
  CREATE CONSTRAINT TRIGGER sleeping_event AFTER INSERT ON school_events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (convert_from(new.state, 'UTF8') LIKE '%dead sleeper%') EXECUTE FUNCTION sleep_at_commit();`)

await variation('a transaction is committed', async () => {
  const dog = new Dog('survivor 1')
  let isAfterCommit = false
  const transaction = lost(
    school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'dead sleeper 1' })
      await school.save(dog)
      session.afterCommit(() => (isAfterCommit = true))
    }),
  )
  await killed(transaction)
  expect(isAfterCommit).to.equal(false)
  expect(dog.pendingEvents).to.have.length(1)
  await victim.expectHealthy()
  expect(await school.save(dog)).to.have.length(1)
})

await variation('a handle is committed', async () => {
  const handle = await school.transaction()
  await handle.session.insert(owners).values({ name: 'dead sleeper 2' })
  await handle.run(() => school.save(new Dog('dead 2')))
  await killed(lost(handle.commit()))
  await handle[Symbol.asyncDispose]()
  await victim.expectHealthy()
})

await variation('a save commits by itself', async () => {
  const dog = new Dog('dead sleeper 3')
  await killed(lost(school.save(dog)))
  expect(dog.pendingEvents).to.have.length(1)
  await victim.expectHealthy()
})

await variation('a save of several events commits by itself, among others', async () => {
  const dogs = [new Dog('survivor 4'), new Dog('dead sleeper 4'), new Dog('survivor 5')]
  for (const dog of dogs) dog.addTrick('roll over')
  const outcomes = Promise.allSettled(dogs.map((dog) => school.save(dog)))
  await killed(outcomes)
  for (const [i, outcome] of (await outcomes).entries()) {
    // whichever shared its fate; the others are stored
    if (outcome.status === 'rejected') {
      await lost(Promise.reject(outcome.reason as Error))
      expect(dogs[i]?.pendingEvents).to.have.length(2)
    }
  }
  await victim.expectHealthy()
  for (const dog of [dogs[0], dogs[2]]) await school.save(dog)
  expect(await victim.countEvents('survivor 4')).to.equal(1)
  expect(await victim.countEvents('survivor 5')).to.equal(1)
})
await victim.close()

async function killed(committing: Promise<unknown>): Promise<void> {
  await victim.waitsFor('PgSleep')
  await victim.die('seen')
  await committing
}
