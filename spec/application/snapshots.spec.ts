import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import type { SnapshotProjector } from '../../lib/application/snapshotting-plan.js'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { definitionOf } from '../../lib/domain/replay.js'
import { registerTopicAlias } from '../../lib/domain/topics.js'
import type { Upcast } from '../../lib/domain/upcasts.js'
import { MapperDeserialisationError, ProgrammingError } from '../../lib/errors.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import type { Cipher } from '../../lib/persistence/cipher.js'
import type { AggregateRecorder, SnapshotRecorder } from '../../lib/persistence/recorders.js'
import type { Snapshot } from '../../lib/persistence/snapshot.js'
import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import { Cat, Dog, Puppy } from '../support/dogs.js'
import { Fox } from '../support/foxes.js'
import { rejection } from '../support/rejection.js'

describe('A snapshot of another version of the class', function () {
  let school: School
  let dog: Dog

  beforeEach(async () => {
    school = new School({ persistence: new MemoryFactory() })
    dog = new Dog('Fido')
    for (let version = 2; version <= 4; version++) dog.addTrick(`trick ${version}`)
    await school.save(dog)
  })

  const get = () => school.repository.get(Dog, dog.id)
  const classVersions = async () => (await school.snapshots.get(dog.id)).map(({ classVersion }) => classVersion)

  it('is upcast, step by step', async () => {
    await school.takeSnapshot(Dog, dog.id)
    const first: Upcast = (state) => ({ ...state, tricks: [...(state['tricks'] as string[]), 'one'] })
    const second: Upcast = (state) => ({ ...state, tricks: [...(state['tricks'] as string[]), 'two'] })
    await withUpcasts(Dog, [first, second], async () => {
      expect((await get()).tricks.slice(-2)).to.deep.equal(['one', 'two'])
      await school.takeSnapshot(Dog, dog.id, { version: 4 })
      expect(await classVersions()).to.deep.equal([3])
      expect((await get()).tricks.slice(-2)).to.deep.equal(['one', 'two'])
    })
  })

  it('is passed over where a step is missing, and replaced by the next one', async () => {
    await put({ originatorVersion: 4, classVersion: 2, state: { name: 'Wrong', tricks: [] } })
    const never: Upcast = () => expect.fail('there is no way to the current version')
    await withUpcasts(Dog, [never, undefined, never], async () => {
      expect((await get()).name).to.equal('Fido')
      await school.takeSnapshot(Dog, dog.id)
      expect(await classVersions()).to.deep.equal([4])
      expect(await get()).to.deep.equal(dog)
    })
  })

  it('is passed over where newer code has taken it', async () => {
    await put({ originatorVersion: 4, classVersion: 2, state: { name: 'Wrong', tricks: [] } })
    expect((await get()).name).to.equal('Fido')
  })

  it('gives way to an earlier one that fits', async () => {
    await put({ originatorVersion: 2, state: { name: 'Right', tricks: [] } })
    for (const originatorVersion of [3, 4]) {
      await put({ originatorVersion, classVersion: 9, state: { name: 'Wrong', tricks: [] } })
    }
    expect(await get()).to.deep.include({ name: 'Right', version: 4, tricks: ['trick 3', 'trick 4'] })
    expect((await school.repository.get(Dog, dog.id, { version: 1 })).name).to.equal('Fido')
  })

  it('is passed over where its class is not known, and found where that has another name now', async () => {
    await put({ originatorVersion: 4, topic: 'Hound of old', state: { name: 'Found', tricks: [] } })
    expect((await get()).name).to.equal('Fido')
    registerTopicAlias('Hound of old', 'Dog')
    expect((await get()).name).to.equal('Found')
  })

  it('is an error where a step fails, that shows nothing of the state', async () => {
    await put({ originatorVersion: 4, state: { name: 'Ann-1815', tricks: [] } })
    for (const step of [
      ({ name }: Record<string, unknown>) => {
        throw new RangeError(String(name))
      },
      () => undefined as unknown as Record<string, unknown>,
    ]) {
      await withUpcasts(Dog, [step], async () => {
        const { message } = await rejection(get(), MapperDeserialisationError, `"Dog" "${dog.id}" at version 4`)
        expect(message).to.not.include('1815')
      })
    }
  })

  it('is an error where what is stored is none', async () => {
    const recorder = (await school.factory.aggregateRecorder('snapshots')) as SnapshotRecorder
    const now = '2026-11-21T10:20:30.400Z'
    const whole = { timestamp: now, createdOn: now, modifiedOn: now, state: { name: 'Ann-1815' } }
    for (const values of [
      [],
      { ...whole, state: 'Ann-1815' },
      { ...whole, createdOn: 'Ann-1815' },
      { ...whole, modifiedOn: undefined },
      { ...whole, classVersion: 1 },
      { ...whole, classVersion: 'Ann-1815' },
    ]) {
      const state = new JsonTranscoder().encode(values)
      await recorder.replaceSnapshot({ originatorId: dog.id, originatorVersion: 4, topic: 'Dog', state })
      const { message } = await rejection(get(), MapperDeserialisationError, 'at version 4')
      expect(message).to.not.include('1815')
    }
  })

  it('has exactly these bytes', async () => {
    const at = new Date('2026-11-21T10:20:30.400Z')
    const mapper = await school.factory.mapper()
    const snapshot: Snapshot = {
      originatorId: 'fido',
      originatorVersion: 3,
      topic: 'Dog',
      timestamp: at,
      createdOn: at,
      modifiedOn: at,
      classVersion: 2,
      state: { name: 'Fido', born: at },
    }
    const stored = await mapper.toStoredSnapshot(snapshot)
    expect(Buffer.from(stored.state).toString()).to.equal(
      '{"timestamp":"2026-11-21T10:20:30.400Z","createdOn":"2026-11-21T10:20:30.400Z",' +
        '"modifiedOn":"2026-11-21T10:20:30.400Z","state":{"name":"Fido",' +
        '"born":{"_type_":"date","_data_":"2026-11-21T10:20:30.400Z"}},"classVersion":2}',
    )
    expect(await mapper.toSnapshot(stored)).to.deep.equal(snapshot)
  })

  async function put(snapshot: Partial<Snapshot>): Promise<void> {
    const recorder = (await school.factory.aggregateRecorder('snapshots')) as SnapshotRecorder
    const now = new Date()
    const times = { timestamp: now, createdOn: now, modifiedOn: now }
    const whole = { originatorId: dog.id, originatorVersion: 1, topic: 'Dog', classVersion: 1, state: {}, ...times }
    const mapper = await school.factory.mapper()
    await recorder.replaceSnapshot(await mapper.toStoredSnapshot({ ...whole, ...snapshot }))
  }
})

describe('What an application says of its snapshots', function () {
  it('turns them on: the variable, a static member, or intervals', async () => {
    for (const [enabled, options, members] of [
      [false, {}, {}],
      [false, { env: { IS_SNAPSHOTTING_ENABLED: 'no' } }, { snapshottingIntervals: [] }],
      [true, { env: { IS_SNAPSHOTTING_ENABLED: 'yes' } }, {}],
      [true, { env: { PLAIN_IS_SNAPSHOTTING_ENABLED: 'on' } }, {}],
      [true, { persistence: new MemoryFactory({ IS_SNAPSHOTTING_ENABLED: '1' }) }, {}],
      [true, {}, { isSnapshottingEnabled: true }],
      [true, {}, { snapshottingIntervals: [[Dog, 10]] }],
    ] as const) {
      const application = new (applicationWith(members))(options)
      await application.save(new Dog('Fido'))
      const taking = application.takeSnapshot(Dog, Dog.createId('Fido'))
      if (enabled) await taking
      else await rejection(taking, ProgrammingError, 'IS_SNAPSHOTTING_ENABLED=yes')
    }
    await rejection(
      applicationWith({}).create({ env: { IS_SNAPSHOTTING_ENABLED: 'perhaps' } }),
      ProgrammingError,
      'IS_SNAPSHOTTING_ENABLED must be',
    )
  })

  it('is refused when it connects, where it can’t be', async () => {
    for (const [members, message] of [
      [{ isSnapshottingEnabled: 'yes' }, 'isSnapshottingEnabled'],
      [{ snapshottingIntervals: { Dog: 10 } }, 'a list of pairs: [[Dog, 10]]'],
      [{ snapshottingIntervals: [Dog, 10] }, 'a list of pairs'],
      [{ snapshottingIntervals: [[Dog]] }, 'a list of pairs'],
      [{ snapshottingIntervals: [[Dog, 0]] }, "the interval of 'Dog' must be an integer from 1"],
      [{ snapshottingIntervals: [[Dog, 1.5]] }, 'integer from 1'],
      [{ snapshottingIntervals: [[Dog, '10']] }, 'integer from 1'],
      [{ snapshottingIntervals: [[class {}, 10]] }, 'no aggregate class'],
      [
        {
          snapshottingIntervals: [
            [Dog, 10],
            [Dog, 20],
          ],
        },
        "has 'Dog' twice",
      ],
      [{ snapshottingIntervals: [[Hidden, 10]] }, 'since its class has #secret'],
      [{ snapshottingProjectors: [[Dog, 10]] }, "the projector of 'Dog' must be a function"],
    ] as const) {
      await rejection(applicationWith(members).create(), ProgrammingError, message)
    }
    const plain = new (applicationWith({ isSnapshottingEnabled: true }))()
    const hidden = new Hidden()
    await plain.save(hidden)
    await rejection(plain.takeSnapshot(Hidden, hidden.id), ProgrammingError, 'toSnapshot()')
  })
})

describe('A snapshot of an aggregate that an event has changed by half', function () {
  it('has what its events say', async () => {
    @aggregate('Purse of coins')
    class Purse extends Aggregate {
      coins = 0
      @event('Paid', 'coins')
      pay(coins: number) {
        this.coins += coins
        if (coins < 0) throw new RangeError('not that many')
      }
    }
    class Bank extends Application {
      static readonly snapshottingIntervals = [[Purse, 3]]
    }
    const bank = new Bank({ persistence: new MemoryFactory() })
    const purse = new Purse()
    purse.pay(1)
    expect(() => {
      purse.pay(-5)
    }).to.throw(RangeError)
    purse.pay(2)
    await bank.save(purse)
    expect(await bank.snapshots.get(purse.id)).to.have.lengthOf(1)
    expect((await bank.repository.get(Purse, purse.id)).coins).to.equal(3)
  })
})

describe('Snapshots of a decider', function () {
  it('are taken by hand and by intervals, and read', async () => {
    class Foxes extends Application {
      static readonly snapshottingIntervals = [[Fox, 2]]
    }
    const persistence = new MemoryFactory()
    const foxes = new Foxes({ persistence })
    await foxes.execute(Fox, 'basil', 'bear', { name: 'Basil' })
    await foxes.execute(Fox, 'basil', 'run', { km: 3 })
    await foxes.execute(Fox, 'basil', 'roam', { legs: [1, 2, 3] })
    const taken = await foxes.snapshots.get('basil')
    expect(taken.map(({ originatorVersion, state }) => [originatorVersion, state])).to.deep.equal([
      [2, { state: { name: 'Basil', km: 3, cubs: [] } }],
      [4, { state: { name: 'Basil', km: 6, cubs: [] } }],
      [6, { state: { name: 'Basil', km: 0, cubs: [] } }],
    ])
    await foxes.takeSnapshot(Fox, 'basil', { version: 5 })
    for (const version of [undefined, 1, 2, 3, 4, 5, 6]) {
      const expected = await new (applicationWith({}))({ persistence }).repository.get(Fox, 'basil', { version })
      expect(isDeepStrictEqual(await foxes.repository.get(Fox, 'basil', { version }), expected)).to.equal(true)
    }
    await foxes.execute(Fox, 'basil', 'run', { km: 1 })
    expect((await foxes.repository.get(Fox, 'basil')).state.km).to.equal(1)
  })
})

describe('A snapshotting projector', function () {
  async function take(projector: unknown, versions = 6): Promise<{ school: Application; id: string }> {
    const school = new (applicationWith({
      snapshottingIntervals: [[Dog, 3]],
      snapshottingProjectors: [[Dog, projector]],
    }))({ persistence: new MemoryFactory() })
    const dog = new Puppy('Fido')
    for (let version = 2; version <= versions; version++) dog.addTrick(`trick ${version}`)
    await school.save(dog)
    return { school, id: dog.id }
  }
  const states = async ({ school, id }: { school: Application; id: string }) =>
    (await school.snapshots.get(id)).map(({ originatorVersion, state }) => [originatorVersion, state['tricks']])

  it('gives the aggregate, of the latest snapshot and the events after it', async () => {
    const calls: [number | undefined, number[]][] = []
    const projector: SnapshotProjector<Dog> = (initial, events, replay) => {
      calls.push([initial?.version, events.map(({ originatorVersion }) => originatorVersion)])
      return replay(initial, events)
    }
    const taken = await take(projector)
    const expected = (version: number) => Array.from({ length: version - 1 }, (_, i) => `trick ${i + 2}`)
    expect(await states(taken)).to.deep.equal([
      [3, expected(3)],
      [6, expected(6)],
    ])
    const { school, id } = taken
    const dog = await school.repository.get(Dog, id)
    for (let version = 7; version <= 9; version++) dog.addTrick(`trick ${version}`)
    await school.save(dog)
    await school.takeSnapshot(Dog, id, { version: 5 })
    expect(calls).to.deep.equal([
      [undefined, [1, 2, 3]],
      [undefined, [1, 2, 3, 4, 5, 6]],
      [6, [7, 8, 9]],
      [3, [4, 5]],
    ])
    expect((await school.repository.get(Dog, id)).tricks).to.deep.equal(expected(9))
    expect((await school.repository.get(Dog, id)).modifiedOn).to.deep.equal(dog.modifiedOn)
  })

  it('gives the state, or nothing', async () => {
    expect(await states(await take(() => ({ name: 'Fido', tricks: ['all'] })))).to.deep.equal([
      [3, ['all']],
      [6, ['all']],
    ])
    expect(await states(await take(() => undefined))).to.deep.equal([])
  })

  it('begins anew by hand where a former snapshot is damaged', async () => {
    const { school, id } = await take(((initial, events, replay) =>
      replay(initial, events)) satisfies SnapshotProjector<Dog>)
    const recorder = (await school.factory.aggregateRecorder('snapshots')) as AggregateRecorder & SnapshotRecorder
    const stored = await recorder.selectEvents(id)
    for (const each of stored) await recorder.replaceSnapshot({ ...each, state: new Uint8Array([0]) })
    await rejection(school.repository.get(Dog, id), MapperDeserialisationError)
    await school.takeSnapshot(Dog, id)
    expect((await school.repository.get(Dog, id)).tricks).to.have.lengthOf(5)
  })

  it('fails the save where it gives something else', async () => {
    await rejection(
      take(() => 'Fido'),
      ProgrammingError,
      "projector of 'Puppy' must return",
    )
    await rejection(
      take(() => new Dog('Fido')),
      ProgrammingError,
      "projector of 'Puppy' must return",
    )
    await rejection(
      take(() => new Puppy('Fido')),
      ProgrammingError,
      'at version 1 where version 3 was asked for',
    )
  })
})

describe('Snapshots with a cipher that gives promises', function () {
  it('are sealed before the transaction opens, and are opened when they are read', async () => {
    const turned = (bytes: Uint8Array) => Uint8Array.from(bytes, (byte) => byte ^ 0xff)
    const kinds: string[] = []
    let isInside = false
    const cipher: Cipher = {
      encrypt: async (bytes, { kind, originatorVersion }) => {
        expect(isInside).to.equal(false)
        kinds.push(`${kind} ${originatorVersion}`)
        return turned(bytes)
      },
      decrypt: async (bytes) => turned(bytes),
    }
    const persistence = new MemoryFactory({ CIPHER_TOPIC: cipher })
    const { transaction } = persistence.datastore
    persistence.datastore.transaction = (async (...args: Parameters<typeof transaction>) => {
      isInside = true
      return Promise.resolve(transaction.apply(persistence.datastore, args)).finally(() => (isInside = false))
    }) as typeof transaction
    const school = new (applicationWith({ snapshottingIntervals: [[Cat, 2]] }))({ persistence })
    const cat = Cat.register('Tom')
    for (let version = 2; version <= 5; version++) cat.nap(version)
    await school.save(cat)
    expect(kinds).to.include.members(['snapshot 2', 'snapshot 4', 'event 5'])
    expect(isDeepStrictEqual(await school.repository.get(Cat, cat.id), cat)).to.equal(true)
  })
})

class School extends Application {
  static readonly isSnapshottingEnabled = true
}

@aggregate('HiddenSnapshot', { created: event('Made') })
class Hidden extends Aggregate {
  #secret = 1
  get secret() {
    return this.#secret
  }
}

class Plain extends Application {}

/** An application of that name that says so of its snapshots. */
function applicationWith(members: object): typeof Plain {
  class Kennels extends Plain {
    static readonly applicationName = 'Plain'
  }
  return Object.assign(Kennels, members)
}

async function withUpcasts(
  aggregateClass: Function,
  steps: readonly (Upcast | undefined)[],
  work: () => Promise<void>,
): Promise<void> {
  const definition = definitionOf(aggregateClass) as { snapshotUpcasts: readonly (Upcast | undefined)[] }
  const before = definition.snapshotUpcasts
  definition.snapshotUpcasts = steps
  try {
    await work()
  } finally {
    definition.snapshotUpcasts = before
  }
}
