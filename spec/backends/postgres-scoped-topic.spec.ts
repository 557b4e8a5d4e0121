import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { createOwners, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { type Stage, scopedTopicCases } from '../support/scoped-topic.js'

describePostgres('A scoped session on PostgreSQL, from a topic,', () => {
  scopedTopicCases(openStage)
})

class Undone extends Error {}

async function openStage(): Promise<Stage> {
  const { name: schemaName, searchPath, drop } = await freshSchema()
  await createOwners(schemaName)
  const client = postgresJs(postgresUrl(), {
    max: 4,
    connection: { search_path: searchPath },
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
