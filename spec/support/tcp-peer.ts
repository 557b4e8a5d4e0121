import { type AddressInfo, type Server, type Socket, createServer } from 'node:net'

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
    this.reset()
    await closed
  }

  /** Resets what is connected, as a firewall does, and takes new connections. */
  reset(): void {
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

/** As it is, once it listens. */
export async function listening<P extends Peer>(peer: P): Promise<P> {
  await peer.up()
  return peer
}
