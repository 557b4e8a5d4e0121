import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { INestApplication } from '@nestjs/common'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import ts from 'typescript'
import { TrainingSchool } from '../training-school/application.js'
import { Adoptions, type RequestSession } from './adoptions.js'
import { type Place, type Served, describeServer } from './requests.js'

interface Example {
  currentSession(): RequestSession
  nestServer(adoptions: Adoptions, db: unknown): Promise<INestApplication>
}

/** On SQLite Nest's transactions are those of `datastore.db`, which the datastore's events join by themselves. */
async function onSqlite({ datastore, table, vet }: Place): Promise<Served> {
  const { currentSession, nestServer } = await example()
  const school = await TrainingSchool.create({ persistence: datastore })
  const adoptions = new Adoptions({ school, session: currentSession, table, vet })
  return listening(await nestServer(adoptions, (datastore as unknown as { db: unknown }).db), () => school.close())
}

/** On PostgreSQL the database is Nest's, and the application is told where its transaction is. */
async function onPostgres({ url, table, vet }: Place): Promise<Served> {
  const { currentSession, nestServer } = await example()
  const client = postgresJs(url)
  const db = drizzle(client)
  const env = { PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_SCOPED_SESSION_TOPIC: currentSession }
  const school = new TrainingSchool({ env })
  const adoptions = new Adoptions({ school, session: currentSession, table, vet })
  return listening(await nestServer(adoptions, db), async () => {
    await school.close()
    await client.end()
  })
}

async function listening(app: INestApplication, close: () => Promise<void>): Promise<Served> {
  await app.init()
  return { server: app.getHttpServer() as Server, close }
}

let loaded: Promise<Example> | undefined

/** `nestjs/server.ts`, whose decorators are the legacy ones, which the other files here are not compiled with. */
function example(): Promise<Example> {
  return (loaded ??= (async () => {
    const source = new URL('../../../../docs/examples/web-frameworks/nestjs/server.ts', import.meta.url)
    const output = new URL('./nestjs/server.js', import.meta.url)
    const { outputText } = ts.transpileModule(readFileSync(source, 'utf8'), {
      fileName: fileURLToPath(source),
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
      },
    })
    mkdirSync(new URL('.', output), { recursive: true })
    writeFileSync(output, outputText)
    return (await import(pathToFileURL(fileURLToPath(output)).href)) as Example
  })())
}

describeServer('NestJS 11', { sqlite: onSqlite, postgres: onPostgres }, { stopsAtHangUp: false })
