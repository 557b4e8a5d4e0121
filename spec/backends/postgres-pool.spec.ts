import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application } from '../../lib/application/application.js'
import { InterfaceError, OperationalError } from '../../lib/errors.js'
import { type PostgresDatastore, postgres } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { createOwners, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'

describePostgres('A pool of PostgreSQL connections that are all in use', () => {
  for (const max of [1, 2]) {
    describe(`(ours, ${max})`, () => {
      sharedCases(max, async (searchPath, poolTimeoutMs) => {
        const connection = { search_path: searchPath }
        const datastore = postgres(postgresUrl(), { schema, max, connection, poolTimeoutMs })
        return { datastore, close: () => datastore.close() }
      })
    })

    describe(`(of a user's database, ${max})`, () => {
      sharedCases(max, async (searchPath, poolTimeoutMs) => {
        const client = postgresJs(postgresUrl(), { max, connection: { search_path: searchPath } })
        const datastore = postgres(drizzle(client, { schema }), { poolTimeoutMs })
        return {
          datastore,
          async close() {
            await datastore.close()
            await client.end({ timeout: 1 })
          },
        }
      })
    })
  }

  it('says how many it has, and by which option it could wait longer', async () => {
    await using place = await freshSchema()
    const connection = { search_path: place.searchPath }
    await using datastore = postgres(postgresUrl(), { max: 1, connection, poolTimeoutMs: 100 })
    const error = await datastore.transaction(() =>
      rejection(
        datastore.outside(() => datastore.transaction(() => expect.fail('Has begun'))),
        OperationalError,
      ),
    )
    expect(error.message).to.include('100 ms').and.to.match(/\b1\b/).and.to.match(/pool/)
  })
})

type Opened = { readonly datastore: PostgresDatastore<typeof schema>; close(): Promise<void> }

function sharedCases(max: number, open: (searchPath: string, poolTimeoutMs: number) => Promise<Opened>): void {
  /** A school whose tables are there. */
  async function withSchool(
    poolTimeoutMs: number,
    run: (school: Application<Opened['datastore']>, datastore: Opened['datastore']) => Promise<void>,
  ): Promise<void> {
    await using place = await freshSchema()
    await createOwners(place.name)
    const { datastore, close } = await open(place.searchPath, poolTimeoutMs)
    const school = new Application<typeof datastore>({ name: 'School', persistence: datastore })
    try {
      await school.save(new Dog('Fido'))
      await run(school, datastore)
    } finally {
      await close()
    }
  }

  it('is waited for in the order in which it was asked', async () => {
    await withSchool(10_000, async (school) => {
      const holders = await held(school, max)
      const order: number[] = []
      const waiting: Promise<unknown>[] = []
      const calls = [
        (n: number) => school.transaction((session) => session.insert(owners).values({ name: `owner ${n}` })),
        () => school.recorder.selectNotifications({ start: 1, limit: 1 }),
        (n: number) => school.transaction(() => school.save(new Dog(`dog ${n}`))),
      ]
      for (let n = 0; n < 9; n += 1) {
        const call = calls[n % 3]
        waiting.push(call?.(n).then(() => order.push(n)) ?? Promise.resolve())
        await nextTurn() // each has asked before the next one does
      }
      expect(order).to.deep.equal([])
      // one by one, so that what comes first is also done first
      await holders[0]?.end()
      await Promise.all(waiting)
      await Promise.all(holders.map((holder) => holder.end()))
      if (max === 1) expect(order).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8])
      else expect(new Set(order).size).to.equal(9)
    })
  })

  it('is an OperationalError after the pool timeout, with nothing begun or stored, and works afterwards', async () => {
    await withSchool(800, async (school, datastore) => {
      const holders = await held(school, max)
      const dog = new Dog('Rex')
      const calls = [
        school.save(dog),
        school.transaction(() => expect.fail('Has begun')),
        school.transaction(),
        school.repository.get(Dog, Dog.createId('Fido')),
        school.recorder.selectNotifications({ start: 1, limit: 1 }),
        school.transaction(async () => expect.fail('Has begun')),
      ]
      for (const error of await Promise.all(calls.map((call) => failure(call)))) {
        expect(error).to.be.instanceOf(OperationalError).with.property('message').that.includes('800 ms')
        expect((error as OperationalError).retryable).to.equal(true)
      }
      expect(dog.pendingEvents).to.have.length(1)
      await Promise.all(holders.map((holder) => holder.end()))

      // nobody who has given up is still served: all connections are there again, and nothing was stored
      const again = await held(school, max)
      await Promise.all(again.map((holder) => holder.end()))
      expect(await datastore.db.$count(owners)).to.equal(2 * max)
      expect(await school.recorder.maxNotificationId()).to.equal(1)
      expect(await school.save(dog)).to.have.length(1)
    })
  })

  it('may be in use for longer than the pool timeout', async () => {
    await withSchool(100, async (school, datastore) => {
      await school.transaction(async (session) => {
        await session.insert(owners).values({ name: 'Ann' })
        await session.execute(sql`SELECT pg_sleep(0.3)`)
        await school.save(new Dog('Rex'))
      })
      await datastore.db.execute(sql`SELECT pg_sleep(0.3)`)
      expect(await datastore.db.$count(owners)).to.equal(1)
    })
  })

  it('is not waited for for ever by who holds them, and the transaction that waited goes on', async () => {
    await withSchool(800, async (school, datastore) => {
      const others = await held(school, max - 1)
      await school.transaction(async (session) => {
        await session.insert(owners).values({ name: 'Ann' })
        await rejection(
          datastore.outside(() => school.save(new Dog('Rex'))),
          OperationalError,
          '800 ms',
        )
        await school.save(new Dog('Buster'))
      })
      await Promise.all(others.map((holder) => holder.end()))
      expect(await school.repository.has(Dog.createId('Rex'))).to.equal(false)
      expect(await school.repository.has(Dog.createId('Buster'))).to.equal(true)
    })
  })

  it('is waited for by close(), as long as the pool timeout, and close() may be called again', async () => {
    await withSchool(800, async (school, datastore) => {
      const [holder] = await held(school, 1)
      const error = await rejection(datastore.close(), OperationalError, '800 ms')
      expect(error.retryable).to.equal(true)
      await rejection(school.save(new Dog('Rex')), InterfaceError, 'closed')
      await holder?.end()
      await datastore.close()
      const [row] = await admin()`SELECT 1 AS one`
      expect(row?.one).to.equal(1)
    })
  })
}

interface Holder {
  /** Commits. */
  end(): Promise<void>
}

let holding = 0

/** So many transactions at once, each with a row of its own. */
async function held(school: Application<Opened['datastore']>, count: number): Promise<Holder[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const [begun, over] = [gate(), gate()]
      const transaction = school.transaction(async (session) => {
        await session.insert(owners).values({ name: `holder ${(holding += 1)}` })
        begun.open()
        await over.passed
      })
      await Promise.race([begun.passed, transaction])
      return {
        async end() {
          over.open()
          await transaction
        },
      }
    }),
  )
}
