import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { asc, eq, relations } from 'drizzle-orm'
import { pgSchema, pgTable, text } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/postgres-js'
import type { TableKind, TableName } from '../../lib/drizzle/dialect.js'
import { ProgrammingError } from '../../lib/errors.js'
import { eventsTable, postgres, snapshotsTable, trackingTable } from '../../lib/postgres/index.js'
import { checkedName, createTableStatements, qualified } from '../../lib/postgres/tables.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'

const project = fileURLToPath(new URL('../../..', import.meta.url))
const kinds: readonly TableKind[] = ['events', 'snapshots', 'tracking']

describePostgres('The tables on PostgreSQL', () => {
  let schemas: string[]

  beforeEach(() => {
    schemas = []
  })

  afterEach(async () => {
    for (const schema of schemas) await admin()`DROP SCHEMA ${admin()(schema)} CASCADE`
  })

  const freshSchema = async (prefix = 'tables') => {
    const schema = `${prefix}_${randomUUID().replaceAll('-', '')}`
    await admin()`CREATE SCHEMA ${admin()(schema)}`
    schemas.push(schema)
    return schema
  }

  it('are the same whether drizzle-kit makes them from the table functions, or CREATE_TABLE', async function () {
    this.timeout(60_000)
    const [ours, kits] = [await freshSchema('ours'), await freshSchema('kits')]
    await run(
      ours,
      kinds.flatMap((kind) => createTableStatements({ kind, name: `training school_${kind}` })),
    )
    await run(kits, await generate())

    const catalogued = await catalogue(ours)
    expect(catalogued.relations.map(({ name, kind }) => `${kind} ${name}`)).to.deep.equal([
      'r training school_events',
      'S training school_events_id_seq',
      'i training school_events_pkey',
      'i training school_events_version_key',
      'r training school_snapshots',
      'i training school_snapshots_pkey',
      'r training school_tracking',
      'i training school_tracking_pkey',
    ])
    expect(await catalogue(kits)).to.deep.equal(catalogued)
  })

  it('are the same in a schema, which drizzle-kit makes where the schema file exports it', async function () {
    this.timeout(60_000)
    const ours = await freshSchema('ours')
    const kits = `kits_${randomUUID().replaceAll('-', '')}`
    schemas.push(kits)
    await run(
      'public',
      kinds.flatMap((kind) => createTableStatements({ kind, name: `school_${kind}`, schema: ours })),
    )
    await run('public', await generate(kits))

    const catalogued = await catalogue(ours)
    expect(catalogued.relations).to.have.length(8)
    expect(await catalogue(kits)).to.deep.equal(catalogued)
  })

  it('give notification ids from a sequence that keeps none back', async () => {
    const schema = await freshSchema()
    await run(schema, createTableStatements({ kind: 'events', name: 'stored_events', schema }))
    const { sequences } = await catalogue(schema)
    expect(sequences).to.deep.equal([
      {
        name: 'stored_events_id_seq',
        type: 'bigint',
        start: '1',
        increment: '1',
        min: '1',
        max: '9223372036854775807',
        cache: '1',
        cycle: false,
        owner: 'i stored_events.notification_id',
      },
    ])
  })

  it('compare originator ids by bytes', async () => {
    const schema = await freshSchema()
    await run(schema, createTableStatements({ kind: 'events', name: 'stored_events', schema }))
    const table = eventsTable({ name: 'stored_events', schema })
    const db = drizzle(admin())
    const ids = ['ä', 'b', 'B', 'a', 'Z', 'é', 'e\u0301'] // composed and decomposed are two ids
    await db.insert(table).values(ids.map((originatorId) => event(originatorId)))
    const rows = await db.select({ id: table.originatorId }).from(table).orderBy(asc(table.originatorId))
    expect(rows.map(({ id }) => id)).to.deep.equal(
      [...ids].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    )
  })

  it('are made where they are missing, and left as they are otherwise', async () => {
    const schema = await freshSchema()
    const statements = kinds.flatMap((kind) => createTableStatements({ kind, name: `school_${kind}`, schema }))
    await run(schema, statements)
    const before = await catalogue(schema)
    await run(schema, statements)
    expect(await catalogue(schema)).to.deep.equal(before)
    await admin()`DROP INDEX ${admin()(schema)}.school_events_version_key`
    await run(schema, statements)
    expect(await catalogue(schema)).to.deep.equal(before)
  })

  for (const name of [
    'my "events"',
    'select',
    'with spaces and -- a comment',
    "it's",
    'größe 🐕',
    'Capitals',
    'a.b',
    '$1',
    ':name',
    'back\\slash',
  ]) {
    it(`may be called ${name}, and so may a schema`, async () => {
      const schema = await freshSchema(name.replaceAll('.', '·'))
      for (const kind of kinds) {
        await run('public', createTableStatements({ kind, name: `${name} ${kind}`, schema }))
      }
      const events = { kind: 'events', name: `${name} events`, schema } as const
      await admin().unsafe(
        `INSERT INTO ${qualified(events)} (originator_id, originator_version, topic, state) VALUES ($1, $2, $3, $4)`,
        ['dog', 1, 'Dog.Registered', Buffer.from('{}')],
      )
      // ours, since Drizzle's own before 0.45.2 lets a quote inside a name end it
      await using datastore = postgres(postgresUrl(), { max: 1 })
      await datastore.ready()
      const { db } = datastore
      const table = eventsTable({ name: events.name, schema })
      const rows = await db.select().from(table).where(eq(table.originatorId, 'dog'))
      expect(rows).to.deep.equal([{ notificationId: 1, ...event('dog') }])
      const tracking = trackingTable({ name: `${name} tracking`, schema: pgSchema(schema) })
      await db.insert(tracking).values({ applicationName: 'up', notificationId: 2 ** 53 - 1 })
      expect(await db.select().from(tracking)).to.deep.equal([{ applicationName: 'up', notificationId: 2 ** 53 - 1 }])
    })
  }

  it('are typed: numbers, text and bytes, also nested in a relational query', async () => {
    const schema = await freshSchema()
    const events = eventsTable({ name: 'school_events', schema })
    const snapshots = snapshotsTable({ name: 'school_snapshots', schema })
    const owners = pgSchema(schema).table('owners', {
      name: text('name').primaryKey(),
      dogId: text('dog_id').notNull(),
    })
    const ownersRelations = relations(owners, ({ many }) => ({ events: many(events) }))
    const eventsRelations = relations(events, ({ one }) => ({
      owner: one(owners, { fields: [events.originatorId], references: [owners.dogId] }),
    }))
    for (const kind of kinds) await run(schema, createTableStatements({ kind, name: `school_${kind}`, schema }))
    await run(schema, ['CREATE TABLE owners (name text PRIMARY KEY, dog_id text NOT NULL)'])

    const db = drizzle(admin(), { schema: { events, owners, ownersRelations, eventsRelations } })
    const state = Buffer.from([0, 92, 120, 255])
    const version = 2 ** 53 - 1
    await db.insert(owners).values({ name: 'Ann', dogId: 'dog' })
    await db.insert(events).values({ ...event('dog'), state })
    await db.insert(snapshots).values({ ...event('dog'), originatorVersion: version, state })
    const [snapshot] = await db.select().from(snapshots)
    const typed: { originatorId: string; originatorVersion: number; topic: string; state: Uint8Array } = snapshot!
    expect(typed).to.deep.equal({ ...event('dog'), originatorVersion: version, state })
    const ann = await db.query.owners.findFirst({ with: { events: true } })
    const nested: { notificationId: number; state: Uint8Array }[] = ann!.events
    expect(nested).to.deep.equal([{ notificationId: 1, ...event('dog'), state }])
  })

  it('take no notification ids of the user', () => {
    const events = eventsTable({ name: 'school_events' })
    const row: typeof events.$inferInsert = event('dog')
    // @ts-expect-error  drawn by the database alone
    row.notificationId = 1
    expect(events.notificationId.generatedIdentity?.type).to.equal('always')
  })

  it('have names of at most 63 bytes, that of the index included', async () => {
    const schema = await freshSchema()
    const [longest, long] = ['ö'.repeat(25) + 'x', 'ö'.repeat(31) + 'x'] // with _version_key 63 bytes, and without
    const tables: readonly TableName[] = [
      { kind: 'events', name: longest, schema },
      { kind: 'snapshots', name: long, schema },
      { kind: 'tracking', name: `t${long.slice(1)}`, schema },
    ]
    for (const table of tables) await run('public', createTableStatements(table))
    const names = (await catalogue(schema)).relations.map(({ name }) => name)
    expect(names).to.include.members(tables.map(({ name }) => name))
    expect(names).to.include(`${longest}_version_key`)
    for (const make of [
      () => eventsTable({ name: `${longest}x` }),
      () => createTableStatements({ kind: 'events', name: `${longest}x` }),
      () => snapshotsTable({ name: `${long}x` }),
      () => trackingTable({ name: `${long}x` }),
      () => checkedName(`${long}x`, 'tracking'),
      () => eventsTable({ name: 'events', schema: `${long}x` }),
      () => createTableStatements({ kind: 'events', name: 'events', schema: `${long}x` }),
    ]) {
      expect(make).to.throw(ProgrammingError, /Identifier too long: .* 64 bytes of at most 63/)
    }
  })

  it('have names that PostgreSQL can have', () => {
    for (const name of ['', 'a\0b', undefined as unknown as string]) {
      expect(() => eventsTable({ name })).to.throw(ProgrammingError, 'table name')
    }
    for (const schema of [
      '',
      'a\0b',
      null as unknown as string,
      {} as unknown as string,
      pgTable as unknown as string,
    ]) {
      expect(() => eventsTable({ name: 'events', schema })).to.throw(ProgrammingError, 'A schema is')
    }
    expect(snapshotsTable({ name: 'snapshots', schema: 'public' })).to.be.an('object')
  })

  it('say what they take', () => {
    for (const table of [eventsTable, snapshotsTable, trackingTable] as ((options?: unknown) => unknown)[]) {
      for (const options of [undefined, null, 'events']) {
        expect(() => table(options)).to.throw(ProgrammingError, /takes \{ name, schema\? \}/)
      }
      expect(() => table({ name: 'x', prefix: 'y' })).to.throw(ProgrammingError, 'has no option prefix')
    }
  })
})

function event(originatorId: string) {
  return { originatorId, originatorVersion: 1, topic: 'Dog.Registered', state: Buffer.from('{}') }
}

/** Runs statements one by one, unqualified names being in the schema. */
async function run(schema: string, statements: readonly string[]): Promise<void> {
  await admin().begin(async (transaction) => {
    await transaction`SELECT set_config('search_path', quote_ident(${schema}), true)`
    for (const statement of statements) await transaction.unsafe(statement)
  })
}

/** The statements that drizzle-kit makes of a schema file with our tables, in a schema if one is given. */
async function generate(schema?: string): Promise<string[]> {
  // inside of the project, so that the package finds itself by name
  const directory = await mkdtemp(join(project, 'dist', 'kit-'))
  try {
    const options = (kind: TableKind) =>
      schema ? `{ name: 'school_${kind}', schema: es }` : `{ name: 'training school_${kind}' }`
    const tables = kinds.map((kind) => `export const ${kind} = ${kind}Table(${options(kind)})\n`)
    await writeFile(
      join(directory, 'schema.ts'),
      `import { eventsTable, snapshotsTable, trackingTable } from 'eventsourcing-drizzle/postgres'\n` +
        (schema ? `import { pgSchema } from 'drizzle-orm/pg-core'\nexport const es = pgSchema('${schema}')\n` : '') +
        tables.join(''),
    )
    const kit = join(project, 'node_modules', 'drizzle-kit', 'bin.cjs')
    const kitOptions = ['generate', '--dialect', 'postgresql', '--schema', 'schema.ts', '--out', 'out']
    await promisify(execFile)(process.execPath, [kit, ...kitOptions], { cwd: directory })
    const out = join(directory, 'out')
    const scripts = (await readdir(out)).filter((name) => name.endsWith('.sql'))
    expect(scripts, 'SQL files').to.have.length(1)
    return (await readFile(join(out, scripts[0]!), 'utf8')).split('--> statement-breakpoint')
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** What PostgreSQL itself says of everything in a schema, whose name is left aside. */
async function catalogue(schema: string) {
  const client = admin()
  const relations = await client<{ name: string; kind: string }[]>`
    SELECT relname AS name, relkind AS kind, relpersistence, reloptions, relrowsecurity, relreplident
    FROM pg_class WHERE relnamespace = ${schema}::regnamespace ORDER BY relname COLLATE "C"`
  const columns = await client`
    SELECT relname, attname, format_type(atttypid, atttypmod) AS type, attnotnull, collname, attidentity, attgenerated,
      attstorage, attcompression, pg_get_expr(adbin, adrelid) AS default
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = ${schema}::regnamespace AND attnum > 0 ORDER BY relname COLLATE "C", attnum`
  const constraints = await client`
    SELECT conrelid::regclass::text AS table, conname, contype, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint WHERE connamespace = ${schema}::regnamespace ORDER BY 1, conname COLLATE "C"`
  const indexes = await client`
    SELECT pg_get_indexdef(indexrelid) AS definition, indisunique, indisprimary, indimmediate, indnullsnotdistinct
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = ${schema}::regnamespace ORDER BY relname COLLATE "C"`
  const sequences = await client`
    SELECT sequence.relname AS name, format_type(seqtypid, NULL) AS type, seqstart AS start, seqincrement AS increment,
      seqmin AS min, seqmax AS max, seqcache AS cache, seqcycle AS cycle,
      deptype::text || ' ' || owner.relname || '.' || attname AS owner
    FROM pg_sequence JOIN pg_class sequence ON sequence.oid = seqrelid
    LEFT JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = seqrelid AND refclassid = 'pg_class'::regclass
    LEFT JOIN pg_class owner ON owner.oid = refobjid
    LEFT JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE sequence.relnamespace = ${schema}::regnamespace ORDER BY 1`
  const found = { relations, columns, constraints, indexes, sequences }
  return JSON.parse(JSON.stringify(found).replaceAll(schema, '<schema>')) as {
    relations: { name: string; kind: string }[]
    sequences: unknown[]
  }
}
