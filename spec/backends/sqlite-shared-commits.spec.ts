import Database from 'better-sqlite3'
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { IntegrityError, RecordConflictError } from '../../lib/errors.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { rejection } from '../support/rejection.js'
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
