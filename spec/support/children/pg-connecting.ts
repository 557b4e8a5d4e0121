// Connecting fails in a way that ends the process where nobody catches it inside of the driver:
// `pg-connecting <url> <way>`. Ends by itself.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { inspect } from 'node:util'
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application } from '../../../lib/application/application.js'
import { OperationalError, ProgrammingError } from '../../../lib/errors.js'
import { type PostgresDatastore, postgres } from '../../../lib/postgres/index.js'
import { Dog } from '../dogs.js'
import { failure, rejection } from '../rejection.js'
import { variation } from '../victim.js'

const [url = '', way = ''] = process.argv.slice(2)
const poolTimeoutMs = 5000

const ways: Record<string, () => Promise<void>> = {
  async password() {
    const refused = new RangeError('no token today')
    const passwords: Record<string, () => unknown> = {
      'that throws': () => {
        throw refused
      },
      'that rejects': () => Promise.reject(refused),
      'that gives undefined': () => undefined,
      'that gives null, later': () => Promise.resolve(null),
      'that gives a number': () => 42,
    }
    const withoutPassword = new URL(url)
    const password = decodeURIComponent(withoutPassword.password)
    withoutPassword.password = ''
    for (const [which, ask] of Object.entries(passwords)) {
      await variation(`the password comes from a function ${which}`, async () => {
        let isThere = false
        const options = { max: 2, password: () => (isThere ? password : (ask() as string)), poolTimeoutMs }
        await using datastore = postgres(withoutPassword.href, options)
        const asked = await Promise.all([failure(datastore.ready()), failure(datastore.transaction())])
        for (const error of asked) {
          if (error === refused) continue
          expect(error).to.be.instanceOf(ProgrammingError)
          expect((error as Error).message)
            .to.include('password')
            .and.not.to.include('42')
        }
        expect(asked.includes(refused), 'what the function threw').to.equal(/throws|rejects/.test(which))
        isThere = true
        expect(await datastore.transaction(() => 'begun')).to.equal('begun')
      })
    }
  },

  async ssl() {
    const unusable: Record<string, object> = {
      'a certificate that is none': { cert: 'S3CRET', key: 'S3CRET' },
      'a key that is none': { key: 'S3CRET' },
      'a bundle that is none': { pfx: Buffer.from('S3CRET') },
      'a version that is none': { minVersion: 'TLSv7' },
      'ciphers that are none': { ciphers: 'none of these' },
      'a ticket key of another type': { ticketKeys: 'S3CRET' },
    }
    for (const [which, ssl] of Object.entries(unusable)) {
      // direct: no server is asked first whether it can encrypt
      for (const sslnegotiation of [undefined, 'direct'] as const) {
        await variation(`the option ssl has ${which} (${sslnegotiation ?? 'asked for'})`, async () => {
          await using datastore = postgres(url, { ssl, sslnegotiation, poolTimeoutMs })
          const error = await rejection(datastore.ready(), ProgrammingError, 'ssl')
          expect(inspect(error)).not.to.include('S3CRET')
        })
      }
    }
  },

  types: () =>
    asksForTypes((through) => {
      const datastore = postgres(through, { max: 2, poolTimeoutMs })
      return { datastore, end: () => datastore.close() }
    }),

  "types for a user's database": () =>
    asksForTypes((through) => {
      const client = postgresJs(through, { max: 2, backoff: () => 0.05 })
      const datastore = postgres(drizzle(client), { poolTimeoutMs })
      return {
        datastore,
        async end() {
          await datastore.close()
          await client.end({ timeout: 1 })
        },
      }
    }),

  async socket() {
    const real = new URL(url)
    const thrown = new RangeError('no way there')
    const sockets: Record<string, () => unknown> = {
      'that gives nothing': () => undefined,
      'that gives something else, later': () => Promise.resolve({ write: () => true }),
      'that throws': () => {
        throw thrown
      },
      'that rejects': () => Promise.reject(thrown),
    }
    for (const [which, make] of Object.entries(sockets)) {
      await variation(`the socket comes from a function ${which}`, async () => {
        let isThere = false
        const socket = () => (isThere ? connect(Number(real.port || 5432), real.hostname) : make())
        await using datastore = postgres(url, { max: 2, socket, poolTimeoutMs })
        for (const error of await Promise.all([failure(datastore.ready()), failure(datastore.transaction())])) {
          if (/throws|rejects/.test(which)) expect(error).to.equal(thrown)
          else expect(error).to.be.instanceOf(ProgrammingError).with.property('message').that.includes('socket')
        }
        isThere = true
        expect(await datastore.transaction(() => 'begun')).to.equal('begun')
      })
    }
  },

  async 'a save'() {
    const thrown = new RangeError('no token today')
    const password = () => Promise.reject(thrown)
    const school = new Application({ name: 'School', persistence: postgres(url, { password, poolTimeoutMs }) })
    const dog = new Dog('Fido')
    expect(await failure(school.save(dog))).to.equal(thrown)
    expect(dog.pendingEvents).to.have.length(1)
    await school.close()
  },
}

await ways[way]?.()

async function asksForTypes(
  open: (url: string) => { readonly datastore: PostgresDatastore; end(): Promise<void> },
): Promise<void> {
  const cuts: Record<string, (socket: Socket) => void> = {
    'is reset': (socket) => socket.resetAndDestroy(),
    'is closed': (socket) => socket.end(),
  }
  for (const [how, cut] of Object.entries(cuts)) {
    await variation(`a connection ${how} while the types are asked for`, async () => {
      const cutter = await cuttingAtTypes(cut)
      const { datastore, end } = open(cutter.url)
      for (const error of await Promise.all([failure(datastore.ready()), failure(datastore.transaction())])) {
        expect(error).to.be.instanceOf(OperationalError).with.property('retryable', true)
      }
      expect(cutter.cuts).to.be.above(0)
      cutter.letThrough()
      const rows = await datastore.transaction((session) => session.execute("SELECT '{1,2}'::int4[] AS list"))
      expect([...rows], 'types are known by then').to.deep.equal([{ list: [1, 2] }])
      await end()
      cutter.close()
    })
  }
}

/** Stands before the server, and cuts each connection on which the types of the server are asked for. */
async function cuttingAtTypes(cut: (socket: Socket) => void) {
  const server = new URL(url)
  let [isCutting, cuts] = [true, 0]
  const listener = createServer((client) => {
    const upstream = connect(Number(server.port || 5432), server.hostname)
    for (const socket of [client, upstream]) socket.on('error', () => undefined)
    upstream.on('data', (bytes) => client.write(bytes)).on('close', () => client.end())
    client.on('close', () => upstream.destroy())
    client.on('data', (bytes) => {
      if (!isCutting || !bytes.includes('pg_type')) return void upstream.write(bytes)
      cuts += 1
      cut(client)
      upstream.destroy()
    })
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const through = new URL(server)
  through.hostname = '127.0.0.1'
  through.port = String((listener.address() as AddressInfo).port)
  return {
    url: through.href,
    get cuts() {
      return cuts
    },
    letThrough() {
      isCutting = false
    },
    close() {
      listener.close()
    },
  }
}
