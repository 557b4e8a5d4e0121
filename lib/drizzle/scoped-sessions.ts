import { types } from 'node:util'
import { ProgrammingError } from '../errors.js'
import { joined } from '../persistence/session.js'
import { resolveTopic } from '../persistence/topic-loader.js'
import type { Transaction, Unit } from '../persistence/transaction.js'
import type { Transactions } from '../persistence/transactions.js'
import { entityKind } from 'drizzle-orm'
import type { Connection, Dialect, Driver } from './dialect.js'

/** How a dialect takes sessions that their user manages: Drizzle databases and transactions of its driver. */
export interface UsersSessions<Db, Session, C extends Connection> {
  readonly name: 'sqlite' | 'postgresql'
  /** What it takes, for errors: `better-sqlite3 (drizzle-orm/better-sqlite3)`. */
  readonly takes: string
  /** The dialect of a datastore whose sessions are the first to tell. */
  makeDialect(timeoutMs: number): Dialect<C>
  /** Whether it is of this dialect's driver. @param isOurs  Whether it is a session of ours. */
  accepts(session: object, isOurs: boolean): boolean
  /** @throws ProgrammingError  It has no connection that could be used. */
  take(session: object, timeoutMs: number): UsersSession<Db, Session, C>
}

/** Of whatever dialect. */
// the parameters stand for themselves in both directions, so nothing narrower takes every one of them
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyUsersSessions = UsersSessions<any, any, any>

/** A session that its user manages. */
export interface UsersSession<Db, Session, C extends Connection> {
  /** What it is a handle of: the transaction's connection, or the client. */
  readonly key: object
  /** Where a transaction is open: how recorders work in it. */
  readonly unit?: (() => Unit<Session, C>) | undefined
  /** Where none is: how recorders work beside it. */
  readonly driver?: (() => Driver<Db, Session, C>) | undefined
}

/** What an environment says of scoped sessions. */
export interface ScopedSessionOptions {
  /** `DRIZZLE_SCOPED_SESSION_TOPIC`. */
  readonly topic: unknown
  readonly topicBase: string | URL | undefined
  /** `DRIZZLE_REQUIRE_SCOPED_SESSION`. */
  readonly isRequired: boolean
  /** Refuses a dialect that the first session tells, where something else asks for another. */
  readonly check?: (dialect: 'sqlite' | 'postgresql') => void
}

/** What scoped sessions need of their datastore. */
export interface ScopedSessionsOf<Db, Session, C extends Connection> {
  readonly timeoutMs: number
  readonly transactions: Transactions<Session, C>
  /** `datastore.db`, if it is there. */
  db(): unknown
  /** Those of its dialect; of every dialect as long as it has none. */
  kinds(): readonly UsersSessions<Db, Session, C>[]
  /** A session has told what dialect it is. */
  tell(kind: UsersSessions<Db, Session, C>): void
  attach(driver: Driver<Db, Session, C>): void
}

/** What the scope that the caller is in gives. */
type Found<Db, Session, C extends Connection> =
  | { readonly transaction: Transaction<Session, C> }
  | { readonly driver: Driver<Db, Session, C> | Promise<Driver<Db, Session, C>> }
  | { readonly isOwnDb: true }

/**
 * The sessions that a topic gives: asked for at each operation, joined, and never begun, committed or rolled back.
 */
export class ScopedSessions<Db, Session, C extends Connection> {
  readonly options: ScopedSessionOptions
  readonly #of: ScopedSessionsOf<Db, Session, C>
  #source: { readonly topic: unknown } | undefined
  readonly #transactions = new WeakMap<object, Transaction<Session, C>>()
  readonly #drivers = new WeakMap<object, Driver<Db, Session, C> | Promise<Driver<Db, Session, C>>>()
  #opened: WeakRef<Driver<Db, Session, C>>[] = []

  constructor(options: ScopedSessionOptions, of: ScopedSessionsOf<Db, Session, C>) {
    this.options = options
    this.#of = of
    if (options.topic === undefined) this.#source = { topic: undefined }
  }

  get isResolved(): boolean {
    return this.#source !== undefined
  }

  /** Finds what the topic names. @throws TopicError  Nothing is there. */
  async resolve(): Promise<void> {
    if (this.#source) return
    const { topic, topicBase } = this.options
    const found = await resolveTopic<unknown>(topic, topicBase)
    if (typeof found !== 'object' && typeof found !== 'function') {
      throw new ProgrammingError(`${variable} must name a function, a class or an object, not a ${typeof found}`)
    }
    this.#source = { topic: found }
  }

  /**
   * The transaction of the scope that the caller is in.
   *
   * @throws ProgrammingError  There is no scope, and there has to be one; or what the topic gave is no session.
   */
  transaction(isOptional: boolean): Transaction<Session, C> | undefined {
    const found = this.#find()
    if (!found && this.options.isRequired && !isOptional) {
      throw new ProgrammingError(
        `There is no scoped session just now, and DRIZZLE_REQUIRE_SCOPED_SESSION is on: do this inside a scope, or let ` +
          `${variable} give its session`,
      )
    }
    return found && 'transaction' in found ? found.transaction : undefined
  }

  /** How to work with the scope's database, where no transaction is open on it. */
  driver(): Driver<Db, Session, C> | Promise<Driver<Db, Session, C>> | undefined {
    const found = this.#find()
    return found && 'driver' in found ? found.driver : undefined
  }

  /** Whether there is a scope. */
  isThere(): boolean {
    return this.#find() !== undefined
  }

  /** Waits for transactions of ours on databases of scopes. */
  async close(): Promise<void> {
    for (const driver of this.#opened) await driver.deref()?.close()
  }

  #find(): Found<Db, Session, C> | undefined {
    const session = sessionOf(this.#source?.topic)
    if (!session) return undefined
    if (session === this.#of.db()) return { isOwnDb: true }
    const ours = transactionOf<Session, C>(session)
    if (ours === null) return undefined
    const kind = this.#kindOf(session, ours !== undefined)
    if (kind) this.#of.tell(kind)
    if (ours) {
      ours.requireOpen()
      return { transaction: ours }
    }
    return this.#use((kind as UsersSessions<Db, Session, C>).take(session, this.#of.timeoutMs))
  }

  #use({ key, unit, driver }: UsersSession<Db, Session, C>): Found<Db, Session, C> {
    if (unit) {
      let transaction = this.#transactions.get(key)
      if (!transaction) this.#transactions.set(key, (transaction = this.#of.transactions.usersOwn(unit())))
      return { transaction }
    }
    const known = this.#drivers.get(key)
    if (known) return { driver: known }
    return { driver: this.#open(key, (driver as () => Driver<Db, Session, C>)()) }
  }

  #open(key: object, driver: Driver<Db, Session, C>): Promise<Driver<Db, Session, C>> {
    this.#of.attach(driver)
    this.#opened = this.#opened.filter((other) => other.deref() !== undefined)
    this.#opened.push(new WeakRef(driver))
    const opening = driver.open().then(
      () => {
        this.#drivers.set(key, driver)
        return driver
      },
      (error: unknown) => {
        this.#drivers.delete(key) // the next call tries again
        throw error
      },
    )
    this.#drivers.set(key, opening)
    return opening
  }

  /** @throws ProgrammingError  It is of a driver that isn't supported, or of another database than the datastore's. */
  #kindOf(session: object, isOurs: boolean): UsersSessions<Db, Session, C> | undefined {
    const kinds = this.#of.kinds()
    const drizzles = 'session' in session && isHandle(session.session) ? session.session : session
    const kind = kinds.find((each) => each.accepts(drizzles, isOurs))
    if (kind || (isOurs && !isHandle(drizzles) && kinds.length === 1)) return kind
    const name = kindName(drizzles)
    throw new ProgrammingError(
      `${variable} gave ${name ? `a ${name}` : 'something'} that can't be used here: it takes Drizzle databases and ` +
        `transactions of ${kinds.map(({ takes }) => takes).join(' or ')}, and sessions of this package`,
    )
  }
}

const variable = 'DRIZZLE_SCOPED_SESSION_TOPIC'

/** As deep as one thing may stand for another: a class for its object, that for its `tx`. */
const atMostSteps = 4

/**
 * The session that a topic's function, class or object leads to: a function is called, a class constructed, and an object that
 * is none follows its `tx` or `session`.
 *
 * @throws ProgrammingError  It is a promise, or leads nowhere.
 */
function sessionOf(topic: unknown): object | undefined {
  let found = topic
  for (let steps = 0; steps <= atMostSteps; steps += 1) {
    if (found === undefined || found === null) return undefined
    if (isSession(found)) return found
    if (typeof found !== 'object' && typeof found !== 'function') break
    if ('tx' in found) found = found.tx
    else if ('session' in found) found = found.session
    else if (typeof found === 'function') found = isClass(found) ? new found() : (found as () => unknown)()
    else if (typeof (found as PromiseLike<unknown>).then === 'function') {
      ;(found as Promise<unknown>).then(undefined, () => undefined) // else it might end the process
      throw new ProgrammingError(
        `${variable} gave a promise: the session has to be there at once, so begin it where the scope is entered`,
      )
    } else if (types.isProxy(found))
      return undefined // it forwards, and to nothing just now
    else break
  }
  throw new ProgrammingError(
    `${variable} leads to no session: it names a function that returns one, or an object or class that forwards to one`,
  )
}

/** A session of ours, or what stands for one; or Drizzle's; also through an object that forwards each of its properties. */
function isSession(found: unknown): found is object {
  if ((typeof found !== 'object' && typeof found !== 'function') || found === null) return false
  return typeof (found as Joinable)[joined] === 'function' || isHandle(found)
}

function isHandle(found: unknown): found is { readonly session: object } {
  const { session } = Object(found) as { session?: unknown }
  return typeof session === 'object' && session !== null && kindName(session) !== undefined && !isDatabase(session)
}

/** A Drizzle database or transaction; what it works by, which it calls its session, is none. */
function isDatabase(found: object): boolean {
  return typeof (found as { select?: unknown }).select === 'function'
}

interface Joinable {
  readonly [joined]?: () => Transaction<never, never> | undefined
}

/** The transaction of a session of ours; null where it has none just now, undefined where the session isn't ours. */
function transactionOf<Session, C>(session: object): Transaction<Session, C> | null | undefined {
  const joinable = session as Joinable
  if (!joinable[joined]) return undefined
  // of whichever datastore: it is joined all the same
  return joinable[joined]() ?? null
}

/** Drizzle's own name of its class. */
export function kindName(object: object): string | undefined {
  const { constructor } = object as { constructor?: { readonly [entityKind]?: unknown } }
  const kind = constructor?.[entityKind]
  return typeof kind === 'string' ? kind : undefined
}

function isClass(found: object): found is new () => unknown {
  return /^class\b/.test(Function.prototype.toString.call(found))
}

/** A session's inner one, by whose name Drizzle's drivers are told, also through what forwards to a session. */
export function innerSession(session: object): object | undefined {
  const { session: inner } = session as { session?: unknown }
  return typeof inner === 'object' && inner !== null ? inner : undefined
}
