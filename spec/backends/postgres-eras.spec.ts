import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs, { type Sql } from 'postgres'
import type { AnyDrizzleDatastore } from '../../lib/drizzle/datastore.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { DatabaseProgrammingError, OperationalError } from '../../lib/errors.js'
import type { ApplicationRecorder } from '../../lib/persistence/recorders.js'
import { type PostgresDatastore, postgres } from '../../lib/postgres/index.js'
import { type FreshSchema, createOwners, freshSchema, schema } from '../support/postgres-backends.js'
import { everyWay, type Way } from '../support/postgres-datastores.js'
import { type Server, admin, describePostgres, postgresUrl, startServerOrSkip } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { storedEvent, storedEvents } from '../support/stored-events.js'

type Datastore = PostgresDatastore<typeof schema>

const byHand = `
  CREATE TABLE kennel_events (notification_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME by_hand),
    originator_id text COLLATE "C" NOT NULL, originator_version bigint NOT NULL, topic text NOT NULL, state bytea NOT NULL);
  CREATE UNIQUE INDEX by_hand_key ON kennel_events (originator_id, originator_version)`

// What a process has found out of a table, or shown of it, holds for one life of that table.
for (const way of everyWay) {
  describePostgres(`A table of events on PostgreSQL, known to ${way.name},`, () => {
    let place: FreshSchema
    /** By whom the table is changed. */
    let other: Sql

    beforeEach(async () => {
      place = await freshSchema()
      await createOwners(place.name)
      const connection = { search_path: place.searchPath }
      other = postgresJs(postgresUrl(), { max: 1, connection, onnotice: () => undefined })
    })

    afterEach(async () => {
      await other.end({ timeout: 1 })
      await place.drop()
    })

    const restarts: Record<string, () => Promise<unknown>> = {
      'is emptied': () => other.unsafe('TRUNCATE kennel_events RESTART IDENTITY'),
      'is emptied, and its sequence restarted': () =>
        other.unsafe('DELETE FROM kennel_events; ALTER SEQUENCE kennel_events_id_seq RESTART'),
      'is emptied, and its column restarted': () =>
        other.unsafe('DELETE FROM kennel_events; ALTER TABLE kennel_events ALTER notification_id RESTART'),
      'is made again by another process': async () => {
        await other.unsafe('DROP TABLE kennel_events')
        await using opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
        await recorderOn(opened.datastore)
      },
      'is made again by hand, with a sequence of another name': () =>
        other.unsafe(`DROP TABLE kennel_events; ${byHand}`),
      'is replaced by another one, under which it goes on': () =>
        other.unsafe(`ALTER TABLE kennel_events RENAME TO old_events; ${byHand}`),
    }
    for (const [what, restart] of Object.entries(restarts)) {
      it(`${what}: nothing is missed of what comes after`, async () => {
        await using opened = await openKennel(way, place)
        const { recorder, datastore } = opened
        await recorder.insertEvents(storedEvents('old', 1, 10))
        await expectIds(recorder, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        await restart()
        expect(await recorder.insertEvents([storedEvent('new', 1)])).to.deep.equal([1])
        await expectNoneMissed(datastore, recorder, 1)
        expect(await recorder.insertEvents(storedEvents('several', 1, 3))).to.deep.equal([4, 5, 6])
        await datastore.transaction(async () => {
          expect(await recorder.insertEvents([storedEvent('inside', 1)])).to.deep.equal([7])
          expect(await recorder.insertEvents(storedEvents('inside', 2, 3))).to.deep.equal([8, 9])
        })
        await expectIds(recorder, [1, 2, 3, 4, 5, 6, 7, 8, 9])
      })
    }

    it('may have its sequence renamed: who only reads goes on', async () => {
      await using opened = await openKennel(way, place)
      const { recorder } = opened
      await recorder.insertEvents(storedEvents('dog', 1, 2))
      await expectIds(recorder, [1, 2])
      await other.unsafe('ALTER SEQUENCE kennel_events_id_seq RENAME TO renamed')
      await expectIds(recorder, [1, 2])
      await using writing = await openKennel(way, place)
      await expectNoneMissed(writing.datastore, recorder, 2, writing.recorder)
    })

    it('may have its sequence renamed: who writes goes on', async () => {
      await using opened = await openKennel(way, place)
      const { recorder, datastore } = opened
      await recorder.insertEvents([storedEvent('dog', 1)])
      await other.unsafe('ALTER SEQUENCE kennel_events_id_seq RENAME TO renamed')
      expect(await recorder.insertEvents([storedEvent('dog', 2)])).to.deep.equal([2])
      await other.unsafe('ALTER SEQUENCE renamed RENAME TO renamed_again')
      expect(await recorder.insertEvents(storedEvents('dog', 3, 4))).to.deep.equal([3, 4])
      await other.unsafe('ALTER SEQUENCE renamed_again RENAME TO and_again')
      // a statement that fails spoils its transaction; the next one knows
      const save = () => datastore.transaction(() => recorder.insertEvents([storedEvent('dog', 5)]))
      await rejection(save(), DatabaseProgrammingError)
      expect(await save()).to.deep.equal([5])
      await expectIds(recorder, [1, 2, 3, 4, 5])
    })

    it('may be another one where a transaction sets the search path, whose ids are its own', async () => {
      await using elsewhere = await freshSchema()
      await createOwners(elsewhere.name)
      await using opened = await openKennel(way, place)
      await using openedElsewhere = await openKennel(way, elsewhere)
      const { datastore, recorder } = opened
      const inElsewhere = <T>(work: () => Promise<T>) =>
        datastore.transaction(async (session) => {
          await session.execute(sql.raw(`SET LOCAL search_path = ${elsewhere.searchPath}`))
          return work()
        })
      await recorder.insertEvents(storedEvents('here', 1, 5))
      await expectIds(recorder, [1, 2, 3, 4, 5])
      expect(await inElsewhere(() => recorder.insertEvents([storedEvent('there', 1)]))).to.deep.equal([1])
      expect(await recorder.insertEvents([storedEvent('here', 6)])).to.deep.equal([6])
      expect(await inElsewhere(() => recorder.insertEvents(storedEvents('there', 2, 3)))).to.deep.equal([2, 3])
      expect(await recorder.insertEvents(storedEvents('here', 7, 8))).to.deep.equal([7, 8])
      await inElsewhere(() => expectIds(recorder, [1, 2, 3]))
      await expectIds(recorder, [1, 2, 3, 4, 5, 6, 7, 8])

      // what was shown of the one here says nothing of the one there
      await using late = await openedElsewhere.datastore.transaction()
      await late.run(() => openedElsewhere.recorder.insertEvents([storedEvent('late', 1)]))
      await openedElsewhere.recorder.insertEvents([storedEvent('early', 1)])
      await inElsewhere(() => expectIds(recorder, [1, 2, 3]))
      await late.commit()
      await inElsewhere(() => expectIds(recorder, [1, 2, 3, 4, 5]))
    })

    it('may be two by the search path at once, and each has its own events', async () => {
      await using elsewhere = await freshSchema()
      await createOwners(elsewhere.name)
      await using opened = await openKennel(way, place)
      await (await openKennel(way, elsewhere)).close()
      const { datastore, recorder } = opened
      const saves = Array.from({ length: 60 }, (_, n) =>
        n % 2 === 0
          ? recorder.insertEvents(storedEvents(`here ${n}`, 1, 1 + (n % 3)))
          : datastore.transaction(async (session) => {
              await session.execute(sql.raw(`SET LOCAL search_path = ${elsewhere.searchPath}`))
              return recorder.insertEvents(storedEvents(`there ${n}`, 1, 1 + (n % 3)))
            }),
      )
      await Promise.all(saves)
      for (const [where, name] of [
        ['here', place.searchPath],
        ['there', elsewhere.searchPath],
      ]) {
        const rows = await admin().unsafe(
          `SELECT DISTINCT split_part(originator_id, ' ', 1) AS w FROM ${name}.kennel_events`,
        )
        expect([...rows], name).to.deep.equal([{ w: where }])
      }
    })
  })
}

describePostgres('A PostgreSQL server of a table of events', () => {
  let server: Server

  before(async function () {
    server = await startServerOrSkip(this, { settings: { max_prepared_transactions: 4 } })
  })

  after(() => server?.remove())

  const ways: Record<string, (url: string) => { datastore: PostgresDatastore; end: () => Promise<void> }> = {
    'a pool of its own': (url) => {
      const datastore = postgres(url, { max: 4, poolTimeoutMs: 5000 })
      return { datastore, end: () => datastore.close() }
    },
    "the user's own database": (url) => {
      const client = postgresJs(url, { max: 4, onnotice: () => undefined, backoff: () => 0.05 })
      const datastore = postgres(drizzle(client), { poolTimeoutMs: 5000 })
      return {
        datastore,
        async end() {
          await datastore.close()
          await client.end({ timeout: 1 })
        },
      }
    },
  }

  for (const [way, open] of Object.entries(ways)) {
    describe(`known to ${way}`, () => {
      let datastore: PostgresDatastore
      let recorder: ApplicationRecorder
      let other: Sql
      let end: () => Promise<void>

      beforeEach(async () => {
        other = postgresJs(server.url, { max: 1, onnotice: () => undefined, backoff: () => 0.05 })
        await other.unsafe('DROP TABLE IF EXISTS kennel_events')
        ;({ datastore, end } = open(server.url))
        recorder = await recorderOn(datastore)
      })

      afterEach(async () => {
        await end?.()
        await other?.end({ timeout: 1 })
      })

      it('may have transactions that are prepared, of writers who have registered and are gone', async () => {
        await recorder.insertEvents([storedEvent('dog', 1)])
        await expectIds(recorder, [1])
        for (const [n, outcome] of ['COMMIT', 'ROLLBACK'].entries()) {
          const known = (await recorder.selectNotifications({ start: 1, limit: 100 })).map(({ id }) => id)
          const last = known.at(-1)!
          // by hand, as sessions of ours have no such statement
          await other.unsafe(`
            BEGIN;
            SELECT pg_advisory_xact_lock_shared('kennel_events'::regclass::oid::int4, last_value::int4) FROM kennel_events_id_seq;
            INSERT INTO kennel_events (originator_id, originator_version, topic, state) VALUES ('prepared', ${n + 1}, 't', '');
            PREPARE TRANSACTION 'kennel'`)
          await recorder.insertEvents([storedEvent('early', n + 1)])
          await expectIds(recorder, known)
          await other.unsafe(`${outcome} PREPARED 'kennel'`)
          await expectIds(recorder, [...known, ...(outcome === 'COMMIT' ? [last + 1] : []), last + 2])
        }
      })

      it('may be another one in its place, that lags behind: nothing is missed of what comes after', async () => {
        await recorder.insertEvents(storedEvents('dog', 1, 10))
        await expectIds(recorder, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        await server.restart()
        await other.unsafe(
          `DELETE FROM kennel_events WHERE notification_id > 5; SELECT setval('kennel_events_id_seq', 5)`,
        )
        await reconnected(recorder)
        await expectNoneMissed(datastore, recorder, 5)
      })
    })
  }

  describe('as a standby', () => {
    it('shows readers what has no gap, and refuses at one', async () => {
      const other = postgresJs(server.url, { max: 1, onnotice: () => undefined })
      await other.unsafe('DROP TABLE IF EXISTS kennel_events')
      const primary = postgres(server.url, { max: 1 })
      const writer = await recorderOn(primary)
      await writer.insertEvents(storedEvents('dog', 1, 2))
      await other`SELECT nextval('kennel_events_id_seq')`
      await writer.insertEvents(storedEvents('dog', 3, 4))
      await primary.close()
      await other.end()
      // one that has lost its primary, for ever
      await writeFile(join(server.dataDirectory, 'standby.signal'), '')
      await server.stop()
      const starting = server.start()
      starting.catch(() => undefined) // it never says that it takes all kinds of statements

      await using standby = postgres(server.url, { max: 1 })
      await reachable(standby)
      const reader = await recorderOn(standby)
      const page = await reader.selectNotifications({ start: 1, limit: 2 })
      expect(page.map(({ id }) => id)).to.deep.equal([1, 2])
      await rejection(reader.selectNotifications({ start: 1, limit: 3 }), OperationalError, 'standby')
      await rejection(reader.maxNotificationId(), OperationalError, 'standby')
      expect(await reader.selectEvents('dog')).to.have.length(4)
      expect(await rejection(reader.insertEvents([storedEvent('dog', 5)]), OperationalError)).to.have.property(
        'code',
        '25006',
      )
    })
  })
})

interface Kennel extends AsyncDisposable {
  readonly datastore: Datastore
  readonly recorder: ApplicationRecorder
  close(): Promise<void>
}

async function openKennel(way: Way, { searchPath }: FreshSchema): Promise<Kennel> {
  const { datastore, close } = await way.open({ schema, searchPath })
  return { datastore, recorder: await recorderOn(datastore), close, [Symbol.asyncDispose]: close }
}

function recorderOn(datastore: AnyDrizzleDatastore): Promise<ApplicationRecorder> {
  return new DrizzleFactory({ datastore, name: 'kennel' }).applicationRecorder()
}

async function expectIds(recorder: ApplicationRecorder, ids: readonly number[]): Promise<void> {
  const found = await recorder.selectNotifications({ start: 1, limit: 100 })
  expect(found.map(({ id }) => id)).to.deep.equal(ids)
  expect(await recorder.maxNotificationId()).to.equal(ids.at(-1) ?? null)
}

/**
 * Expects of a reader who has been shown all up to `last` that he is not shown what comes after an event that is still
 * under way, and misses none.
 */
async function expectNoneMissed(
  datastore: AnyDrizzleDatastore,
  reader: ApplicationRecorder,
  last: number,
  writer = reader,
): Promise<void> {
  const known = Array.from({ length: last }, (_, n) => n + 1)
  await using late = await datastore.transaction()
  expect(await late.run(() => writer.insertEvents([storedEvent('late', 1)]))).to.deep.equal([last + 1])
  expect(await writer.insertEvents([storedEvent('early', 1)])).to.deep.equal([last + 2])
  await expectIds(reader, known)
  expect(await reader.selectNotifications({ start: last + 1, limit: 10 })).to.deep.equal([])
  await late.commit()
  await expectIds(reader, [...known, last + 1, last + 2])
}

/** Tries until the server answers. */
async function reachable(datastore: PostgresDatastore): Promise<void> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      await datastore.ready()
      return
    } catch (error) {
      if (attempts > 200) throw error
      await pause(20)
    }
  }
}

/** Reads until it has met all connections that died. */
async function reconnected(recorder: ApplicationRecorder): Promise<void> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      await Promise.all(Array.from({ length: 4 }, () => recorder.selectEvents('dog')))
      return
    } catch (error) {
      if (attempts > 10) throw error
    }
  }
}
