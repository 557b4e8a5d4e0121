import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { pgTable, text } from 'drizzle-orm/pg-core'
import { Application } from '../../lib/application/application.js'
import { scopedSession } from '../../lib/drizzle/index.js'
import { IntegrityError, InterfaceError, NotSupportedError, OperationalError } from '../../lib/errors.js'
import type { PostgresDatastore } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { createOwners, type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { everyWay, type OpenedDatastore } from '../support/postgres-datastores.js'
import { admin, describePostgres } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'

const owners = pgTable('owners', { name: text('name').primaryKey() })
const schema = { owners }

describePostgres('A session by hand on PostgreSQL', () => {
  for (const way of everyWay) {
    describe(`through ${way.name}`, () => {
      let place: FreshSchema
      let opened: OpenedDatastore<typeof schema>
      let datastore: PostgresDatastore<typeof schema>
      let school: Application<typeof datastore>

      beforeEach(async () => {
        place = await freshSchema()
        await createOwners(place.name)
        // as few as show who has given one back
        opened = await way.open({ schema, searchPath: place.searchPath, max: 2, poolTimeoutMs: 500 })
        datastore = opened.datastore
        school = new Application<typeof datastore>({ name: 'School', persistence: datastore })
      })

      afterEach(async () => {
        await opened.close()
        await place.drop()
      })

      it('goes on with another transaction after its connection died', async () => {
        await using session = await datastore.openSession()
        const dog = new Dog('Fido')
        const kill = async () => {
          const [row] = await session.execute<{ pid: number }>(sql`SELECT pg_backend_pid() AS pid`)
          await admin()`SELECT pg_terminate_backend(${row!.pid}, 5000)`
        }
        await session.insert(owners).values({ name: 'Ann' })
        await session.run(() => school.save(dog))
        await kill()
        const error = await rejection(session.commit(), OperationalError)
        expect(error.retryable).to.equal(true)
        expect(dog.pendingEvents).to.have.length(1)

        await session.insert(owners).values({ name: 'Bea' })
        await kill()
        expect(await failure(session.insert(owners).values({ name: 'Cleo' }).execute())).to.be.instanceOf(Error)
        await session.rollback()

        await session.insert(owners).values({ name: 'Dora' })
        await session.run(() => school.save(dog))
        await session.commit()
        expect(await datastore.db.select().from(owners)).to.deep.equal([{ name: 'Dora' }])
        expect(await school.repository.has(dog.id)).to.equal(true)
      })

      it('has no statement in its next transaction that was called before a rollback', async () => {
        await using session = await datastore.openSession()
        for (const begun of [false, true]) {
          if (begun) await session.insert(owners).values({ name: 'Ann' })
          const inserting = failure(session.insert(owners).values({ name: 'Bea' }).execute())
          await session.rollback()
          expect(await inserting).to.be.instanceOf(InterfaceError)
          await session.commit()
        }
        expect(await datastore.db.select().from(owners)).to.deep.equal([])
      })

      it('can be closed after its connection died, as a scope ends', async () => {
        const scope = scopedSession(datastore)
        const outcome = scope.run(
          async () => {
            const [row] = await scope.session.execute<{ pid: number }>(sql`SELECT pg_backend_pid() AS pid`)
            await admin()`SELECT pg_terminate_backend(${row!.pid}, 5000)`
            await school.save(new Dog('Fido'))
          },
          { commitOnExit: true },
        )
        await rejection(outcome, OperationalError)
        await school.save(new Dog('Fido'))
      })

      it('has a connection from its first statement to its commit, rollback or end', async () => {
        const sessions = await Promise.all([1, 2, 3, 4].map(() => datastore.openSession()))
        for (const session of sessions) {
          await session.insert(owners).values({ name: 'Ann' })
          await session.rollback()
        }
        const [first, second, third] = sessions
        await first!.insert(owners).values({ name: 'Ann' })
        await second!.insert(owners).values({ name: 'Bea' })
        await rejection(third!.insert(owners).values({ name: 'Cleo' }).execute(), OperationalError, '500 ms')
        await first!.commit()
        await second!.close()
        await third!.insert(owners).values({ name: 'Cleo' })
        await third!.commit()
        for (const session of sessions) await session.close()
        const names = await datastore.db.select().from(owners).orderBy(owners.name)
        expect(names.map(({ name }) => name)).to.deep.equal(['Ann', 'Cleo'])
      })

      it('closed while its transaction begins gives the connection back', async () => {
        for (let time = 0; time < 4; time += 1) {
          const session = await datastore.openSession()
          const statement = failure(session.insert(owners).values({ name: 'Ann' }).execute())
          await session.close()
          await statement
        }
        const counting = [1, 2].map(() => datastore.transaction((session) => session.$count(owners)))
        expect(await Promise.all(counting)).to.deep.equal([0, 0])
      })

      it('has the tables of events made outside of its transaction', async () => {
        const scope = scopedSession(datastore)
        const dog = new Dog('Fido')
        await scope.run(async () => {
          await scope.session.insert(owners).values({ name: 'Ann' })
          await school.save(dog)
        })
        const tables =
          await admin()`SELECT FROM pg_tables WHERE schemaname = ${place.name} AND tablename = 'school_events'`
        expect(tables).to.have.length(1)
        expect(await school.repository.has(dog.id)).to.equal(false)
        expect(await datastore.db.$count(owners)).to.equal(0)
      })

      it('rolls back at its commit, with that error, what a failed statement has spoilt', async () => {
        await using session = await datastore.openSession()
        await session.insert(owners).values({ name: 'Ann' })
        await failure(session.insert(owners).values({ name: 'Ann' }).execute())
        await rejection(session.commit(), IntegrityError)
        await session.insert(owners).values({ name: 'Bea' })
        await session.commit()
        expect(await datastore.db.select().from(owners)).to.deep.equal([{ name: 'Bea' }])
      })

      it('has the types of the schema, and says what is SQLite’s', async () => {
        await using session = await datastore.openSession()
        await session.insert(owners).values({ name: 'Ann' })
        const found: { name: string } | undefined = await session.query.owners.findFirst()
        const selected: { name: string }[] = await scopedSession(datastore).run(() => session.select().from(owners))
        expect([found, ...selected]).to.deep.equal([{ name: 'Ann' }, { name: 'Ann' }])
        // @ts-expect-error  there is no such table
        expect(session.query.pets).to.equal(undefined)
        // @ts-expect-error  on PostgreSQL it takes a function
        expect(() => session.run(sql`SELECT 1`)).to.throw(NotSupportedError)
        expect(() => session.all()).to.throw(NotSupportedError)
      })
    })
  }
})
