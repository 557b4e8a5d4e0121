import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { entityKind } from 'drizzle-orm'
import { drizzle as drizzleSqlite } from 'drizzle-orm/better-sqlite3'
import { PgDatabase } from 'drizzle-orm/pg-core'
import { drizzle as drizzleProxy } from 'drizzle-orm/pg-proxy'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application, type ApplicationOptions } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import {
  DatabaseProgrammingError,
  DataError,
  EventSourcingError,
  OperationalError,
  ProgrammingError,
} from '../../lib/errors.js'
import { postgres } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { createOwners, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { storedEvent } from '../support/stored-events.js'

class School extends Application {
  constructor(readonly options?: ApplicationOptions) {
    super(options)
  }
}

const password = 'sesame/ö%pen'

describePostgres('A PostgreSQL configuration that cannot work', () => {
  const role = `visitor_${randomBytes(6).toString('hex')}`

  before('there is a user who may do little', async () => {
    await admin().unsafe(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`)
  })

  after(async () => {
    await admin().unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
  })

  it('says that the password is wrong', async function () {
    const url = urlWith({ username: role, password: encodeURIComponent(`${password}!`) })
    if (await getsIn(url)) this.skip() // a server that asks for no password
    const school = schoolAt(url)
    const error = await isRefused(school, OperationalError, role)
    expect([error.code, error.retryable]).to.deep.equal(['28P01', false])
    await school.close()
  })

  it('says that the database is not there, and works once it is', async () => {
    const name = `later_${randomBytes(6).toString('hex')}`
    const school = schoolAt(urlWith({ pathname: `/${name}` }))
    const error = await isRefused(school, DatabaseProgrammingError, name)
    expect([error.code, error.retryable]).to.deep.equal(['3D000', false])
    await admin().unsafe(`CREATE DATABASE ${name}`)
    try {
      await works(school)
    } finally {
      await school.close()
      await admin().unsafe(`DROP DATABASE ${name} WITH (FORCE)`)
    }
  })

  it('says that the schema is not there, and works once it is', async () => {
    const name = `Later ${randomBytes(6).toString('hex')}`
    const school = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: name })
    const error = await isRefused(school, DatabaseProgrammingError, name)
    expect([error.code, error.retryable]).to.deep.equal(['3F000', false])
    expect(error.message).to.match(/CREATE SCHEMA|DRIZZLE_SCHEMA/)
    await admin()`CREATE SCHEMA ${admin()(name)}`
    await works(school)
    await school.close()
    await admin()`DROP SCHEMA ${admin()(name)} CASCADE`
  })

  it('says which table may not be created, and works once it may', async () => {
    await using place = await freshSchema()
    await admin().unsafe(`GRANT USAGE ON SCHEMA ${place.searchPath} TO ${role}`)
    const school = schoolAt(urlWith({ username: role, password: encodeURIComponent(password) }), {
      DRIZZLE_SCHEMA: place.name,
    })
    const error = await isRefused(school, DatabaseProgrammingError, 'school_events')
    expect(error.code).to.equal('42501')
    expect(error.message)
      .to.include(place.name)
      .and.to.match(/GRANT|CREATE_TABLE/)
    await admin().unsafe(`GRANT CREATE ON SCHEMA ${place.searchPath} TO ${role}`)
    await works(school)
    await school.close()
  })

  it('says which table may not be written, and works once it may', async () => {
    await using place = await freshSchema()
    const owner = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name })
    await owner.ready()
    await owner.close()
    await admin().unsafe(`
      GRANT USAGE ON SCHEMA ${place.searchPath} TO ${role};
      GRANT SELECT ON ALL TABLES IN SCHEMA ${place.searchPath} TO ${role};
      GRANT SELECT ON ALL SEQUENCES IN SCHEMA ${place.searchPath} TO ${role}`)
    const school = schoolAt(urlWith({ username: role, password: encodeURIComponent(password) }), {
      DRIZZLE_SCHEMA: place.name,
    })
    const dog = new Dog('Fido')
    const error = await rejection(school.save(dog), DatabaseProgrammingError, 'school_events')
    expect(error.code).to.equal('42501')
    expect(dog.pendingEvents).to.have.length(1)
    expect(await school.repository.has(dog.id)).to.equal(false)
    await admin().unsafe(`
      GRANT INSERT ON ALL TABLES IN SCHEMA ${place.searchPath} TO ${role};
      GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${place.searchPath} TO ${role}`)
    expect(await school.save(dog)).to.have.length(1)
    await school.close()
  })

  it('says which table is missing where none are to be created, and works once it is there', async () => {
    await using place = await freshSchema()
    const school = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name, CREATE_TABLE: 'no' })
    const dog = new Dog('Fido')
    const calls = [school.save(dog), school.repository.get(Dog, dog.id), school.recorder.maxNotificationId()]
    for (const error of await Promise.all(
      calls.map((call) => rejection(call, DatabaseProgrammingError, 'school_events')),
    )) {
      expect(error.code).to.equal('42P01')
    }
    const maker = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name })
    await maker.ready()
    await maker.close()
    await works(school)
    await school.close()
  })

  it('says that the server is only for reading', async () => {
    await using place = await freshSchema()
    const connection = { search_path: place.searchPath, default_transaction_read_only: true }
    await using datastore = postgres(postgresUrl(), { max: 2, connection })
    const school = new School({ name: 'School', persistence: datastore })
    const error = await isRefused(school, OperationalError, 'read-only')
    expect(error.code).to.equal('25006')
  })

  it('says that there are too many connections, and works once there are fewer', async () => {
    await using place = await freshSchema()
    await admin().unsafe(
      `GRANT USAGE, CREATE ON SCHEMA ${place.searchPath} TO ${role}; ALTER ROLE ${role} CONNECTION LIMIT 1`,
    )
    const url = urlWith({ username: role, password: encodeURIComponent(password) })
    const other = postgresJs(url, { max: 1 })
    await other`SELECT 1`
    const school = schoolAt(url, { DRIZZLE_SCHEMA: place.name, DRIZZLE_POOL_SIZE: '1' })
    const error = await isRefused(school, OperationalError, 'connections')
    expect([error.code, error.retryable]).to.deep.equal(['53300', true])
    await other.end()
    await works(school)
    await school.close()
    await admin().unsafe(`ALTER ROLE ${role} CONNECTION LIMIT -1`)
  })

  it('says that the server has no TLS where that is required', async function () {
    const url = urlWith({ search: '?sslmode=require' })
    if (await getsIn(url)) this.skip() // a server that has
    await using datastore = postgres(url, { poolTimeoutMs: 2000 })
    const error = await rejection(datastore.ready(), OperationalError)
    hidesSecrets(error)
  })

  describe('of the table of events', () => {
    it('whose sequence keeps numbers back is found at the start, and works once it does not', async () => {
      await using place = await freshSchema()
      const maker = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name })
      await maker.ready()
      await maker.close()
      const sequence = await sequenceOf(place.searchPath)
      for (const settings of ['CACHE 20', 'INCREMENT BY 10']) {
        await admin().unsafe(`ALTER SEQUENCE ${sequence} ${settings}`)
        for (const createTable of ['yes', 'no']) {
          const school = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name, CREATE_TABLE: createTable })
          const error = await isRefused(school, EventSourcingError, new RegExp(settings.slice(0, 5), 'i'))
          expect(error.message)
            .to.include('school_events')
            .and.to.match(/ALTER (SEQUENCE|TABLE)/)
          await admin().unsafe(`ALTER SEQUENCE ${sequence} CACHE 1 INCREMENT BY 1`)
          await works(school)
          await school.close()
          await admin().unsafe(`ALTER SEQUENCE ${sequence} ${settings}`)
        }
        await admin().unsafe(`ALTER SEQUENCE ${sequence} CACHE 1 INCREMENT BY 1`)
      }
    })

    it('whose unique index is missing is found at the start, and works once it is there', async () => {
      await using place = await freshSchema()
      const maker = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name })
      await maker.ready()
      await maker.close()
      await admin().unsafe(`DROP INDEX ${place.searchPath}.school_events_version_key`)
      for (const createTable of ['yes', 'no']) {
        const school = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name, CREATE_TABLE: createTable })
        const error = await isRefused(school, ProgrammingError, 'school_events')
        expect(error.message).to.include('unique index on (originator_id, originator_version)')
        // of whatever name
        await admin().unsafe(
          `CREATE UNIQUE INDEX mended ON ${place.searchPath}.school_events (originator_id, originator_version)`,
        )
        await works(school)
        await school.close()
        await admin().unsafe(`DROP INDEX ${place.searchPath}.mended`)
      }
    })
  })

  describe('of names and values', () => {
    it('has a table name of more than 63 bytes', async () => {
      for (const name of ['N'.repeat(60), 'ü'.repeat(30)]) {
        const school = new Application({ name, persistence: postgres(postgresUrl()) })
        await rejection(school.ready(), ProgrammingError, 'at most 63')
        await rejection(school.save(new Dog('Fido')), ProgrammingError, 'at most 63')
      }
      const school = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: 's'.repeat(64) })
      await isRefused(school, ProgrammingError, 'at most 63')
      await school.close()
    })

    it('works with names that need quotes', async () => {
      await using place = await freshSchema('Größe "of" dogs; DROP ')
      for (const name of ['select', 'My "dogs"', "Ann's", 'a;b', 'Größe', 'a.b', '%s $1']) {
        const school = schoolAt(postgresUrl(), { DRIZZLE_SCHEMA: place.name }, name)
        await works(school)
        await school.close()
      }
    })

    it('has text with a NUL character, which PostgreSQL cannot hold, and goes on', async () => {
      await using place = await freshSchema()
      await createOwners(place.name)
      await using datastore = postgres(postgresUrl(), { schema, connection: { search_path: place.searchPath } })
      const recorder = await new DrizzleFactory({ datastore, name: 'School' }).processRecorder()
      await rejection(recorder.insertEvents([{ ...storedEvent('dog', 1), originatorId: 'a\0b' }]), DataError)
      await rejection(recorder.insertEvents([{ ...storedEvent('dog', 1), topic: 'a\0b' }]), DataError)
      await rejection(recorder.insertTracking({ applicationName: 'a\0b', notificationId: 1 }), DataError)
      const own = await rejection(
        datastore.transaction(async (session) => {
          await session.insert(owners).values({ name: 'secret \0 name' })
        }),
        DataError,
      )
      expect(own.message).not.to.include('secret')
      // bytes may be any
      const state = new Uint8Array([0, 1, 0, 255])
      await recorder.insertEvents([{ ...storedEvent('dog', 1), state }])
      expect((await recorder.selectEvents('dog')).map((event) => [...event.state])).to.deep.equal([[...state]])
    })

    it('may have versions beyond 2^31, up to 2^53 - 1', async () => {
      await using place = await freshSchema()
      await using datastore = postgres(postgresUrl(), { connection: { search_path: place.searchPath } })
      const recorder = await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
      const versions = [2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]
      await recorder.insertEvents(versions.map((version) => storedEvent('dog', version)))
      const stored = await recorder.selectEvents('dog', { gt: 2 ** 31 - 1 })
      expect(stored.map(({ originatorVersion }) => originatorVersion)).to.deep.equal(versions.slice(1))
      await rejection(recorder.insertEvents([storedEvent('dog', 2 ** 53)]), DataError)
    })
  })

  it('is a database of another driver, and says which ones are taken', () => {
    class NodePgDatabase extends PgDatabase<never> {
      static override readonly [entityKind] = 'NodePgDatabase'
    }
    const client = postgresJs('postgres://nobody:secret@localhost:1/none', { max: 1 })
    const databases: unknown[] = [
      drizzleProxy(async () => ({ rows: [] })),
      drizzleSqlite(new Database(':memory:')),
      Object.create(NodePgDatabase.prototype),
    ]
    for (const database of databases) {
      expect(() => postgres(database as string))
        .to.throw(ProgrammingError)
        .with.property('message')
        .that.includes('drizzle-orm/postgres-js')
    }
    for (const other of [client, null, undefined, 42, () => undefined]) {
      expect(() => postgres(other as unknown as string))
        .to.throw(ProgrammingError)
        .with.property('message')
        .that.includes('postgres')
        .and.does.not.include('secret')
    }
  })

  it('has options that there are none of, or values that they do not take', () => {
    const url = 'postgres://nobody:secret@localhost:1/none'
    const wrong: [object, string][] = [
      [{ synchronous: 'full' }, 'synchronous'],
      [{ poolTimeoutMS: 1 }, 'poolTimeoutMS'],
      [{ poolTimeoutMs: -1 }, 'poolTimeoutMs'],
      [{ poolTimeoutMs: '200' }, 'poolTimeoutMs'],
      [{ max: 0 }, 'max'],
      [{ max: 1.5 }, 'max'],
      [{ max: 'ten' }, 'max'],
      [{ schema: 'es' }, 'schema'],
    ]
    for (const [options, name] of wrong) {
      const throws = (run: () => unknown) =>
        expect(run)
          .to.throw(EventSourcingError)
          .with.property('message')
          .that.includes(name)
          .and.does.not.include('secret')
      throws(() => postgres(url, options))
      throws(() => postgres({ url, ...options }))
    }
    const db = drizzle(postgresJs(url, { max: 1 }), { schema })
    for (const [options, name] of [...wrong, [{ max: 3 }, 'max'] as const, [{ schema }, 'schema'] as const]) {
      expect(() => postgres(db as never, options)).to.throw(EventSourcingError, name)
    }
  })
})

function schoolAt(url: string, env: Record<string, string> = {}, name = 'School'): School {
  return new School({
    name,
    env: {
      PERSISTENCE_MODULE: 'eventsourcing-drizzle',
      DRIZZLE_URL: url,
      DRIZZLE_POOL_SIZE: '3',
      DRIZZLE_POOL_TIMEOUT_MS: '5000',
      ...env,
    },
  })
}

/** The URL of the run's server, with other parts. */
function urlWith(parts: { username?: string; password?: string; pathname?: string; search?: string }): string {
  return Object.assign(new URL(postgresUrl()), parts).href
}

async function getsIn(url: string): Promise<boolean> {
  const client = postgresJs(url, { max: 1, connect_timeout: 2 })
  return client`SELECT 1`
    .then(
      () => true,
      () => false,
    )
    .finally(() => client.end({ timeout: 0 }))
}

/** Expects that the start and each first operation are that error, which tells no secret. */
async function isRefused<E extends EventSourcingError>(
  school: School,
  errorClass: new (...args: never[]) => E,
  message?: string | RegExp,
): Promise<E> {
  const dog = new Dog('Fido')
  const error = await rejection(school.ready(), errorClass, message)
  const others = [school.save(dog), school.repository.get(Dog, dog.id), school.recorder.maxNotificationId()]
  for (const other of [error, ...(await Promise.all(others.map((call) => rejection(call, errorClass, message))))]) {
    hidesSecrets(other)
  }
  // create() makes the same of it, with nothing left open
  hidesSecrets(await rejection(School.create(school.options), errorClass, message))
  expect(dog.pendingEvents).to.have.length(1)
  return error
}

async function works(school: Application): Promise<void> {
  const dog = new Dog('it works')
  dog.addTrick('roll over')
  if (await school.repository.has(dog.id)) return
  expect(await school.save(dog)).to.have.length(2)
  expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(['roll over'])
}

/** Expects that an error, as it is logged, holds no password: neither ours nor that of the server's URL. */
function hidesSecrets(error: EventSourcingError): void {
  const logged = inspect(error, { depth: 8, showHidden: true })
  const own = new URL(postgresUrl()).password
  for (const secret of [password, encodeURIComponent(password), own, decodeURIComponent(own)]) {
    if (secret) expect(logged).not.to.include(secret)
  }
}

async function sequenceOf(schema: string): Promise<string> {
  const [row] = await admin()`
    SELECT pg_get_serial_sequence(${`${schema}.school_events`}, 'notification_id') AS sequence`
  return row?.sequence as string
}
