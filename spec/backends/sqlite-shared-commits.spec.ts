import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { IntegrityError, OperationalError, RecordConflictError } from '../../lib/errors.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { Child } from '../support/child.js'
import { failure, rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'
import { storedEvent, storedEvents, versions } from '../support/stored-events.js'

describe('Saves on SQLite that are started together', () => {
  /** What the driver was told to run, since it was last asked for. */
  let said: string[]
  let client: Database.Database

  beforeEach(() => {
    said = []
    client = new Database(':memory:', { verbose: (statement) => said.push(String(statement)) })
  })

  afterEach(() => {
    client.close()
  })

  function count(beginning: string): number {
    return said.filter((statement) => statement.startsWith(beginning)).length
  }

  async function recorderOn(options?: { shareCommits: boolean }) {
    const datastore = sqlite(drizzle(client), options)
    const recorder = await datastore.factory({ name: 'School' }).applicationRecorder()
    said = []
    return recorder
  }

  it('share one commit', async () => {
    const recorder = await recorderOn()
    await Promise.all(Array.from({ length: 32 }, (_, i) => recorder.insertEvents([storedEvent(`dog ${i}`, 1)])))
    expect([count('INSERT'), count('BEGIN'), count('COMMIT')]).to.deep.equal([32, 1, 1])
  })

  it('share the next commit where they waited for the writer together, whenever they were started', async () => {
    const recorder = await recorderOn()
    const holding = await recorder.transaction()
    const saving = []
    for (let i = 0; i < 5; i += 1) {
      saving.push(recorder.insertEvents([storedEvent(`dog ${i}`, 1)]))
      await nextTurn()
    }
    said = []
    await holding.rollback()
    expect((await Promise.all(saving)).flat()).to.deep.equal([1, 2, 3, 4, 5])
    expect([count('INSERT'), count('BEGIN'), count('COMMIT')]).to.deep.equal([5, 1, 1])
  })

  it('need a savepoint only where one is several statements', async () => {
    const recorder = await sqlite(drizzle(client)).factory({ name: 'School' }).processRecorder()
    said = []
    await Promise.all([
      recorder.insertEvents([storedEvent('one', 1)]),
      recorder.insertEvents(storedEvents('hundred', 1, 100)),
    ])
    expect([count('INSERT'), count('SAVEPOINT'), count('COMMIT')]).to.deep.equal([2, 0, 1])
    said = []
    await Promise.all([
      recorder.insertEvents(storedEvents('more', 1, 101)),
      recorder.insertEvents([storedEvent('other', 1)], {
        tracking: { applicationName: 'upstream', notificationId: 1 },
      }),
    ])
    expect([count('INSERT'), count('SAVEPOINT'), count('COMMIT')]).to.deep.equal([4, 2, 1])
  })

  it('resolve after their commit', async () => {
    const recorder = await recorderOn()
    const commits = await Promise.all(
      [1, 2, 3].map(async (n) => {
        await recorder.insertEvents([storedEvent(`dog ${n}`, 1)])
        return count('COMMIT')
      }),
    )
    expect(commits).to.deep.equal([1, 1, 1])
  })

  it('are all or nothing each, whatever a trigger of the user does with what it refuses', async () => {
    const recorder = await recorderOn()
    client.exec(
      `CREATE TABLE once (topic text UNIQUE);
       CREATE TRIGGER counts AFTER INSERT ON school_events WHEN NEW.topic = 'Dog.Bit'
       BEGIN INSERT OR FAIL INTO once VALUES (NEW.topic); END`,
    )
    const bites = [2, 3].map((version) => storedEvent('biter', version, { topic: 'Dog.Bit' }))
    const outcomes = [
      recorder.insertEvents([storedEvent('before', 1)]),
      rejection(recorder.insertEvents([storedEvent('biter', 1), ...bites]), IntegrityError),
      recorder.insertEvents([storedEvent('after', 1)]),
    ]
    await Promise.all(outcomes)
    await rejection(recorder.insertEvents(bites), IntegrityError)
    expect(await recorder.selectEvents('biter')).to.deep.equal([])
    expect(await recorder.selectNotifications({ limit: 10 })).to.have.length(2)
  })

  it('leave the event loop a turn after some hundred of them', async () => {
    const recorder = await recorderOn()
    let turns = 0
    let isOver = false
    const counting = (async () => {
      for (; !isOver; turns += 1) await nextTurn()
    })()
    await Promise.all(Array.from({ length: 5000 }, (_, i) => recorder.insertEvents([storedEvent(`dog ${i}`, 1)])))
    isOver = true
    await counting
    expect(count('COMMIT')).to.be.at.least(5)
    expect(turns).to.be.at.least(count('COMMIT') - 1)
  })

  it('commit each by itself where that is turned off', async () => {
    const recorder = await recorderOn({ shareCommits: false })
    await Promise.all(Array.from({ length: 32 }, (_, i) => recorder.insertEvents([storedEvent(`dog ${i}`, 1)])))
    expect([count('INSERT'), count('BEGIN'), count('COMMIT')]).to.deep.equal([32, 0, 0])
  })

  it('are one statement each where one comes after the other', async () => {
    const recorder = await recorderOn()
    for (const version of [1, 2, 3]) await recorder.insertEvents([storedEvent('dog', version)])
    expect(said.filter((statement) => !statement.startsWith('PRAGMA'))).to.have.length(3)
    expect(count('INSERT')).to.equal(3)
  })

  it('are tried one by one where one fails for more than a conflict', async () => {
    const recorder = await recorderOn()
    client.exec(
      `CREATE TRIGGER no_bites BEFORE INSERT ON school_events WHEN NEW.topic = 'Dog.Bit'
       BEGIN SELECT RAISE(ROLLBACK, 'no bites'); END`,
    )
    await recorder.insertEvents([storedEvent('taken', 1)])
    const outcomes = [
      recorder.insertEvents([storedEvent('before', 1)]),
      rejection(recorder.insertEvents([storedEvent('biter', 1, { topic: 'Dog.Bit' })]), IntegrityError),
      rejection(recorder.insertEvents([storedEvent('taken', 1)]), RecordConflictError),
      rejection(
        recorder.insertEvents([storedEvent('half', 1), storedEvent('half', 2, { topic: 'Dog.Bit' })]),
        IntegrityError,
      ),
      recorder.insertEvents(storedEvents('after', 1, 3)),
    ]
    await Promise.all(outcomes)
    expect(versions(await recorder.selectEvents('before'))).to.deep.equal([1])
    expect(versions(await recorder.selectEvents('after'))).to.deep.equal([1, 2, 3])
    expect(await recorder.selectEvents('biter')).to.deep.equal([])
    expect(await recorder.selectEvents('half')).to.deep.equal([])
  })
})

describe('Saves on a SQLite file that are started together', () => {
  let directory: string
  let file: string

  beforeEach(async () => {
    directory = await temporaryDirectory()
    file = join(directory, 'school.db')
  })

  afterEach(async () => {
    await Child.endAll()
    await remove(directory)
  })

  it('are refused together, with nothing stored, where a reader holds up their commit until the timeout', async () => {
    const client = new Database(file)
    await using datastore = sqlite(drizzle(client), { poolTimeoutMs: 200 })
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    await recorder.insertEvents([storedEvent('dog', 1)])
    // without WAL, who commits waits for those who read
    const reader = new Child('holder', [file, 'BEGIN', 'SELECT * FROM stored_events'])
    await reader.message()

    const refused = await Promise.all(
      Array.from({ length: 20 }, (_, i) => failure(recorder.insertEvents(storedEvents(`late ${i}`, 1, 2)))),
    )
    for (const error of refused) expect(error).to.be.instanceOf(OperationalError).with.property('retryable', true)

    reader.send('let go')
    await reader.exit
    expect(versions(await recorder.selectNotifications({ limit: 100 }))).to.deep.equal([1])
    expect(await recorder.insertEvents([storedEvent('dog', 2)])).to.deep.equal([2])
    client.close()
  })

  it('can be read by another connection once they have resolved', async () => {
    await using datastore = sqlite(file)
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    const client = new Database(file, { readonly: true })
    const stored = client.prepare('SELECT count(*) FROM stored_events WHERE originator_id = ?').pluck()
    const seen = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        await recorder.insertEvents(storedEvents(`dog ${i}`, 1, 3))
        return stored.get(`dog ${i}`)
      }),
    )
    expect(seen).to.deep.equal(Array.from({ length: 40 }, () => 3))
    client.close()
  })

  for (const synchronous of ['full', 'normal'] as const) {
    it(`lose nothing that was acknowledged to SIGKILL, with synchronous ${synchronous}`, async () => {
      const writer = new Child('sharing-writer', [file, synchronous])
      for (let n = 0; n < 300; n += 1) await writer.message()
      writer.kill()
      const { signal, stderr } = await writer.exit
      expect(signal, stderr).to.equal('SIGKILL')

      await using datastore = sqlite(file)
      const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
      const notifications = await recorder.selectNotifications({ limit: 100_000 })
      const saved = new Map<string, number>()
      for (const { originatorId } of notifications) saved.set(originatorId, (saved.get(originatorId) ?? 0) + 1)
      expect([...saved.keys()]).to.include.members(writer.received)
      expect([...new Set(saved.values())]).to.deep.equal([3])
    })
  }
})
