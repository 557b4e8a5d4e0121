import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { Environment } from 'eventsourcing-drizzle'
import type { ConnectionCreator, ConnectionOptions } from 'eventsourcing-drizzle/drizzle'
import type { PostgresConnectionOptions } from 'eventsourcing-drizzle/postgres'

const root = join(dirname(fileURLToPath(import.meta.url)), '../../../..')
const examples = ['google-cloud-sql', 'aws-rds-iam', 'azure']

describe('The examples of connections to clouds', function () {
  // the packages of clouds are large
  this.timeout(60_000)

  for (const name of examples) {
    it(`stand in the guide as they are: ${name}`, () => {
      const page = readFileSync(join(root, 'docs/guides/connections.md'), 'utf8')
      const code = readFileSync(join(root, `docs/examples/connections/${name}.ts`), 'utf8')
      expect(page.includes(`\`\`\`ts fragment\n${code}\`\`\`\n`), 'copy the file into the page').to.equal(true)
    })

    it(`are functions that a topic finds, and reach for nothing before they are called: ${name}`, async () => {
      const { connect } = (await import(`./${name}.js`)) as { connect: ConnectionCreator }
      expect(connect).to.be.a('function')
    })
  }

  it('sign a token for each connection to RDS, without asking anybody', async () => {
    const before = { ...process.env }
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'only-for-tests' })
    try {
      const { connect } = await import('./aws-rds-iam.js')
      const env = new Environment('', { AWS_REGION: 'eu-north-1', RDS_CA_FILE: join(root, 'spec/fixtures/tls/ca.crt') })
      const url = 'postgresql://pupil@school.example.org:5433/school'
      const { options } = await connect({ dialect: 'postgresql', url, env, purpose: 'write' })
      const { password, ssl } = asPostgres(options)
      const token = await (password as () => Promise<string>)()
      expect(token).to.match(/^school\.example\.org:5433\/\?Action=connect&DBUser=pupil&.*X-Amz-Signature=[0-9a-f]{64}/)
      expect(token).to.include('eu-north-1')
      expect(ssl).to.have.property('ca').that.includes('CERTIFICATE')
    } finally {
      for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']) {
        if (before[name] === undefined) delete process.env[name]
        else process.env[name] = before[name]
      }
    }
  })
})

function asPostgres(options: ConnectionOptions | undefined): PostgresConnectionOptions {
  return options as PostgresConnectionOptions
}
