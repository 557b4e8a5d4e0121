import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { DatabaseProgrammingError, OperationalError } from '../../lib/errors.js'
import { type PostgresDatastore, postgres } from '../../lib/postgres/index.js'
import { Child } from '../support/child.js'
import { Dog } from '../support/dogs.js'
import { createOwners, type FreshSchema, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { everyWay } from '../support/postgres-datastores.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'

describePostgres('Several processes on one PostgreSQL database', () => {
  let place: FreshSchema
  let datastore: PostgresDatastore

  beforeEach(async () => {
    place = await freshSchema()
    datastore = postgres(postgresUrl(), { max: 2, connection: { search_path: place.searchPath } })
  })

  afterEach(async () => {
    await Child.endAll()
    await datastore.close()
    await place.drop()
  })

  it('start at once where there are no tables, which are made once, and each saves all its own', async () => {
    const starters = [1, 2, 3, 4, 5, 6].map((n) => start('pg-starter', 'School', `dog ${n}`, '20'))
    const saves = (await startTogether(starters)).flat() as number[][]
    expect(saves).to.have.length(120)
    for (const [first, second] of saves) expect(second).to.equal(first! + 1)
    expect(new Set(saves.flat()).size).to.equal(240)
    expect(await relations()).to.deep.equal([
      'school_events',
      'school_events_id_seq',
      'school_events_pkey',
      'school_events_version_key',
    ])

    const school = new Application({ name: 'School', persistence: datastore })
    for (const n of [1, 2, 3, 4, 5, 6])
      for (let dog = 1; dog <= 20; dog += 1)
        expect((await school.repository.get(Dog, Dog.createId(`dog ${n} ${dog}`))).tricks).to.deep.equal(['roll over'])
    const found = await school.recorder.selectNotifications({ limit: 1000 })
    expect(found.map(({ id }) => id)).to.deep.equal(saves.flat().sort((a, b) => a - b))
  }).timeout(60_000)

  it('start at once with applications of two names, whose events stay apart', async () => {
    const names = ['School', 'Kennel']
    const starters = names.flatMap((name) => ['a', 'b', 'c'].map((who) => start('pg-starter', name, who, '10')))
    const saves = (await startTogether(starters)) as number[][][]
    for (const [i, name] of names.entries()) {
      const own = saves.slice(i * 3, i * 3 + 3).flat(2)
      const recorder = await new DrizzleFactory({ datastore, name }).applicationRecorder()
      const found = await recorder.selectNotifications({ limit: 1000 })
      expect(found.map(({ id }) => id)).to.deep.equal(own.sort((a, b) => a - b))
      expect(found).to.have.length(60)
    }
  }).timeout(60_000)

  for (const inside of [false, true])
    it(`write the same aggregate${inside ? ', each in a transaction' : ''}: who is late has a conflict, and no version is missing or there twice`, async () => {
      const school = new Application({ name: 'School', persistence: datastore })
      await school.save(new Dog('Fido'))
      const rivals = [1, 2, 3].map(() => start('pg-rival', 'Fido', '40', ...(inside ? ['inside'] : [])))
      const conflicts = (await startTogether(rivals)) as number[]
      // where nobody met, the case has shown nothing
      expect(conflicts.reduce((a, b) => a + b)).to.be.above(0)
      const fido = await school.repository.get(Dog, Dog.createId('Fido'))
      expect([fido.version, new Set(fido.tricks).size]).to.deep.equal([121, 120])
      const events = await school.recorder.selectEvents(fido.id)
      expect(events.map(({ originatorVersion }) => originatorVersion)).to.deep.equal(
        Array.from({ length: 121 }, (_, i) => i + 1),
      )
    }).timeout(60_000)

  function start(program: string, ...args: string[]): Child {
    return new Child(program, [postgresUrl(), place.searchPath, ...args])
  }

  async function relations(): Promise<string[]> {
    const rows = await admin()`SELECT relname FROM pg_class WHERE relnamespace = ${place.name}::text::regnamespace`
    return rows.map(({ relname }) => relname as string).sort()
  }
})

describePostgres('Tables that are missing on PostgreSQL', () => {
  for (const way of everyWay) {
    describe(`through ${way.name}`, () => {
      it('stay when the transaction is rolled back in which they were first needed', async () => {
        await using place = await freshSchema()
        await createOwners(place.name)
        await using opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
        const { datastore } = opened
        const school = new Application({ name: 'School', persistence: datastore })
        const undone = datastore.transaction(async (session) => {
          await session.insert(owners).values({ name: 'Ann' })
          await school.save(new Dog('Fido'))
          expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
          throw new RangeError('undone')
        })
        await rejection(undone, RangeError)
        const [row] = await admin()`SELECT count(*)::int FROM ${admin()(place.name)}.school_events`
        expect(row?.count).to.equal(0)
        expect(await datastore.db.$count(owners)).to.equal(0)
        expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
      })

      it('are made while all connections are held by transactions that wait for them', async () => {
        await using place = await freshSchema()
        await createOwners(place.name)
        await using opened = await way.open({ schema, searchPath: place.searchPath, max: 3 })
        const { datastore } = opened
        // each with a table of its own, and some with the same
        const names = ['School', 'Kennel', 'School']
        let waiting = names.length
        let goOn!: () => void
        const allHold = new Promise<void>((resolve) => (goOn = resolve))
        await Promise.all(
          names.map((name, n) => {
            const school = new Application({ name, persistence: datastore })
            return datastore.transaction(async (session) => {
              await session.insert(owners).values({ name: `owner ${n}` })
              if ((waiting -= 1) === 0) goOn()
              await allHold
              await school.save(new Dog(`dog ${n}`))
            })
          }),
        )
        expect(await datastore.db.$count(owners)).to.equal(3)
        for (const [name, count] of [
          ['School', 2],
          ['Kennel', 1],
        ] as const) {
          const recorder = await new DrizzleFactory({ datastore, name }).applicationRecorder()
          expect(await recorder.selectNotifications({ limit: 10 })).to.have.length(count)
        }
      })

      for (const isolationLevel of ['repeatable read', 'serializable'] as const)
        it(`are made for a transaction that is ${isolationLevel}, and sees only what was there before`, async () => {
          await using place = await freshSchema()
          await createOwners(place.name)
          await using opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
          const { datastore } = opened
          try {
            const school = new Application({ name: 'School', persistence: datastore })
            await datastore.transaction(
              async (session) => {
                expect(await session.$count(owners)).to.equal(0)
                expect(await school.save(new Dog('Fido'))).to.have.length(1)
              },
              { isolationLevel },
            )
            expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
          } finally {
          }
        })

      it('are made for reading too, in a transaction that only reads', async () => {
        await using place = await freshSchema()
        await using opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
        const { datastore } = opened
        const school = new Application({ name: 'School', persistence: datastore })
        await datastore.transaction(
          async () => {
            expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
            expect(await school.recorder.maxNotificationId()).to.equal(null)
          },
          { accessMode: 'read only' },
        )
      })

      it('are not made where CREATE_TABLE says no, and a transaction that needs them is rolled back', async () => {
        await using place = await freshSchema()
        await createOwners(place.name)
        await using opened = await way.open({ schema, searchPath: place.searchPath })
        const { datastore } = opened
        const factory = new DrizzleFactory({ datastore, name: 'School', env: { CREATE_TABLE: 'n' } })
        const school = new Application({ name: 'School', persistence: factory })
        const dog = new Dog('Fido')
        const attempt = datastore.transaction(async (session) => {
          await session.insert(owners).values({ name: 'Ann' })
          await school.save(dog)
        })
        const error = await rejection(attempt, DatabaseProgrammingError, 'school_events')
        expect(error.code).to.equal('42P01')
        expect(await datastore.db.$count(owners)).to.equal(0)
        expect(dog.pendingEvents).to.have.length(1)
        // once a migration has made them
        const migrated = await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
        expect(await school.save(dog)).to.have.length(1)
        expect(await migrated.maxNotificationId()).to.equal(1)
      })

      it('are waited for no longer than the pool timeout, where somebody else is about to make them', async () => {
        await using place = await freshSchema()
        await using opened = await way.open({ schema, searchPath: place.searchPath, poolTimeoutMs: 800 })
        const { datastore } = opened
        const other = await datastore.transaction()
        await other.session.execute(`CREATE TABLE school_events (n integer)`)
        const school = new Application({ name: 'School', persistence: datastore })
        const dog = new Dog('Fido')
        const error = await rejection(
          datastore.outside(() => school.save(dog)),
          OperationalError,
        )
        expect(error.retryable).to.equal(true)
        await other.rollback()
        expect(await school.save(dog)).to.have.length(1)
      })
    })
  }
})

/** Gives all of them the word when all are ready; what each of them says at its end. */
async function startTogether(children: readonly Child[]): Promise<unknown[]> {
  await Promise.all(children.map((child) => child.message()))
  for (const child of children) child.send('go')
  const said = await Promise.all(children.map((child) => child.message()))
  for (const { code, stderr } of await Promise.all(children.map(({ exit }) => exit))) {
    expect(code, stderr).to.equal(0)
  }
  return said
}
