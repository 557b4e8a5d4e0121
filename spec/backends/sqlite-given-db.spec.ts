import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3'
import { drizzle as drizzlePostgres } from 'drizzle-orm/postgres-js'
import { drizzle as drizzleProxy } from 'drizzle-orm/sqlite-proxy'
import postgres from 'postgres'
import { Application } from '../../lib/application/application.js'
import { EventSourcingError, InterfaceError, ProgrammingError } from '../../lib/errors.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { runEveryConformanceSuite } from '../conformance/every.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { storedEvent } from '../support/stored-events.js'
import { createOwners, owners, remove, schema, sqliteGivenDb, temporaryDirectory } from '../support/sqlite-backends.js'

runEveryConformanceSuite(sqliteGivenDb)

describe("A user's own Drizzle database given to sqlite()", () => {
  let directory: string
  let client: Database.Database
  let db: BetterSQLite3Database<typeof schema>

  beforeEach(async () => {
    directory = await temporaryDirectory()
    client = new Database(join(directory, 'school.db'), { timeout: 4321 })
    db = drizzle(client, { schema })
    db.run(createOwners)
  })

  afterEach(async () => {
    client.close()
    await remove(directory)
  })

  it('is usable through datastore.db at once, and stays open after close()', async () => {
    const datastore = sqlite(db)
    expect(await datastore.db.select().from(owners)).to.deep.equal([])
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    await school.close()
    await datastore.close()
    await rejection(datastore.ready(), InterfaceError, 'closed')
    expect(client.open).to.equal(true)
    expect(db.all(sql`SELECT originator_version FROM school_events`)).to.deep.equal([{ originator_version: 1 }])
  })

  it('may keep its text in UTF-16: states are the same bytes, and the same text', async () => {
    client.close()
    client = new Database(join(directory, 'utf-16.db'))
    client.pragma("encoding = 'UTF-16le'")
    await using datastore = sqlite(drizzle(client))
    const school = new Application({ name: 'School', persistence: datastore })
    const dog = new Dog('Zoë 🐶')
    dog.addTrick('座れ')
    await school.save(dog)
    const invalid = Buffer.of(0xff, 0, 0xd8, 0x00, 0x41)
    await school.recorder.insertEvents([storedEvent('bytes', 1, { state: invalid })])
    expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(['座れ'])
    expect((await school.events.get(dog.id)).map(({ data }) => data)).to.deep.equal([
      { name: 'Zoë 🐶' },
      { trick: '座れ' },
    ])
    for (const limit of [10, 100]) {
      const page = await school.recorder.selectNotifications({ limit })
      expect(page.map(({ state }) => [...state]).at(-1)).to.deep.equal([...invalid])
      expect(Buffer.from(page[0]!.state).toString()).to.include('Zoë 🐶')
    }
  })

  it('may hold rows that somebody else has written, with bytes for a topic or text for a state', async () => {
    await using datastore = sqlite(db)
    const school = new Application({ name: 'School', persistence: datastore })
    await school.recorder.insertEvents([storedEvent('dog', 1)])
    const insert = client.prepare(
      'INSERT INTO school_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)',
    )
    insert.run('theirs', 1, 'Dog.TrickAdded', '{"é":1}')
    const texts = await school.recorder.selectNotifications({ limit: 100 })
    expect(texts.map(({ state }) => Buffer.from(state).toString())).to.deep.equal(['{"n":1}', '{"é":1}'])
    insert.run('theirs', 2, Buffer.from('Dog.TrickAdded'), Buffer.from('{}'))
    expect(await school.recorder.selectNotifications({ limit: 100 })).to.have.length(3)
  })

  it('keeps the settings of its connection', async () => {
    const settings = () =>
      ['busy_timeout', 'journal_mode', 'synchronous', 'foreign_keys'].map((name) => client.pragma(name))
    const before = settings()
    await using datastore = sqlite(db)
    const school = new Application<typeof datastore>({ name: 'School', persistence: datastore })
    await school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'Ann' })
      await school.save(new Dog('Fido'))
    })
    await rejection(school.save(new Dog('Fido')), Error)
    expect(settings()).to.deep.equal(before)
  })

  it('is refused inside a transaction that was begun on it directly, with nothing stored in that', async () => {
    await using datastore = sqlite(db)
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    client.exec('BEGIN')
    const dog = new Dog('Rex')
    await rejection(school.save(dog), InterfaceError, 'datastore.transaction()')
    await rejection(
      datastore.transaction(() => expect.fail('Has begun')),
      InterfaceError,
      'datastore.transaction()',
    )
    await rejection(Promise.resolve(datastore.db.insert(owners).values({ name: 'Ann' })), InterfaceError)
    expect(client.inTransaction).to.equal(true)
    client.exec('COMMIT')
    expect(await db.$count(owners)).to.equal(0)
    expect(await school.repository.has(dog.id)).to.equal(false)
    expect(await school.save(dog)).to.have.length(1)
  })

  it('serves two datastores, whose writes take turns', async () => {
    await using one = sqlite(db)
    await using other = sqlite(db)
    const school = new Application({ name: 'School', persistence: one })
    const kennel = new Application({ name: 'Kennel', persistence: other })
    const names = Array.from({ length: 20 }, (_, n) => `dog ${n}`)
    await Promise.all(
      names.flatMap((name) => [one.transaction(() => school.save(new Dog(name))), kennel.save(new Dog(name))]),
    )
    expect([await school.recorder.maxNotificationId(), await kennel.recorder.maxNotificationId()]).to.deep.equal([
      20, 20,
    ])
  })

  it('works again after a transaction that could not end, for rows that its user was still reading', async () => {
    await using datastore = sqlite(db, { poolTimeoutMs: 300 })
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    const undo = new RangeError('undo')
    for (const end of ['commit', 'rollback']) {
      const dog = new Dog(end)
      let rows!: IterableIterator<unknown>
      const attempt = datastore.transaction(async (session) => {
        await school.save(dog)
        await session.insert(owners).values({ name: end })
        rows = client.prepare('SELECT * FROM school_events').iterate()
        rows.next()
        if (end === 'rollback') throw undo
      })
      const error = await rejection(attempt, Error)
      if (end === 'rollback') expect(error).to.equal(undo)
      else expect(error).to.be.instanceOf(EventSourcingError)
      expect(dog.pendingEvents).to.have.length(1)
      await rejection(school.save(new Dog('Rex')), EventSourcingError)
      rows.return?.()

      expect(await school.repository.has(dog.id)).to.equal(false)
      expect(await datastore.db.$count(owners)).to.equal(0)
      expect(await school.save(dog)).to.have.length(1)
      expect(client.inTransaction).to.equal(false)
      expect(await school.repository.has(dog.id)).to.equal(true)
    }
  })

  it('uses the logger that it has', async () => {
    const logged: string[] = []
    const loud = drizzle(client, { schema, logger: { logQuery: (query) => logged.push(query) } })
    await using datastore = sqlite(loud)
    await datastore.transaction((session) => session.select().from(owners))
    await datastore.db.select().from(owners)
    expect(logged).to.deep.equal(['select "name" from "owners"', 'select "name" from "owners"'])
  })

  it('may be closed by its user, which is an InterfaceError from then on', async () => {
    await using datastore = sqlite(db)
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    client.close()
    await rejection(school.save(new Dog('Rex')), InterfaceError)
    await rejection(school.repository.get(Dog, Dog.createId('Fido')), InterfaceError)
    await rejection(
      datastore.transaction(() => expect.fail('Has begun')),
      InterfaceError,
    )
    expect(() => sqlite(db)).to.throw(InterfaceError, 'closed')
  })

  it('is refused with another driver, and says which one it takes', async () => {
    const others: unknown[] = [
      drizzleProxy(async () => ({ rows: [] })),
      drizzlePostgres(postgres('postgres://nobody:secret@localhost:1/none', { max: 1 })),
      client,
      {},
      new Date(),
    ]
    for (const other of others) {
      expect(() => sqlite(other as typeof db))
        .to.throw(ProgrammingError)
        .with.property('message')
        .that.includes('better-sqlite3')
        .and.does.not.include('secret')
    }
  })

  it('takes no options of a connection that it does not open', () => {
    // @ts-expect-error the file is open already
    expect(() => sqlite(db, { synchronous: 'normal' })).to.throw(ProgrammingError, 'synchronous')
    // @ts-expect-error the database has a schema
    expect(() => sqlite(db, { schema })).to.throw(ProgrammingError, 'schema')
  })
})
