import { type Socket, connect } from 'node:net'
import { Peer } from './tcp-peer.js'

/** Stands between clients and a PostgreSQL server; what it does with what they say is up to who extends it. */
export abstract class PostgresRelay extends Peer {
  /** @param server  Its address, by TCP. */
  protected constructor(private readonly server: URL) {
    super((client) => {
      const server = connect({ port: Number(this.server.port || 5432), host: this.server.hostname, noDelay: true })
      client.setNoDelay(true)
      // not closed cleanly: to a client that has asked for nothing yet that is no failure
      server.on('error', () => client.resetAndDestroy())
      client.on('close', () => server.destroy())
      this.relay(client, server)
    })
  }

  /** As the server's own, by way of this. */
  get url(): string {
    const url = new URL(this.server)
    url.hostname = '127.0.0.1'
    url.port = String(this.port)
    return url.href
  }

  /** Somebody has connected. */
  protected abstract relay(client: Socket, server: Socket): void
}
