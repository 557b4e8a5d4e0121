import { InterfaceError, ProgrammingError } from '../errors.js'
import { inContext, runInContext } from './contexts.js'
import { TransactionalDatastore } from './datastore.js'
import { joined } from './session.js'
import type { SessionByHand } from './session-by-hand.js'
import { Transaction } from './transaction.js'
import type { LeadsToTransaction } from './transactions.js'

/** How a scope begins and ends. */
export interface ScopeOptions {
  /** Commits when `fn` resolves. Default: false, what was not committed by `scope.commit()` is rolled back. */
  readonly commitOnExit?: boolean | undefined
  /** Connects and begins the transaction before `fn` is called. Default: false, at first use. */
  readonly eager?: boolean | undefined
}

/** A datastore whose sessions are of that type. */
export interface OpensSessions<ByHand> {
  openSession(): Promise<ByHand>
}

/**
 * A session for each scope, a request for example: opened when it is first used, and closed at the scope's end.
 *
 * One object serves any number of scopes that run at the same time. Inside of `run`, every call on the datastore joins the
 * scope's transaction.
 *
 * @throws ProgrammingError  It is no datastore of ours.
 */
export function scopedSession<ByHand extends object>(datastore: OpensSessions<ByHand>): Scope<ByHand> {
  if (datastore instanceof TransactionalDatastore) {
    return new Scope<ByHand>(datastore as TransactionalDatastore<unknown, unknown, ByHand>)
  }
  throw new ProgrammingError(
    'scopedSession() takes a datastore: what sqlite(), postgres() or new MemoryDatastore() gives',
  )
}

/** The session of the current scope; made by `scopedSession(datastore)`. */
export class Scope<ByHand extends object = object> {
  readonly #datastore: TransactionalDatastore<unknown, unknown, ByHand>

  constructor(datastore: TransactionalDatastore<unknown, unknown, ByHand>) {
    this.#datastore = datastore
  }

  /**
   * Runs `fn` in a scope of its own. What is not committed at its end is rolled back, also when `fn` throws.
   *
   * In another scope it is a scope as independent as any. What is started inside and not awaited there is an
   * `InterfaceError` after the end.
   *
   * @returns What `fn` returns.
   * @throws ProgrammingError  The calling code is in a transaction of the same datastore.
   * @throws OperationalError  With `eager`: no connection, or the writer not free, within the pool timeout; `fn` is not called.
   */
  async run<T>(fn: () => T | PromiseLike<T>, options: ScopeOptions = {}): Promise<T> {
    const { commitOnExit, eager } = checked(options)
    const transactions = this.#datastore.transactionsForScopes()
    if (transactions.context instanceof Transaction && transactions.context.isOpen) {
      throw new ProgrammingError(
        'A scope inside a transaction of the same datastore would not see what that has done, and may wait for it for ever: ' +
          'start it outside, or by datastore.outside(() => scope.run(…))',
      )
    }
    const running = new RunningScope(this.#datastore)
    let result: T
    try {
      if (eager) await running.current.begin()
      const context = [[transactions, running] as const, [this, running] as const]
      // awaited inside: a query that is only started by its `then`, as Drizzle's are, starts there too
      result = await runInContext(context, async () => await fn())
      if (commitOnExit) await running.commit()
    } catch (error) {
      // that error is the one to know; a rollback that fails as well is the backend's to mend
      await running.end().catch(() => undefined)
      throw transactions.translate(error)
    }
    await running.end()
    return result
  }

  /**
   * The current scope's session: a Drizzle database with the user's schema, whose transaction begins at its first statement.
   *
   * @throws ProgrammingError  There is no scope: the calling code is not inside `run`.
   * @throws InterfaceError  The scope has ended.
   */
  get session(): ByHand {
    return this.#running.handle
  }

  /** Commits what the scope has done so far; the next use begins another transaction. */
  async commit(): Promise<void> {
    await this.#running.commit()
  }

  /** Rolls back what was done since the last commit; the next use begins another transaction. */
  async rollback(): Promise<void> {
    await this.#running.rollback()
  }

  /** Rolls back what was not committed, and closes the scope's session; the next use opens another. */
  async remove(): Promise<void> {
    await this.#running.remove()
  }

  /** Whether the calling code is inside a scope that has not ended. */
  get isRunning(): boolean {
    return (inContext(this) as RunningScope<ByHand> | undefined)?.isRunning ?? false
  }

  /** @internal Where a call joins that has the scope from a topic. */
  [joined](): Transaction<unknown, unknown> | undefined {
    return this.isRunning ? this.#running.current : undefined
  }

  get #running(): RunningScope<ByHand> {
    // what is stored under this key was stored by run
    const running = inContext(this) as RunningScope<ByHand> | undefined
    if (running) return running
    throw new ProgrammingError('There is no scope here: call this inside of scope.run(async () => …)')
  }
}

/** One scope from its begin to its end. */
class RunningScope<ByHand extends object> implements LeadsToTransaction<unknown, unknown> {
  readonly #datastore: TransactionalDatastore<unknown, unknown, ByHand>
  #session: SessionByHand<unknown, unknown> | undefined
  /** Of that session; made when it is asked for, since saves alone need none. */
  #handle: ByHand | undefined
  #hasEnded = false

  constructor(datastore: TransactionalDatastore<unknown, unknown, ByHand>) {
    this.#datastore = datastore
  }

  get isRunning(): boolean {
    return !this.#hasEnded
  }

  get handle(): ByHand {
    this.#requireRunning()
    const session = this.#open()
    return (this.#handle ??= this.#datastore.handleOf(session))
  }

  /** After the end it is one that has ended. */
  get current(): Transaction<unknown, unknown> {
    return this.#open().current
  }

  async commit(): Promise<void> {
    this.#requireRunning()
    if (!this.#session?.isClosed) await this.#session?.commit()
  }

  async rollback(): Promise<void> {
    this.#requireRunning()
    if (!this.#session?.isClosed) await this.#session?.rollback()
  }

  async remove(): Promise<void> {
    this.#requireRunning()
    await this.#session?.close()
  }

  async end(): Promise<void> {
    const session = this.#open()
    this.#hasEnded = true
    await session.close()
  }

  /** The session: a new one if there is none, or if it was closed before the end. */
  #open(): SessionByHand<unknown, unknown> {
    if (this.#session && (this.#hasEnded || !this.#session.isClosed)) return this.#session
    this.#handle = undefined
    return (this.#session = this.#datastore.newSession())
  }

  #requireRunning(): void {
    if (this.#hasEnded) {
      throw new InterfaceError('The scope has ended: await everything that is started inside of scope.run() there')
    }
  }
}

function checked({ commitOnExit = false, eager = false, ...unknown }: ScopeOptions): Required<ScopeOptions> {
  const [name] = Object.keys(unknown)
  if (name !== undefined)
    throw new ProgrammingError(`scope.run() has no option ${name}; it takes commitOnExit and eager`)
  for (const [option, value] of Object.entries({ commitOnExit, eager })) {
    if (typeof value !== 'boolean') throw new ProgrammingError(`The option ${option} takes true or false`)
  }
  return { commitOnExit, eager }
}
