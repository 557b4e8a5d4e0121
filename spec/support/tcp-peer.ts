import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'

/** What answers, or doesn't, on a port of this machine, and counts who comes. */
export class Peer implements AsyncDisposable {
  /** How many connections were made to it. */
  attempts = 0
  #port = 0
  #server: Server | undefined
  readonly #sockets = new Set<Socket>()

  protected constructor(private readonly welcome: (socket: Socket) => void) {}

  /** Accepts whoever comes, and closes at once, as a balancer with nobody behind it does. */
  static closing(): Promise<Peer> {
    return listening(new Peer((socket) => socket.end().resume()))
  }

  /** Accepts whoever comes, and says nothing. */
  static silent(): Promise<Peer> {
    return listening(new Peer(() => undefined))
  }

  /** A port that refuses, as nobody listens there. */
  static async refusing(): Promise<Peer> {
    const peer = await Peer.silent()
    await peer.down()
    return peer
  }

  /** It stays the same when it goes down and comes up again. */
  get port(): number {
    return this.#port
  }

  /** Listens, on the port it had before if there was one. */
  async up(): Promise<void> {
    const server = createServer((socket) => {
      this.attempts += 1
      this.#keep(socket)
      this.welcome(socket)
    })
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, '127.0.0.1', resolve)
    })
    this.#port = (server.address() as AddressInfo).port
  }

  /** Resets what is connected, and refuses whoever comes. */
  async down(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    const closed = new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()))
    this.cut()
    await closed
  }

  /** Resets what is connected, as a firewall does, and takes new connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.down()
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => undefined) // it is closed next, and who is at the other end knows
    socket.on('close', () => this.#sockets.delete(socket))
  }
}

/** Stands between clients and a PostgreSQL server, and fails as networks do. */
export class PostgresProxy extends Peer {
  #lost: { readonly tag: string | undefined; readonly happened: () => void } | undefined

  private constructor(private readonly server: URL) {
    super((socket) => this.#forward(socket))
  }

  /** @param url  Of the server, by TCP. */
  static async before(url: string): Promise<PostgresProxy> {
    return listening(new PostgresProxy(new URL(url)))
  }

  /** As the server's own, by way of this. */
  get url(): string {
    const url = new URL(this.server)
    url.hostname = '127.0.0.1'
    url.port = String(this.port)
    return url.href
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
    return new Promise((resolve) => (this.#lost = { tag, happened: resolve }))
  }

  #forward(client: Socket): void {
    const server = connect(Number(this.server.port || 5432), this.server.hostname)
    const frames = new Frames()
    server.on('error', () => client.resetAndDestroy())
    server.on('data', (bytes: Buffer) => {
      const lost = this.#lost
      const isLost = frames.tags(bytes).some((tag) => lost && (lost.tag === undefined || lost.tag === tag))
      if (!isLost) return void client.write(bytes)
      this.#lost = undefined
      client.resetAndDestroy()
      server.destroy()
      lost?.happened()
    })
    server.on('end', () => client.end())
    client.on('data', (bytes: Buffer) => server.write(bytes))
    client.on('end', () => server.end())
    client.on('close', () => server.destroy())
  }
}

/** Cuts a server's stream into messages: a letter, a length that counts itself, and a body. */
class Frames {
  #rest = Buffer.alloc(0)

  /** The tags of the commands whose completion these bytes bring: `INSERT 0 1`, `COMMIT`. */
  tags(bytes: Buffer): string[] {
    this.#rest = Buffer.concat([this.#rest, bytes])
    const tags: string[] = []
    for (;;) {
      if (this.#rest.length < 5) return tags
      const end = 1 + this.#rest.readInt32BE(1)
      if (this.#rest.length < end) return tags
      if (this.#rest[0] === 0x43) tags.push(this.#rest.toString('utf8', 5, end - 1))
      this.#rest = this.#rest.subarray(end)
    }
  }
}

async function listening<P extends Peer>(peer: P): Promise<P> {
  await peer.up()
  return peer
}
