import { Aggregate, aggregate, event } from 'eventsourcing-drizzle'

/** What an account refuses. Nothing has happened then. */
export class AccountError extends Error {}

/** A bank account. Amounts are whole cents, so that sums are exact. */
@aggregate('BankAccount', { created: event('Opened', 'holder') })
export class BankAccount extends Aggregate {
  balance = 0
  isClosed = false

  constructor(readonly holder: string) {
    super()
  }

  // Commands decide, and may refuse. They are not decorated, so they never run again for what has happened.

  deposit(amount: number): void {
    this.checkOpen()
    checkAmount(amount)
    this.credit(amount)
  }

  withdraw(amount: number): void {
    this.checkOpen()
    checkAmount(amount)
    if (amount > this.balance) throw new AccountError('The balance is too low')
    this.debit(amount)
  }

  close(): void {
    this.checkOpen()
    if (this.balance !== 0) throw new AccountError('The balance must be zero')
    this.end()
  }

  // Events change the account, and ask nothing: what has happened has happened.

  @event('Deposited', 'amount')
  protected credit(amount: number): void {
    this.balance += amount
  }

  @event('Withdrawn', 'amount')
  protected debit(amount: number): void {
    this.balance -= amount
  }

  @event('Closed')
  protected end(): void {
    this.isClosed = true
  }

  private checkOpen(): void {
    if (this.isClosed) throw new AccountError('The account is closed')
  }
}

function checkAmount(amount: number): void {
  if (!Number.isSafeInteger(amount) || amount <= 0)
    throw new AccountError('An amount is a whole number of cents above 0')
}
