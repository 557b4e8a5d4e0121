import { AsyncLocalStorage } from 'node:async_hooks'
import { join } from 'node:path'
import { expect } from 'chai'
import Database from 'better-sqlite3'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import '../../lib/index.js'
import { cacheEnv } from '../support/cached-schools.js'
import { type Stage, scopedTopicCases } from '../support/scoped-topic.js'
import { createOwners, owners, remove, schema, temporaryDirectory } from '../support/sqlite-backends.js'
import { TrainingSchool } from '../support/training-school.js'

describe('A scoped session on SQLite, from a topic,', () => {
  scopedTopicCases(openStage)

  for (const fastForward of [true, false]) {
    it(`of another database has nothing of a cache, ${fastForward ? 'with' : 'without'} fast-forward`, async () => {
      await using stage = await openStage()
      await using other = await openStage()
      const current = new AsyncLocalStorage<object>()
      await using school = new TrainingSchool({
        env: {
          PERSISTENCE_MODULE: 'eventsourcing-drizzle',
          DRIZZLE_SCOPED_SESSION_TOPIC: () => current.getStore(),
          ...stage.url,
          ...cacheEnv({ fastForward }),
        },
      })
      await using elsewhere = new TrainingSchool({
        env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...other.url },
      })
      for (const [each, trick] of [
        [school, 'sit'],
        [elsewhere, 'stay'],
      ] as const) {
        await each.register('Fido')
        await each.addTrick('Fido', trick)
        expect(await each.tricks('Fido')).to.deep.equal([trick])
      }
      const tricks = () => school.tricks('Fido')
      expect(await current.run(other.db, tricks)).to.deep.equal(['stay'])
      expect(await other.begun((session) => current.run(session, tricks))).to.deep.equal(['stay'])
      expect(await tricks()).to.deep.equal(['sit'])
    })
  }
})

async function openStage(): Promise<Stage> {
  const directory = await temporaryDirectory()
  const file = join(directory, 'school.db')
  const client = new Database(file)
  client.pragma('journal_mode = WAL')
  client.exec(createOwners)
  return {
    url: { DRIZZLE_URL: `sqlite:${file}` },
    noUrl: {},
    db: drizzle(client, { schema }),
    async begun(work, commits = true) {
      const own = new Database(file)
      try {
        own.exec('BEGIN')
        const result = await work(drizzle(own, { schema }))
        own.exec(commits ? 'COMMIT' : 'ROLLBACK')
        return result
      } finally {
        own.close()
      }
    },
    async insertOwner(session, name) {
      await (session as BetterSQLite3Database<typeof schema>).insert(owners).values({ name })
    },
    async ownerNames() {
      return client.prepare('SELECT name FROM owners ORDER BY name').pluck().all() as string[]
    },
    async eventTables() {
      return client
        .prepare("SELECT name FROM sqlite_master WHERE name LIKE '%\\_events' ESCAPE '\\'")
        .pluck()
        .all() as string[]
    },
    async [Symbol.asyncDispose]() {
      client.close()
      await remove(directory)
    },
  }
}
