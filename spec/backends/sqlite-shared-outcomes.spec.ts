import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { EventSourcingError, OperationalError, RecordConflictError } from '../../lib/errors.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { faultsOf, startTogether } from '../support/outcomes.js'
import { failure } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'
import { bytes, storedEvent, storedEvents } from '../support/stored-events.js'

describe('Saves on SQLite that share a commit', () => {
  let client: Database.Database

  beforeEach(() => {
    client = new Database(':memory:')
  })

  afterEach(() => {
    client.close()
  })

  const recorderOn = () => sqlite(drizzle(client)).factory({ name: 'School' }).applicationRecorder()

  it('keep their order: of one version the first is stored', async () => {
    const recorder = await recorderOn()
    const inserts = Array.from({ length: 40 }, (_, i) =>
      i % 4 === 3
        ? [storedEvent('shared', i < 20 ? 1 : 2), storedEvent(`beside ${i}`, 1)]
        : storedEvents(`dog ${i}`, 1, 1 + (i % 3)),
    )
    const outcomes = await startTogether(recorder, inserts)
    const kept = inserts.filter((_, i) => i % 4 !== 3 || i === 3 || i === 23)
    expect(outcomes.flatMap(({ status }, i) => (status === 'fulfilled' ? [inserts[i]] : []))).to.deep.equal(kept)
    const stored = await recorder.selectNotifications({ limit: 1000 })
    expect(stored.map(keyOf)).to.deep.equal(kept.flat().map(keyOf))
  })

  const failures: Record<string, { code: string; sql: string; bad?: (name: string) => StoredEvent }> = {
    'a trigger that undoes its statement': {
      code: 'SQLITE_CONSTRAINT_TRIGGER',
      sql: `CREATE TRIGGER no_bites BEFORE INSERT ON school_events WHEN NEW.topic = 'Dog.Bit' BEGIN SELECT RAISE(ABORT, 'no'); END`,
    },
    'a trigger that undoes the whole transaction': {
      code: 'SQLITE_CONSTRAINT_TRIGGER',
      sql: `CREATE TRIGGER no_bites BEFORE INSERT ON school_events WHEN NEW.topic = 'Dog.Bit' BEGIN SELECT RAISE(ROLLBACK, 'no'); END`,
    },
    'a foreign key that is looked at when it is committed': {
      code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
      sql: `CREATE TABLE bites (dog text REFERENCES owners (name) DEFERRABLE INITIALLY DEFERRED); CREATE TABLE owners (name text PRIMARY KEY);
            CREATE TRIGGER bites AFTER INSERT ON school_events WHEN NEW.topic = 'Dog.Bit' BEGIN INSERT INTO bites VALUES ('nobody'); END`,
    },
    'a unique index of the user, which is no conflict of versions': {
      code: 'SQLITE_CONSTRAINT_UNIQUE',
      sql: `CREATE UNIQUE INDEX no_twins ON school_events (state)`,
      bad: (name) => storedEvent(name, 1, { state: bytes('taken 1') }),
    },
    'a database that is full': {
      code: 'SQLITE_FULL',
      sql: 'PRAGMA max_page_count = 100',
      bad: (name) => storedEvent(name, 1, { state: new Uint8Array(1_000_000) }),
    },
  }
  for (const [what, { code, sql, bad = bitten }] of Object.entries(failures)) {
    it(`fail alone where one does (${what}), as it does by itself`, async () => {
      client.pragma('foreign_keys = ON')
      const recorder = await recorderOn()
      await recorder.insertEvents([own('taken', 1)])
      client.exec(sql)
      const alone = (await failure(recorder.insertEvents([bad('alone')]))) as EventSourcingError
      expect(alone).to.be.instanceOf(EventSourcingError).with.property('code', code)
      const refused = [[bad('single')], [own('half', 1), bad('several'), own('half', 2)], [own('taken', 1)]]
      const inserts = Array.from({ length: 20 }, (_, i) =>
        [own(`dog ${i}`, 1), own(`dog ${i}`, 2)].slice(0, 1 + (i % 2)),
      )
      inserts.splice(12, 0, refused[2]!)
      inserts.splice(8, 0, refused[1]!)
      inserts.splice(4, 0, refused[0]!)
      const outcomes = await startTogether(recorder, inserts)
      for (const [i, outcome] of outcomes.entries()) {
        const isStored = !refused.includes(inserts[i]!)
        expect(outcome.status, `insert ${i}`).to.equal(isStored ? 'fulfilled' : 'rejected')
        if (outcome.status === 'fulfilled') continue
        if (i === 14) expect(outcome.reason).to.be.instanceOf(RecordConflictError)
        else expect(outcome.reason).to.be.instanceOf(alone.constructor).with.property('code', code)
      }
      const kept = inserts.filter((each) => !refused.includes(each)).flat()
      const stored = await recorder.selectNotifications({ limit: 1000 })
      expect(stored.map(keyOf)).to.deep.equal(['taken 1', ...kept.map(keyOf)])
    })
  }

  describe('in a file', () => {
    let directory: string
    let other: Database.Database

    beforeEach(async () => {
      directory = await temporaryDirectory()
      other = new Database(join(directory, 'school.db'))
    })

    afterEach(async () => {
      other.close()
      await remove(directory)
    })

    async function school(options?: { poolTimeoutMs: number }) {
      const datastore = sqlite(join(directory, 'school.db'), options)
      return { datastore, recorder: await datastore.factory({ name: 'School' }).applicationRecorder() }
    }

    const inserts = Array.from({ length: 30 }, (_, i) => storedEvents(`dog ${i}`, 1, 1 + (i % 3)))
    const storedIn = () =>
      other
        .prepare<[], { key: string }>(
          `SELECT originator_id || ' ' || originator_version AS key FROM school_events ORDER BY notification_id`,
        )
        .all()
        .map(({ key }) => key)

    it('wait together for another connection that writes, and come out as if each were alone', async () => {
      const { datastore, recorder } = await school()
      other.exec('BEGIN IMMEDIATE')
      other.exec(
        `INSERT INTO school_events (originator_id, originator_version, topic, state) VALUES ('dog 4', 1, 'Dog.Held', '')`,
      )
      const saving = startTogether(recorder, inserts)
      await recorder.selectEvents('dog 4') // they have begun to wait
      other.exec('COMMIT')
      const outcomes = await saving
      const [before, ...added] = await recorder.selectNotifications({ limit: 1000 })
      expect(faultsOf({ inserts, outcomes, before: [before!], added })).to.deep.equal([])
      expect(outcomes.filter(({ status }) => status === 'rejected')).to.have.length(1)
      await datastore.close()
    })

    it('are each refused where that takes longer than the pool timeout, with nothing stored, and work afterwards', async () => {
      const { datastore, recorder } = await school({ poolTimeoutMs: 150 })
      other.exec('BEGIN IMMEDIATE')
      for (const outcome of await startTogether(recorder, inserts)) {
        expect(outcome.status).to.equal('rejected')
        expect((outcome as PromiseRejectedResult).reason)
          .to.be.instanceOf(OperationalError)
          .with.property('retryable', true)
      }
      other.exec('ROLLBACK')
      expect(storedIn()).to.deep.equal([])
      const outcomes = await startTogether(recorder, inserts)
      expect(outcomes.filter(({ status }) => status === 'rejected')).to.deep.equal([])
      await datastore.close()
    })

    it('are stored and acknowledged, or refused and not stored, where the datastore is closed at once', async () => {
      const { datastore, recorder } = await school()
      const saving = startTogether(recorder, inserts)
      const closing = datastore.close()
      const outcomes = await saving
      await closing
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).to.be.instanceOf(EventSourcingError)
      }
      const kept = inserts.filter((_, i) => outcomes[i]!.status === 'fulfilled').flat()
      expect(storedIn()).to.deep.equal(kept.map(keyOf))
    })
  })
})

/** An event whose state is its own. */
function own(name: string, version: number): StoredEvent {
  return storedEvent(name, version, { state: bytes(`${name} ${version}`) })
}

function bitten(name: string): StoredEvent {
  return storedEvent(name, 1, { topic: 'Dog.Bit', state: bytes(name) })
}

function keyOf({ originatorId, originatorVersion }: StoredEvent): string {
  return `${originatorId} ${originatorVersion}`
}
