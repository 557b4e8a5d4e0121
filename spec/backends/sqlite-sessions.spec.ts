import { join } from 'node:path'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { Application } from '../../lib/application/application.js'
import { scopedSession } from '../../lib/drizzle/index.js'
import {
  IntegrityError,
  InterfaceError,
  NotSupportedError,
  OperationalError,
  ProgrammingError,
} from '../../lib/errors.js'
import { type SqliteDatastore, sqlite } from '../../lib/sqlite/index.js'
import { Dog } from '../support/dogs.js'
import { failure, rejection } from '../support/rejection.js'
import { createOwners, owners, remove, schema, temporaryDirectory } from '../support/sqlite-backends.js'

describe('A session by hand on SQLite', () => {
  let directory: string
  let file: string
  let datastore: SqliteDatastore<typeof schema>

  beforeEach(async () => {
    directory = await temporaryDirectory()
    file = join(directory, 'school.db')
    datastore = sqlite(file, { schema, poolTimeoutMs: 100 })
    await datastore.ready()
    await datastore.db.run(createOwners)
  })

  afterEach(async () => {
    await datastore.close()
    await remove(directory)
  })

  it('reads beside another that writes, and waits for it only to write', async () => {
    await using writing = await datastore.openSession()
    await using reading = await datastore.openSession()
    await writing.insert(owners).values({ name: 'Ann' })
    expect(await reading.select().from(owners)).to.deep.equal([])
    const error = await rejection(
      reading.insert(owners).values({ name: 'Bea' }).execute(),
      OperationalError,
      `Waited 100 ms for the writer of ${file}, which was not free in that time`,
    )
    expect(error.retryable).to.equal(true)
    expect(await reading.select().from(owners)).to.deep.equal([])
    await writing.commit()
    expect(await reading.select().from(owners)).to.deep.equal([{ name: 'Ann' }])
    await reading.insert(owners).values({ name: 'Bea' })
    expect(await reading.select().from(owners)).to.have.length(2)
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

  it('waits for one of another datastore on the same file', async () => {
    await using other = sqlite(file, { schema, poolTimeoutMs: 100 })
    await using first = await datastore.openSession()
    await using second = await other.openSession()
    await first.insert(owners).values({ name: 'Ann' })
    await rejection(second.insert(owners).values({ name: 'Bea' }).execute(), OperationalError, 'the writer of')
    await first.close()
    await second.insert(owners).values({ name: 'Bea' })
    await second.commit()
    expect(await datastore.db.select().from(owners)).to.deep.equal([{ name: 'Bea' }])
  })

  it('has what it made for itself alone', async () => {
    await using session = await datastore.openSession()
    await session.run('CREATE TEMP TABLE mine (name text)')
    await session.run(sql`INSERT INTO mine VALUES ('Ann')`)
    await session.commit()
    expect(await session.all(sql`SELECT name FROM mine`)).to.deep.equal([{ name: 'Ann' }])
    await session.rollback()
  })

  it('goes on after a statement that is refused, in the same transaction', async () => {
    await using session = await datastore.openSession()
    await session.insert(owners).values({ name: 'Ann' })
    expect(await failure(session.insert(owners).values({ name: 'Ann' }).execute())).to.be.instanceOf(Error)
    await session.insert(owners).values({ name: 'Bea' })
    await session.commit()
    expect(await datastore.db.$count(owners)).to.equal(2)
  })

  it('is told when SQLite has rolled its transaction back by itself, and goes on after a rollback', async () => {
    await using session = await datastore.openSession()
    await session.insert(owners).values({ name: 'Ann' })
    await failure(session.run(sql`INSERT OR ROLLBACK INTO owners VALUES ('Ann')`).execute())
    await rejection(
      session.insert(owners).values({ name: 'Bea' }).execute(),
      OperationalError,
      'rolled the transaction back',
    )
    await rejection(session.commit(), OperationalError)
    await session.insert(owners).values({ name: 'Cleo' })
    await session.commit()
    expect(await datastore.db.select().from(owners)).to.deep.equal([{ name: 'Cleo' }])
  })

  it('has the tables of events made before its transaction begins, or in it', async () => {
    const school = new Application<typeof datastore>({ name: 'School', persistence: datastore })
    const scope = scopedSession(datastore)
    await scope.run(async () => {
      await Promise.all([school.save(new Dog('Fido')), scope.session.insert(owners).values({ name: 'Ann' }).execute()])
    })
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
    const kennel = new Application<typeof datastore>({ name: 'Kennel', persistence: datastore })
    await scope.run(async () => {
      await scope.session.insert(owners).values({ name: 'Ann' })
      await kennel.save(new Dog('Rex'))
      await scope.commit()
    })
    expect(await kennel.repository.has(Dog.createId('Rex'))).to.equal(true)
    expect(await datastore.db.select().from(owners)).to.deep.equal([{ name: 'Ann' }])
  })

  it('leaves a scope with the error of a refused row as one of ours', async () => {
    const scope = scopedSession(datastore)
    const outcome = scope.run(async () => {
      await scope.session.insert(owners).values([{ name: 'Ann' }, { name: 'Ann' }])
    })
    expect((await rejection(outcome, IntegrityError)).code).to.equal('SQLITE_CONSTRAINT_PRIMARYKEY')
  })

  it('has the types of the schema, and says what is not for it', async () => {
    await using session = await datastore.openSession()
    await session.insert(owners).values({ name: 'Ann' })
    const found: { name: string } | undefined = await session.query.owners.findFirst()
    const seven: number = session.run(() => 7)
    const { changes }: { changes: number } = await session.run(sql`DELETE FROM owners`)
    expect([found, seven, changes]).to.deep.equal([{ name: 'Ann' }, 7, 1])
    const scope = scopedSession(datastore)
    const selected: { name: string }[] = await scope.run(() => scope.session.select().from(owners))
    expect(selected).to.deep.equal([])
    // @ts-expect-error  there is no such table
    expect(session.query.pets).to.equal(undefined)
    expect(() => session.execute()).to.throw(NotSupportedError)
    await rejection(session.run('COMMIT').execute(), ProgrammingError)
    await rejection(
      session.run(() => datastore.db.delete(owners).execute()),
      ProgrammingError,
      'use the transaction',
    )
  })
})
