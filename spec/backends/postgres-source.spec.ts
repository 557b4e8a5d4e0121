import { inspect } from 'node:util'
import { expect } from 'chai'
import postgres from 'postgres'
import { ProgrammingError } from '../../lib/errors.js'
import { isPostgresUrl, parseSource, type PostgresSource, sourceKey, urlForms } from '../../lib/postgres/source.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'

const password = 'ge@h:e/i?m#100% ü'

describe('A URL of PostgreSQL', () => {
  const accepted: Record<string, PostgresSource['options']> = {
    'postgres://ann:secret@db.example:5433/school': {
      username: 'ann',
      password: 'secret',
      host: 'db.example',
      port: 5433,
      database: 'school',
    },
    'postgresql://localhost/school': { host: 'localhost', database: 'school' },
    'postgresql+psycopg2://localhost/school': { host: 'localhost', database: 'school' },
    'PostgreSQL+asyncpg://localhost/school': { host: 'localhost', database: 'school' },
    'POSTGRES://localhost': { host: 'localhost' },
    'postgres://': {},
    'postgres:///': {},
    'postgresql+pg8000://:@/': {},
    'postgresql:///school': { database: 'school' },
    'postgresql://:5433/school': { port: 5433, database: 'school' },
    'postgresql://ann@/school': { username: 'ann', database: 'school' },
    'postgresql://ann:@localhost': { username: 'ann', host: 'localhost' },
    'postgresql://ann:p@ss:word@localhost': { username: 'ann', password: 'p@ss:word', host: 'localhost' },
    'postgresql://a:1,b,c:3/school': { host: 'a:1,b,c:3', database: 'school' },
    'postgresql://[::1]/school': { host: ['::1'], port: [5432], database: 'school' },
    'postgresql://[2001:db8::1]:5433,b/school': { host: ['2001:db8::1', 'b'], port: [5433, 5432], database: 'school' },
    'postgresql://%2Frun%2Fpostgresql:5433/school': { host: '/run/postgresql', port: 5433, database: 'school' },
    [`postgresql://a%40b:${encodeURIComponent(password)}@localhost/gr%C3%B6%C3%9Fe%20%2F`]: {
      username: 'a@b',
      password,
      host: 'localhost',
      database: 'größe /',
    },
  }
  for (const [url, options] of Object.entries(accepted)) {
    it(`may be ${url}`, () => {
      expect(isPostgresUrl(url)).to.equal(true)
      expect(parseSource(url)).to.deep.equal({ url: 'postgres://', options })
    })
  }

  it('says to the driver what it says', () => {
    for (const [url, { username, password, host, port, database }] of Object.entries(accepted)) {
      const source = parseSource(url)
      const given = { user: 'me', pass: 'mine', hostname: 'here' } // what the environment of a test may say too
      const { options } = postgres(source.url, { ...without(given, source), ...(source.options as object) })
      expect(options.user, url).to.equal(username ?? given.user)
      expect(options.pass, url).to.equal(password ?? given.pass)
      expect(options.database, url).to.equal(database ?? process.env.PGDATABASE ?? options.user)
      const several = typeof host === 'string' && host.includes(',')
      if (Array.isArray(host)) expect(options.host, url).to.deep.equal(host)
      else if (several) expect(options.host, url).to.deep.equal(['a', 'b', 'c'])
      else if (host?.includes('/')) expect(options.path, url).to.equal(`${host as string}/.s.PGSQL.${port as number}`)
      else expect(options.host, url).to.deep.equal([host ?? given.hostname])
      if (typeof port === 'number') expect(options.port, url).to.deep.equal([port])
    }
  })

  it('hands on what follows the question mark', () => {
    const source = parseSource(
      'postgresql+x://ann:secret@localhost?application_name=a%40b&sslmode=require&prepare=false',
    )
    expect(source.url).to.equal('postgres://?application_name=a%40b&sslmode=require&prepare=false')
    const { options } = postgres(source.url, source.options as object)
    expect(options.connection.application_name).to.equal('a@b')
    expect([options.ssl, options.prepare]).to.deep.equal(['require', false])
  })

  const refused = [
    '',
    'school',
    'postgres:',
    'postgres:school',
    'postgres:/school',
    'mysql://ann:S3CRET@localhost/school',
    'sqlite:school.db',
    ' postgres://ann:S3CRET@localhost/school',
    'postgres://ann:S3CRET@local host/school',
    'postgres://ann:S3CRET@localhost/school\n',
    'postgres://ann:S3CRET@localhost:port/school',
    'postgres://ann:S3CRET@localhost:65536/school',
    'postgres://ann:S3CRET@[::1/school',
    'postgres://ann:S3CRET@::1/school',
    'postgres://ann:S3CRET@a,/school',
    'postgres://ann:S3CRET@a,%2Frun/school',
    'postgres://ann:S3CRET%@localhost/school', // a percent sign of the password itself
    'postgres://ann:S3CRET%FF@localhost/school', // no UTF-8
    'postgres://ann:S3CRET%00@localhost/school', // where the protocol ends a text
    'postgres://ann:S3CRET@localhost/school?application_name=x%00user%00postgres',
    'postgres://ann:12/S3CRET@localhost/school', // a slash of the password itself: the host would be ann
    'postgres://ann:12?S3CRET@localhost/school',
    'postgres://ann:12#S3CRET@localhost/school',
    'postgres://ann:S3CRET@localhost/school#x',
    'postgres://ann:S3CRET@localhost/school/dogs',
  ]
  for (const url of refused) {
    it(`can't be ${JSON.stringify(url)}, and isn't shown`, () => {
      try {
        parseSource(url)
      } catch (error) {
        expect(error).to.be.instanceOf(ProgrammingError)
        for (const form of urlForms) expect((error as Error).message).to.include(form)
        expect(inspect(error, { depth: Infinity, showHidden: true })).not.to.include('S3CRET')
        return
      }
      expect.fail('Should have thrown')
    })
  }

  it('is told by its scheme', () => {
    for (const url of ['sqlite:school.db', 'postgresql', 'postgresqlx://', 'mypostgres://', 'postgres+://']) {
      expect(isPostgresUrl(url), url).to.equal(false)
    }
  })

  it('is one source however its scheme is written', () => {
    const [one, ...others] = ['postgres', 'postgresql', 'postgresql+psycopg2', 'POSTGRES'].map((scheme) =>
      sourceKey(`${scheme}://ann:secret@localhost/school?a=b`),
    )
    for (const other of others) expect(other).to.equal(one)
    expect(sourceKey('postgres://localhost/School')).not.to.equal(sourceKey('postgres://localhost/school'))
  })
})

describePostgres('A URL of a PostgreSQL that runs', () => {
  it('leads there with user, password and database of any characters', async () => {
    const [user, database] = ["o'näme", 'größe 100% @/:?#']
    const { hostname, port } = new URL(postgresUrl())
    const client = admin()
    await client.unsafe(`CREATE ROLE "${user}" LOGIN PASSWORD '${password}'`)
    await client.unsafe(`CREATE DATABASE "${database}"`)
    try {
      const [name, secret, place] = [user, password, database].map(encodeURIComponent)
      const source = parseSource(
        `postgresql+any://${name}:${secret}@${hostname}:${port}/${place}?application_name=a%20b`,
      )
      const own = postgres(source.url, { ...(source.options as object), max: 1 })
      try {
        const [row] =
          await own`SELECT current_user, current_database(), current_setting('application_name') AS application`
        expect(row).to.deep.equal({ current_user: user, current_database: database, application: 'a b' })
      } finally {
        await own.end()
      }
    } finally {
      await client.unsafe(`DROP DATABASE "${database}" WITH (FORCE)`)
      await client.unsafe(`DROP ROLE "${user}"`)
    }
  })
})

function without<T extends object>(given: T, { options }: PostgresSource): Partial<T> {
  const { username, password, host } = options
  const named = { user: username, pass: password, hostname: host } as Record<string, unknown>
  return Object.fromEntries(Object.entries(given).filter(([name]) => named[name] === undefined)) as Partial<T>
}
