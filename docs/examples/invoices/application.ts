import { Application } from 'eventsourcing-drizzle'
import { Invoice, type InvoiceLine, type InvoiceState, amountDue } from './domain.js'

/** What one can do with invoices. An invoice's number is its id. */
export class Invoicing extends Application {
  async draft(number: string, customer: string, lines: readonly InvoiceLine[]): Promise<void> {
    // several commands, all or none
    await this.transaction(async () => {
      await this.execute(Invoice, number, 'draft', { customer })
      for (const line of lines) await this.execute(Invoice, number, 'addLine', line)
    })
  }

  async send(number: string, on: Date): Promise<void> {
    await this.execute(Invoice, number, 'send', { on })
  }

  async remind(number: string, on: Date): Promise<void> {
    await this.execute(Invoice, number, 'remind', { on })
  }

  /**
   * Payments come in when they like, also at once: where somebody else was faster, it is decided again, on what is due then.
   *
   * @returns What is still due, in cents.
   */
  async receivePayment(number: string, amount: number): Promise<number> {
    return amountDue(await this.execute(Invoice, number, 'receivePayment', { amount }, { retries: 10 }))
  }

  async cancel(number: string, reason: string): Promise<void> {
    await this.execute(Invoice, number, 'cancel', { reason })
  }

  async invoice(number: string): Promise<InvoiceState> {
    return (await this.repository.get(Invoice, number)).state
  }
}
