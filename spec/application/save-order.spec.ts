import { expect } from 'chai'
import { OperationalError } from '../../lib/errors.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import { MemoryApplicationRecorder } from '../../lib/memory/recorders.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { rejection } from '../support/rejection.js'
import { versions } from '../support/stored-events.js'
import { TrainingSchool } from '../support/training-school.js'

// Where one save takes longer than the next: what is told to wait, and what is not.
describe('saves of one aggregate', () => {
  it('wait for the one that has its events, past another that had none of it', async () => {
    const { school, holdNext } = await schoolThatHolds()
    const [dog, other] = [new Dog('Fido'), new Dog('Rex')]
    const fail = holdNext()
    const first = rejection(school.save(dog), OperationalError)
    await school.save(dog, other)
    dog.addTrick('sit')
    const second = school.save(dog)
    fail()
    await first
    expect((await second).map(({ notification }) => notification.originatorVersion)).to.deep.equal([1, 2])
    expect(versions(await school.recorder.selectEvents(dog.id))).to.deep.equal([1, 2])
  })

  it('find its events given back by a save that failed, however many wait', async () => {
    const { school, holdNext } = await schoolThatHolds()
    const dog = new Dog('Fido')
    const fail = holdNext()
    const first = rejection(school.save(dog), OperationalError)
    dog.addTrick('sit')
    const waiting = [school.save(dog), school.save(dog), school.save(dog)]
    fail()
    await first
    expect((await Promise.all(waiting)).map((recordings) => recordings.length)).to.deep.equal([2, 0, 0])
    expect(await school.tricks('Fido')).to.deep.equal(['sit'])
  })

  it('do not wait for those of others', async () => {
    const { school, holdNext } = await schoolThatHolds()
    const fail = holdNext()
    const first = rejection(school.save(new Dog('Fido')), OperationalError)
    await school.save(new Dog('Rex'))
    fail()
    await first
  })
})

/** A school in memory that can be told to hold its next save, and then to let it fail. */
async function schoolThatHolds() {
  const held: Promise<void>[] = []
  class HoldingRecorder extends MemoryApplicationRecorder {
    override async insertEvents(events: readonly StoredEvent[]): Promise<number[]> {
      const hold = held.shift()
      if (!hold) return super.insertEvents(events)
      await hold
      throw new OperationalError('Not reachable just now', { retryable: true })
    }
  }
  class HoldingFactory extends MemoryFactory {
    override async applicationRecorder() {
      return new HoldingRecorder(this.datastore, 'events')
    }
  }
  const school = await TrainingSchool.create({ persistence: new HoldingFactory() })
  const holdNext = () => {
    const { passed, open } = gate()
    held.push(passed)
    return open
  }
  return { school, holdNext }
}
