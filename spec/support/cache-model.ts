import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import { RecordConflictError } from '../../lib/errors.js'
import type { Opened } from './backend.js'
import { cachedSchool, type CacheSwitches } from './cached-schools.js'
import { Dog } from './dogs.js'
import { random } from './random.js'
import { failure } from './rejection.js'
import { versions } from './stored-events.js'
import { schoolOn, type TrainingSchool } from './training-school.js'

/** Random steps of a school with a cache and of one without, one after the other: whoever gets a dog, gets what its events make. */
export async function everyGetIsTheReplay(opened: Opened, switches: CacheSwitches, numRuns: number): Promise<void> {
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 4, maxLength: 14 }), async (these) => {
      await compare(opened, `Model${(run += 1)}`, switches, these)
    }),
    { numRuns },
  )
}

/** Random commands at the same time, of callers who have copies of their own: what is stored has no gap, and in the end the cache has what is stored. */
export async function manyAtOnce(opened: Opened, switches: CacheSwitches, seed: number): Promise<void> {
  const { school } = cachedSchool(opened, switches, `Many${seed}`)
  const other = schoolOn(opened, `Many${seed}`)
  const names = ['Fido', 'Rex']
  for (const name of names) await school.register(name)
  const callers = Array.from({ length: 5 }, async (_, caller) => {
    const { below, yield: pause } = random(seed * 100 + caller)
    for (let turn = 0; turn < 6; turn += 1) {
      // without fast-forward what another saves isn't seen
      const by = below(4) === 0 && switches.fastForward !== false ? other : school
      const id = Dog.createId(names[below(2)]!)
      const trick = `${caller}-${turn}`
      const command = async () => {
        const dog = await by.repository.get(Dog, id)
        await pause()
        dog.addTrick(trick)
        await by.save(dog)
        await pause()
      }
      const how = below(4)
      try {
        if (how < 2) await command()
        else if (how === 2) await by.transaction(command)
        else await rolledBack(by, command)
        if (how < 3 && by === school) expect((await school.repository.get(Dog, id)).tricks).to.include(trick)
      } catch (error) {
        if (!(error instanceof RecordConflictError)) throw error
      }
    }
  })
  await Promise.all(callers)
  for (const id of names.map((name) => Dog.createId(name))) {
    const stored = versions(await other.recorder.selectEvents(id))
    expect(stored).to.deep.equal(stored.map((_, index) => index + 1))
    await expectLast(opened, school, id)
  }
}

/** Does it in a transaction that is rolled back. */
export async function rolledBack(school: TrainingSchool, work: () => Promise<unknown>): Promise<void> {
  const error = await failure(
    school.transaction(async () => {
      await work()
      throw thrown
    }),
  )
  if (error !== thrown) throw error
}

const thrown = new RangeError('the user’s own')

/** Expects what a school without a cache gets. */
export async function expectLast(opened: Opened, school: TrainingSchool, id = Dog.createId('Fido')): Promise<void> {
  const last = await schoolOn(opened, school.name).repository.get(Dog, id)
  const cached = await school.repository.get(Dog, id)
  if (!isDeepStrictEqual(cached, last)) expect(cached).to.deep.equal(last)
}

/** What was read in a transaction that is rolled back has an event that never was, whatever is saved of it then. */
export async function keepsNothingDoubtful(opened: Opened, school: TrainingSchool): Promise<void> {
  const id = Dog.createId('Fido')
  const other = schoolOn(opened, school.name)
  await other.register('Fido')
  let doubtful: Dog | undefined
  await rolledBack(school, async () => {
    await school.addTrick('Fido', 'never')
    doubtful = await school.repository.get(Dog, id)
  })
  await other.addTrick('Fido', 'sit')
  for (const trick of ['stay', 'bow']) {
    doubtful?.addTrick(trick)
    await school.save(doubtful)
    await expectLast(opened, school)
  }
}

/** One step of a model: who does what, and how it ends. */
interface Step {
  readonly by: 'cached' | 'other'
  readonly dog: number
  readonly does: 'get' | 'add' | 'add twice' | 'get, and keep to oneself'
  readonly inside: 'nothing' | 'transaction' | 'savepoint'
  readonly ends: 'commit' | 'rollback'
}

const steps: fc.Arbitrary<Step> = fc.record({
  by: fc.constantFrom('cached' as const, 'cached' as const, 'other' as const),
  dog: fc.nat(1),
  does: fc.constantFrom('get' as const, 'add' as const, 'add twice' as const, 'get, and keep to oneself' as const),
  inside: fc.constantFrom('nothing' as const, 'transaction' as const, 'savepoint' as const),
  ends: fc.constantFrom('commit' as const, 'commit' as const, 'rollback' as const),
})

async function compare(opened: Opened, name: string, switches: CacheSwitches, these: readonly Step[]): Promise<void> {
  const { school: cached } = cachedSchool(opened, { ...switches, maxSize: these.length % 3 }, name)
  const other = schoolOn(opened, name)
  const names = ['Fido', 'Rex']
  for (const each of names) await other.register(each)
  let trick = 0
  for (const { by, dog, does, inside, ends } of these) {
    const school = by === 'cached' ? cached : other
    const id = Dog.createId(names[dog]!)
    const work = async () => {
      const got = await school.repository.get(Dog, id)
      if (does === 'get') return
      got.addTrick(`trick ${(trick += 1)}`)
      if (does === 'get, and keep to oneself') return
      await school.save(got)
      if (does === 'add') return
      got.addTrick(`trick ${(trick += 1)}`)
      await school.save(got)
    }
    const inTransaction = () => (ends === 'commit' ? school.transaction(work) : rolledBack(school, work))
    try {
      if (inside === 'nothing') await work()
      else if (inside === 'transaction') await inTransaction()
      else await school.transaction(inTransaction)
    } catch (error) {
      // old as it may be without fast-forward, it does no harm
      if (switches.fastForward !== false || by === 'other' || !(error instanceof RecordConflictError)) throw error
    }
    // without fast-forward what others save is not seen outside of transactions
    const get = (from: TrainingSchool) => from.repository.get(Dog, id)
    const seen = await (switches.fastForward === false ? cached.transaction(() => get(cached)) : get(cached))
    const last = await get(other)
    if (!isDeepStrictEqual(seen, last)) expect(seen).to.deep.equal(last)
  }
}
