import { readFileSync } from 'node:fs'
import { Signer } from '@aws-sdk/rds-signer'
import type { ConnectionCreator } from 'eventsourcing-drizzle/drizzle'

export const connect: ConnectionCreator = ({ url, env }) => {
  const { hostname, port, username } = new URL(url)
  const signer = new Signer({
    hostname,
    port: Number(port || 5432),
    username: decodeURIComponent(username),
    region: env.text('AWS_REGION') ?? 'eu-central-1',
  })
  return {
    options: {
      password: () => signer.getAuthToken(), // a token is good for 15 minutes, a connection that has used it for longer
      ssl: { ca: readFileSync(env.text('RDS_CA_FILE') ?? 'global-bundle.pem', 'utf8') },
    },
  }
}
