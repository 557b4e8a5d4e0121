import { AsyncLocalStorage } from 'node:async_hooks'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { Application, type ApplicationOptions } from '../../lib/application/application.js'
import type { ConnectionCreator, ConnectionRequest } from '../../lib/drizzle/index.js'
import { OperationalError, ProgrammingError, TopicError } from '../../lib/errors.js'
import '../../lib/index.js'
import { registerTopic } from '../../lib/persistence/topic-loader.js'
import type { SqliteDatastore } from '../../lib/sqlite/index.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'

const fido = Dog.createId('Fido')

describe('Connections to SQLite by a function of the user’s', () => {
  let directory: string
  let file: string
  const applications: Application[] = []
  const clients: Database.Database[] = []

  beforeEach(async () => {
    directory = await temporaryDirectory()
    file = join(directory, 'school.db')
  })

  afterEach(async () => {
    for (const application of applications.splice(0)) await application.close()
    for (const client of clients.splice(0)) client.close()
    await remove(directory)
  })

  describe('that gives options', () => {
    it('is asked for the writer and for the reader, with the URL and the variables', async () => {
      const requests: ConnectionRequest[] = []
      const statements = { write: 0, read: 0, listen: 0 }
      const school = made((request) => {
        requests.push(request)
        return { options: { verbose: () => (statements[request.purpose] += 1) } }
      })
      await school.save(new Dog('Fido'))
      expect(requests.map(({ purpose }) => purpose)).to.deep.equal(['write', 'read'])
      for (const request of requests) {
        expect(request).to.include({ dialect: 'sqlite', url: `sqlite:${file}`, env: school.env })
      }
      const { write, read } = statements
      expect(await school.repository.has(fido)).to.equal(true)
      expect(statements.write).to.equal(write)
      expect(statements.read).to.be.above(read)
      await school.save(new Dog('Rex'))
      expect(statements.write).to.be.above(write)
    })

    it('is asked once for a database in memory, which has one connection', async () => {
      const purposes: string[] = []
      const school = made(
        ({ purpose }) => {
          purposes.push(purpose)
          return { options: {} }
        },
        { DRIZZLE_URL: 'sqlite::memory:' },
      )
      await school.save(new Dog('Fido'))
      expect(await school.repository.has(fido)).to.equal(true)
      expect(purposes).to.deep.equal(['write'])
    })

    it('may open the file for reading only', async () => {
      await (await created(() => ({ options: {} }))).save(new Dog('Fido'))
      const reading = await created(() => ({ options: { readonly: true } }))
      expect(await reading.repository.has(fido)).to.equal(true)
      const error = await rejection(reading.save(new Dog('Rex')), OperationalError)
      expect(error.code).to.match(/^SQLITE_READONLY/)
      expect(await reading.repository.has(Dog.createId('Rex'))).to.equal(false)
    })

    it('may ask for a file that is there', async () => {
      const school = made(() => ({ options: { fileMustExist: true } }))
      expect(await rejection(school.ready(), OperationalError)).to.have.property('code', 'SQLITE_CANTOPEN')
      new Database(file).close()
      await school.save(new Dog('Fido'))
    })
  })

  describe('that gives clients', () => {
    it('reads on the one and writes on the other, and leaves both to the user', async () => {
      const given: Record<string, Database.Database> = {}
      const school = made(({ purpose }) => ({ client: (given[purpose] = open()) }))
      await school.save(new Dog('Fido'))
      await school.transaction(async () => {
        await school.save(new Dog('Rex'))
        const { datastore } = school.factory
        // beside the open transaction: on one connection this would have to wait for it
        expect(await datastore.outside(() => school.repository.has(fido))).to.equal(true)
        expect(await datastore.outside(() => school.repository.has(Dog.createId('Rex')))).to.equal(false)
      })
      await school.close()
      expect(Object.keys(given)).to.deep.equal(['write', 'read'])
      expect(Object.values(given).map(({ open }) => open)).to.deep.equal([true, true])
    })

    it('takes the same one twice as one connection, whose readers wait for the writer', async () => {
      const client = open()
      const school = made(() => ({ client }), { DRIZZLE_POOL_TIMEOUT_MS: '50' })
      await school.save(new Dog('Fido'))
      expect(await school.repository.has(fido)).to.equal(true)
      await school.transaction(() =>
        rejection(
          school.factory.datastore.outside(() => school.repository.has(fido)),
          OperationalError,
          '50 ms',
        ),
      )
    })

    it('asks for one client only where it is in memory', async () => {
      const purposes: string[] = []
      const school = made(({ purpose }) => {
        purposes.push(purpose)
        return { client: open(':memory:') }
      })
      await school.save(new Dog('Fido'))
      expect(await school.repository.has(fido)).to.equal(true)
      expect(purposes).to.deep.equal(['write'])
    })

    it('has them closed by their own functions, when the datastore has closed', async () => {
      const school = made(() => {
        const client = open()
        return { client, close: () => client.close() }
      })
      await school.save(new Dog('Fido'))
      await school.close()
      expect(clients.map(({ open }) => open)).to.deep.equal([false, false])
    })

    it('may not be given clients of two files, nor one that is closed', async () => {
      const files = [file, join(directory, 'other.db')]
      await rejection(made(() => ({ client: open(files.shift()) })).ready(), ProgrammingError, 'one file')
      const client = open()
      client.close()
      await rejection(made(() => ({ client })).ready(), Error, 'is closed')
    })
  })

  it('may give Drizzle databases, whose schema sessions have', async () => {
    const owners = sqliteTable('owners', { name: text('name').primaryKey() })
    open().exec('CREATE TABLE owners (name text PRIMARY KEY)')
    const school = await created(() => ({ db: drizzle(open(), { schema: { owners } }) }))
    const datastore = school.factory.datastore as unknown as SqliteDatastore<{ owners: typeof owners }>
    await datastore.transaction(async (session) => {
      await session.insert(owners).values({ name: 'Ann' })
      await school.save(new Dog('Fido'))
    })
    expect(await datastore.db.query.owners.findMany()).to.deep.equal([{ name: 'Ann' }])
    expect(await school.repository.has(fido)).to.equal(true)
  })

  const refused: [title: string, answer: unknown, says: RegExp][] = [
    ['nothing', undefined, /\{ options \}, \{ client \} and \{ db \}.*type undefined/],
    ['null', null, /null/],
    ['a URL', 'sqlite:secret.db', /type string/],
    ['an empty object', {}, /nothing in it/],
    ['options without their name', { password: 'secret', user: 'secret' }, /an object with password, user/],
    ['two things', { options: {}, client: {} }, /an object with options, client/],
    ['something beside', { options: {}, owned: 'secret' }, /an object with options, owned/],
    ['options that are text', { options: 'secret' }, /options is of type string/],
    ['no client', { client: null }, /client is of type null/],
    ['another client', { client: { query: 'secret' } }, /none of better-sqlite3/],
    ['another database', { db: { url: 'secret' } }, /Drizzle database of better-sqlite3/],
    ['an option that there is not', { options: { password: 'secret' } }, /not password/],
    ['a timeout', { options: { timeout: 5 } }, /DRIZZLE_POOL_TIMEOUT_MS/],
    ['a close that is no function', { options: {}, close: 'secret' }, /close is of type string/],
  ]
  for (const [title, answer, says] of refused) {
    it(`may not give ${title}`, async () => {
      const error = await rejection(made((() => answer) as ConnectionCreator).ready(), ProgrammingError, says)
      expect(String(error.stack)).not.to.include('secret')
    })
  }

  it('may not give a client after options', async () => {
    const school = made(({ purpose }) => (purpose === 'write' ? { options: {} } : { client: open() }))
    await rejection(school.ready(), ProgrammingError, 'one kind')
  })

  it('has what it throws come out of create() and of the first operation, and is asked again', async () => {
    let isDown = true
    const creator: ConnectionCreator = async () => {
      if (isDown) throw new RangeError('no token now')
      return { options: {} }
    }
    await rejection(created(creator), RangeError, 'no token now')
    const school = made(creator)
    await rejection(school.save(new Dog('Fido')), RangeError, 'no token now')
    await rejection(school.repository.has(fido), RangeError, 'no token now')
    isDown = false
    await school.save(new Dog('Fido'))
    expect(await school.repository.has(fido)).to.equal(true)
  })

  it('has what it gave closed once where opening fails half-way, and the reason stays the error', async () => {
    const closed: string[] = []
    const school = made(({ purpose }) => {
      if (purpose === 'read') throw new RangeError('no reader')
      return {
        options: {},
        close() {
          closed.push(purpose)
          throw new TypeError('nor can it be closed')
        },
      }
    })
    await rejection(school.ready(), RangeError, 'no reader')
    expect(closed).to.deep.equal(['write'])
    await school.close()
    expect(closed).to.deep.equal(['write'])
  })

  it('has every close called when one throws, and closes the file all the same', async () => {
    const closed: string[] = []
    const school = await created(({ purpose }) => ({
      options: {},
      async close() {
        closed.push(purpose)
        throw new RangeError(`${purpose} stays open`)
      },
    }))
    const error = await rejection(school.close(), AggregateError)
    expect(error.errors.map(({ message }: Error) => message)).to.deep.equal(['write stays open', 'read stays open'])
    expect(closed).to.deep.equal(['write', 'read'])
    await school.close()
    expect(closed).to.deep.equal(['write', 'read'])
    await rejection(school.save(new Dog('Fido')), Error, 'closed')
  })

  it('has one close that came with two connections called once, and a class’s for each object', async () => {
    let closed = 0
    const close = () => (closed += 1)
    await (await created(() => ({ options: {}, close }))).close()
    expect(closed).to.equal(1)
    class Answer {
      readonly options = {}
      close() {
        closed += 1
      }
    }
    await (await created(() => new Answer())).close()
    expect(closed).to.equal(3)
  })

  it('is asked outside of the context of whoever needs the connection first', async () => {
    const requests = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    const school = made(() => {
      seen.push(requests.getStore())
      return { options: {}, close: () => seen.push(requests.getStore()) }
    })
    await requests.run('one', () => school.save(new Dog('Fido')))
    await requests.run('two', () => school.close())
    expect(seen).to.deep.equal([undefined, undefined, undefined, undefined])
  })

  it('is an OperationalError where it does not answer in time, and closed where it answers later', async () => {
    const school = made(() => new Promise((resolve) => (answer = resolve)), { DRIZZLE_POOL_TIMEOUT_MS: '20' })
    let answer: (given: { options: object; close: () => void }) => void = () => undefined
    const error = await rejection(school.ready(), OperationalError, '20 ms')
    expect(error).to.include({ retryable: true, code: 'CONNECT_TIMEOUT' })
    await new Promise<void>((close) => answer({ options: {}, close }))
  })

  describe('as a topic', () => {
    it('is found by a registered name, and in a file that starts where the application says', async () => {
      registerTopic('connections of the spec', () => ({ options: {} }))
      await (await createdBy('connections of the spec')).save(new Dog('Fido'))
      await writeFile(join(directory, 'connect.mjs'), 'export const connect = () => ({ options: { readonly: true } })')
      const topicBase = pathToFileURL(join(directory, 'main.js'))
      const reading = await createdBy('./connect.mjs#connect', { topicBase })
      expect(await reading.repository.has(fido)).to.equal(true)
      await rejection(reading.save(new Dog('Rex')), OperationalError)
    })

    it('has to name a function', async () => {
      await writeFile(join(directory, 'connect.mjs'), "export const password = 'secret'")
      const topicBase = pathToFileURL(join(directory, 'main.js'))
      await rejection(createdBy('./connect.mjs#connect', { topicBase }), TopicError, "no export 'connect'")
      const error = await rejection(createdBy('./connect.mjs#password', { topicBase }), ProgrammingError, 'a function')
      expect(error.message)
        .to.match(/^SCHOOL_DRIZZLE_CONNECTION_CREATOR_TOPIC /)
        .and.not.include('secret')
      await rejection(createdBy({ options: {} }), ProgrammingError, 'a function')
    })

    it('needs a URL beside it, which says the dialect', async () => {
      const school = made(() => ({ options: {} }), { DRIZZLE_URL: '' })
      await rejection(school.ready(), ProgrammingError, 'DRIZZLE_URL')
    })

    it('lets a scope that has taken the writer make its tables, without the wait that a save has', async () => {
      const client = open()
      client.pragma('journal_mode = WAL')
      const session = drizzle(client)
      const school = made(() => ({ options: {} }), { SCHOOL_DRIZZLE_SCOPED_SESSION_TOPIC: (() => session) as never })
      client.exec('BEGIN IMMEDIATE')
      await school.save(new Dog('Fido')) // long before DRIZZLE_POOL_TIMEOUT_MS is over
      client.exec('COMMIT')
      expect(await school.repository.has(fido)).to.equal(true)
    })

    it('makes applications share a datastore only where it is the same', async () => {
      const creator = () => ({ options: {} })
      const other = () => ({ options: {} })
      const bases = ['here', 'there'].map((name) => join(directory, name))
      for (const base of bases) {
        await mkdir(base)
        await writeFile(join(base, 'connect.mjs'), 'export const connect = () => ({ options: {} })')
      }
      const [here, there] = bases.map((base) => ({ topicBase: pathToFileURL(join(base, 'main.js')) }))
      const schools = await Promise.all([
        created(creator),
        created(creator),
        created(other),
        createdBy('./connect.mjs#connect', here),
        createdBy('./connect.mjs#connect', here),
        createdBy('./connect.mjs#connect', there),
        createdBy(''),
      ])
      const [one, same, two, three, sameTopic, four, five] = schools.map(({ factory }) => factory.datastore)
      expect(same).to.equal(one)
      expect(sameTopic).to.equal(three)
      expect(new Set([one, two, three, four, five]).size).to.equal(5)
    })
  })

  function open(name = file): Database.Database {
    const client = new Database(name)
    clients.push(client)
    return client
  }

  function made(creator: ConnectionCreator, env: Record<string, string> = {}): Application {
    return madeBy(creator, { env })
  }

  async function created(creator: ConnectionCreator): Promise<Application> {
    return createdBy(creator)
  }

  function madeBy(topic: unknown, options?: ApplicationOptions): Application {
    const application = new Application(asOptions(topic, options))
    applications.push(application)
    return application
  }

  async function createdBy(topic: unknown, options?: ApplicationOptions): Promise<Application> {
    const application = await Application.create(asOptions(topic, options))
    applications.push(application)
    return application
  }

  function asOptions(topic: unknown, { env, ...options }: ApplicationOptions = {}): ApplicationOptions {
    const url = `sqlite:${file}`
    const variables = { DRIZZLE_URL: url, SCHOOL_DRIZZLE_CONNECTION_CREATOR_TOPIC: topic, ...env }
    return { name: 'School', env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...variables }, ...options }
  }
})
