import { InterfaceError, NotSupportedError, ProgrammingError } from '../errors.js'
import { Autoflush } from './autoflush.js'
import { Consequences } from './consequences.js'
import { isOutcomeUnknown } from './outcomes.js'
import type { OpenTransaction, TransactionOptions } from './transactional.js'
import { Turns } from './turns.js'
import { type WaitingInsert, WaitingInserts } from './waiting-inserts.js'

/** What a backend does for one transaction or savepoint. */
export interface Unit<Session, Connection> {
  /** What the user gets: a handle that refuses to work once its transaction has ended. */
  readonly session: Session
  /** What the recorders' statements run on. */
  readonly connection: Connection
  commit(): Promise<void> | void
  rollback(): Promise<void> | void
  /** Sets a savepoint; its unit's `commit` releases it, its `rollback` goes back to it and releases it. */
  nest(transaction: Transaction<Session, Connection>): Promise<Unit<Session, Connection>> | Unit<Session, Connection>
}

/** What a transaction knows of its datastore's others. */
export interface Surroundings<Session, Connection> {
  /** Whether saves are written at once in one that doesn't say. */
  readonly autoflush: boolean
  /** Whether the calling code is in that one, and in no savepoint of it. */
  isCurrent(transaction: Transaction<Session, Connection>): boolean
  /** Whether the calling code is in that one or in a savepoint of it. */
  isInside(transaction: Transaction<Session, Connection>): boolean
  /** Runs `fn` in that one. */
  inside<T>(transaction: Transaction<Session, Connection>, fn: () => T): T
  /** Runs `fn` outside of all. */
  outside<T>(fn: () => T): T
  /** Opens one where the calling code is. */
  transaction<T>(work: (session: Session) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T>
  /** Translates what a driver throws into ours. */
  translated<T>(work: () => T | Promise<T>): Promise<T>
}

/** One transaction, or one savepoint inside of one. */
export class Transaction<Session, Connection> {
  /** Whether it may commit. */
  readonly commits: boolean
  /** The open savepoint directly inside, if any. Siblings take turns, so there is at most one. */
  #child: Transaction<Session, Connection> | undefined
  #state: 'opening' | 'open' | 'ending' | 'committed' | 'rolled back' = 'opening'
  /** Missing as long as the database has not been told of it. */
  #unit: Unit<Session, Connection> | undefined
  #isBeginning = false
  readonly #begin: (() => Promise<Unit<Session, Connection>>) | undefined
  readonly #turns: Turns
  readonly #transactions: Surroundings<Session, Connection>
  readonly #parent: Transaction<Session, Connection> | undefined
  readonly #consequences = new Consequences()
  /** Whether it was to be committed, and nobody knows whether it is. */
  #isOutcomeUnknown = false
  #rollingBack: Promise<void> | undefined
  readonly #isUsersOwn: boolean
  readonly #waiting = new WaitingInserts<Connection>()
  readonly #autoflush: Autoflush

  constructor(
    transactions: Surroundings<Session, Connection>,
    parent: Transaction<Session, Connection> | undefined,
    options: TransactionOptions,
    timeoutMs: number,
    {
      begin,
      holding = { count: 0 },
      isUsersOwn = false,
    }: { begin?: () => Promise<Unit<Session, Connection>>; holding?: { count: number }; isUsersOwn?: boolean } = {},
  ) {
    this.#isUsersOwn = isUsersOwn
    this.#transactions = transactions
    this.#begin = begin
    if (begin) this.#state = 'open'
    this.#parent = parent
    this.commits = options.commit ?? true
    this.#autoflush = new Autoflush(options.autoflush ?? (parent ?? transactions).autoflush, holding)
    this.#turns = new Turns('a turn inside the transaction (a nested one is still open)', timeoutMs)
  }

  get session(): Session {
    return (this.#unit ?? this.#begun).session
  }

  get connection(): Connection {
    return (this.#unit ?? this.#begun).connection
  }

  /** @throws InterfaceError  It has been rolled back, which it may have been while it was being begun. */
  get #begun(): Unit<Session, Connection> {
    if (!this.#unit || !this.isOpen) throw ended()
    return this.#unit
  }

  /** Whether it is open, and the database has not been told of it: nothing has been done in it that needs it. */
  get isIdle(): boolean {
    return !this.#unit && !this.#isBeginning && this.#state === 'open'
  }

  /** Whether it is idle, and nothing waits in it either. */
  get isUntouched(): boolean {
    return this.isIdle && this.#waiting.isEmpty
  }

  get state(): string {
    return this.#state
  }

  get isOpen(): boolean {
    return this.#state !== 'committed' && this.#state !== 'rolled back'
  }

  /** Whether it is one that its user began and ends, or is inside of one. */
  get isUsers(): boolean {
    return this.#isUsersOwn || (this.#parent?.isUsers ?? false)
  }

  /** Whether it is one of these. */
  isOf(transactions: Surroundings<Session, Connection>): boolean {
    return this.#transactions === transactions
  }

  /** Whether it is being committed. */
  get isEnding(): boolean {
    return this.#state === 'ending'
  }

  get decider(): OpenTransaction | undefined {
    if (this.#isUsersOwn) return undefined // it may be over: nobody tells
    if (this.isOpen) return this
    return this.#state === 'committed' ? this.#parent?.decider : undefined
  }

  isInside(other: OpenTransaction): boolean {
    return this === other || (this.#parent?.isInside(other) ?? false)
  }

  opened(unit: Unit<Session, Connection>): void {
    this.#unit = unit
    this.#state = 'open'
  }

  async openIn(parent: Transaction<Session, Connection>): Promise<void> {
    await parent.#turns.take()
    try {
      // known to the parent before the savepoint is there: whoever ends the parent meanwhile ends this one too
      parent.#child = this
      parent.requireOpen()
      if (!parent.#unit) await parent.#beginInTurn()
      // events are stored in the order of their saves; and what the savepoint undoes is what was saved inside
      if (!parent.#waiting.isEmpty) await parent.#writeWaiting()
      if (this.#state !== 'opening') throw ended()
      const unit = await parent.#begun.nest(this)
      if (this.#state !== 'opening') throw ended()
      this.opened(unit)
    } catch (error) {
      this.#leaveParent()
      throw error
    }
  }

  /** @throws InterfaceError  The transaction has ended. */
  requireOpen(): void {
    if (this.#state === 'open') return
    throw new InterfaceError(
      `The transaction that this belongs to has ended (${this.#state}). Await everything that is started inside ` +
        'transaction(), session.run() or scope.run() before it ends, or start it with datastore.outside(fn).',
    )
  }

  /** @throws ProgrammingError  Nothing may be recorded here. */
  requireCommits(): void {
    if (!this.commits) throw new ProgrammingError('Transaction already started with commit=False')
  }

  /**
   * Checks that a statement on this transaction's own session lands in this transaction, and not in a savepoint that
   * somebody else has open inside it, where a rollback would take the statement along unseen.
   *
   * @throws InterfaceError  It has ended, or a nested transaction is open and the caller is not inside that.
   */
  requireStatement(): void {
    this.requireOpen()
    if (!this.#child || this.#transactions.isCurrent(this.#innermost())) return
    throw new InterfaceError(
      'A nested transaction is open on this session: await it before using the outer session, or use its own session.',
    )
  }

  #innermost(): Transaction<Session, Connection> {
    return this.#child ? this.#child.#innermost() : this
  }

  /** Runs a recorder's statements in turn with nested transactions. */
  async take<T>(work: (connection: Connection) => T | Promise<T>): Promise<T> {
    this.requireOpen()
    return this.#turns.during(() => {
      this.requireOpen()
      return this.#unit ? work(this.#unit.connection) : this.#takeNew(work)
    })
  }

  /** As `take`, for a write, which comes after what waits. */
  write<T>(work: (connection: Connection) => T | Promise<T>): Promise<T> {
    this.requireCommits()
    return this.take((connection) =>
      // a rollback doesn't wait for its turn: asked again for the connection, which may be another's by then
      this.#waiting.isEmpty ? work(connection) : this.#writeWaiting().then(() => work(this.#begun.connection)),
    )
  }

  /**
   * Inserts events: now, or, with autoflush off, at the next flush.
   *
   * @param later  Says what waits.
   * @returns What `now` returns; `[]` for what waits.
   */
  async append(
    now: (connection: Connection) => number[] | Promise<number[]>,
    later: () => WaitingInsert<Connection>,
  ): Promise<number[]> {
    this.requireOpen()
    this.requireCommits()
    if (this.autoflush) return this.write(now)
    this.#waiting.add(later())
    return []
  }

  /** Whether saves are written at once. What is set while a `noAutoflush` is under way holds once that has ended. */
  get autoflush(): boolean {
    return this.#autoflush.isOn
  }

  set autoflush(on: boolean) {
    this.requireOpen()
    this.#autoflush.set(on)
  }

  /** Runs `fn` with autoflush off, until what it returns has settled. Several at a time: until the last of them has. */
  noAutoflush<T>(fn: () => T): T {
    this.requireOpen()
    return this.#autoflush.without(fn)
  }

  /**
   * Writes what waits, in turn with nested transactions.
   *
   * @throws InterfaceError  It has ended; or it is called inside a nested one, for whose end it would have to wait.
   */
  async flush(): Promise<void> {
    this.requireOpen()
    if (this.#waiting.isEmpty) return
    if (this.#child && this.#transactions.isInside(this.#child)) {
      throw new InterfaceError('What waits outside of a nested transaction can not be flushed inside: await it first')
    }
    await this.#transactions.translated(() => this.take(() => this.#writeWaiting()))
  }

  #writeWaiting(): Promise<void> {
    return this.#waiting.write(() => this.#begun.connection)
  }

  async #takeNew<T>(work: (connection: Connection) => T | Promise<T>): Promise<T> {
    await this.#beginInTurn()
    return work(this.#begun.connection)
  }

  /** Begins an idle one, in turn with what else is done in it. */
  begin(): Promise<void> | undefined {
    this.requireOpen()
    if (this.#unit) return undefined
    return this.#turns.during(() => {
      this.requireOpen()
      return this.#beginInTurn()
    })
  }

  /**
   * Runs `work` while this one is idle and stays so, or not at all.
   *
   * @returns Whether it ran.
   */
  async whileIdle(work: () => Promise<void>): Promise<boolean> {
    if (!this.isIdle) return false
    return this.#turns.during(async () => {
      if (!this.isIdle) return false
      await work()
      return true
    })
  }

  async #beginInTurn(): Promise<void> {
    if (this.#unit || !this.#begin) return
    this.#isBeginning = true
    try {
      const unit = await this.#begin()
      if (this.isOpen) this.#unit = unit
      // who rolled back meanwhile did not wait for a connection, or for the writer
      else await this.#transactions.translated(() => unit.rollback()).catch(() => undefined)
    } finally {
      this.#isBeginning = false
    }
  }

  inside<T>(fn: () => T): T {
    this.requireOpen()
    return this.#transactions.inside(this, fn)
  }

  /** Opens a transaction inside this one, or inside the savepoint of it that the calling code is in. */
  nested<T>(work: (session: Session) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T> {
    this.requireOpen()
    const open = () => this.#transactions.transaction(work, options)
    return this.#transactions.isInside(this) ? open() : this.inside(open)
  }

  /** @throws NotSupportedError  The outermost one is its user's. */
  afterCommit(fn: () => unknown): void {
    this.requireOpen()
    if (this.isUsers) {
      throw new NotSupportedError(
        "afterCommit() can't know when a scoped session of your own commits: do it where that is committed",
      )
    }
    this.#consequences.afterCommit(fn)
  }

  onRollback(fn: (isOutcomeUnknown: boolean) => void): void {
    this.requireOpen()
    if (this.#isUsersOwn) return // nobody tells, and it would be kept as long as the connection
    this.#consequences.onRollback(fn)
  }

  /** Commits, or releases the savepoint. What fails leaves it rolled back. */
  async commit(): Promise<void> {
    this.requireOpen()
    this.requireCommits()
    this.#state = 'ending' // nothing new may start; a nested one that is under way comes to its end first
    try {
      await this.#transactions.translated(async () => {
        await this.#turns.take()
        this.#requireEnding()
        if (!this.#waiting.isEmpty) {
          if (!this.#unit) await this.#beginInTurn()
          await this.#writeWaiting()
          this.#requireEnding()
        }
        await this.#unit?.commit()
      })
    } catch (error) {
      this.#isOutcomeUnknown = isOutcomeUnknown(error)
      // why it could not be committed is the error to know
      if (this.#state === 'ending') await this.#rollBack().catch(() => undefined)
      throw error
    }
    this.#state = 'committed'
    this.#turns.close(ended)
    if (this.#parent) {
      this.#consequences.passTo(this.#parent.#consequences, !this.#parent.#isUsersOwn)
      this.#leaveParent()
    } else {
      await this.#consequences.committed((fn) => this.#transactions.outside(fn))
    }
  }

  /** @throws InterfaceError  A parent's end has ended this one in the meantime. */
  #requireEnding(): void {
    if (this.#state !== 'ending') this.requireOpen()
  }

  /** Rolls back, to the savepoint if it is one. Does nothing if that has happened. */
  async rollback(): Promise<void> {
    if (this.#state !== 'rolled back') this.requireOpen()
    await this.#rollBack()
  }

  #rollBack(): Promise<void> {
    // a parent's end may have been this one's too: then there is nothing left to do here
    if (this.#state === 'rolled back') return this.#rollingBack ?? Promise.resolve()
    this.#endAll()
    return (this.#rollingBack = (async () => {
      let failures: unknown[]
      try {
        await this.#transactions.translated(() => this.#unit?.rollback())
      } finally {
        failures = this.#undo()
        this.#leaveParent()
      }
      if (failures.length > 0) throw failures[0]
    })())
  }

  /** Ends this and what is open inside: whoever still works there gets an error instead of a statement of his own. */
  #endAll(): void {
    this.#state = 'rolled back'
    this.#waiting.clear()
    this.#turns.close(ended)
    if (this.#child) this.#child.#endAll()
  }

  /** Does what was registered for a rollback, inside out. @returns What has failed. */
  #undo(): unknown[] {
    const inside = this.#child ? this.#child.#undo() : []
    return [...inside, ...this.#consequences.rolledBack(this.#isOutcomeUnknown)]
  }

  #leaveParent(): void {
    const parent = this.#parent
    if (!parent || parent.#child !== this) return
    parent.#child = undefined
    parent.#turns.giveBack()
  }
}

function ended(): InterfaceError {
  return new InterfaceError('The transaction that this belongs to has ended')
}
