import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { AggregateNotFoundError, RecordConflictError } from 'eventsourcing-drizzle'
import { sqlite } from 'eventsourcing-drizzle/sqlite'
import { owners, TrainingSchool } from './application.js'
import { Dog } from './domain.js'

const openDatastore = () => sqlite('sqlite::memory:', { schema: { owners } })

describe('The training school', function () {
  let datastore: ReturnType<typeof openDatastore>
  let school: TrainingSchool

  beforeEach(async function () {
    datastore = openDatastore()
    school = await TrainingSchool.create({ persistence: datastore })
    await datastore.db.run(sql`CREATE TABLE owners (id integer PRIMARY KEY, name text NOT NULL, dog text NOT NULL)`)
  })

  afterEach(async function () {
    await school.close()
    await datastore.close()
  })

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
      await session.insert(owners).values({ name: 'Ann', dog: 'Buster' })
      await school.register('Buster')
    })

    expect((await datastore.db.select().from(owners)).map(({ name }) => name)).to.deep.equal(['Ann'])
    expect(await school.tricks('Buster')).to.deep.equal([])
  })

  it('rolls an owner and a dog back together', async function () {
    const bitten = new Error('Rex bit the postman')
    const attempt = school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'Bob', dog: 'Rex' })
      await school.register('Rex')
      throw bitten
    })

    expect(await rejection(attempt)).to.equal(bitten)
    expect(await datastore.db.select().from(owners)).to.deep.equal([])
    expect(await school.repository.has(Dog.createId('Rex'))).to.equal(false)
  })
})

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.fail('resolved, and should have been rejected'),
    (error: unknown) => error,
  )
}
