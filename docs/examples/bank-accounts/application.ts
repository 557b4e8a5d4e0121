import {
  Application,
  RecordConflictError,
  isOutcomeUnknown,
  isRetryable,
  transactionRetry,
} from 'eventsourcing-drizzle'
import { BankAccount } from './domain.js'

/**
 * Does a command again, from its beginning, when somebody else has changed the account since it was read: the account as
 * it is now decides anew. So that no money moves twice, only where it is known that nothing was stored.
 */
const againWhenOvertaken = transactionRetry({
  total: 10,
  backoffFactor: 0.01,
  jitter: 'full',
  retryOn: (error) => error instanceof RecordConflictError || (isRetryable(error) && !isOutcomeUnknown(error)),
})

/** A line of an account's statement: what came in, or went out if it is below 0, in cents. */
export interface StatementLine {
  readonly on: Date
  readonly amount: number
}

/** What one can do at the bank. */
export class BankAccounts extends Application {
  /** Accounts live long: a snapshot of every 50th version is what a read begins with. */
  static readonly snapshottingIntervals = [[BankAccount, 50]] as const

  /** @returns The account's id. */
  async openAccount(holder: string): Promise<string> {
    const account = new BankAccount(holder)
    await this.save(account)
    return account.id
  }

  @againWhenOvertaken
  async deposit(id: string, amount: number): Promise<void> {
    const account = await this.#account(id)
    account.deposit(amount)
    await this.save(account)
  }

  @againWhenOvertaken
  async withdraw(id: string, amount: number): Promise<void> {
    const account = await this.#account(id)
    account.withdraw(amount)
    await this.save(account)
  }

  /** Both accounts are saved at once: the money is on one of them at every moment, whatever fails. */
  @againWhenOvertaken
  async transfer(from: string, to: string, amount: number): Promise<void> {
    const [payer, payee] = [await this.#account(from), await this.#account(to)]
    payer.withdraw(amount)
    payee.deposit(amount)
    await this.save(payer, payee)
  }

  @againWhenOvertaken
  async closeAccount(id: string): Promise<void> {
    const account = await this.#account(id)
    account.close()
    await this.save(account)
  }

  async balance(id: string): Promise<number> {
    return (await this.#account(id)).balance
  }

  /** Not made of the account, but of its events: they are the statement. */
  async statement(id: string): Promise<StatementLine[]> {
    const lines: StatementLine[] = []
    for (const { topic, timestamp, data } of await this.events.get(id)) {
      if (topic === 'BankAccount.Deposited') lines.push({ on: timestamp, amount: Number(data['amount']) })
      if (topic === 'BankAccount.Withdrawn') lines.push({ on: timestamp, amount: -Number(data['amount']) })
    }
    return lines
  }

  #account(id: string): Promise<BankAccount> {
    return this.repository.get(BankAccount, id)
  }
}
