// Connections die inside a transaction, between its statements; then its code goes on in every way there is.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { InterfaceError } from '../../../lib/errors.js'
import type { PostgresSession } from '../../../lib/postgres/index.js'
import { Dog } from '../dogs.js'
import { gate } from '../gate.js'
import { owners, type schema } from '../postgres-backends.js'
import { failure, rejection } from '../rejection.js'
import { Victim, deaths, lost, lostForNow, variation } from '../victim.js'

const victim = await Victim.start()
const { datastore, school } = victim
type Session = PostgresSession<typeof schema>
let n = 0

class OfTheUser extends Error {}

/** What the code of a transaction does once its connection is dead; what comes of the transaction. */
interface Course {
  readonly goesOn: (session: Session) => Promise<unknown>
  readonly outcome: (transaction: Promise<unknown>) => Promise<unknown>
}

const swallowed = (statement: PromiseLike<unknown>) =>
  Promise.resolve(statement).then(
    () => expect.fail('A statement of a dead transaction was answered'),
    () => undefined,
  )
const insert = (session: Session) => session.insert(owners).values({ name: `dead ${(n += 1)}` })
const save = () => school.save(new Dog(`dead ${(n += 1)}`))

const courses: Record<string, Course> = {
  'issues a statement': { goesOn: insert, outcome: lostForNow },
  'issues a long statement': {
    goesOn: (session) => session.insert(owners).values({ name: `dead ${'x'.repeat(2000)}` }),
    outcome: lostForNow,
  },
  saves: { goesOn: save, outcome: lostForNow },
  'reads an aggregate': { goesOn: () => school.repository.get(Dog, Dog.createId('Fido')), outcome: lostForNow },
  'reads notifications': {
    goesOn: () => school.recorder.selectNotifications({ start: 1, limit: 10 }),
    outcome: lostForNow,
  },
  returns: { goesOn: async () => 'all fine', outcome: lost },
  throws: {
    goesOn: () => Promise.reject(new OfTheUser('changed my mind')),
    outcome: (transaction) => rejection(transaction, OfTheUser, 'changed my mind'),
  },
  'swallows the error and goes on': {
    async goesOn(session) {
      await swallowed(insert(session))
      await swallowed(save())
      await swallowed(insert(session))
      await swallowed(session.select().from(owners))
      await swallowed(school.transaction(() => save()))
    },
    outcome: lostForNow,
  },
  'swallows the error and throws another': {
    async goesOn(session) {
      await swallowed(insert(session))
      throw new OfTheUser('changed my mind')
    },
    outcome: (transaction) => rejection(transaction, OfTheUser),
  },
  'goes on with several things at once': {
    goesOn: (session) => Promise.allSettled([insert(session), save(), insert(session), save()]),
    outcome: lostForNow,
  },
  'opens a nested transaction': { goesOn: () => school.transaction(insert), outcome: lostForNow },
  'opens a nested transaction, whose error it swallows': {
    async goesOn(session) {
      await swallowed(school.transaction(insert))
      await swallowed(insert(session))
    },
    outcome: lostForNow,
  },
}

/** Tries again while it meets connections that have died too. */
async function again(run: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await datastore.outside(run)
      return
    } catch (error) {
      if (attempt > victim.max) throw error
      await lostForNow(Promise.reject(error))
    }
  }
}

await school.save(new Dog('Fido'))
for (const [course, { goesOn, outcome }] of Object.entries(courses)) {
  for (const death of deaths) {
    await variation(`the code ${course} after an end that is ${death}`, async () => {
      const dog = new Dog(`survivor ${(n += 1)}`)
      const transaction = school.transaction(async (session) => {
        await insert(session)
        await save()
        await school.save(dog)
        await victim.die(death)
        return goesOn(session)
      })
      await outcome(transaction)
      expect(dog.pendingEvents).to.have.length(1)
      await victim.expectHealthy()
      expect(await school.save(dog)).to.have.length(1)
    })
  }
}

for (const death of deaths) {
  for (const [course, innerEnds] of Object.entries({
    'issues a statement': insert,
    returns: async () => undefined,
    throws: () => Promise.reject(new OfTheUser('changed my mind')),
  })) {
    await variation(`a nested one ${course} after an end that is ${death}, and the outer one goes on`, async () => {
      const dog = new Dog(`survivor ${(n += 1)}`)
      await lostForNow(
        school.transaction(async (session) => {
          await insert(session)
          await failure(
            school.transaction(async (inner) => {
              await insert(inner)
              await school.save(dog)
              await victim.die(death)
              return innerEnds(inner)
            }),
          )
          await swallowed(insert(session))
          await swallowed(save())
        }),
      )
      expect(dog.pendingEvents).to.have.length(1)
      await victim.expectHealthy()
      await school.save(dog)
    })
  }

  for (const [end, expected] of Object.entries({ commit: lost, rollback: undefined, dispose: undefined })) {
    await variation(`there is ${end} of a handle after an end that is ${death}`, async () => {
      const dog = new Dog(`survivor ${(n += 1)}`)
      const handle = await school.transaction()
      await insert(handle.session)
      await handle.run(() => school.save(dog))
      await victim.die(death)
      const ending =
        end === 'commit' ? handle.commit() : end === 'rollback' ? handle.rollback() : handle[Symbol.asyncDispose]()
      // there is nothing left that could be undone
      await (expected ? expected(ending) : ending)
      expect(dog.pendingEvents).to.have.length(1)
      await rejection(
        Promise.resolve().then(() => insert(handle.session)),
        InterfaceError,
      )
      await victim.expectHealthy()
      await school.save(dog)
    })
  }

  await variation(`a dead transaction goes on beside one that lives, after an end that is ${death}`, async () => {
    const [besideOther, afterDead] = [gate(), gate()]
    const transaction = school.transaction(async (session) => {
      await insert(session)
      await victim.die(death)
      await besideOther.passed
      await insert(session)
    })
    const living = again(() =>
      school.transaction(async (session) => {
        const name = `survivor ${(n += 1)}`
        await session.insert(owners).values({ name })
        besideOther.open()
        await afterDead.passed
        await school.save(new Dog(name))
      }),
    )
    // where there is one connection, the second may have to wait for the first
    const opening = setTimeout(() => besideOther.open(), 500)
    await lostForNow(transaction)
    clearTimeout(opening)
    afterDead.open()
    await living
    await victim.expectHealthy()
  })
}

await variation('the server ends a transaction that idles', async () => {
  const dog = new Dog(`survivor ${(n += 1)}`)
  const error = await lost(
    school.transaction(async (session) => {
      await session.execute(sql`SET LOCAL idle_in_transaction_session_timeout = 50`)
      await insert(session)
      await school.save(dog)
      await victim.isInNoTransaction()
      await delay(50)
      await insert(session)
    }),
  )
  expect(error.retryable).to.equal(true)
  await victim.expectHealthy()
  await school.save(dog)
})
await victim.close()
