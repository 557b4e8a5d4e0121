import { randomUUID } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import type { AnyDrizzleDatastore } from '../../lib/drizzle/datastore.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { IntegrityError, NotSupportedError } from '../../lib/errors.js'
import type { AggregateRecorder, ApplicationRecorder } from '../../lib/persistence/recorders.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { type PostgresSession, postgres } from '../../lib/postgres/index.js'
import { createOwners, type FreshSchema, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { everyWay, isWaitedFor, ownPool } from '../support/postgres-datastores.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'
import { textsOf, bytes, plain, storedEvent, storedEvents } from '../support/stored-events.js'

interface Running {
  start(session: PostgresSession<typeof schema>, recorder: ApplicationRecorder): Promise<Iterable<unknown>>
  readonly answer: unknown[]
  /** How many events there are then. */
  readonly count: number
}

/** What runs while the table of events is locked, and is answered then. */
const running: Record<string, Running> = {
  'a query': {
    start: (session) => session.execute(sql`SELECT count(*)::int AS n FROM kennel_events`).execute(),
    answer: [{ n: 1 }],
    count: 1,
  },
  'a query with a parameter': {
    start: (session) =>
      session.execute(sql`SELECT topic FROM kennel_events WHERE originator_id = ${'dog'}::text`).execute(),
    answer: [{ topic: 'Dog.TrickAdded' }],
    count: 1,
  },
  'a save': {
    start: (_, recorder) => recorder.insertEvents([storedEvent('rex', 1)]),
    answer: [2],
    count: 2,
  },
}

const copies = ['COPY owners FROM STDIN', 'COPY owners TO STDOUT', 'COPY (SELECT 1) TO STDOUT']

describePostgres('A statement on PostgreSQL', () => {
  let place: FreshSchema

  beforeEach(async () => {
    place = await freshSchema()
    await createOwners(place.name)
  })

  afterEach(() => place.drop())

  for (const way of everyWay) {
    describe(`in ${way.name}`, () => {
      for (const [name, { start, answer, count }] of Object.entries(running)) {
        it(`that the driver refuses takes no other along, where ${name} runs`, async () => {
          await using opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
          const { datastore } = opened
          const recorder = await new DrizzleFactory({ datastore, name: 'kennel' }).applicationRecorder()
          await datastore.transaction(() => recorder.insertEvents([storedEvent('dog', 1)])) // prepared from here on
          await using lock = await lockOn('kennel_events', place)
          const undo = new RangeError('undo')
          const attempt = datastore.transaction(async (session) => {
            const first = start(session, recorder)
            first.catch(() => undefined) // looked at below
            await isWaitedFor(lock.pid)
            const refused = failure(session.execute(sql`SELECT 'refused', ${sql.param(undefined)}::text`).execute())
            const third = session.execute(sql`SELECT 'third' AS who`).execute()
            await nextTurn() // all are with the driver now, if it takes them
            await lock.release()
            expect([...(await first)], 'the answer of the one that runs').to.deep.equal(answer)
            expect(await refused).to.have.nested.property('cause.code', 'UNDEFINED_VALUE')
            expect([...(await third)], 'the answer of the one that comes after').to.deep.equal([{ who: 'third' }])
            const rows = await session.execute(sql`SELECT count(*)::int AS n FROM kennel_events`)
            expect([...rows]).to.deep.equal([{ n: count }])
            throw undo
          })
          expect(await failure(attempt)).to.equal(undo)
          expect(await recorder.insertEvents([storedEvent('dog', 2)])).to.have.length(1)
          expect(await datastore.transaction(() => recorder.selectEvents('dog'))).to.have.length(2)
        })
      }

      it('that fails after its first rows leaves the next one’s rows as they are', async () => {
        await using opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
        const { datastore } = opened
        const recorder = await new DrizzleFactory({ datastore, name: 'kennel' }).applicationRecorder()
        const noText = storedEvent('dog', 3, { state: Buffer.of(0xff) })
        await recorder.insertEvents([...storedEvents('dog', 1, 2), noText])
        const half = sql`SELECT 1 / (3 - n) AS n FROM generate_series(1, 3) AS n`
        const goesOn = async (fail: () => Promise<unknown>, version: number) => {
          await fail()
          expect(await recorder.selectEvents('dog', { gt: 1 })).to.have.length(2)
          await fail()
          expect(await recorder.insertEvents([storedEvent(`dog ${version}`, 1)])).to.deep.equal([3 + version])
          await fail()
          expect([...(await datastore.db.execute(sql`SELECT 1 AS n`))]).to.deep.equal([{ n: 1 }])
          await fail()
          const several: unknown = await datastore.db.execute(sql.raw('SELECT 1 AS n; SELECT 2 AS n'))
          expect((several as unknown[][]).flat()).to.deep.equal([{ n: 1 }, { n: 2 }])
        }
        await goesOn(async () => expect(await textsOf(recorder, 'dog')).to.equal(undefined), 1)
        await goesOn(() => failure(Promise.resolve(datastore.db.execute(half))), 2)
        await datastore.transaction(async (session) => {
          await failure(session.transaction((inner) => inner.execute(half)))
          expect([...(await session.execute(sql`SELECT 1 AS n`))]).to.deep.equal([{ n: 1 }])
          await failure(datastore.transaction((inner) => inner.execute(half)))
          expect(await recorder.insertEvents([storedEvent('dog', 4)])).to.deep.equal([6])
        })
      })

      it('may be very long', async () => {
        await using opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
        const million = 1_000_000
        const literals = { plain: `'${'x'.repeat(20 * million)}'`, escaped: `E'${"\\'".repeat(10 * million)}'` }
        await opened.datastore.transaction(async (session) => {
          for (const [which, literal] of Object.entries(literals)) {
            // two statements, so that it has to be looked at from end to end
            const rows = (await session.execute(sql.raw(`SELECT length(${literal}) AS n; SELECT 1 AS n`))) as unknown[]
            expect(rows.flat(), which).to.deep.equal([{ n: (which === 'plain' ? 20 : 10) * million }, { n: 1 }])
          }
        })
      })

      for (const max of [1, 2, 3]) {
        it(`of a save with tracking needs no second connection: ${max} at once on a pool of ${max}`, async () => {
          await using opened = await way.open({ schema, searchPath: place.searchPath, max, poolTimeoutMs: 2000 })
          const { datastore } = opened
          const recorder = await new DrizzleFactory({ datastore, name: 'kennel' }).processRecorder()
          const saves = Array.from({ length: max * 3 }, (_, n) =>
            recorder.insertEvents(storedEvents(`dog ${n}`, 1, 1 + (n % 2)), {
              tracking: { applicationName: `upstream ${n}`, notificationId: 1 },
            }),
          )
          const ids = (await Promise.all(saves)).flat()
          const notifications = await recorder.selectNotifications({ start: 1, limit: 100 })
          expect(ids.sort((a, b) => a - b)).to.deep.equal(notifications.map(({ id }) => id))
          // of one that is refused nothing stays, and its connection is free
          for (let n = 0; n <= max; n += 1) {
            const tracking = { applicationName: `upstream ${n % max}`, notificationId: 1 }
            await rejection(recorder.insertEvents([storedEvent(`late ${n}`, 1)], { tracking }), IntegrityError)
          }
          expect(await recorder.selectNotifications({ start: 1, limit: 100 })).to.deep.equal(notifications)
        })
      }
    })
  }

  it(`that copies is not supported in ${ownPool.name}, whose connections go on`, async () => {
    await using opened = await ownPool.open({ schema, searchPath: place.searchPath, max: 1 })
    const { datastore } = opened
    const recorder = await new DrizzleFactory({ datastore, name: 'kennel' }).applicationRecorder()
    for (const [n, copy] of copies.entries()) {
      await rejection(Promise.resolve(datastore.db.execute(sql.raw(copy))), NotSupportedError, 'COPY')
      const attempt = datastore.transaction(async (session) => {
        await session.insert(owners).values({ name: 'never' })
        await recorder.insertEvents([storedEvent('never', 1)])
        await session.execute(sql.raw(copy))
      })
      await rejection(attempt, NotSupportedError, 'COPY')
      expect(await recorder.insertEvents([storedEvent('dog', n + 1)])).to.have.length(1)
    }
    expect(await datastore.db.$count(owners)).to.equal(0)
    expect(await recorder.selectEvents('never')).to.deep.equal([])
  })
})

describePostgres('State in PostgreSQL is the same bytes', () => {
  const states = [bytes('{"name":"Zoë 🐶 \\\\x41"}'), new Uint8Array([0, 1, 39, 92, 127, 128, 255]), new Uint8Array()]
  const events = states.map((state, n) => storedEvent('dog', n + 1, { state }))

  for (const [what, create] of Object.entries({
    'whose bytes are shown in the old way': (name: string) => [
      `CREATE DATABASE ${name}`,
      `ALTER DATABASE ${name} SET bytea_output = 'escape'`,
    ],
    'that is in LATIN1': (name: string, libc: string) => [
      `CREATE DATABASE ${name} ENCODING 'LATIN1' TEMPLATE template0 ${libc} LC_COLLATE 'C' LC_CTYPE 'C'`,
    ],
    'that is in SQL_ASCII': (name: string, libc: string) => [
      `CREATE DATABASE ${name} ENCODING 'SQL_ASCII' TEMPLATE template0 ${libc} LC_COLLATE 'C' LC_CTYPE 'C'`,
    ],
  })) {
    it(`in a database ${what}`, async () => {
      const name = `kennel_${randomUUID().slice(0, 8)}`
      // before 15 there is no other provider, nor that word
      const [version] = await admin()`SELECT current_setting('server_version_num')::int >= 150000 AS has_providers`
      const libc = version?.has_providers ? 'LOCALE_PROVIDER libc' : ''
      for (const statement of create(name, libc)) await admin().unsafe(statement)
      const url = new URL(postgresUrl())
      url.pathname = `/${name}`
      try {
        await using datastore = postgres(url.href, { max: 2 })
        await keeps(datastore, events)
      } finally {
        await admin().unsafe(`DROP DATABASE ${name} WITH (FORCE)`)
      }
    })
  }

  const asBase64 = {
    to: 17,
    from: [17],
    serialize: (text: string) => `\\x${Buffer.from(text, 'base64').toString('hex')}`,
    parse: (text: string) => Buffer.from(text.slice(2), 'hex').toString('base64'),
  }
  const clients: Record<string, postgresJs.Options<Record<string, postgresJs.PostgresType>>> = {
    'reads and writes bytes in base64': { types: { bytea: asBase64 as postgresJs.PostgresType } },
    'is told that bytes are shown in the old way': { connection: { bytea_output: 'escape' } },
    'speaks LATIN1': { connection: { client_encoding: 'LATIN1' } },
  }
  for (const [what, options] of Object.entries(clients)) {
    it(`through a user's client that ${what}`, async () => {
      await using place = await freshSchema()
      const connection = { search_path: place.searchPath, ...options.connection }
      const client = postgresJs(postgresUrl(), { max: 2, onnotice: () => undefined, ...options, connection })
      const datastore = postgres(drizzle(client))
      await keeps(datastore, events)
      await datastore.close()
      await client.end()
    })
  }
})

/** Locks a table by a connection of somebody else. */
async function lockOn(table: string, { searchPath }: FreshSchema) {
  const client = postgresJs(postgresUrl(), { max: 1, connection: { search_path: searchPath } })
  const [row] = await client`SELECT pg_backend_pid() AS pid`
  await client.unsafe(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`)
  return {
    pid: row?.pid as number,
    async release() {
      await client.unsafe('COMMIT')
    },
    async [Symbol.asyncDispose]() {
      await client.end({ timeout: 0 })
    },
  }
}

/** Records those events in every way there is, and reads them in every way there is. */
async function keeps(datastore: AnyDrizzleDatastore, events: readonly StoredEvent[]): Promise<void> {
  const factory = new DrizzleFactory({ datastore, name: 'kennel' })
  const [recorder, snapshots] = [await factory.applicationRecorder(), await factory.aggregateRecorder('snapshots')]
  const of = (originatorId: string) => events.map((event) => ({ ...event, originatorId }))
  const names = ['together', 'one by one', 'together, in a transaction', 'one by one, in a transaction']
  const insert = async (into: AggregateRecorder, name: string) => {
    if (name.startsWith('together')) await into.insertEvents(of(name))
    else for (const event of of(name)) await into.insertEvents([event])
  }
  for (const into of [recorder, snapshots]) {
    for (const name of names) {
      if (name.includes('transaction')) await datastore.transaction(() => insert(into, name))
      else await insert(into, name)
      const read = async () => {
        expect((await into.selectEvents(name)).map(plain), name).to.deep.equal(of(name).map(plain))
        // some are no text
        expect(await textsOf(into, name), name).to.equal(undefined)
      }
      await read()
      await datastore.transaction(read)
    }
  }
  for (const limit of [10, 100, 10_000]) {
    const readPage = async () => {
      const notifications = await recorder.selectNotifications({ start: 1, limit })
      expect(notifications.map(plain)).to.deep.equal(names.flatMap(of).map(plain).slice(0, limit))
    }
    await readPage()
    await datastore.transaction(readPage)
  }
}
