import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { Application } from '../../lib/application/application.js'
import type { Datastore } from '../../lib/drizzle/index.js'
import { OperationalError, ProgrammingError } from '../../lib/errors.js'
import '../../lib/index.js'
import type { PostgresDatastore } from '../../lib/postgres/index.js'
import { Child } from '../support/child.js'
import { Dog } from '../support/dogs.js'
import { type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'
import { TrainingSchool } from '../support/training-school.js'

describePostgres('An application on PostgreSQL by its environment', () => {
  let place: FreshSchema
  const applications: Application[] = []

  beforeEach(async () => {
    place = await freshSchema()
  })

  afterEach(async () => {
    await Child.endAll()
    for (const application of applications.splice(0)) await application.close()
    await place.drop()
  })

  /** The run's database, in the case's schema, whose tables are found without DRIZZLE_SCHEMA. */
  function urlOfPlace(scheme = 'postgresql'): string {
    const url = new URL(postgresUrl())
    url.searchParams.set('search_path', place.searchPath)
    return url.href.replace(/^postgres(ql)?:/, `${scheme}:`)
  }

  it('is saved and read, by others of its configuration too', async () => {
    const env = { DRIZZLE_URL: postgresUrl(), DRIZZLE_SCHEMA: place.name }
    const school = track(new TrainingSchool({ env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...env } }))
    await school.register('Fido')
    await school.addTrick('Fido', 'roll over')
    expect(await school.tricks('Fido')).to.deep.equal(['roll over'])
    const { items } = await school.notificationLog.section('1,10')
    expect(items.map(({ topic }) => topic)).to.deep.equal(['Dog.Registered', 'Dog.TrickAdded'])
    expect(await tables()).to.deep.equal(['training_school_events'])
    await school.close()

    const again = track(new TrainingSchool({ env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...env } }))
    expect(await again.tricks('Fido')).to.deep.equal(['roll over'])
  })

  it('is read and written from another process, with the variables of that', async () => {
    const env = { PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: postgresUrl(), DRIZZLE_SCHEMA: place.name }
    const school = track(new TrainingSchool({ env }))
    await school.register('Fido')
    await school.addTrick('Fido', 'sit')
    const pupil = new Child('pg-pupil', [JSON.stringify(env), 'Fido'])
    expect(await pupil.message()).to.deep.equal(['sit', 'bark'])
    const { code, stderr } = await pupil.exit
    expect(code, stderr).to.equal(0)
    expect(await school.tricks('Fido')).to.deep.equal(['sit', 'bark'])
  })

  for (const scheme of ['postgres', 'postgresql', 'postgresql+psycopg2', 'postgresql+asyncpg']) {
    it(`takes a URL with ${scheme}://`, async () => {
      const school = await created('School', { DRIZZLE_URL: urlOfPlace(scheme) })
      await school.save(new Dog('Fido'))
      expect(school.factory.datastore).to.have.property('dialect', 'postgresql')
      expect(await tables()).to.deep.equal(['school_events'])
    })
  }

  it('shares one datastore with others of equal configuration: a transaction of one covers the other', async () => {
    const school = await created('School', { DRIZZLE_URL: urlOfPlace('postgres') })
    const kennel = await created('Kennel', { DRIZZLE_URL: urlOfPlace('postgresql+psycopg2') })
    expect(school.factory.datastore).to.equal(kennel.factory.datastore)
    await rejection(
      school.transaction(async () => {
        await school.save(new Dog('Fido'))
        await kennel.save(new Dog('Rex'))
        throw new RangeError('undone')
      }),
      RangeError,
    )
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
    expect(await kennel.repository.has(Dog.createId('Rex'))).to.equal(false)
  })

  it('has a datastore of its own where its schema differs, and tables too', async () => {
    await using elsewhere = await freshSchema('Else "where" ')
    const env = { DRIZZLE_URL: postgresUrl() }
    const school = await created('School', { ...env, DRIZZLE_SCHEMA: place.name })
    const other = await created('School', { ...env, DRIZZLE_SCHEMA: elsewhere.name })
    const same = await created('School', { ...env, DRIZZLE_SCHEMA: elsewhere.name })
    expect(school.factory.datastore).not.to.equal(other.factory.datastore)
    expect(same.factory.datastore).to.equal(other.factory.datastore)
    await rejection(
      school.transaction(async () => {
        await school.save(new Dog('Fido'))
        await other.save(new Dog('Fido'))
        throw new RangeError('undone')
      }),
      RangeError,
    )
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
    expect(await other.repository.has(Dog.createId('Fido'))).to.equal(true)
    for (const application of [school, other, same]) await application.close()
  })

  it('has a datastore of its own where its options differ', async () => {
    const env = { DRIZZLE_URL: urlOfPlace() }
    const school = await created('School', env)
    const patient = await created('School', { ...env, DRIZZLE_POOL_TIMEOUT_MS: '60000' })
    const small = await created('School', { ...env, DRIZZLE_POOL_SIZE: '1' })
    const datastores = [school, patient, small].map(({ factory }) => factory.datastore)
    expect(new Set(datastores).size).to.equal(3)
    await school.save(new Dog('Fido'))
    expect(await small.repository.has(Dog.createId('Fido'))).to.equal(true)
  })

  it('has as many connections as DRIZZLE_POOL_SIZE says, and waits as long as DRIZZLE_POOL_TIMEOUT_MS', async () => {
    const school = await created('School', {
      DRIZZLE_URL: urlOfPlace(),
      DRIZZLE_POOL_SIZE: '2',
      DRIZZLE_POOL_TIMEOUT_MS: '500',
    })
    const datastore = school.factory.datastore as Datastore
    await school.transaction(async () => {
      const second = await datastore.outside(() => datastore.transaction())
      const third = await rejection(
        datastore.outside(() => datastore.transaction()),
        OperationalError,
        '500 ms',
      )
      expect(third.retryable).to.equal(true)
      await second.rollback()
      await (await datastore.outside(() => datastore.transaction())).rollback()
    })
  })

  it('leaves the other one working when it is closed, and no connection when both are', async () => {
    const env = { DRIZZLE_URL: `${urlOfPlace()}&application_name=${place.name}` }
    const [school, kennel] = [await created('School', env), await created('Kennel', env)]
    const { datastore } = kennel.factory
    await school.close()
    await school.close()
    await kennel.save(new Dog('Rex'))
    expect(await kennel.repository.has(Dog.createId('Rex'))).to.equal(true)
    expect(await connections()).to.be.above(0)
    await kennel.close()
    await rejection(datastore.ready(), Error, 'closed')
    while ((await connections()) > 0) await new Promise((resolve) => setTimeout(resolve, 5))

    const again = await created('Kennel', env)
    expect(again.factory.datastore).not.to.equal(datastore)
    expect(await again.repository.has(Dog.createId('Rex'))).to.equal(true)
  })

  it('lets saves wait where DRIZZLE_AUTOFLUSH says so, for itself and those who say the same', async () => {
    const env = { DRIZZLE_URL: urlOfPlace() }
    const school = await created('School', env)
    const [patient, other] = [
      await created('School', { ...env, DRIZZLE_AUTOFLUSH: 'False' }),
      await created('Kennel', { ...env, KENNEL_DRIZZLE_AUTOFLUSH: 'no' }),
    ]
    expect(patient.factory.datastore).to.equal(other.factory.datastore)
    expect(patient.factory.datastore).not.to.equal(school.factory.datastore)
    const recordings = await school.transaction(() => school.save(new Dog('Fido')))
    expect(recordings).to.have.length(1)
    expect(await patient.transaction(() => patient.save(new Dog('Rex')))).to.deep.equal([])
    for (const name of ['Fido', 'Rex']) expect(await school.repository.has(Dog.createId(name))).to.equal(true)
  })

  it('has the variable with its own name before the common one', async () => {
    await using own = await freshSchema()
    const env = {
      DRIZZLE_URL: 'postgresql://nobody@127.0.0.1:1/nowhere',
      TRAINING_SCHOOL_DRIZZLE_URL: postgresUrl(),
      DRIZZLE_SCHEMA: place.name,
      TRAINING_SCHOOL_DRIZZLE_SCHEMA: own.name,
    }
    const school = await created('TrainingSchool', env)
    await school.save(new Dog('Fido'))
    expect(await tables()).to.deep.equal([])
    expect(await tables(own)).to.deep.equal(['training_school_events'])
    await school.close()
  })

  it('makes no tables where CREATE_TABLE says no', async () => {
    const env = { DRIZZLE_URL: postgresUrl(), DRIZZLE_SCHEMA: place.name, CREATE_TABLE: 'n' }
    const school = await created('School', env)
    expect(await failure(school.save(new Dog('Fido')))).to.have.property('code', '42P01')
    expect(await tables()).to.deep.equal([])
  })

  it('has a database of the user’s to go with it', async () => {
    const school = await created('School', { DRIZZLE_URL: urlOfPlace() })
    const { db } = school.factory.datastore as unknown as PostgresDatastore
    await db.execute(sql`CREATE TABLE people (name text)`)
    await school.save(new Dog('Fido'))
    const rows = await db.execute(sql`SELECT originator_version::int FROM school_events`)
    expect([...rows]).to.deep.equal([{ originator_version: 1 }])
  })

  it('connects at its first operation, and tries again after one that failed', async () => {
    const database = `later_${place.name.replaceAll('-', '_')}`
    const url = new URL(postgresUrl())
    url.pathname = `/${database}`
    const school = make('School', { DRIZZLE_URL: url.href })
    const dog = new Dog('Fido')
    await rejection(school.save(dog), Error, database)
    await admin()`CREATE DATABASE ${admin()(database)}`
    try {
      const saves = await Promise.all([school.save(dog), school.save(new Dog('Rex')), school.ready()])
      expect(saves.slice(0, 2).flat()).to.have.length(2)
      await school.close()
    } finally {
      await admin()`DROP DATABASE ${admin()(database)} WITH (FORCE)`
    }
  })

  const here = 'postgresql://nobody:secret@127.0.0.1:1/nowhere'
  const refused: [string, Record<string, string>, new (...args: never[]) => Error, RegExp][] = [
    ['no URL', {}, ProgrammingError, /DRIZZLE_URL.*postgresql:/],
    ['a URL with a mistake', { DRIZZLE_URL: 'postgresql://u:secret@h:port/db' }, ProgrammingError, /postgresql:\/\//],
    ['a scheme that is not known', { DRIZZLE_URL: 'mysql://u:secret@h/db' }, ProgrammingError, /postgresql:\/\//],
    [
      'a schema that cannot be',
      { DRIZZLE_URL: here, DRIZZLE_SCHEMA: 'x'.repeat(64) },
      ProgrammingError,
      /too long.*63/,
    ],
    ['a pool of none', { DRIZZLE_URL: here, DRIZZLE_POOL_SIZE: '0' }, ProgrammingError, /POOL_SIZE/],
    ['a timeout of words', { DRIZZLE_URL: here, DRIZZLE_POOL_TIMEOUT_MS: 'long' }, ProgrammingError, /_MS/],
    ['neither yes nor no', { DRIZZLE_URL: here, CREATE_TABLE: 'maybe' }, ProgrammingError, /CREATE_TABLE/],
    ['an autoflush of words', { DRIZZLE_URL: here, DRIZZLE_AUTOFLUSH: 'later' }, ProgrammingError, /AUTOFLUSH/],
    ['a server that is not there', { DRIZZLE_URL: here }, OperationalError, /127\.0\.0\.1:1/],
  ]
  for (const [title, env, errorClass, says] of refused) {
    it(`refuses ${title}, and keeps the secret`, async () => {
      const school = make('School', env)
      const error = await rejection(school.ready(), errorClass, says)
      expect(String(error.stack)).not.to.include('secret')
      await rejection(school.save(new Dog('Fido')), errorClass, says)
    })
  }

  it('refuses a name that makes too long a table name', async () => {
    const school = make('School of many dogs and of even more tricks, both', { DRIZZLE_URL: here })
    await rejection(school.ready(), ProgrammingError, 'shorter name')
  })

  function track<A extends Application>(application: A): A {
    applications.push(application)
    return application
  }

  function make(name: string, env: Record<string, string>): Application {
    return track(new Application({ name, env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...env } }))
  }

  async function created(name: string, env: Record<string, string>): Promise<Application> {
    const application = make(name, env)
    await application.ready()
    return application
  }

  async function tables({ name }: FreshSchema = place): Promise<string[]> {
    const rows = await admin()`SELECT tablename FROM pg_tables WHERE schemaname = ${name} ORDER BY tablename`
    return rows.map(({ tablename }) => tablename as string)
  }

  async function connections(): Promise<number> {
    const [row] = await admin()`SELECT count(*)::int FROM pg_stat_activity WHERE application_name = ${place.name}`
    return row!.count as number
  }
})
