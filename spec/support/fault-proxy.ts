import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { ClientMessages, ServerMessages } from './postgres-messages.js'
import { PostgresRelay } from './postgres-relay.js'
import { listening } from './tcp-peer.js'

/** Which way bytes go. */
export type Direction = 'to the server' | 'to the client'

/**
 * Stands between clients and a PostgreSQL server, and fails as networks do, when it is told. Connections are not encrypted.
 *
 * It closes no connection cleanly before the server has taken the client: postgres.js then tries again for ever, as fast as
 * it can.
 *
 * @see https://github.com/porsager/postgres/issues/1193
 */
export class FaultProxy extends PostgresRelay {
  readonly #connections = new Set<Connection>()
  readonly #faults: Faults = { delayMs: { 'to the server': 0, 'to the client': 0 } }

  /** @param url  Of the server, by TCP. */
  static before(url: string): Promise<FaultProxy> {
    return listening(new FaultProxy(new URL(url)))
  }

  /** How many are connected. */
  get connections(): number {
    return this.#connections.size
  }

  /**
   * Closes connections to both ends (FIN), whatever was being said; takes new ones.
   *
   * @param place  Only the one at that place, from 0, the oldest first. Default: all.
   */
  cut(place?: number): void {
    for (const connection of this.#at(place)) connection.cut()
  }

  /** As `cut`, but resets them (RST): who asked gets an error instead of an end. */
  override reset(place?: number): void {
    for (const connection of this.#at(place)) connection.reset()
    if (place === undefined) super.reset()
  }

  /** Holds what is said that way for so long, in ms, without changing its order. 0 is not at all. */
  delay(direction: Direction, ms: number): void {
    this.#faults.delayMs[direction] = ms
  }

  /**
   * Lets so many more bytes pass that way, of all connections together, and then cuts the one that they went by, or resets
   * it if the server has not taken the client yet.
   *
   * @param bytes  From 1.
   * @returns Resolves when it has happened.
   */
  cutAfter(direction: Direction, bytes: number): Promise<void> {
    return new Promise((happened) => (this.#faults.cut = { direction, bytes, happened }))
  }

  /**
   * Loses the server's answer to the next command that has succeeded, and resets the connection: it has happened, and who
   * asked for it can't know.
   *
   * @param tag  Only a command with that tag: `COMMIT`. Default: any.
   * @returns Resolves when it has happened.
   * @see https://www.postgresql.org/docs/current/protocol-message-formats.html CommandComplete
   */
  loseNextReply(tag?: string): Promise<void> {
    return new Promise((happened) => (this.#faults.reply = { tag, happened }))
  }

  /**
   * Loses the next such statement on its way to the server, with all behind it, and resets the connection: it has not
   * happened, and who asked for it can't know.
   *
   * @param text  What its text matches: `/^commit$/i`.
   * @returns Resolves when it has happened.
   */
  loseNextStatement(text: RegExp): Promise<void> {
    return new Promise((happened) => (this.#faults.statement = { text, happened }))
  }

  /** From now on nothing is delayed, cut or lost any more. */
  heal(): void {
    this.#faults.delayMs = { 'to the server': 0, 'to the client': 0 }
    this.#faults.cut = this.#faults.reply = this.#faults.statement = undefined
  }

  protected override relay(client: Socket, server: Socket): void {
    const connection = new Connection(client, server, this.#faults)
    this.#connections.add(connection)
    client.on('close', () => this.#connections.delete(connection))
  }

  #at(place?: number): Connection[] {
    const all = [...this.#connections]
    return place === undefined ? all : all.slice(place, place + 1)
  }
}

/** What is to go wrong with whoever comes to it. */
interface Faults {
  delayMs: Record<Direction, number>
  cut?: { readonly direction: Direction; bytes: number; readonly happened: () => void } | undefined
  reply?: { readonly tag: string | undefined; readonly happened: () => void } | undefined
  statement?: { readonly text: RegExp; readonly happened: () => void } | undefined
}

/** What is lost of some bytes, and all behind it. */
interface Loss {
  readonly start: number
  readonly happened: () => void
}

class Connection {
  readonly #requests = new ClientMessages()
  readonly #answers = new ServerMessages()
  /** From when on nothing is passed on. */
  #isOver = false

  constructor(
    private readonly client: Socket,
    private readonly server: Socket,
    private readonly faults: Faults,
  ) {
    this.#carry('to the server', client, server)
    this.#carry('to the client', server, client)
  }

  cut(): void {
    // a client that was not taken yet would think nothing of it
    if (!this.#answers.isReady) return this.reset()
    this.#isOver = true
    this.client.end()
    this.server.end()
  }

  reset(): void {
    this.#isOver = true
    this.client.resetAndDestroy()
    this.server.destroy()
  }

  #carry(direction: Direction, from: Socket, to: Socket): void {
    const line = new Line()
    from.on('data', (bytes: Buffer) => {
      line.deliver(this.faults.delayMs[direction], () => this.#pass(direction, to, bytes))
    })
    from.on('end', () => {
      line.deliver(this.faults.delayMs[direction], () => to.end())
    })
  }

  #pass(direction: Direction, to: Socket, bytes: Buffer): void {
    if (this.#isOver) return
    const loss = direction === 'to the client' ? this.#lostAnswer(bytes) : this.#lostRequest(bytes)
    const length = this.#cutFrom(direction, loss?.start ?? bytes.length)
    if (length !== undefined) {
      this.faults.cut?.happened()
      this.faults.cut = undefined
      // not where the end would be a reset: behind bytes to read, Node takes that for a clean end
      if (this.#answers.isReady) to.write(bytes.subarray(0, length))
      this.cut()
      return loss?.happened()
    }
    if (!loss) return void to.write(bytes)
    if (loss.start > 0) to.write(bytes.subarray(0, loss.start))
    this.reset()
    loss.happened()
  }

  /** Where these bytes are to end, of which so many would be passed on. */
  #cutFrom(direction: Direction, length: number): number | undefined {
    const { cut } = this.faults
    if (cut?.direction !== direction) return undefined
    if (length < cut.bytes) {
      cut.bytes -= length
      return undefined
    }
    return cut.bytes
  }

  #lostAnswer(bytes: Buffer): Loss | undefined {
    const tags = this.#answers.completed(bytes)
    const { reply } = this.faults
    if (!reply || !tags.some((tag) => reply.tag === undefined || reply.tag === tag)) return undefined
    this.faults.reply = undefined
    // what came with it too, for the same reason as above
    return { start: 0, happened: reply.happened }
  }

  #lostRequest(bytes: Buffer): Loss | undefined {
    const requests = this.#requests.requests(bytes)
    const { statement: lost } = this.faults
    const first = lost && requests.find(({ name, statement }) => name !== 'Parse' && lost.text.test(statement ?? ''))
    if (!first) return undefined
    this.faults.statement = undefined
    return { start: Math.max(0, first.start), happened: lost.happened }
  }
}

/** What goes one way, in order, each after its delay. */
class Line {
  #underWay = 0
  #last: Promise<void> = Promise.resolve()

  deliver(ms: number, pass: () => void): void {
    if (ms === 0 && this.#underWay === 0) return pass()
    const due = performance.now() + ms
    this.#underWay += 1
    this.#last = this.#last.then(async () => {
      await delay(Math.max(0, due - performance.now()))
      this.#underWay -= 1
      pass()
    })
  }
}
