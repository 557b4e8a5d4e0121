import { mkdir, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import type { Datastore } from '../../lib/drizzle/index.js'
import { NotSupportedError, ProgrammingError } from '../../lib/errors.js'
import '../../lib/index.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'

describe('An application on SQLite by its environment', () => {
  let directory: string
  let file: string
  const applications: Application[] = []

  beforeEach(async () => {
    directory = await temporaryDirectory()
    file = join(directory, 'school.db')
  })

  afterEach(async () => {
    for (const application of applications.splice(0)) await application.close()
    await remove(directory)
  })

  it('shares one datastore with others of equal configuration: a transaction of one covers the other', async () => {
    const school = await created('School', { DRIZZLE_URL: `sqlite:${file}` })
    const kennel = await created('Kennel', { DRIZZLE_URL: `sqlite:///${relative(process.cwd(), file)}` })
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

  it('has a datastore of its own where its options differ', async () => {
    const school = await created('School', { DRIZZLE_URL: `sqlite:${file}` })
    const impatient = await created('Kennel', { DRIZZLE_URL: `sqlite:${file}`, DRIZZLE_POOL_TIMEOUT_MS: '100' })
    expect(school.factory.datastore).not.to.equal(impatient.factory.datastore)
    await school.save(new Dog('Fido'))
    await impatient.save(new Dog('Fido'))
    // both are there, in one file
    const rows = await (impatient.factory.datastore as Datastore<AnyDb>).db.all('SELECT * FROM school_events')
    expect(rows).to.have.length(1)
  })

  it('has a database in memory for itself', async () => {
    const [one, other] = [
      await created('School', { DRIZZLE_URL: 'sqlite::memory:' }),
      await created('School', { DRIZZLE_URL: 'sqlite::memory:' }),
    ]
    expect(one.factory.datastore).not.to.equal(other.factory.datastore)
    await one.save(new Dog('Fido'))
    expect(await other.repository.has(Dog.createId('Fido'))).to.equal(false)
  })

  it('leaves the other one working when it is closed, and the file when both are', async () => {
    const env = { DRIZZLE_URL: `sqlite:${file}` }
    const [school, kennel] = [await created('School', env), await created('Kennel', env)]
    const { datastore } = kennel.factory
    await school.close()
    await school.close()
    await kennel.save(new Dog('Rex'))
    expect(await kennel.repository.has(Dog.createId('Rex'))).to.equal(true)
    await kennel.close()
    await rejection(datastore.ready(), Error, 'closed')

    const again = await created('Kennel', env)
    expect(again.factory.datastore).not.to.equal(datastore)
    expect(await again.repository.has(Dog.createId('Rex'))).to.equal(true)
  })

  it('has the variable with its own name before the common one', async () => {
    const own = join(directory, 'own.db')
    const env = { DRIZZLE_URL: `sqlite:${file}`, TRAINING_SCHOOL_DRIZZLE_URL: `sqlite:${own}` }
    await (await created('TrainingSchool', env)).save(new Dog('Fido'))
    expect((await stat(own)).isFile()).to.equal(true)
    await rejection(stat(file), Error, 'ENOENT')
  })

  it('connects at its first operation, and tries again after one that failed', async () => {
    const school = make('School', { DRIZZLE_URL: `sqlite:${join(directory, 'later', 'school.db')}` })
    await rejection(school.save(new Dog('Fido')), Error, 'directory')
    await mkdir(join(directory, 'later'))
    const dog = new Dog('Fido')
    const saves = await Promise.all([school.save(dog), school.save(new Dog('Rex')), school.ready()])
    expect(saves.slice(0, 2).flat()).to.have.length(2)
  })

  const refused: [string, Record<string, string>, new (...args: never[]) => Error, RegExp][] = [
    ['no URL', {}, ProgrammingError, /DRIZZLE_URL.*sqlite:school\.db/],
    ['an empty URL', { DRIZZLE_URL: '' }, ProgrammingError, /DRIZZLE_URL.*sqlite:school\.db/],
    ['a scheme that is not known', { DRIZZLE_URL: 'mysql://u:secret@h/db' }, ProgrammingError, /sqlite:school\.db/],
    ['a file name alone', { DRIZZLE_URL: 'secret.db' }, ProgrammingError, /sqlite:school\.db/],
    ['a host', { DRIZZLE_URL: 'sqlite://secret/db' }, ProgrammingError, /sqlite:school\.db/],
    ['a schema', { DRIZZLE_URL: 'sqlite::memory:', DRIZZLE_SCHEMA: 'es' }, NotSupportedError, /DRIZZLE_SCHEMA/],
    ['a pool of none', { DRIZZLE_URL: 'sqlite::memory:', DRIZZLE_POOL_SIZE: '0' }, ProgrammingError, /POOL_SIZE/],
    [
      'a timeout of words',
      { DRIZZLE_URL: 'sqlite::memory:', DRIZZLE_POOL_TIMEOUT_MS: 'long' },
      ProgrammingError,
      /_MS/,
    ],
    ['neither yes nor no', { DRIZZLE_URL: 'sqlite::memory:', CREATE_TABLE: 'maybe' }, ProgrammingError, /CREATE_TABLE/],
    [
      'an autoflush of words',
      { DRIZZLE_URL: 'sqlite::memory:', DRIZZLE_AUTOFLUSH: 'later' },
      ProgrammingError,
      /AUTOFLUSH/,
    ],
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
    const school = make('School of many dogs and of even more tricks, both', { DRIZZLE_URL: 'sqlite::memory:' })
    await rejection(school.ready(), ProgrammingError, 'shorter name')
  })

  function make(name: string, env: Record<string, string>): Application {
    const application = new Application({ name, env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...env } })
    applications.push(application)
    return application
  }

  async function created(name: string, env: Record<string, string>): Promise<Application> {
    const application = make(name, env)
    await application.ready()
    return application
  }
})

interface AnyDb {
  all(query: string): Promise<unknown[]>
}
