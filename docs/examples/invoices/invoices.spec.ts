import assert from 'node:assert/strict'
import { AggregateNotFoundError, type DecidedEvent } from 'eventsourcing-drizzle'
import { Invoicing } from './application.js'
import { Invoice, InvoiceError, amountDue } from './domain.js'

const { Drafted, LineAdded, Sent, PaymentReceived, Paid, Reminded } = Invoice.events
const [march1, march31, april1] = [new Date('2026-03-01'), new Date('2026-03-31'), new Date('2026-04-01')]

describe('An invoice', () => {
  // given what has happened, when a command comes, then this happens: no application, no database
  const drafted = [Drafted({ customer: 'Ann' }), LineAdded({ text: 'Obedience, 4 lessons', amount: 120_00 })]
  const sent = [...drafted, Sent({ dueOn: march31 })]
  const given = (events: readonly DecidedEvent[]) => events.reduce(Invoice.evolve, Invoice.initial())

  it('is due 30 days after it was sent', () => {
    assert.deepEqual(Invoice.decide(given(drafted), 'send', { on: march1 }), [Sent({ dueOn: march31 })])
  })

  it('is not sent without anything to pay, nor twice', () => {
    assert.throws(() => Invoice.decide(given([Drafted({ customer: 'Ann' })]), 'send', { on: march1 }), InvoiceError)
    assert.throws(() => Invoice.decide(given(sent), 'send', { on: march1 }), InvoiceError)
  })

  it('is paid when the last part of it has come in', () => {
    const part = PaymentReceived({ amount: 50_00 })
    assert.deepEqual(Invoice.decide(given(sent), 'receivePayment', { amount: 50_00 }), [part])
    assert.deepEqual(Invoice.decide(given([...sent, part]), 'receivePayment', { amount: 70_00 }), [
      PaymentReceived({ amount: 70_00 }),
      Paid(),
    ])
    assert.throws(() => Invoice.decide(given([...sent, part]), 'receivePayment', { amount: 70_01 }), InvoiceError)
  })

  it('is reminded of when it is overdue, and not before', () => {
    assert.deepEqual(Invoice.decide(given(sent), 'remind', { on: march31 }), [])
    assert.deepEqual(Invoice.decide(given(sent), 'remind', { on: april1 }), [Reminded({ on: april1 })])
  })

  it('is cancelled once, unless some of it was paid', () => {
    const reason = { reason: 'wrong address' }
    const [cancelled] = Invoice.decide(given(sent), 'cancel', reason)
    assert.deepEqual(Invoice.decide(given([...sent, cancelled!]), 'cancel', reason), [])
    assert.throws(
      () => Invoice.decide(given([...sent, PaymentReceived({ amount: 1 })]), 'cancel', reason),
      InvoiceError,
    )
  })
})

describe('Invoicing in memory', () => cases({}))

describe('Invoicing on SQLite', () =>
  cases({ PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: 'sqlite::memory:' }))

function cases(env: Readonly<Record<string, string>>): void {
  const number = '2026-0001'
  let invoicing: Invoicing

  beforeEach(async () => {
    invoicing = new Invoicing({ env })
    await invoicing.draft(number, 'Ann', [
      { text: 'Obedience, 4 lessons', amount: 120_00 },
      { text: 'Whistle', amount: 9_50 },
    ])
  })

  afterEach(() => invoicing.close())

  const topics = async () => (await invoicing.events.get(number)).map(({ topic }) => topic)

  it('gives an invoice back as its events made it', async () => {
    await invoicing.send(number, march1)
    const invoice = await invoicing.invoice(number)

    assert.deepEqual([invoice.status, invoice.customer, invoice.dueOn], ['sent', 'Ann', march31])
    assert.equal(amountDue(invoice), 129_50)
    await assert.rejects(invoicing.invoice('2026-0002'), AggregateNotFoundError)
  })

  it('drafts an invoice with all of its lines, or not at all', async () => {
    await assert.rejects(invoicing.draft('2026-0002', 'Bob', [{ text: 'Leash', amount: 0.5 }]), InvoiceError)
    await assert.rejects(invoicing.invoice('2026-0002'), AggregateNotFoundError)
    await assert.rejects(invoicing.draft(number, 'Bob', []), InvoiceError)
  })

  it('stores nothing where nothing was decided', async () => {
    await invoicing.send(number, march1)
    await invoicing.remind(number, march1)
    assert.equal((await topics()).at(-1), 'Invoice.Sent')

    await invoicing.remind(number, april1)
    assert.equal((await topics()).at(-1), 'Invoice.Reminded')
  })

  it('takes all payments that come in at once', async () => {
    await invoicing.send(number, march1)
    await Promise.all([60_00, 40_00, 29_50].map((amount) => invoicing.receivePayment(number, amount)))

    assert.equal((await invoicing.invoice(number)).status, 'paid')
    assert.equal((await topics()).at(-1), 'Invoice.Paid')
  })

  it('does not take more than is due from two who pay all of it at once', async () => {
    await invoicing.send(number, march1)
    const outcomes = await Promise.allSettled([1, 2].map(() => invoicing.receivePayment(number, 129_50)))

    assert.equal(amountDue(await invoicing.invoice(number)), 0)
    const refused = outcomes.find((outcome) => outcome.status === 'rejected')
    assert.ok(refused?.reason instanceof InvoiceError)
  })
}
