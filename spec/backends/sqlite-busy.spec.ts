import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { OperationalError } from '../../lib/errors.js'
import { isRetryable } from '../../lib/persistence/retryable.js'
import { transactionRetry } from '../../lib/persistence/transaction-retry.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { Child } from '../support/child.js'
import { failure, rejection } from '../support/rejection.js'
import { createOwners, owners, remove, temporaryDirectory } from '../support/sqlite-backends.js'
import { plain, storedEvent, versions } from '../support/stored-events.js'

describe('A SQLite file that another process has locked', () => {
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

  it('is waited for while the event loop goes on, until the other lets go', async () => {
    await using datastore = sqlite(file)
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    await recorder.insertEvents([storedEvent('dog', 1)])
    const holder = await holding(file, 'BEGIN IMMEDIATE')
    using ticks = new Ticks()

    const saving = settling(recorder.insertEvents([storedEvent('dog', 2)]))
    const inTransaction = settling(recorder.transaction(() => recorder.insertEvents([storedEvent('cat', 1)])))
    await ticks.passed(40)
    expect([saving.isSettled, inTransaction.isSettled]).to.deep.equal([false, false])
    // in WAL a reader needs nobody's leave
    expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])

    await letGo(holder)
    expect(await saving.promise).to.deep.equal([2])
    expect(await inTransaction.promise).to.deep.equal([3])
  })

  it('is tried again by transactionRetry after the pool timeout, with the whole unit of work', async () => {
    await using datastore = sqlite(file, { poolTimeoutMs: 20 })
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    const holder = await holding(file, 'BEGIN IMMEDIATE')
    const codes: unknown[] = []
    let letting: Promise<void> | undefined
    const retryOn = (error: unknown) => {
      codes.push((error as OperationalError).code)
      letting ??= letGo(holder)
      return isRetryable(error)
    }
    const save = transactionRetry(() => recorder.transaction(() => recorder.insertEvents([storedEvent('dog', 1)])), {
      total: 1000,
      retryOn,
    })
    expect(await save()).to.deep.equal([1])
    await letting
    expect(new Set(codes)).to.deep.equal(new Set(['SQLITE_BUSY']))
  })

  it('is an OperationalError after the pool timeout, with nothing stored, and works afterwards', async () => {
    await using datastore = sqlite(file, { poolTimeoutMs: 200 })
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    const holder = await holding(file, 'BEGIN IMMEDIATE')
    using ticks = new Ticks()

    const error = await rejection(recorder.insertEvents([storedEvent('dog', 1)]), OperationalError, '200 ms')
    expect([error.code, error.retryable]).to.deep.equal(['SQLITE_BUSY', true])
    // had SQLite itself waited, it would be one or none
    expect(ticks.count).to.be.above(10)
    const again = await rejection(
      recorder.transaction(() => expect.fail('Has begun')),
      OperationalError,
    )
    expect([again.code, again.retryable]).to.deep.equal(['SQLITE_BUSY', true])

    await letGo(holder)
    expect(await recorder.insertEvents([storedEvent('dog', 1)])).to.deep.equal([1])
    expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
  })

  it('is waited for once by saves that are started together, not by each again', async () => {
    await using datastore = sqlite(file, { poolTimeoutMs: 200 })
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    const holder = await holding(file, 'BEGIN IMMEDIATE')

    const errors = await Promise.all(
      Array.from({ length: 20 }, (_, i) => failure(recorder.insertEvents([storedEvent(`dog ${i}`, 1)]))),
    )
    // one wait, and so one error for all of them
    expect(new Set(errors).size).to.equal(1)
    expect(errors[0]).to.be.instanceOf(OperationalError).with.property('code', 'SQLITE_BUSY')

    await letGo(holder)
    expect(await recorder.maxNotificationId()).to.equal(null)
    expect(await recorder.insertEvents([storedEvent('dog 0', 1)])).to.deep.equal([1])
  })

  it('is waited for no longer than the pool timeout by any of thousands of saves', async () => {
    await using datastore = sqlite(file, { poolTimeoutMs: 300 })
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    const holder = await holding(file, 'BEGIN IMMEDIATE')
    using ticks = new Ticks()

    const saving = Promise.all(
      Array.from({ length: 5000 }, (_, i) =>
        rejection(recorder.insertEvents([storedEvent(`dog ${i}`, 1)]), OperationalError),
      ),
    )
    // ten commits' worth of saves: had each commit its own wait, it would be ten timeouts
    const outcome = await Promise.race([saving, ticks.passed((5 * 300) / 5)])
    expect(outcome).to.have.length(5000)
    await letGo(holder)
    expect(await recorder.maxNotificationId()).to.equal(null)
  })

  it('is waited for at the first opening too', async () => {
    const holder = await holding(file, 'CREATE TABLE theirs (n integer)', 'BEGIN EXCLUSIVE')
    {
      await using impatient = sqlite(file, { poolTimeoutMs: 200 })
      const error = await rejection(impatient.ready(), OperationalError)
      expect([error.code, error.retryable]).to.deep.equal(['SQLITE_BUSY', true])
    }
    await using datastore = sqlite(file)
    using ticks = new Ticks()
    const opening = settling(datastore.ready())
    await ticks.passed(40)
    expect(opening.isSettled).to.equal(false)

    await letGo(holder)
    await opening.promise
    expect(await datastore.db.all(sql`SELECT * FROM theirs`)).to.deep.equal([])
  })

  it('can be opened, and read, while somebody writes', async () => {
    {
      await using datastore = sqlite(file)
      const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
    }
    const holder = await holding(file, 'BEGIN IMMEDIATE')
    await using datastore = sqlite(file, { poolTimeoutMs: 200 })
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    expect(await recorder.maxNotificationId()).to.equal(1)
    await letGo(holder)
  })

  it("is waited for at the commit of a user's database without WAL, which a reader holds up", async () => {
    const client = new Database(file, { timeout: 6000 })
    const db = drizzle(client)
    db.run(createOwners)
    await using datastore = sqlite(db)
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    const holder = await holding(file, 'BEGIN', 'SELECT * FROM owners')
    using ticks = new Ticks()

    const saving = settling(
      datastore.transaction(async (session) => {
        await session.insert(owners).values({ name: 'Ann' })
        return recorder.insertEvents([storedEvent('dog', 1)])
      }),
    )
    await ticks.passed(40)
    expect(saving.isSettled).to.equal(false)
    await letGo(holder)
    expect(await saving.promise).to.deep.equal([1])
    expect((await recorder.selectEvents('dog')).map(plain)).to.deep.equal([plain(storedEvent('dog', 1))])
    expect(db.select().from(owners).all()).to.deep.equal([{ name: 'Ann' }])
    expect(client.pragma('busy_timeout', { simple: true })).to.equal(6000)
    client.close()
  })
})

/** Counts turns of the event loop. */
class Ticks {
  count = 0
  #reached: () => void = () => undefined
  readonly #timer = setInterval(() => {
    this.count += 1
    this.#reached()
  }, 5)

  /** Resolves when there were so many. */
  passed(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#reached = () => {
        if (this.count >= count) resolve()
      }
    })
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

function settling<T>(promise: Promise<T>): { readonly promise: Promise<T>; readonly isSettled: boolean } {
  const state = { promise, isSettled: false }
  const settled = () => (state.isSettled = true)
  promise.then(settled, settled)
  return state
}

async function holding(file: string, ...statements: string[]): Promise<Child> {
  const holder = new Child('holder', [file, ...statements])
  await holder.message()
  return holder
}

async function letGo(holder: Child): Promise<void> {
  holder.send('let go')
  const { code, stderr } = await holder.exit
  expect(code, stderr).to.equal(0)
}
