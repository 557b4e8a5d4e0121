import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { decider } from '../../lib/domain/decider.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { AggregateNotFoundError, OperationalError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import { MemoryDatastore } from '../../lib/memory/datastore.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import { MemoryApplicationRecorder } from '../../lib/memory/recorders.js'
import type { SelectEventsOptions } from '../../lib/persistence/recorders.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { everyGetIsTheReplay, manyAtOnce, rolledBack } from '../support/cache-model.js'
import { type CacheSwitches, cacheEnv, waysOfCaching } from '../support/cached-schools.js'
import { Cat, Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { failure, rejection } from '../support/rejection.js'
import { TrainingSchool } from '../support/training-school.js'

const fido = Dog.createId('Fido')

/** Does what it is told not to. */
@aggregate('Contrary dog', { created: event('Registered') })
class ContraryDog extends Aggregate {
  static isContrary = false
  readonly tricks: string[] = []

  @event('TrickAdded', 'trick')
  addTrick(trick: string) {
    this.tricks.push(trick)
    if (ContraryDog.isContrary) throw new RangeError('no such trick')
  }
}

/** Whose state is its own affair. */
@aggregate('Secretive dog', { created: event('Registered') })
class SecretiveDog extends Aggregate {
  #tricks = 0

  get tricks() {
    return this.#tricks
  }

  @event('TrickAdded')
  addTrick() {
    this.#tricks += 1
  }
}

/** As plain functions. */
const Mouse = decider('Mouse', { initial: () => ({ name: '', km: 0 }) })
  .events({
    Born: (state, data: { name: string }) => ({ ...state, name: data.name }),
    Ran: (state, data: { km: number }) => ({ ...state, km: state.km + data.km }),
  })
  .commands((events) => ({
    bear: (_state, command: { name: string }) => events.Born(command),
    run: (_state, command: { km: number }) => events.Ran(command),
  }))

describe('The cache of a repository', () => {
  it('is off unless its size is set', async () => {
    const { school, reads } = await watchedSchool({})
    await school.register('Fido')
    for (let time = 0; time < 2; time += 1) await school.tricks('Fido')
    expect(reads()).to.deep.equal(['all', 'all'])
  })

  it('asks for newer events where it has the aggregate, and only for those', async () => {
    const { school, reads } = await watchedSchool(cacheEnv())
    await school.register('Fido')
    for (let time = 0; time < 2; time += 1) await school.tricks('Fido')
    await school.addTrick('Fido', 'sit')
    await school.tricks('Fido')
    expect(reads()).to.deep.equal(['all', 'after 1', 'after 1', 'after 1'])
    await school.tricks('Fido')
    expect(reads()).to.deep.equal(['after 2'])
  })

  it('asks for nothing without fast-forward', async () => {
    const { school, reads } = await watchedSchool(cacheEnv({ fastForward: false }))
    await school.register('Fido')
    await school.addTrick('Fido', 'sit')
    expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    expect(reads()).to.deep.equal([])
    await school.repository.forget(fido)
    for (let time = 0; time < 2; time += 1) await school.tricks('Fido')
    expect(reads()).to.deep.equal(['all'])
  })

  it('is filled by the first operation of all', async () => {
    const factory = new MemoryFactory()
    await (await watchedSchool({}, factory)).school.register('Fido')
    const { school, reads } = await watchedSchool(cacheEnv({ fastForward: false }), factory, false)
    expect(await school.tricks('Fido')).to.deep.equal([])
    expect(await school.tricks('Fido')).to.deep.equal([])
    expect(reads()).to.deep.equal(['all'])
  })

  it('keeps those that were used last', async () => {
    const { school, reads } = await watchedSchool(cacheEnv({ maxSize: 2, fastForward: false }))
    for (const name of ['Fido', 'Rex', 'Buster']) await school.register(name)
    await school.repository.forget()
    reads()
    const read = async (name: string) => {
      await school.tricks(name)
      return reads().length > 0
    }
    expect([await read('Fido'), await read('Rex'), await read('Fido'), await read('Buster')]).to.deep.equal([
      true,
      true,
      false,
      true,
    ])
    expect([await read('Fido'), await read('Rex')]).to.deep.equal([false, true])
  })

  for (const size of ['0', '-1']) {
    it(`keeps all with the size ${size}`, async () => {
      const { school, reads } = await watchedSchool({
        ...cacheEnv({ fastForward: false }),
        AGGREGATE_CACHE_MAXSIZE: size,
      })
      const names = Array.from({ length: 300 }, (_, each) => `Dog ${each}`)
      for (const name of names) await school.register(name)
      for (const name of names) await school.tricks(name)
      expect(reads()).to.deep.equal([])
    })
  }

  it('is refused by name where a variable can not be', async () => {
    const faults: Record<string, string> = {
      AGGREGATE_CACHE_MAXSIZE: 'many',
      AGGREGATE_CACHE_FASTFORWARD: 'perhaps',
      DEEPCOPY_FROM_AGGREGATE_CACHE: 'perhaps',
      TRAINING_SCHOOL_AGGREGATE_CACHE_MAXSIZE: '1.5',
    }
    for (const [variable, value] of Object.entries(faults)) {
      const school = new TrainingSchool({ env: { [variable]: value } })
      await rejection(school.tricks('Fido'), ProgrammingError, new RegExp(`^${variable} must be`))
      await rejection(school.ready(), ProgrammingError, variable)
    }
    await new TrainingSchool({ env: { AGGREGATE_CACHE_MAXSIZE: '' } }).ready()
  })

  it('shows who asks while a read is under way what he has saved before', async () => {
    const { school, hold } = await watchedSchool(cacheEnv())
    await school.register('Fido')
    const { isReached, release } = hold()
    const early = school.tricks('Fido')
    await isReached
    const dog = await school.repository.get(Dog, fido, { version: 1 })
    dog.addTrick('sit')
    await school.save(dog)
    const late = Promise.all([school.tricks('Fido'), school.tricks('Fido')])
    release()
    expect(await early).to.deep.equal([])
    expect(await late).to.deep.equal([['sit'], ['sit']])
  })

  it('tells everybody who shares a read that it failed, and has what it had', async () => {
    const { school, reads, failNext } = await watchedSchool(cacheEnv())
    await school.register('Fido')
    await school.tricks('Fido')
    failNext()
    const [first, second] = await Promise.all([school.tricks('Fido'), school.tricks('Fido')].map(settled))
    expect(first).to.be.instanceOf(OperationalError)
    expect(second).to.deep.equal([])
    expect(reads()).to.deep.equal(['all', 'after 1', 'after 1'])
  })

  it('forgets an aggregate that an event has failed on', async () => {
    const { school, reads } = await watchedSchool(cacheEnv())
    const dog = new ContraryDog()
    await school.save(dog)
    await school.repository.get(ContraryDog, dog.id)
    dog.addTrick('sit')
    await school.save(dog)
    ContraryDog.isContrary = true
    try {
      for (let time = 0; time < 2; time += 1) await rejection(school.repository.get(ContraryDog, dog.id), RangeError)
    } finally {
      ContraryDog.isContrary = false
    }
    expect((await school.repository.get(ContraryDog, dog.id)).tricks).to.deep.equal(['sit'])
    expect(reads()).to.deep.equal(['all', 'after 1', 'all', 'all'])
  })

  it('does not fail a save whose events it can not apply', async () => {
    const { school } = await watchedSchool(cacheEnv({ fastForward: false }))
    const dog = new ContraryDog()
    await school.save(dog)
    dog.addTrick('sit')
    ContraryDog.isContrary = true
    try {
      await school.save(dog)
    } finally {
      ContraryDog.isContrary = false
    }
    expect((await school.repository.get(ContraryDog, dog.id)).tricks).to.deep.equal(['sit'])
  })

  for (const fastForward of [true, false]) {
    it(`leaves aggregates that can't be copied to replay, ${fastForward ? 'with' : 'without'} fast-forward`, async () => {
      const { school, reads } = await watchedSchool(cacheEnv({ fastForward }))
      const dog = new SecretiveDog()
      dog.addTrick()
      await school.save(dog)
      const get = () => school.repository.get(SecretiveDog, dog.id)
      const dogs = await Promise.all([get(), get(), get(), school.transaction(get)])
      expect(new Set(dogs).size).to.equal(4)
      expect(dogs.map(({ tricks }) => tricks)).to.deep.equal([1, 1, 1, 1])
      expect(reads()).to.deep.equal(['all', 'all', 'all', 'all'])
    })
  }

  it('begins at the snapshot where it has nothing, and gives what replay gives', async () => {
    const { school, reads } = await watchedSchool({ ...cacheEnv(), IS_SNAPSHOTTING_ENABLED: 'y' })
    await school.register('Fido')
    for (const trick of ['sit', 'stay', 'roll over']) await school.addTrick('Fido', trick)
    await school.takeSnapshot(Dog, fido, { version: 3 })
    await school.repository.forget()
    reads()
    for (let time = 0; time < 2; time += 1) {
      expect(await school.tricks('Fido')).to.deep.equal(['sit', 'stay', 'roll over'])
    }
    expect(reads()).to.deep.equal(['after 3', 'after 4'])
  })

  it('keeps no more reads of a transaction than it may keep in all', async () => {
    const { school, reads } = await watchedSchool(cacheEnv({ maxSize: 2 }))
    const names = ['Fido', 'Rex', 'Buster', 'Spot']
    for (const name of names) await school.register(name)
    await failure(
      school.transaction(async () => {
        for (const name of names) await school.tricks(name)
        throw new RangeError('the user’s own')
      }),
    )
    await school.transaction(async () => {
      for (const name of names) await school.tricks(name)
    })
    reads()
    for (const name of names) await school.tricks(name)
    expect(reads()).to.deep.equal(['after 1', 'after 1', 'all', 'all'])
  })
})

describe('The cache of a repository, without copies,', () => {
  for (const fastForward of [true, false]) {
    describe(fastForward ? 'with fast-forward,' : 'without fast-forward,', () => {
      const switches: CacheSwitches = { fastForward, deepCopy: false }
      const opened = () => watchedSchool(cacheEnv(switches))

      it('gives the cached one itself, also such as can not be copied', async () => {
        const { school } = await opened()
        await school.register('Fido')
        expect(await school.repository.get(Dog, fido)).to.equal(await school.repository.get(Dog, fido))
        const dog = new SecretiveDog()
        await school.save(dog)
        const get = () => school.repository.get(SecretiveDog, dog.id)
        expect(await get()).to.equal(await get())
      })

      it('shows nobody else what a caller has not saved', async () => {
        const { school } = await opened()
        await school.register('Fido')
        const mine = await school.repository.get(Dog, fido)
        mine.addTrick('sit')
        const other = await school.repository.get(Dog, fido)
        expect([other === mine, other.tricks]).to.deep.equal([false, []])
        await school.save(mine)
        other.addTrick('never')
        await rejection(school.save(other), RecordConflictError)
        expect(await school.tricks('Fido')).to.deep.equal(['sit'])
      })

      it('has what a caller has saved once that is committed, and not before', async () => {
        const { school } = await opened()
        await school.register('Fido')
        const dog = await school.repository.get(Dog, fido)
        dog.addTrick('sit')
        await failure(
          school.transaction(async () => {
            await school.save(dog)
            const outside = await school.recorder.datastore.outside(() => school.repository.get(Dog, fido))
            expect([outside.version, outside === dog]).to.deep.equal([1, false])
            throw new RangeError('the user’s own')
          }),
        )
        expect(await school.tricks('Fido')).to.deep.equal([])
        await school.transaction(() => school.save(dog))
        expect(await school.repository.get(Dog, fido)).to.equal(dog)
        expect(await school.tricks('Fido')).to.deep.equal(['sit'])
      })

      it('keeps nothing that was read in a transaction that is rolled back, and saved after it', async () => {
        const { school } = await opened()
        const other = new TrainingSchool({ persistence: school.factory })
        await other.register('Fido')
        let doubtful: Dog | undefined
        await rolledBack(school, async () => {
          await school.addTrick('Fido', 'never')
          doubtful = await school.repository.get(Dog, fido)
        })
        await other.addTrick('Fido', 'sit')
        for (const tricks of [
          ['sit', 'stay'],
          ['sit', 'stay', 'bow'],
        ]) {
          doubtful!.addTrick(tricks.at(-1)!)
          await school.save(doubtful)
          expect(await school.tricks('Fido')).to.deep.equal(tricks)
        }
      })

      it('keeps nothing that an event has changed by half', async () => {
        const { school } = await opened()
        const made = new ContraryDog()
        await school.save(made)
        const dog = await school.repository.get(ContraryDog, made.id)
        ContraryDog.isContrary = true
        expect(() => {
          dog.addTrick('never')
        }).to.throw(RangeError)
        ContraryDog.isContrary = false
        expect((await school.repository.get(ContraryDog, made.id)).tricks).to.deep.equal([])
        dog.addTrick('sit')
        await school.save(dog)
        expect((await school.repository.get(ContraryDog, made.id)).tricks).to.deep.equal(['sit'])
      })

      it('gives a transaction a copy', async () => {
        const { school } = await opened()
        await school.register('Fido')
        const dog = await school.repository.get(Dog, fido)
        await school.transaction(async () => {
          expect(await school.repository.get(Dog, fido)).to.not.equal(dog)
        })
      })
    })
  }
})

describe('Aggregates of every shape', () => {
  it('are cached', async () => {
    const { school, reads } = await watchedSchool(cacheEnv())
    const cat = Cat.register('Tom')
    cat.nap(5)
    await school.save(cat)
    for (let time = 0; time < 2; time += 1) {
      expect((await school.repository.get(Cat, cat.id)).minutesSlept).to.equal(5)
    }
    expect(reads()).to.deep.equal(['all', 'after 2'])
  })

  for (const fastForward of [true, false]) {
    it(`are cached, deciders among them, ${fastForward ? 'with' : 'without'} fast-forward`, async () => {
      const { school, reads } = await watchedSchool(cacheEnv({ fastForward }))
      await school.execute(Mouse, 'mouse', 'bear', { name: 'Jerry' })
      for (const km of [1, 2]) await school.execute(Mouse, 'mouse', 'run', { km })
      const got = await school.repository.get(Mouse, 'mouse')
      expect([got.version, got.state]).to.deep.equal([3, { name: 'Jerry', km: 3 }])
      got.state.km = 99
      await rolledBack(school, () => school.execute(Mouse, 'mouse', 'run', { km: 5 }))
      const last = await new TrainingSchool({ persistence: school.factory }).repository.get(Mouse, 'mouse')
      expect(await school.repository.get(Mouse, 'mouse')).to.deep.equal(last)
      expect(last.state.km).to.equal(3)
      const all = reads().filter((read) => read === 'all')
      // by the command before there is anything, by the next unless saving has put it in, and without a cache
      expect(all).to.have.length(fastForward ? 3 : 2)
    })
  }
})

describe('A cache against replay', () => {
  for (const { title, switches } of waysOfCaching) {
    it(`${title}: whatever happens, one after the other and at once`, async () => {
      const datastore = new MemoryDatastore()
      const factory = (name?: string, env?: Readonly<Record<string, unknown>>) =>
        new MemoryFactory({ datastore, name, env })
      const opened = { datastore, factory, persistence: factory, close: () => datastore.close() }
      await everyGetIsTheReplay(opened, switches, 60)
      // without copies they would have the same aggregate in their hands
      for (let seed = 2; seed < 12 && switches.deepCopy !== false; seed += 1) await manyAtOnce(opened, switches, seed)
    })
  }
})

describe('repository.forget', () => {
  it('does nothing where there is no cache, and refuses what is no id', async () => {
    const school = new Application({ name: 'School' })
    await school.repository.forget()
    await school.repository.forget('dog')
    await rejection(school.repository.forget(''), ProgrammingError)
    await rejection(school.repository.get(Dog, 'dog'), AggregateNotFoundError)
  })

  it('forgets what a transaction has read, also if that commits later', async () => {
    for (const fastForward of [true, false]) {
      const { school, reads } = await watchedSchool(cacheEnv({ fastForward }))
      const factory = school.factory
      await new TrainingSchool({ persistence: factory }).register('Fido')
      for (const id of [fido, undefined]) {
        await school.transaction(async () => {
          await school.tricks('Fido')
          await school.repository.forget(id)
        })
        reads()
        await school.tricks('Fido')
        expect(reads()).to.deep.equal(['all'])
        await school.repository.forget()
      }
    }
  })

  it('forgets what is being read just then', async () => {
    const { school, reads, hold } = await watchedSchool(cacheEnv({ fastForward: false }))
    const factory = school.factory
    await new TrainingSchool({ persistence: factory }).register('Fido')
    const { isReached, release } = hold()
    const reading = school.tricks('Fido')
    await isReached
    await school.repository.forget(fido)
    release()
    await reading
    reads()
    await school.tricks('Fido')
    expect(reads()).to.deep.equal(['all'])
  })
})

async function settled<T>(promise: Promise<T>): Promise<unknown> {
  return promise.catch((error: unknown) => error)
}

/** A school in memory whose reads are seen, and can be held and failed. */
async function watchedSchool(env: Record<string, string>, on = new MemoryFactory(), isReady = true) {
  let reads: string[] = []
  const held: { reached: () => void; passed: Promise<void> }[] = []
  let fails = 0
  class WatchedRecorder extends MemoryApplicationRecorder {
    override async selectEvents(originatorId: string, options?: SelectEventsOptions): Promise<StoredEvent[]> {
      const { gt, lte } = options ?? {}
      if (lte === undefined) reads.push(typeof gt === 'number' ? `after ${gt}` : 'all')
      const found = await super.selectEvents(originatorId, options)
      const hold = lte === undefined ? held.shift() : undefined
      hold?.reached()
      await hold?.passed
      if (fails > 0) {
        fails -= 1
        throw new OperationalError('Not reachable just now', { retryable: true })
      }
      return found
    }
  }
  class WatchedFactory extends MemoryFactory {
    override async applicationRecorder() {
      return new WatchedRecorder(this.datastore, 'training_school_events')
    }
  }
  const school = new TrainingSchool({ persistence: new WatchedFactory({ datastore: on.datastore }), env })
  if (isReady) await school.ready()
  return {
    school,
    reads() {
      const these = reads
      reads = []
      return these
    },
    hold() {
      const [reached, released] = [gate(), gate()]
      held.push({ reached: reached.open, passed: released.passed })
      return { isReached: reached.passed, release: released.open }
    },
    failNext() {
      fails = 1
    },
  }
}
