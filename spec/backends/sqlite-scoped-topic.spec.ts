import { join } from 'node:path'
import Database from 'better-sqlite3'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import { type Stage, scopedTopicCases } from '../support/scoped-topic.js'
import { createOwners, owners, remove, schema, temporaryDirectory } from '../support/sqlite-backends.js'

describe('A scoped session on SQLite, from a topic,', () => {
  scopedTopicCases(openStage)
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
