import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'

/** What a client sent before it waited for an answer: one round trip. */
export interface Exchange {
  /** In the protocol's words: `Bind`, `Execute`, `Sync`. */
  readonly messages: string[]
  /** The texts of the statements that they are about, a prepared one's too. */
  readonly statements: string[]
}

/**
 * Stands between clients and a PostgreSQL server, and writes down what reaches the server. Connections are not encrypted.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class Wiretap implements AsyncDisposable {
  /** As the server's own, by way of this. */
  readonly url: string
  #exchanges: Exchange[] = []
  readonly #listener: Server
  readonly #sockets = new Set<Socket>()

  private constructor(listener: Server, server: URL) {
    this.#listener = listener
    const url = new URL(server)
    url.hostname = '127.0.0.1'
    url.port = String((listener.address() as AddressInfo).port)
    this.url = url.href
    listener.on('connection', (client: Socket) => this.#forward(client, server))
  }

  /** @param url  Of the server, by TCP. */
  static async before(url: string): Promise<Wiretap> {
    const listener = createServer()
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject)
      listener.listen(0, '127.0.0.1', resolve)
    })
    return new Wiretap(listener, new URL(url))
  }

  /** What reaches the server until `work` has ended, on all connections together. */
  async during(work: () => Promise<unknown>): Promise<Exchange[]> {
    this.#exchanges = []
    await work()
    return this.#exchanges
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #forward(client: Socket, { hostname, port }: URL): void {
    const server = connect(Number(port || 5432), hostname)
    const messages = new Messages()
    let exchange: Exchange | undefined
    client.on('data', (bytes: Buffer) => {
      for (const [message, statement] of messages.cut(bytes)) {
        if (!exchange) this.#exchanges.push((exchange = { messages: [], statements: [] }))
        exchange.messages.push(message)
        if (statement !== undefined && exchange.statements.at(-1) !== statement) exchange.statements.push(statement)
      }
      server.write(bytes)
    })
    server.on('data', (bytes: Buffer) => {
      exchange = undefined
      client.write(bytes)
    })
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket)
      socket.on('end', () => other.end())
      socket.on('error', () => other.destroy())
      socket.on('close', () => this.#sockets.delete(socket))
    }
  }
}

const names: Readonly<Record<string, string>> = {
  B: 'Bind',
  C: 'Close',
  D: 'Describe',
  E: 'Execute',
  H: 'Flush',
  P: 'Parse',
  Q: 'Query',
  S: 'Sync',
  X: 'Terminate',
}

/** Cuts a client's stream into messages: a letter, a length that counts itself, and a body. */
class Messages {
  #rest = Buffer.alloc(0)
  #isStarted = false
  readonly #prepared = new Map<string, string>()

  /** Each with the text of its statement, where it has one. */
  cut(bytes: Buffer): [message: string, statement?: string][] {
    this.#rest = Buffer.concat([this.#rest, bytes])
    const messages: [string, string?][] = []
    for (;;) {
      // the first message, which begins the connection, has no letter
      const start = this.#isStarted ? 1 : 0
      if (this.#rest.length < start + 4) return messages
      const end = start + this.#rest.readInt32BE(start)
      if (this.#rest.length < end) return messages
      const letter = this.#isStarted ? String.fromCharCode(this.#rest[0]!) : ''
      const body = this.#rest.toString('utf8', start + 4, end).split('\0')
      messages.push(this.#isStarted ? [names[letter] ?? letter, this.#statement(letter, body)] : ['Startup'])
      this.#isStarted = true
      this.#rest = this.#rest.subarray(end)
    }
  }

  #statement(letter: string, [first = '', second = '']: readonly string[]): string | undefined {
    if (letter === 'Q') return first
    if (letter === 'P') this.#prepared.set(first, second)
    if (letter === 'P') return second
    // the portal's name comes before the statement's
    return letter === 'B' ? this.#prepared.get(second) : undefined
  }
}
