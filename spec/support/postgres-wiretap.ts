import type { Socket } from 'node:net'
import { ClientMessages } from './postgres-messages.js'
import { PostgresRelay } from './postgres-relay.js'
import { listening } from './tcp-peer.js'

/** What a client sent before it waited for an answer: one round trip. */
export interface Exchange {
  /** In the protocol's words: `Bind`, `Execute`, `Sync`. */
  readonly messages: string[]
  /** The texts of the statements that they are about, a prepared one's too. */
  readonly statements: string[]
}

/** Stands between clients and a PostgreSQL server, and writes down what reaches the server. Connections are not encrypted. */
export class Wiretap extends PostgresRelay {
  #exchanges: Exchange[] = []

  /** @param url  Of the server, by TCP. */
  static before(url: string): Promise<Wiretap> {
    return listening(new Wiretap(new URL(url)))
  }

  /** What reaches the server until `work` has ended, on all connections together. */
  async during(work: () => Promise<unknown>): Promise<Exchange[]> {
    this.#exchanges = []
    await work()
    return this.#exchanges
  }

  protected override relay(client: Socket, server: Socket): void {
    const messages = new ClientMessages()
    let exchange: Exchange | undefined
    client.on('data', (bytes: Buffer) => {
      for (const { name, statement } of messages.requests(bytes)) {
        if (!exchange) this.#exchanges.push((exchange = { messages: [], statements: [] }))
        exchange.messages.push(name)
        if (statement !== undefined && exchange.statements.at(-1) !== statement) exchange.statements.push(statement)
      }
      server.write(bytes)
    })
    server.on('data', (bytes: Buffer) => {
      exchange = undefined
      client.write(bytes)
    })
    client.on('end', () => server.end())
    server.on('end', () => client.end())
  }
}
