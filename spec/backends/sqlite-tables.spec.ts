import { execFile } from 'node:child_process'
import { mkdtemp, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { eq } from 'drizzle-orm'
import { Application } from '../../lib/application/application.js'
import { DrizzleApplicationRecorder, DrizzleFactory, DrizzleProcessRecorder } from '../../lib/drizzle/index.js'
import { DatabaseProgrammingError, ProgrammingError } from '../../lib/errors.js'
import { eventsTable, snapshotsTable, sqlite, trackingTable } from '../../lib/sqlite/index.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'
import { plain, storedEvent, versions } from '../support/stored-events.js'

const project = fileURLToPath(new URL('../../..', import.meta.url))

describe('The tables on SQLite', () => {
  let directory: string
  let file: string

  beforeEach(async () => {
    directory = await temporaryDirectory()
    file = join(directory, 'school.db')
  })

  afterEach(() => remove(directory))

  it('are the same whether drizzle-kit makes them from the table functions, or CREATE_TABLE', async function () {
    this.timeout(60_000)
    {
      await using datastore = sqlite(file)
      for (const name of ['training school', '']) {
        const factory = new DrizzleFactory({ datastore, name })
        await factory.processRecorder()
        await factory.aggregateRecorder('snapshots')
      }
    }
    const generated = join(directory, 'generated.db')
    const client = new Database(generated)
    client.exec(await generate())
    client.close()

    const [ours, kits] = [catalogue(file), catalogue(generated)]
    expect(Object.keys(ours)).to.deep.equal([
      'notification_tracking',
      'sqlite_sequence',
      'stored_events',
      'stored_snapshots',
      'training_school_events',
      'training_school_snapshots',
      'training_school_tracking',
    ])
    expect(kits).to.deep.equal(ours)

    // and an application works on those of drizzle-kit, without making any
    await using datastore = sqlite(generated)
    const env = { CREATE_TABLE: 'no' }
    const school = new Application({ name: 'TrainingSchool', env, persistence: datastore })
    await school.save(new Dog('Fido'))
    expect((await school.repository.get(Dog, Dog.createId('Fido'))).name).to.equal('Fido')
  })

  for (const name of [
    'my "events"',
    'select',
    'with spaces and -- a comment',
    "it's",
    'größe 🐕',
    'a.b',
    '`tick`',
    '?1',
  ]) {
    it(`may be called ${name}`, async () => {
      await using datastore = sqlite(file)
      const events = { kind: 'events', name } as const
      const tracking = { kind: 'tracking', name: `${name} seen` } as const
      const recorder = new DrizzleProcessRecorder(datastore, events, tracking)
      await recorder.insertEvents([storedEvent('dog', 1)], { tracking: { applicationName: 'up', notificationId: 7 } })
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
      expect(await recorder.maxTrackingId('up')).to.equal(7)
      const table = eventsTable({ name })
      const rows = await datastore.db.select().from(table).where(eq(table.originatorId, 'dog'))
      const { notificationId, ...event } = rows[0]!
      expect([notificationId, plain(event)]).to.deep.equal([1, plain(storedEvent('dog', 1))])
    })
  }

  it('have names of at most 63 bytes, that of the index included', async () => {
    await using datastore = sqlite(file)
    const longest = 'ö'.repeat(25) + 'x' // with _version_key 63 bytes
    const recorder = new DrizzleApplicationRecorder(datastore, { kind: 'events', name: longest })
    expect(await recorder.insertEvents([storedEvent('dog', 1)])).to.deep.equal([1])
    const name = `${longest}x`
    const tooLong = [
      () => new DrizzleApplicationRecorder(datastore, { kind: 'events', name }),
      () => eventsTable({ name }),
      () => snapshotsTable({ name: 'x'.repeat(64) }),
      () => trackingTable({ name: 'x'.repeat(64) }),
    ]
    for (const make of tooLong) expect(make).to.throw(ProgrammingError, 'too long')
    await rejection(
      new DrizzleFactory({ datastore, name: 'x'.repeat(60) }).applicationRecorder(),
      ProgrammingError,
      'shorter name',
    )
    expect(snapshotsTable({ name: 'x'.repeat(63) })).to.be.an('object')
  })

  it('have names that SQLite can have', () => {
    for (const name of ['', 'a\0b', 'sqlite_events', 'SQLite_events'])
      expect(() => eventsTable({ name })).to.throw(ProgrammingError, 'table name')
  })

  it('keep the applications on one file apart', async () => {
    await using datastore = sqlite(file)
    const [school, kennel] = ['School', 'Kennel'].map((name) => new Application({ name, persistence: datastore }))
    await school!.save(new Dog('Fido'))
    expect(await kennel!.repository.has(Dog.createId('Fido'))).to.equal(false)
    const [recording] = await kennel!.save(new Dog('Fido'))
    expect(recording?.notification.id).to.equal(1)
    await datastore.transaction(async () => {
      await school!.save(new Dog('Rex'))
      await kennel!.save(new Dog('Rex'))
    })
    expect(await school!.recorder.maxNotificationId()).to.equal(2)
    expect(await kennel!.recorder.maxNotificationId()).to.equal(2)
  })

  it('are not made with CREATE_TABLE=no: what is missing is named', async () => {
    await using datastore = sqlite(file)
    const school = new Application({ name: 'School', env: { CREATE_TABLE: 'no' }, persistence: datastore })
    const error = await rejection(school.save(new Dog('Fido')), DatabaseProgrammingError, 'school_events')
    expect([error.code, error.retryable]).to.deep.equal(['SQLITE_ERROR', false])
    await rejection(school.repository.get(Dog, 'x'), DatabaseProgrammingError, 'school_events')
    expect(catalogue(file)).to.deep.equal({})
    await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
    expect(await school.save(new Dog('Fido'))).to.have.length(1)
  })

  it('are completed where the index is missing, and give no number twice', async () => {
    await using datastore = sqlite(file)
    const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()
    await recorder.insertEvents([storedEvent('dog', 1), storedEvent('dog', 2)])
    await datastore.db.run('DROP INDEX stored_events_version_key')
    const another = await new DrizzleFactory({ datastore }).applicationRecorder()
    expect(catalogue(file).stored_events?.indices).to.have.length(1)
    await datastore.db.run('DELETE FROM stored_events')
    expect(await another.insertEvents([storedEvent('dog', 1)])).to.deep.equal([3])
  })

  it('that were made in a transaction which rolled back are made again by the next call', async () => {
    await using datastore = sqlite(file)
    const school = new Application({ name: 'School', persistence: datastore })
    const dog = new Dog('Fido')
    await rejection(
      datastore.transaction(async () => {
        await school.save(dog)
        throw new RangeError('undone')
      }),
      RangeError,
    )
    expect(catalogue(file)).to.deep.equal({})
    expect(await school.save(dog)).to.have.length(1)
    expect(Object.keys(catalogue(file))).to.include('school_events')
  })
})

/** The SQL that drizzle-kit makes of a schema file with our tables. */
async function generate(): Promise<string> {
  // inside of the project, so that the package finds itself by name
  const directory = await mkdtemp(join(project, 'dist', 'kit-'))
  try {
    const tables = (prefix: string) =>
      ['events', 'snapshots', 'tracking'].map((kind) => `${kind}Table({ name: '${prefix}_${kind}' })`)
    const stored = ["eventsTable({ name: 'stored_events' })", "snapshotsTable({ name: 'stored_snapshots' })"]
    const all = [...tables('training_school'), ...stored, "trackingTable({ name: 'notification_tracking' })"]
    await writeFile(
      join(directory, 'schema.ts'),
      `import { eventsTable, snapshotsTable, trackingTable } from 'eventsourcing-drizzle/sqlite'\n` +
        all.map((table, i) => `export const table${i} = ${table}\n`).join(''),
    )
    const kit = join(project, 'node_modules', 'drizzle-kit', 'bin.cjs')
    const options = ['generate', '--dialect', 'sqlite', '--schema', 'schema.ts', '--out', 'out']
    await promisify(execFile)(process.execPath, [kit, ...options], { cwd: directory })
    const out = join(directory, 'out')
    const scripts = (await readdir(out)).filter((name) => name.endsWith('.sql')).sort()
    const texts = await Promise.all(scripts.map((name) => readFile(join(out, name), 'utf8')))
    expect(texts, 'SQL files').to.have.length(1)
    return texts[0]!.replaceAll('--> statement-breakpoint', '')
  } finally {
    await remove(directory)
  }
}

interface Table {
  readonly columns: unknown
  readonly options: unknown
  readonly indices: readonly { readonly name: string; readonly columns: unknown }[]
}

/** What SQLite itself says of the tables in a file, by name; the texts that they were made with are left aside. */
function catalogue(file: string): Record<string, Table> {
  const client = new Database(file, { readonly: true })
  try {
    const list = client.pragma('table_list') as { schema: string; name: string; type: string }[]
    const tables = list.filter(({ schema, name }) => schema === 'main' && name !== 'sqlite_schema')
    const described = tables.map((options): [string, Table] => {
      const { name } = options
      const columns = client.pragma(`table_xinfo("${name}")`)
      const indices = client.pragma(`index_list("${name}")`) as { name: string }[]
      const withColumns = indices.map((index) => ({ ...index, columns: client.pragma(`index_xinfo("${index.name}")`) }))
      return [name, { options, columns, indices: withColumns.sort((a, b) => (a.name < b.name ? -1 : 1)) }]
    })
    return Object.fromEntries(described.sort(([a], [b]) => (a < b ? -1 : 1)))
  } finally {
    client.close()
  }
}
