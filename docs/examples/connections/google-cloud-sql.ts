import { once } from 'node:events'
import { AuthTypes, Connector, IpAddressTypes } from '@google-cloud/cloud-sql-connector'
import type { ConnectionCreator } from 'eventsourcing-drizzle/drizzle'

// one for all connections: it renews its certificates by timers of its own
let connector: Connector | undefined

const close = () => {
  connector?.close()
  connector = undefined
}

export const connect: ConnectionCreator = async ({ env }) => {
  connector ??= new Connector()
  const { stream } = await connector.getOptions({
    instanceConnectionName: env.text('CLOUD_SQL_INSTANCE') ?? '', // project:region:instance
    ipType: IpAddressTypes.PUBLIC,
    authType: AuthTypes.IAM,
  })
  const socket = async () => {
    const tlsSocket = stream()
    await once(tlsSocket, 'secureConnect')
    return tlsSocket
  }
  return { options: { socket, ssl: false }, close } // encrypted by the connector, and not once more
}
