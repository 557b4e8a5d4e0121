import { RecordConflictError } from '../errors.js'
import { doubt, doubtful, markOutcomeUnknown, settle } from '../persistence/outcomes.js'
import type { StoredEvent } from '../persistence/stored-event.js'
import type { Connection, Dialect, Insert } from './dialect.js'
import { isUnsent } from './driver-errors.js'
import type { Reconnecting } from './reconnecting.js'
import { selectRecorded } from './statements.js'

/** What inserts outside of transactions are sent by. */
export interface AppendOptions {
  readonly sql: Dialect
  readonly reconnecting: Reconnecting
  /** Inserts, and rejects with errors of ours. */
  readonly append: (insert: Insert) => Promise<number[]>
  /** Rejects with errors of ours. */
  readonly read: <T>(work: (connection: Connection) => T | Promise<T>) => Promise<T>
}

/**
 * Repeats inserts outside of transactions whose connection was lost. Whether such an insert has happened nobody knows; when
 * it is repeated, by us or by whoever asked for it, and finds its own events stored, byte for byte, then it has.
 */
export class LostAppends {
  readonly #options: AppendOptions

  constructor(options: AppendOptions) {
    this.#options = options
  }

  /** Inserts. */
  append(insert: Insert): Promise<number[]> {
    const { append } = this.#options
    const known = doubtful(insert.events, insertedWith(insert))
    if (known.length === 0)
      return append(insert).catch((error: unknown) => this.#again(new Attempts(insert, []), error))
    settle(known) // or in doubt again, if this says nothing of it
    const attempts = new Attempts(insert, known)
    return append(insert).catch((error: unknown) => this.#again(attempts, error))
  }

  async #again(attempts: Attempts, failure: unknown): Promise<number[]> {
    const { append, reconnecting } = this.#options
    const { insert } = attempts
    const looked = (error: unknown) => this.#lookAfter(attempts, error)
    // a position alone can't be told from somebody else's
    const isRepeatable = insert.events.length > 0 ? undefined : isUnsent
    try {
      return await looked(failure).catch((error: unknown) =>
        reconnecting.again(error, () => append(insert).catch(looked), isRepeatable),
      )
    } catch (error) {
      attempts.leaveInDoubt(error)
      throw error
    }
  }

  /** @returns The ids, where a conflict turns out to be with its own events. */
  async #lookAfter(attempts: Attempts, error: unknown): Promise<number[]> {
    if (!(error instanceof RecordConflictError)) {
      if (this.#isOpenWhether(error)) attempts.allInDoubt()
      throw error
    }
    const found = await this.#findOwn(attempts)
    if (!found) {
      attempts.settle()
      throw error
    }
    return found
  }

  /** @returns undefined  Somebody else's are there, or none of these. */
  async #findOwn(attempts: Attempts): Promise<number[] | undefined> {
    const { insert, inDoubt } = attempts
    if (inDoubt.size === 0) return undefined
    const { table, events, tracking } = insert
    const stored = await this.#options.read((connection) => selectOwn(connection, this.#options.sql, insert, inDoubt))
    if (!stored || stored.size === 0) return undefined
    const rest = events.filter((event) => !stored.has(event))
    if (rest.length > 0 && tracking) return undefined // stored with it, or not at all
    const ids = rest.length > 0 ? await this.#appendRest(attempts, rest) : []
    if (table.kind !== 'events') return []
    const restIds = ids.values()
    return events.map((event) => stored.get(event) ?? (restIds.next().value as number))
  }

  async #appendRest(attempts: Attempts, events: readonly StoredEvent[]): Promise<number[]> {
    try {
      return await this.#options.append({ table: attempts.insert.table, events })
    } catch (error) {
      if (this.#isOpenWhether(error)) attempts.allInDoubt()
      throw error
    }
  }

  /** Whether an error leaves open if the insert has happened. */
  #isOpenWhether(error: unknown): boolean {
    return this.#options.reconnecting.isDisconnect(error) && !isUnsent(error)
  }
}

/** What is known of an insert after its attempts so far. */
class Attempts {
  readonly inDoubt: Set<StoredEvent>

  constructor(
    readonly insert: Insert,
    known: readonly StoredEvent[],
  ) {
    this.inDoubt = new Set(known)
  }

  allInDoubt(): void {
    for (const event of this.insert.events) this.inDoubt.add(event)
  }

  settle(): void {
    this.inDoubt.clear()
  }

  /** For whoever repeats the insert. */
  leaveInDoubt(error: unknown): void {
    if (this.inDoubt.size === 0) return
    doubt([...this.inDoubt], insertedWith(this.insert))
    if (typeof error === 'object' && error !== null) markOutcomeUnknown(error)
  }
}

function insertedWith({ tracking }: Insert): string {
  return tracking ? JSON.stringify([tracking.position.applicationName, tracking.position.notificationId]) : ''
}

/** @returns Their ids, of those that are stored; undefined where somebody else's are in place of one. */
async function selectOwn(
  connection: Connection,
  dialect: Dialect,
  { table, events }: Insert,
  inDoubt: ReadonlySet<StoredEvent>,
): Promise<Map<StoredEvent, number> | undefined> {
  const own = new Map<StoredEvent, number>()
  for (const originatorId of new Set(events.map((event) => event.originatorId))) {
    const asked = events.filter((event) => event.originatorId === originatorId && inDoubt.has(event))
    const versions = asked.map(({ originatorVersion }) => originatorVersion)
    if (versions.length === 0) continue
    const first = versions.reduce((a, b) => Math.min(a, b))
    const last = versions.reduce((a, b) => Math.max(a, b))
    const recorded = await selectRecorded(connection, dialect, table, originatorId, { gt: first - 1, lte: last })
    for (const event of asked) {
      const there = recorded.get(event.originatorVersion)
      if (!there) continue
      const isOwn = there.topic === event.topic && Buffer.compare(there.state, event.state) === 0
      if (!isOwn) return undefined
      own.set(event, there.id)
    }
  }
  return own
}
