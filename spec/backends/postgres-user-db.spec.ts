import { expect } from 'chai'
import { eq, sql } from 'drizzle-orm'
import { bigint, jsonb, pgTable, text, timestamp } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { InterfaceError, OperationalError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import { postgres } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { createOwners, type FreshSchema, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { Wiretap } from '../support/postgres-wiretap.js'
import { failure, rejection } from '../support/rejection.js'
import { textsOf, storedEvent, storedEvents } from '../support/stored-events.js'

type Options = postgresJs.Options<Record<string, postgresJs.PostgresType>>

describePostgres("A user's own Drizzle database given to postgres()", () => {
  let place: FreshSchema
  const clients: postgresJs.Sql[] = []

  beforeEach(async () => {
    place = await freshSchema()
    await createOwners(place.name)
  })

  afterEach(async () => {
    for (const client of clients.splice(0)) await client.end({ timeout: 1 })
    await place.drop()
  })

  function clientWith(options: Options = {}, url = postgresUrl()): postgresJs.Sql {
    const client = postgresJs(url, {
      max: 2,
      connection: { search_path: place.searchPath },
      onnotice: () => undefined,
      ...options,
    })
    clients.push(client)
    return client
  }

  it('is usable through datastore.db at once, and stays open after close()', async () => {
    const client = clientWith()
    const db = drizzle(client, { schema })
    const datastore = postgres(db)
    expect(await datastore.db.select().from(owners)).to.deep.equal([])
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    await school.close()
    await datastore.close()
    await rejection(datastore.ready(), InterfaceError, 'closed')
    await rejection(
      datastore.transaction(() => expect.fail('Has begun')),
      InterfaceError,
      'closed',
    )
    expect([...(await db.execute(sql`SELECT originator_version::int FROM school_events`))]).to.deep.equal([
      { originator_version: 1 },
    ])
    await client.begin((tx) => tx`SELECT 1`)
  })

  it('waits at close() for a transaction that is open, and then leaves the connection to its user', async () => {
    const client = clientWith({ max: 1 })
    const datastore = postgres(drizzle(client, { schema }))
    const tx = await datastore.transaction()
    await tx.session.insert(owners).values({ name: 'Ann' })
    const closing = datastore.close()
    await tx.commit()
    await closing
    expect(await client`SELECT name FROM owners`).to.deep.include({ name: 'Ann' })
  })

  it('gives its user their rows, whatever states were read before on that connection', async () => {
    const client = clientWith({ max: 1 })
    const recorder = await new DrizzleFactory({ datastore: postgres(drizzle(client)) }).applicationRecorder()
    await recorder.insertEvents([...storedEvents('dog', 1, 2), storedEvent('dog', 3, { state: Buffer.of(0xff) })])
    expect(await textsOf(recorder, 'dog')).to.equal(undefined)
    expect([...(await client`SELECT 1 AS n`)]).to.deep.equal([{ n: 1 }])
  })

  it('keeps its schema, casing, logger and types', async () => {
    const pets = pgTable('pets', { petName: text().primaryKey(), chipNumber: bigint({ mode: 'bigint' }) })
    const logged: string[] = []
    const client = clientWith()
    await client`CREATE TABLE pets (pet_name text PRIMARY KEY, chip_number bigint)`
    const logger = { logQuery: (query: string) => logged.push(query) }
    const datastore = postgres(drizzle(client, { schema: { pets }, casing: 'snake_case', logger }))
    await datastore.transaction(async (session) => {
      await session.insert(pets).values({ petName: 'Fido', chipNumber: 2n ** 60n })
      expect(await session.query.pets.findMany()).to.deep.equal([{ petName: 'Fido', chipNumber: 2n ** 60n }])
    })
    await datastore.db.select({ petName: pets.petName }).from(pets)
    expect(logged).to.have.length(3)
    expect(logged.at(-1)).to.equal('select "pet_name" from "pets"')
  })

  it('serves two datastores, whose transactions are their own', async () => {
    const db = drizzle(clientWith({ max: 3 }), { schema })
    const [one, other] = [postgres(db), postgres(db)]
    const school = new Application({ name: 'School', persistence: one })
    const kennel = new Application({ name: 'Kennel', persistence: other })
    const names = Array.from({ length: 20 }, (_, n) => `dog ${n}`)
    await Promise.all(
      names.flatMap((name) => [one.transaction(() => school.save(new Dog(name))), kennel.save(new Dog(name))]),
    )
    await rejection(
      one.transaction(async () => {
        await school.save(new Dog('Fido'))
        await kennel.save(new Dog('Fido'))
        throw new RangeError('undone')
      }),
      RangeError,
    )
    expect(await school.recorder.selectNotifications({ limit: 100 })).to.have.length(20)
    expect(await kennel.recorder.selectNotifications({ limit: 100 })).to.have.length(21)
  })

  it('may be in a transaction of its user’s, which is none of ours', async () => {
    const db = drizzle(clientWith(), { schema })
    const datastore = postgres(db)
    const school = new Application({ name: 'School', persistence: datastore })
    await rejection(
      db.transaction(async (tx) => {
        await tx.insert(owners).values({ name: 'Ann' })
        await school.save(new Dog('Fido'))
        throw new RangeError('undone')
      }),
      RangeError,
    )
    expect(await datastore.db.$count(owners)).to.equal(0)
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
  })

  describe('with a client of one connection', () => {
    it('makes tables that are missing at the first save, inside a transaction, and keeps them if that is rolled back', async () => {
      const client = clientWith({ max: 1 })
      const datastore = postgres(drizzle(client, { schema }), { poolTimeoutMs: 2000 })
      const school = new Application({ name: 'School', persistence: datastore })
      const dog = new Dog('Fido')
      const attempt = datastore.transaction(async (session) => {
        await session.insert(owners).values({ name: 'Ann' })
        expect(await school.save(dog)).to.have.length(1)
        throw new RangeError('undone')
      })
      await rejection(attempt, RangeError)
      const [found] = await client`SELECT to_regclass('school_events') IS NOT NULL AS is_there`
      expect(found?.is_there).to.equal(true)
      expect(await datastore.db.$count(owners)).to.equal(0)
      expect(await school.save(dog)).to.have.length(1)
    })

    it('is as quick to be an OperationalError at the pool timeout, for all that we do with it', async () => {
      const datastore = postgres(drizzle(clientWith({ max: 1 }), { schema }), { poolTimeoutMs: 600 })
      const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
      await datastore.transaction(async (session) => {
        await session.insert(owners).values({ name: 'Ann' })
        for (const call of [
          () => recorder.insertEvents([storedEvent('dog', 1)]),
          () => recorder.selectEvents('dog'),
          () => datastore.transaction(() => expect.fail('Has begun')),
        ]) {
          const error = await rejection(datastore.outside<Promise<unknown>>(call), OperationalError, '600 ms')
          expect(error.retryable).to.equal(true)
        }
      })
      expect(await datastore.db.$count(owners)).to.equal(1)
      expect(await recorder.insertEvents([storedEvent('dog', 1)])).to.have.length(1)
    })
  })

  describe('with options of its client', () => {
    it('prepares nothing where it says prepare: false', async () => {
      for (const prepare of [true, false]) {
        await using wiretap = await Wiretap.before(postgresUrl())
        const client = clientWith({ prepare, max: 1 }, wiretap.url)
        const datastore = postgres(drizzle(client, { schema }))
        const school = new Application({ name: prepare ? 'Prepared' : 'Unprepared', persistence: datastore })
        await everyStatement(school, datastore)
        const [row] = await client`SELECT count(*)::int FROM pg_prepared_statements WHERE name <> ''`
        // where it prepares, there are some: the question can be answered with yes
        if (prepare) expect(row?.count).to.be.above(5)
        else expect(row?.count).to.equal(0)
      }
    })

    it('asks for no types where it says fetch_types: false', async () => {
      await using wiretap = await Wiretap.before(postgresUrl())
      const client = clientWith({ fetch_types: false, max: 1 }, wiretap.url)
      const datastore = postgres(drizzle(client, { schema }))
      const school = new Application({ name: 'School', persistence: datastore })
      const sent = await wiretap.during(() => everyStatement(school, datastore))
      expect(sent.flatMap(({ statements }) => statements).filter((text) => text.includes('pg_type'))).to.deep.equal([])
    })

    const bigInts = { types: { bigint: postgresJs.BigInt } }
    const hex = (value: Uint8Array) => `\\x${Buffer.from(value).toString('hex')}`
    const others: Record<string, Options> = {
      'bigint as BigInt': bigInts,
      'bigint as number': { types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } } },
      'numeric as number': { types: { numeric: { to: 1700, from: [1700], serialize: String, parse: Number } } },
      'bytes as no Buffer': {
        types: {
          bytea: {
            to: 17,
            from: [17],
            serialize: hex,
            parse: (text: string) => new Uint8Array(Buffer.from(text.slice(2), 'hex')),
          },
        },
      },
      'names of columns in camel case': { transform: { column: postgresJs.toCamel } },
      'undefined as null': { transform: { undefined: null } },
    }
    for (const [what, options] of Object.entries(others)) {
      it(`records and reads events as they are, though it has ${what}`, async () => {
        const datastore = postgres(drizzle(clientWith(options), { schema }))
        const school = new Application({ name: 'School', persistence: datastore })
        await everyStatement(school, datastore)
      })
    }

    it("leaves the types of the user's own statements to it", async () => {
      const events = pgTable('theirs', { at: timestamp('at', { withTimezone: true }), what: jsonb('what') })
      const client = clientWith(bigInts)
      await client`CREATE TABLE theirs (at timestamptz, what jsonb)`
      const datastore = postgres(drizzle(client, { schema: { events } }))
      const row = { at: new Date(1000), what: { n: 1 } }
      await datastore.transaction(async (session) => {
        await session.insert(events).values(row)
        expect(await session.select().from(events).where(eq(events.at, row.at))).to.deep.equal([row])
        expect([...(await session.execute(sql`SELECT 1::bigint AS n`))]).to.deep.equal([{ n: 1n }])
      })
    })

    for (const [what, transform] of [
      ['values', { value: { from: () => 'spoilt' } }],
      ['rows', { row: { from: () => ({}) } }],
    ] as const) {
      it(`is refused where they change all ${what}`, () => {
        expect(() => postgres(drizzle(clientWith({ transform })))).to.throw(ProgrammingError, 'transform')
      })
    }
  })

  it('may be closed by its user, which is an InterfaceError from then on', async () => {
    const client = clientWith()
    const datastore = postgres(drizzle(client, { schema }))
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    await client.end()
    await rejection(school.save(new Dog('Rex')), InterfaceError)
    await rejection(school.repository.get(Dog, Dog.createId('Fido')), InterfaceError)
    await rejection(
      datastore.transaction(() => expect.fail('Has begun')),
      InterfaceError,
    )
    await datastore.close()
  })

  it('takes no options of a connection that it does not open', () => {
    const db = drizzle(clientWith())
    // @ts-expect-error the client is there already
    expect(() => postgres(db, { max: 3 })).to.throw(ProgrammingError, 'max')
    // @ts-expect-error the database has a schema
    expect(() => postgres(db, { schema })).to.throw(ProgrammingError, 'schema')
    postgres(db, { poolTimeoutMs: 100 })
  })
})

/** Does everything that has a statement of ours, outside and inside of transactions, and checks what comes of it. */
async function everyStatement(
  school: Application,
  datastore: ReturnType<typeof postgres<typeof schema>>,
): Promise<void> {
  const factory = new DrizzleFactory({ datastore, name: school.name })
  const recorder = await factory.processRecorder()
  const snapshots = await factory.aggregateRecorder('snapshots')
  const fido = new Dog('Fido')
  fido.addTrick('roll over')
  const saved = await school.save(fido)
  const ids = saved.map(({ notification }) => notification.id)
  expect(ids).to.deep.equal([ids[0], ids[0]! + 1])
  await rejection(school.save(new Dog('Fido')), RecordConflictError)

  await datastore.transaction(async (session) => {
    await session.insert(owners).values({ name: school.name })
    const dog = await school.repository.get(Dog, fido.id)
    dog.addTrick('sit')
    await school.save(dog, new Dog('Rex'))
    await rejection(school.save(new Dog('Fido')), RecordConflictError)
    await datastore
      .transaction(async (nested) => {
        expect(await nested.$count(owners, eq(owners.name, school.name))).to.equal(1)
        await failure(nested.execute(sql`SELECT 1 / 0`).execute())
      })
      .catch(() => undefined)
    expect(await school.recorder.maxNotificationId()).to.be.above(ids[1]!)
  })
  const dog = await school.repository.get(Dog, fido.id)
  expect([dog.version, dog.tricks]).to.deep.equal([3, ['roll over', 'sit']])

  const tracking = { applicationName: 'upstream', notificationId: 7 }
  const state = new Uint8Array([0, 127, 128, 255])
  const big = [storedEvent('big', 2 ** 53 - 2, { topic: 'größer', state }), storedEvent('big', 2 ** 53 - 1, { state })]
  await recorder.insertEvents(big, { tracking })
  const found = await recorder.selectEvents('big', { gt: 1, lte: 2 ** 53 - 1, desc: true, limit: 2 })
  expect(found.map((event) => [event.originatorVersion, event.topic, [...event.state]])).to.deep.equal([
    [2 ** 53 - 1, 'Dog.TrickAdded', [...state]],
    [2 ** 53 - 2, 'größer', [...state]],
  ])
  expect([await recorder.maxTrackingId('upstream'), await recorder.hasTrackingId('upstream', 8)]).to.deep.equal([
    7,
    false,
  ])
  const [one] = await recorder.selectNotifications({ start: 1, limit: 10, topics: ['größer'] })
  expect([one?.originatorId, one?.originatorVersion, [...(one?.state ?? [])]]).to.deep.equal([
    'big',
    2 ** 53 - 2,
    [...state],
  ])
  const all = await recorder.selectNotifications({ start: ids[0]!, limit: 100 })
  expect(all).to.have.length(6)
  expect(await recorder.maxNotificationId()).to.equal(all.at(-1)?.id)
  expect(await snapshots.insertEvents(storedEvents('big', 1, 2))).to.deep.equal([])
  expect(await snapshots.selectEvents('big')).to.have.length(2)
}
