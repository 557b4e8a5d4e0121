import type { OperationalError } from '../../errors.js'
import type {
  PostgresClient,
  PostgresClientConnection,
  PostgresQuery,
  PostgresQueryOptions,
  PostgresSql,
} from './client.js'
import { connectionLost } from './line.js'

/**
 * Knows when a user's client's connections close.
 *
 * A statement that is sent on one after its first sign of that, and before the client has cleared it away, is written to a
 * socket that is gone, which ends the process; or the client keeps it, and says that it has succeeded, without rows, when
 * it has connected again; or it hands it the answer to the next one, and so on. So for that moment, which ends with the next turn of
 * the event loop, everything of ours waits: any connection may be the one. What was sent before we could know, by
 * us or by the user, is rejected as soon as the connection is closed.
 */
export class Closings {
  underWay: Promise<void> | undefined
  readonly #client: PostgresClient
  /** Those that we have seen, by their numbers. */
  readonly #connections = new Map<number, PostgresClientConnection>()
  readonly #unanswered = new Set<Unanswered>()
  static readonly #all = new WeakMap<PostgresClient, Closings>()

  static of(client: PostgresClient): Closings {
    let closings = Closings.#all.get(client)
    if (!closings) Closings.#all.set(client, (closings = new Closings(client)))
    return closings
  }

  private constructor(client: PostgresClient) {
    this.#client = client
    const { options } = client
    const told = options.onclose
    // read by the client at each closing
    options.onclose = (id) => {
      this.begin()
      this.#rejectKept(id)
      told?.(id)
    }
  }

  begin(): void {
    // a timer, and not setImmediate: closed sockets say so right after the turn of those, when what was sent in it is not
    // written yet; postgres.js then keeps it for ever, and uses the connection no more
    this.underWay ??= new Promise((resolve) => {
      setTimeout(() => {
        this.underWay = undefined
        resolve()
      }, 1)
    })
  }

  /** A statement, not sent yet; which connection takes it is seen then. */
  query(
    sql: PostgresSql,
    text: string,
    parameters: readonly unknown[],
    { prepare }: PostgresQueryOptions,
  ): PostgresQuery {
    return sql.unsafe(text, parameters, {
      prepare,
      onexecute: (connection) => {
        this.#connections.set(connection.id, connection)
        return true
      },
    })
  }

  /**
   * Has the client take a statement, which it does in the next microtask.
   *
   * @param take  Makes it do so.
   * @param reject  Called when the connection that took it at once is closed, and the client has said nothing of it. What is
   *   taken later goes to a connection that lives.
   * @returns To be called when the client has answered.
   */
  watch(take: () => void, reject: (error: OperationalError) => void): () => void {
    const { options } = this.#client
    const statement: Unanswered = { reject }
    const usual = options.debug
    this.#unanswered.add(statement)
    queueMicrotask(() => {
      // the one thing that is told of each statement, and by which connection
      options.debug = (id, ...what) => {
        statement.id = id
        if (typeof usual === 'function') usual(id, ...what)
      }
    })
    take()
    queueMicrotask(() => {
      options.debug = usual
    })
    return () => this.#unanswered.delete(statement)
  }

  /** What the client takes for sent, though it is not, is answered by nobody. */
  #rejectKept(id: number): void {
    this.#connections.get(id)?.terminate()
    // what the client rejects it has more to say of
    setImmediate(() => {
      for (const statement of this.#unanswered) {
        if (statement.id !== id) continue
        this.#unanswered.delete(statement)
        statement.reject(connectionLost())
      }
    })
  }
}

interface Unanswered {
  readonly reject: (error: OperationalError) => void
  /** Of the connection that took it. */
  id?: number
}
