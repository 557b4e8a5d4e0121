import { DefaultAzureCredential } from '@azure/identity'
import type { ConnectionCreator } from 'eventsourcing-drizzle/drizzle'

// one for all connections: it keeps the token until that is about to expire
const credential = new DefaultAzureCredential()

export const connect: ConnectionCreator = async () => {
  const { token } = await credential.getToken('https://ossrdbms-aad.database.windows.net/.default')
  return { options: { password: token, ssl: 'verify-full' } }
}
