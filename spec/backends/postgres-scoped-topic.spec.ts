import { expect } from 'chai'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { IntegrityError, OperationalError } from '../../lib/errors.js'
import { Dog } from '../support/dogs.js'
import { terminate } from '../support/killer.js'
import { createOwners, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { type Stage, scopedTopicCases } from '../support/scoped-topic.js'

describePostgres('A scoped session on PostgreSQL, from a topic,', () => {
  scopedTopicCases(() => openStage())

  it('stores events with the position that they come from, all or nothing, on a plain database', async () => {
    await using stage = await openStage()
    const factory = new DrizzleFactory({
      name: 'School',
      env: { ...stage.noUrl, DRIZZLE_SCOPED_SESSION_TOPIC: () => stage.db },
    })
    const recorder = await factory.processRecorder()
    const events = (id: string) => [{ originatorId: id, originatorVersion: 1, topic: 'a', state: new Uint8Array(1) }]
    const tracking = { applicationName: 'upstream', notificationId: 5 }
    await recorder.insertEvents(events('a'), { tracking })
    await rejection(recorder.insertEvents(events('b'), { tracking }), IntegrityError)
    expect(await recorder.selectEvents('b')).to.deep.equal([])
    expect(await recorder.maxTrackingId('upstream')).to.equal(5)
    await factory.close()
  })

  it('is usable again after the connections of a plain database were killed', async () => {
    await using stage = await openStage('killed')
    await using school = await openSchool(stage, () => stage.db)
    await school.save(new Dog('Fido'))
    const lost = school.transaction(async () => {
      await school.save(new Dog('Rex'))
      await terminate(admin(), 'killed')
      await school.save(new Dog('Buster'))
    })
    expect((await rejection(lost, OperationalError)).retryable).to.equal(true)
    await school.save(new Dog('Lassie'))
    const notifications = await school.recorder.selectNotifications({ start: 1, limit: 10 })
    expect(notifications.map(({ originatorId }) => originatorId)).to.deep.equal(['Fido', 'Lassie'].map(Dog.createId))
  })
})

function openSchool(stage: Stage, topic: () => unknown): Promise<Application> {
  const env = { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...stage.url, DRIZZLE_SCOPED_SESSION_TOPIC: topic }
  return Application.create({ name: 'School', env })
}

class Undone extends Error {}

async function openStage(applicationName = 'scopes'): Promise<Stage> {
  const { name: schemaName, searchPath, drop } = await freshSchema()
  await createOwners(schemaName)
  const client = postgresJs(postgresUrl(), {
    max: 4,
    connection: { search_path: searchPath, application_name: applicationName },
    onnotice: () => undefined,
  })
  const db = drizzle(client, { schema })
  return {
    url: { DRIZZLE_URL: postgresUrl(), DRIZZLE_SCHEMA: schemaName },
    noUrl: { DRIZZLE_SCHEMA: schemaName },
    db,
    async begun(work, commits = true) {
      let result: { readonly value: Awaited<ReturnType<typeof work>> } | undefined
      try {
        await db.transaction(async (session) => {
          result = { value: await work(session) }
          if (!commits) throw new Undone()
        })
      } catch (error) {
        if (!(error instanceof Undone)) throw error
      }
      return result!.value
    },
    async insertOwner(session, name) {
      await (session as PostgresJsDatabase<typeof schema>).insert(owners).values({ name })
    },
    async ownerNames() {
      return (await db.select().from(owners).orderBy(owners.name)).map(({ name }) => name)
    },
    async eventTables() {
      const rows =
        await admin()`SELECT tablename FROM pg_tables WHERE schemaname = ${schemaName} AND tablename LIKE '%\\_events'`
      return rows.map(({ tablename }) => tablename as string)
    },
    async [Symbol.asyncDispose]() {
      await client.end({ timeout: 1 })
      await drop()
    },
  }
}
