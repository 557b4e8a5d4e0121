import { decider } from 'eventsourcing-drizzle'

/** What an invoice refuses. Nothing has happened then. */
export class InvoiceError extends Error {}

/** A line of an invoice. Amounts are whole cents, so that sums are exact. */
export interface InvoiceLine {
  readonly text: string
  readonly amount: number
}

/** What is known of an invoice. */
export interface InvoiceState {
  readonly status: 'new' | 'draft' | 'sent' | 'paid' | 'cancelled'
  readonly customer: string
  readonly lines: readonly InvoiceLine[]
  readonly dueOn?: Date
  readonly reminders: number
  readonly received: number
}

const initial = (): InvoiceState => ({ status: 'new', customer: '', lines: [], reminders: 0, received: 0 })

/**
 * An invoice: drafted, sent, and paid in one or more parts. All of it are functions. Events give the state after them, and
 * ask nothing; commands decide which events happen, and change nothing. What the day is a command is told, since a
 * decision is the same whenever it is made.
 */
export const Invoice = decider('Invoice', { initial })
  .events({
    Drafted: (state, { customer }: { customer: string }) => ({ ...state, status: 'draft', customer }),
    LineAdded: (state, line: InvoiceLine) => ({ ...state, lines: [...state.lines, line] }),
    Sent: (state, { dueOn }: { dueOn: Date }) => ({ ...state, status: 'sent', dueOn }),
    Reminded: (state, _data: { on: Date }) => ({ ...state, reminders: state.reminders + 1 }),
    PaymentReceived: (state, { amount }: { amount: number }) => ({ ...state, received: state.received + amount }),
    Paid: (state) => ({ ...state, status: 'paid' }),
    Cancelled: (state, _data: { reason: string }) => ({ ...state, status: 'cancelled' }),
  })
  .commands((events) => ({
    draft: (state, { customer }: { customer: string }) => {
      checkStatus(state, 'new')
      return events.Drafted({ customer })
    },

    addLine: (state, { text, amount }: InvoiceLine) => {
      checkStatus(state, 'draft')
      if (!Number.isSafeInteger(amount)) throw new InvoiceError('An amount is a whole number of cents')
      return events.LineAdded({ text, amount })
    },

    send: (state, { on }: { on: Date }) => {
      checkStatus(state, 'draft')
      if (amountDue(state) <= 0) throw new InvoiceError('There is nothing to be paid')
      return events.Sent({ dueOn: new Date(on.getTime() + 30 * dayMs) })
    },

    /** Nothing happens while there is nothing to remind of: may be asked for every day. */
    remind: (state, { on }: { on: Date }) =>
      state.status === 'sent' && state.dueOn !== undefined && on > state.dueOn ? events.Reminded({ on }) : [],

    /** One event, or two: whoever waits for invoices to be paid need not add up payments. */
    receivePayment: (state, { amount }: { amount: number }) => {
      checkStatus(state, 'sent')
      const due = amountDue(state)
      if (!(amount > 0 && amount <= due)) throw new InvoiceError('That is not what is due, nor a part of it')
      const received = events.PaymentReceived({ amount })
      return amount === due ? [received, events.Paid()] : received
    },

    cancel: (state, { reason }: { reason: string }) => {
      if (state.status === 'cancelled') return []
      if (state.status === 'new' || state.received > 0) throw new InvoiceError('There is nothing that can be cancelled')
      return events.Cancelled({ reason })
    },
  }))

/** In cents. */
export function amountDue({ lines, received }: InvoiceState): number {
  return lines.reduce((sum, { amount }) => sum + amount, 0) - received
}

const dayMs = 86_400_000

function checkStatus({ status }: InvoiceState, required: InvoiceState['status']): void {
  if (status !== required) throw new InvoiceError(`The invoice is ${status}`)
}
