// The network fails in the middle of what a school does, at every point of it.
import { sql } from 'drizzle-orm'
import { expect } from 'chai'
import { IntegrityError } from '../../../lib/errors.js'
import { Dog } from '../dogs.js'
import { type Direction, FaultProxy } from '../fault-proxy.js'
import { owners } from '../postgres-backends.js'
import { Victim, lost, lostForNow, variation } from '../victim.js'

await using proxy = await FaultProxy.before(process.argv[2] ?? '')
const victim = await Victim.start({ through: proxy.url, poolTimeoutMs: 1500 })
const { school } = victim
let n = 0

/** A row and an event in one transaction. */
async function transacted(name: string, dog: Dog, meanwhile?: () => unknown): Promise<void> {
  await school.transaction(async (session) => {
    await session.insert(owners).values({ name })
    await meanwhile?.()
    await school.save(dog)
  })
}

/** What is stored of it: the event, and the row beside it. */
async function stored(name: string): Promise<[events: number, rows: number]> {
  return [await victim.countEvents(`${name}"`), await victim.countOwners(name)]
}

/** It may be tried again until it is there, once; a conflict says that it is. */
async function savedAtLast(
  name: string,
  dog: Dog,
  save: () => Promise<unknown>,
  whole: readonly number[],
): Promise<void> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const found = await stored(name)
    if (found[0] > 0) return void expect(found, name).to.deep.equal(whole)
    expect(found, `${name}, in part`).to.deep.equal([0, 0])
    expect(dog.pendingEvents).to.have.length(1)
    await save().catch((error: unknown) => {
      if (!(error instanceof IntegrityError)) return lost(Promise.reject(error))
    })
  }
  expect.fail(`${name} could not be saved`)
}

for (const direction of ['to the server', 'to the client'] as const satisfies Direction[]) {
  // from within the first message to behind the last
  for (const bytes of [1, 6, 40, 90, 150, 250, 400, 600, 1000, 1500]) {
    await variation(`a save is cut after ${bytes} bytes ${direction}`, async () => {
      const name = `survivor ${(n += 1)}`
      const dog = new Dog(name)
      void proxy.cutAfter(direction, bytes)
      const outcome = await settled(school.save(dog))
      proxy.heal()
      if (outcome instanceof Error) await lost(Promise.reject(outcome))
      else expect(await stored(name)).to.deep.equal([1, 0])
      await savedAtLast(name, dog, () => school.save(dog), [1, 0])
    })
    await variation(`a transaction is cut after ${bytes} bytes ${direction}`, async () => {
      const name = `survivor ${(n += 1)}`
      const dog = new Dog(name)
      void proxy.cutAfter(direction, bytes)
      const outcome = await settled(transacted(name, dog))
      proxy.heal()
      if (outcome instanceof Error) await lost(Promise.reject(outcome))
      else expect(await stored(name)).to.deep.equal([1, 1])
      // an error that does not say that this is not known says that it has not happened
      if (outcome instanceof Error && !/is not known/.test(outcome.message)) {
        expect(await stored(name)).to.deep.equal([0, 0])
      }
      await savedAtLast(name, dog, () => transacted(name, dog), [1, 1])
    })
  }
}
await victim.expectHealthy()

const faults: Record<string, () => unknown> = {
  'is cut': () => proxy.cut(),
  'is reset': () => proxy.reset(),
  'is reset, and nobody answers for a while': async () => {
    await proxy.down()
    await proxy.up()
  },
}
for (const [fault, fail] of Object.entries(faults)) {
  await variation(`a connection ${fault} between the statements of a transaction`, async () => {
    const dog = new Dog(`survivor ${(n += 1)}`)
    await lostForNow(transacted('dead 1', dog, fail))
    await victim.expectHealthy()
    await transacted(dog.name, dog)
    expect(await stored(dog.name)).to.deep.equal([1, 1])
  })

  await variation(`a connection ${fault} while a statement of a transaction runs`, async () => {
    const dog = new Dog(`survivor ${(n += 1)}`)
    const transaction = lostForNow(
      school.transaction(async (session) => {
        await school.save(dog)
        await session.execute(sql`SELECT pg_sleep(0.3)`)
      }),
    )
    await victim.waitsFor('PgSleep')
    await fail()
    await transaction
    await victim.die('seen') // the server learns of it when it has something to say
    await victim.expectHealthy()
    await school.save(dog)
    expect(await stored(dog.name)).to.deep.equal([1, 0])
  })
}

await variation('a COMMIT is lost on its way to the server', async () => {
  const name = `survivor ${(n += 1)}`
  const dog = new Dog(name)
  const happened = proxy.loseNextStatement(/^commit$/i)
  const error = await lost(transacted(name, dog))
  await happened
  expect(error.message).to.match(/is not known/)
  await victim.isInNoTransaction()
  expect(await stored(name)).to.deep.equal([0, 0])
  await victim.expectHealthy()
  await transacted(name, dog)
  expect(await stored(name)).to.deep.equal([1, 1])
})

await variation('the answer to COMMIT is lost', async () => {
  const name = `survivor ${(n += 1)}`
  const dog = new Dog(name)
  const happened = proxy.loseNextReply('COMMIT')
  const error = await lost(transacted(name, dog))
  await happened
  expect(error.message).to.match(/is not known/)
  expect(await stored(name)).to.deep.equal([1, 1])
  await victim.expectHealthy()
  await savedAtLast(name, dog, () => transacted(name, dog), [1, 1])
})

await variation('all takes its time', async () => {
  proxy.delay('to the server', 3)
  proxy.delay('to the client', 3)
  await victim.expectHealthy()
  proxy.heal()
})
await victim.close()

/** What it comes to: an error, or nothing. */
async function settled(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
    return undefined
  } catch (error) {
    return error
  }
}
