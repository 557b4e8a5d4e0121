import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import { OperationalError, RecordConflictError } from '../../lib/errors.js'
import { Dog } from '../support/dogs.js'
import { createOwners, freshSchema, schema } from '../support/postgres-backends.js'
import { everyWay } from '../support/postgres-datastores.js'
import { describePostgres } from '../support/postgres-server.js'
import { failure } from '../support/rejection.js'
import { storedEvent } from '../support/stored-events.js'

describePostgres('Saves on PostgreSQL while all connections are in use', () => {
  for (const way of everyWay) {
    for (const max of [1, 2]) {
      it(`are stored once one is free, but none of the thousand that were refused before: ${way.name}, ${max}`, async () => {
        await using place = await freshSchema()
        await createOwners(place.name)
        await using opened = await way.open({ schema, searchPath: place.searchPath, max, poolTimeoutMs: 1000 })
        const { datastore } = opened
        const school = new Application<typeof datastore>({ name: 'School', persistence: datastore })
        await school.ready()
        const holders = await Promise.all(Array.from({ length: max }, () => datastore.transaction()))

        const [early, late] = [pupils('early', 1000), pupils('late', 50)]
        for (const error of await Promise.all(early.map((dog) => failure(school.save(dog))))) {
          expect(error).to.be.instanceOf(OperationalError).with.property('retryable', true)
        }
        const saving = late.map((dog) => school.save(dog))
        await nextTurn()
        await Promise.all(holders.map((holder) => holder.rollback()))

        const ids = (await Promise.all(saving)).map(([recording]) => recording!.notification.id)
        expect(new Set(ids).size).to.equal(50)
        const stored = new Set<string>()
        for await (const { originatorId } of school.notificationLog.read()) stored.add(originatorId)
        expect([...stored].sort()).to.deep.equal(late.map(({ id }) => id).sort())
        expect(early.every((dog) => dog.pendingEvents.length === 1)).to.equal(true)
      })

      // one after the other, each with a time of its own, they would take minutes
      it(`are refused together where they have conflicts, and have to be sent one by one: ${way.name}, ${max}`, async () => {
        await using place = await freshSchema()
        await createOwners(place.name)
        await using opened = await way.open({ schema, searchPath: place.searchPath, max, poolTimeoutMs: 1000 })
        const { datastore } = opened
        const recorder = await datastore.factory({ name: 'School' }).applicationRecorder()
        const taken = Array.from({ length: 100 }, (_, i) => storedEvent(`dog ${i}`, 1))
        await recorder.insertEvents(taken)

        const [first, ...others] = taken.map((event) => failure(recorder.insertEvents([event])))
        await first // the others have been sent, or are next in line; after them:
        const holders = await Promise.all(Array.from({ length: max }, () => datastore.transaction()))
        for (const error of await Promise.all(others)) {
          expect([OperationalError, RecordConflictError]).to.include((error as Error).constructor)
        }
        await Promise.all(holders.map((holder) => holder.rollback()))
        expect(await recorder.maxNotificationId()).to.equal(100)
      })
    }
  }
})

function pupils(name: string, count: number): Dog[] {
  return Array.from({ length: count }, (_, i) => new Dog(`${name} ${i}`))
}
