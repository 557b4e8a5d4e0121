import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { AggregateNotFoundError } from '../../lib/errors.js'
import { postgres, type PostgresDatastore } from '../../lib/postgres/index.js'
import { cacheEnv } from '../support/cached-schools.js'
import { Dog } from '../support/dogs.js'
import { type FreshSchema, freshSchema } from '../support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { TrainingSchool } from '../support/training-school.js'

const fido = Dog.createId('Fido')

describePostgres('The cache of a repository on PostgreSQL', () => {
  let place: FreshSchema
  let datastore: PostgresDatastore
  let school: TrainingSchool

  beforeEach(async () => {
    place = await freshSchema()
    datastore = postgres({ url: postgresUrl(), connection: { search_path: place.searchPath } })
    school = await TrainingSchool.create({ persistence: datastore, env: cacheEnv() })
    await school.register('Fido')
    await school.tricks('Fido')
  })

  afterEach(async () => {
    await school.close()
    await datastore.close()
    await place.drop()
  })

  it('shows a transaction no newer state than that sees', async () => {
    await school.transaction(
      async (session) => {
        await session.execute(sql`SELECT 1`)
        await datastore.outside(async () => {
          await school.addTrick('Fido', 'sit')
          expect(await school.tricks('Fido')).to.deep.equal(['sit'])
        })
        expect(await school.tricks('Fido')).to.deep.equal([])
      },
      { isolationLevel: 'repeatable read' },
    )
    // what the transaction has read does not come before what was there already
    expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    await school.transaction(async () => {
      expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    })
  })

  it('shows a transaction nothing that is deleted, and outside of it forgets that by hand', async () => {
    await school.addTrick('Fido', 'sit')
    await school.tricks('Fido')
    await datastore.db.execute(sql`DELETE FROM training_school_events WHERE originator_version = 2`)
    await school.transaction(async () => {
      expect(await school.tricks('Fido')).to.deep.equal([])
    })
    expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    await school.repository.forget(fido)
    expect(await school.tricks('Fido')).to.deep.equal([])
    await school.transaction(async (session) => {
      await session.execute(sql`DELETE FROM training_school_events`)
      const error = await school.tricks('Fido').catch((reason: unknown) => reason)
      expect(error).to.be.instanceOf(AggregateNotFoundError)
    })
  })
})
