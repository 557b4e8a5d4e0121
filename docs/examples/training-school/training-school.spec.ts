import { expect } from 'chai'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { AggregateNotFoundError, RecordConflictError } from 'eventsourcing-drizzle'
import { freshSchema } from '../../../spec/support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../../../spec/support/postgres-server.js'
import { TrainingSchool } from './application.js'
import { Dog } from './domain.js'
import { openDatabase, type SchoolDatabase } from './tables.js'

describe('The training school on SQLite', function () {
  cases(async () => ({ url: 'sqlite::memory:', drop: async () => undefined }))

  it('has a demo, which shows it on a file of its own', async function () {
    const { stdout } = await demo()
    expect(stdout).to.include('on SQLite').and.to.include('No Bob, no Rex')
  })
})

describePostgres('The training school on PostgreSQL', () => {
  cases(freshDatabase)

  it('has a demo, which is shown in a database once', async () => {
    const { url, drop } = await freshDatabase()
    try {
      const { stdout } = await demo(url)
      expect(stdout).to.include('on PostgreSQL').and.to.include('No Bob, no Rex')
      expect(stdout).not.to.include(url)
      const again = await demo(url).catch(({ code, stdout }: { code: number; stdout: string }) => ({ code, stdout }))
      expect(again).to.have.property('code', 1)
      expect(again.stdout).to.include('already')
    } finally {
      await drop()
    }
  })
})

/** An empty database, as far as the school can see. */
interface Place {
  readonly url: string
  drop(): Promise<void>
}

async function freshDatabase(): Promise<Place> {
  const { searchPath, drop } = await freshSchema()
  const url = new URL(postgresUrl())
  url.searchParams.set('search_path', searchPath)
  return { url: url.href, drop }
}

function cases(open: () => Promise<Place>): void {
  let place: Place
  let database: SchoolDatabase
  let school: TrainingSchool

  beforeEach(async function () {
    place = await open()
    database = openDatabase(place.url)
    school = await TrainingSchool.create({ persistence: database.datastore })
    await database.createOwners()
  })

  afterEach(async function () {
    await school.close()
    await database.datastore.close()
    await place.drop()
  })

  const owners = () => school.transaction((session) => database.allOwners(session))

  it('remembers the tricks of a dog, in the order they were learned', async function () {
    await school.register('Fido')
    await school.addTrick('Fido', 'roll over')
    await school.addTrick('Fido', 'play dead')

    expect(await school.tricks('Fido')).to.deep.equal(['roll over', 'play dead'])
    const { items } = await school.notificationLog.section('1,10')
    expect(items.map(({ id, topic }) => [id, topic])).to.deep.equal([
      [1, 'Dog.Registered'],
      [2, 'Dog.TrickAdded'],
      [3, 'Dog.TrickAdded'],
    ])
  })

  it('knows no dog that was not registered, and registers none twice', async function () {
    expect(await rejection(school.tricks('Fido'))).to.be.instanceOf(AggregateNotFoundError)
    await school.register('Fido')
    expect(await rejection(school.register('Fido'))).to.be.instanceOf(RecordConflictError)
  })

  it('commits an owner and a dog together', async function () {
    await school.transaction(async (session) => {
      await session.insert(database.owners).values({ name: 'Ann', dog: 'Buster' })
      await school.register('Buster')
    })

    expect((await owners()).map(({ name }) => name)).to.deep.equal(['Ann'])
    expect(await school.tricks('Buster')).to.deep.equal([])
  })

  it('rolls an owner and a dog back together', async function () {
    const bitten = new Error('Rex bit the postman')
    const attempt = school.transaction(async (session) => {
      await session.insert(database.owners).values({ name: 'Bob', dog: 'Rex' })
      await school.register('Rex')
      throw bitten
    })

    expect(await rejection(attempt)).to.equal(bitten)
    expect(await owners()).to.deep.equal([])
    expect(await school.repository.has(Dog.createId('Rex'))).to.equal(false)
  })
}

/** Runs `demo.ts`, on the database of that URL if there is one. */
function demo(url = ''): Promise<{ stdout: string }> {
  const program = fileURLToPath(new URL('./demo.js', import.meta.url))
  return promisify(execFile)(process.execPath, [program], { env: { ...process.env, DRIZZLE_URL: url } })
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.fail('resolved, and should have been rejected'),
    (error: unknown) => error,
  )
}
