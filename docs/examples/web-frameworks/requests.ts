import { expect } from 'chai'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AnyDatastore, AnySession } from 'eventsourcing-drizzle'
import { type Scope, scopedSession } from 'eventsourcing-drizzle/drizzle'
import { freshSchema } from '../../../spec/support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../../../spec/support/postgres-server.js'
import { gate } from '../../../spec/support/gate.js'
import { TrainingSchool } from '../training-school/application.js'
import { Dog } from '../training-school/domain.js'
import { type Adoption, Adoptions, NotWell, type RequestSession, type Vet } from './adoptions.js'
import { type AdoptionsTable, onPostgres, onSqlite } from './tables.js'

/** Of either dialect. */
export interface EitherDatastore extends AnyDatastore<AnySession> {
  openSession(): Promise<RequestSession>
}

/** What a server is made for. */
export interface Place {
  /** Of the database that `datastore` is on. */
  readonly url: string
  readonly datastore: EitherDatastore
  readonly table: AdoptionsTable
  readonly vet: Vet
}

/** Makes a server that doesn't listen yet. */
export type Serve = (place: Place) => Promise<Served>

export interface Served {
  readonly server: Server
  close?(): Promise<void>
}

/** Serves the adoptions in scopes of `scopedSession`. */
export function inScopes(make: (adoptions: Adoptions, scope: Scope) => Server | Promise<Server>): Serve {
  return async ({ datastore, table, vet }) => {
    const scope = scopedSession(datastore)
    const school = new TrainingSchool({ persistence: datastore })
    const adoptions = new Adoptions({ school, session: () => scope.session, table, vet })
    return { server: await make(adoptions, scope), close: () => school.close() }
  }
}

/**
 * What a server has to be good for, over HTTP, on both databases.
 *
 * @param options.stopsAtHangUp  Whether a request is over when its client hangs up. Default: yes; else it is done to its end.
 */
export function describeServer(
  framework: string,
  serve: { sqlite: Serve; postgres: Serve },
  { stopsAtHangUp = true }: { stopsAtHangUp?: boolean } = {},
): void {
  describe(`${framework}, on SQLite,`, () => {
    cases(serve.sqlite, stopsAtHangUp, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'adoptions-'))
      const file = join(folder, 'kennel.db')
      return { url: file, ...onSqlite(file), drop: () => rm(folder, { recursive: true }) }
    })
  })

  describePostgres(`${framework}, on PostgreSQL,`, () => {
    cases(serve.postgres, stopsAtHangUp, async () => {
      const { searchPath, drop } = await freshSchema()
      const url = new URL(postgresUrl())
      url.searchParams.set('search_path', searchPath)
      return { url: url.href, ...onPostgres(url.href), drop }
    })
  })
}

interface Database {
  readonly url: string
  readonly datastore: EitherDatastore
  readonly table: AdoptionsTable
  createTables(): Promise<void>
  drop(): Promise<void>
}

function cases(serve: Serve, stopsAtHangUp: boolean, open: () => Promise<Database>): void {
  let database: Database
  let served: Served
  let school: TrainingSchool
  let url: string
  let vet: Vet

  beforeEach(async () => {
    database = await open()
    school = await TrainingSchool.create({ persistence: database.datastore })
    await database.createTables()
    vet = async (dog) => {
      if (dog.startsWith('ill')) throw new NotWell(`${dog} is not well`)
    }
    served = await serve({ ...database, vet: (dog) => vet(dog) })
    served.server.listen(0, '127.0.0.1')
    await once(served.server, 'listening')
    url = `http://127.0.0.1:${(served.server.address() as AddressInfo).port}`
  })

  afterEach(async () => {
    served.server.closeAllConnections()
    await new Promise((resolve) => served.server.close(resolve))
    await served.close?.()
    await school.close()
    await database.datastore.close()
    await database.drop()
  })

  const post = (adoption: Adoption, signal?: AbortSignal) =>
    fetch(`${url}/adoptions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(adoption),
      signal,
    })

  /** What anybody else sees: who has adopted which dog, and which dogs are registered and trained. */
  async function stored(): Promise<{ owners: string[]; tricks: string[] }> {
    const rows: { owner: string; dog: string }[] = await database.datastore.transaction((session) =>
      session.select().from(database.table),
    )
    const notifications = await school.recorder.selectNotifications({ limit: 100 })
    const tricks = notifications.filter(({ topic }) => topic === 'Dog.TrickAdded').map((each) => each.originatorId)
    expect(notifications).to.have.length(2 * tricks.length)
    const dogs = rows.filter(({ dog }) => tricks.includes(Dog.createId(dog)))
    expect(dogs, 'a row without events, or events without a row').to.have.length(rows.length)
    return { owners: rows.map(({ owner }) => owner).sort(), tricks }
  }

  it('has committed row and events when it answers', async () => {
    const response = await post({ owner: 'Ann', dog: 'Buster', kennel: 'North' })
    expect(response.status).to.equal(201)
    expect((await stored()).owners).to.deep.equal(['Ann'])
    expect(await response.json()).to.deep.equal({ owner: 'Ann', dog: 'Buster' })
    expect(await school.tricks('Buster')).to.deep.equal(['come home'])
    expect(await (await fetch(`${url}/owners`)).json()).to.deep.equal(['Ann'])
  })

  it('keeps concurrent requests apart: those that fail leave nothing, the others all of theirs', async () => {
    const numbers = [...Array(20).keys()]
    const responses = await Promise.all(
      numbers.map((n) => post({ owner: `owner ${n}`, dog: `${n % 3 ? 'dog' : 'ill'} ${n}`, kennel: 'North' })),
    )
    expect(responses.map(({ status }) => status)).to.deep.equal(numbers.map((n) => (n % 3 ? 201 : 422)))
    const expected = numbers.filter((n) => n % 3).map((n) => `owner ${n}`)
    expect((await stored()).owners).to.deep.equal(expected.sort())
  })

  it('answers with an error, and not with success, where only the commit fails', async () => {
    const response = await post({ owner: 'Ann', dog: 'Buster', kennel: 'nowhere' })
    expect(response.status).to.equal(409)
    expect(await response.json()).to.deep.equal({ error: 'That conflicts with what is stored' })
    expect((await stored()).owners).to.deep.equal([])
  })

  it('answers with an error where the events conflict, and rolls the row back', async () => {
    await post({ owner: 'Ann', dog: 'Buster', kennel: 'North' })
    const response = await post({ owner: 'Bob', dog: 'Buster', kennel: 'South' })
    expect(response.status).to.equal(409)
    expect((await stored()).owners).to.deep.equal(['Ann'])
  })

  it('leaves the framework’s own errors as they are', async () => {
    expect((await fetch(`${url}/cats`)).status).to.equal(404)
  })

  it('tells a client whose body is no JSON that it is his error, and keeps nothing of one that breaks off in it', async () => {
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${url}/adoptions`, { method: 'POST', headers, body: '{"owner":' })
    expect(response.status).to.equal(400)
    expect(await response.json()).to.have.all.keys('error')

    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    const arrived = once(served.server, 'request')
    socket.write('POST /adoptions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{')
    await arrived
    socket.destroy()
    expect((await post({ owner: 'Ann', dog: 'Buster', kennel: 'North' })).status).to.equal(201)
    expect((await stored()).owners).to.deep.equal(['Ann'])
  })

  it('has nothing open in the database for a client that does not read its answer', async () => {
    const rows = [...Array(4000).keys()].map((n) => ({ owner: `${n} `.repeat(400), dog: `dog ${n}`, kennel: 'North' }))
    await database.datastore.transaction((session) => session.insert(database.table).values(rows))
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write('GET /owners HTTP/1.1\r\nhost: x\r\n\r\n')
    await once(socket, 'readable') // some of it has come, the rest doesn't fit
    await database.datastore.close() // which waits for what is open
    socket.destroy()
  })

  /** A client that hung up when some of its request was written, and the handler that waits. */
  async function hungUp(adoption: Adoption): Promise<{ goOn(): void }> {
    const [written, goOn, hangUp] = [gate(), gate(), new AbortController()]
    vet = async () => {
      written.open()
      await goOn.passed
    }
    const left = post(adoption, hangUp.signal).catch((error: Error) => error.name)
    await written.passed
    hangUp.abort()
    expect(await left).to.equal('AbortError')
    vet = async () => undefined
    return { goOn: goOn.open }
  }

  if (stopsAtHangUp)
    it('keeps nothing of a client that hangs up, whatever its handler goes on to do', async () => {
      const { goOn } = await hungUp({ owner: 'Ann', dog: 'Buster', kennel: 'North' })
      // the same row and dog: they wait until nothing of the first is left
      expect((await post({ owner: 'Ann', dog: 'Buster', kennel: 'South' })).status).to.equal(201)
      goOn()
      expect((await post({ owner: 'Bob', dog: 'Rex', kennel: 'South' })).status).to.equal(201)
      expect((await stored()).owners).to.deep.equal(['Ann', 'Bob'])
    })
  else
    it('does all of the work of a client that hangs up', async () => {
      const { goOn } = await hungUp({ owner: 'Ann', dog: 'Buster', kennel: 'North' })
      goOn()
      // the same dog: it waits until all of the first is committed
      expect((await post({ owner: 'Bob', dog: 'Buster', kennel: 'South' })).status).to.equal(409)
      expect((await stored()).owners).to.deep.equal(['Ann'])
    })
}
