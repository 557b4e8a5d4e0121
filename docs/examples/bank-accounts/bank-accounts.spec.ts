import assert from 'node:assert/strict'
import { AggregateNotFoundError } from 'eventsourcing-drizzle'
import { freshSchema } from '../../../spec/support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../../../spec/support/postgres-server.js'
import { BankAccounts } from './application.js'
import { AccountError } from './domain.js'

describe('Bank accounts in memory', () => {
  cases(async () => ({ env: {}, drop: async () => undefined }))
})

describe('Bank accounts on SQLite', () => {
  const env = { PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: 'sqlite::memory:' }
  cases(async () => ({ env, drop: async () => undefined }))
})

describePostgres('Bank accounts on PostgreSQL', () => {
  cases(async () => {
    const { name, drop } = await freshSchema()
    const env = { PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: postgresUrl(), DRIZZLE_SCHEMA: name }
    return { env, drop }
  })
})

/** Where the accounts are kept, said as users say it. */
interface Place {
  readonly env: Readonly<Record<string, string>>
  drop(): Promise<void>
}

function cases(open: () => Promise<Place>): void {
  let place: Place
  let bank: BankAccounts

  beforeEach(async () => {
    place = await open()
    bank = new BankAccounts({ env: place.env })
  })

  afterEach(async () => {
    await bank.close()
    await place.drop()
  })

  async function accountWith(amount: number, holder = 'Ann'): Promise<string> {
    const id = await bank.openAccount(holder)
    if (amount > 0) await bank.deposit(id, amount)
    return id
  }

  it('keep what was paid in, less what was withdrawn', async () => {
    const ann = await accountWith(200_00)
    await bank.withdraw(ann, 50_00)

    assert.equal(await bank.balance(ann), 150_00)
    assert.deepEqual(
      (await bank.statement(ann)).map(({ amount }) => amount),
      [200_00, -50_00],
    )
  })

  it('pay out no more than is there, and store nothing of a refused command', async () => {
    const ann = await accountWith(200_00)

    await assert.rejects(bank.withdraw(ann, 200_01), AccountError)
    await assert.rejects(bank.deposit(ann, 0.5), AccountError)
    assert.equal((await bank.statement(ann)).length, 1)
  })

  it('are closed when they are empty, and then take no more money', async () => {
    const ann = await accountWith(1)
    await assert.rejects(bank.closeAccount(ann), AccountError)

    await bank.withdraw(ann, 1)
    await bank.closeAccount(ann)
    await assert.rejects(bank.deposit(ann, 1), AccountError)
  })

  it('that nobody opened are not there', async () => {
    await assert.rejects(bank.balance('no such account'), AggregateNotFoundError)
  })

  it('give and get a transfer in one step', async () => {
    const [ann, bob] = [await accountWith(200_00, 'Ann'), await accountWith(0, 'Bob')]
    await bank.transfer(ann, bob, 80_00)

    assert.deepEqual([await bank.balance(ann), await bank.balance(bob)], [120_00, 80_00])
  })

  it('neither give nor get a transfer that one of them refuses', async () => {
    const [ann, bob] = [await accountWith(200_00, 'Ann'), await accountWith(0, 'Bob')]
    await bank.closeAccount(bob)

    await assert.rejects(bank.transfer(ann, bob, 80_00), AccountError)
    assert.equal(await bank.balance(ann), 200_00)
  })

  it('lose no deposit when several are made at once', async () => {
    const ann = await accountWith(0)
    await Promise.all([1, 2, 3, 4, 5].map((euros) => bank.deposit(ann, euros * 100)))

    assert.equal(await bank.balance(ann), 15_00)
  })

  it('are not emptied twice when two withdraw the last of the money at once', async () => {
    const ann = await accountWith(100_00)
    const outcomes = await Promise.allSettled([bank.withdraw(ann, 100_00), bank.withdraw(ann, 100_00)])

    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    const refused = outcomes.find((outcome) => outcome.status === 'rejected')
    assert.ok(refused?.reason instanceof AccountError)
    assert.equal(await bank.balance(ann), 0)
  })

  it('have a snapshot of every fiftieth version, and the whole statement all the same', async () => {
    const ann = await accountWith(0)
    for (let count = 0; count < 60; count++) await bank.deposit(ann, 1_00)

    const snapshots = await bank.snapshots.get(ann)
    assert.deepEqual(
      snapshots.map(({ originatorVersion }) => originatorVersion),
      [50],
    )
    assert.equal(await bank.balance(ann), 60_00)
    assert.equal((await bank.statement(ann)).length, 60)
  })

  it('hold the same money as before when transfers cross', async () => {
    const [ann, bob] = [await accountWith(100_00, 'Ann'), await accountWith(100_00, 'Bob')]
    await Promise.all([
      bank.transfer(ann, bob, 10_00),
      bank.transfer(bob, ann, 20_00),
      bank.transfer(ann, bob, 30_00),
      bank.transfer(bob, ann, 40_00),
    ])

    assert.deepEqual([await bank.balance(ann), await bank.balance(bob)], [120_00, 80_00])
  })
}
