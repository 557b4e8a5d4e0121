import { expect } from 'chai'
import { sql, TransactionRollbackError } from 'drizzle-orm'
import { ProgrammingError } from '../../lib/errors.js'
import { createOwners, type FreshSchema, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { everyWay, type OpenedDatastore, ownPool } from '../support/postgres-datastores.js'
import { describePostgres } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'

/** What begins or ends a transaction, however it is written. */
const control = [
  'BEGIN',
  'begin transaction isolation level serializable',
  'START TRANSACTION',
  'COMMIT',
  'CoMmIt;',
  'commit and chain',
  'commit--now',
  'COMMIT/* now */',
  'END',
  ' ROLLBACK',
  'rollback to x',
  'ABORT',
  'SAVEPOINT x',
  '\tRELEASE\nx',
  "PREPARE TRANSACTION 'x'",
  "prepare\n\ttransaction 'x'",
  "COMMIT PREPARED 'x'",
  // behind comments and empty statements
  ';COMMIT',
  ' ; ;\n-- so\n/* now */;ROLLBACK',
  '/**//**/END',
  '/* a *//* b */ -- c\n\tBEGIN',
  '/* a /* b */ c */ COMMIT',
  '--\nCOMMIT',
  '-- a\r\nCOMMIT',
  // behind other statements
  'select 1; commit',
  'select 1;commit',
  'select 1;\n-- and then\ncommit; select 2',
  '(select 1);commit',
  'select 1; /* ; */ commit',
  // behind what only looks as if it went on
  "select E'\\';'; commit",
  "select e'\\\\';commit",
  "select 'it''s;'; commit",
  "select '\\';commit",
  "select U&'\\0061;'; commit",
  "select B'101';commit",
  'select 1 AS "a;""b";commit',
  'select $$;$$; commit',
  'select $a$ $$ ; $b$ $a$; commit',
  'select $größer$ ; $größer$; commit',
  "select ';' || $$'$$; commit",
  'do $$ begin null; end $$; commit',
]

/** What only looks like it, each with what it gives. */
const harmless: readonly [text: string, rows: readonly object[]][] = [
  ['select $$; commit; $$ AS text', [{ text: '; commit; ' }]],
  ['select $a$; $$; commit; $a$ AS text', [{ text: '; $$; commit; ' }]],
  ["select '; commit' AS text", [{ text: '; commit' }]],
  ["select 'it''s; commit' AS text", [{ text: "it's; commit" }]],
  ["select E'\\'; commit' AS text", [{ text: "'; commit" }]],
  ["select E'\\\\''; commit' AS text", [{ text: "\\'; commit" }]],
  ['select 1 AS "; commit"', [{ '; commit': 1 }]],
  ['select 1 AS "a""; commit"', [{ 'a"; commit': 1 }]],
  ['-- ; commit\nselect 1 AS n', [{ n: 1 }]],
  ['/* ; commit; /* ; end */ ; abort */ select 1 AS n', [{ n: 1 }]],
  ['select 1 AS n -- ; commit', [{ n: 1 }]],
  ['select 1 AS commit', [{ commit: 1 }]],
  ['select 1 AS n;', [{ n: 1 }]],
  ["select 'a' AS text;;", [{ text: 'a' }]],
  ['with "commit" AS (select 1 AS n) select n from "commit"', [{ n: 1 }]],
  ['select CASE WHEN true THEN 1 END AS n', [{ n: 1 }]],
  ["DO $$ BEGIN INSERT INTO owners VALUES ('Ann'); END $$", []],
  ["DO $do$ BEGIN EXECUTE $$INSERT INTO owners VALUES ('Bea')$$; END $do$;", []],
  ['CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS $$ SELECT 1; $$', []],
  ['SELECT one()', [{ one: 1 }]],
  ["PREPARE found AS SELECT name FROM owners WHERE name = 'Ann'", []],
  ['EXECUTE found', [{ name: 'Ann' }]],
  ['DEALLOCATE found', []],
]

describePostgres('A statement that begins or ends a transaction on PostgreSQL', () => {
  for (const way of everyWay) {
    describe(`through ${way.name}`, () => {
      let place: FreshSchema
      let opened: OpenedDatastore<typeof schema>

      beforeEach(async () => {
        place = await freshSchema()
        await createOwners(place.name)
        opened = await way.open({ schema, searchPath: place.searchPath, max: 1 })
      })

      afterEach(async () => {
        await opened.close()
        await place.drop()
      })

      it('is refused in a session, which goes on', async () => {
        const { datastore } = opened
        const attempt = datastore.transaction(async (session) => {
          await session.insert(owners).values({ name: 'Ann' })
          for (const statement of control) await isRefused(() => session.execute(sql.raw(statement)), statement)
          await isRefused(() => session.execute('COMMIT'), 'text')
          await isRefused(() => session.select({ n: sql`1; commit` }).from(owners), 'a builder')
          expect(await session.$count(owners)).to.equal(1)
          session.rollback()
        })
        await rejection(attempt, TransactionRollbackError)
        expect(await datastore.db.$count(owners)).to.equal(0)
      })

      it('is refused in a nested session, which goes on', async () => {
        const { datastore } = opened
        await datastore.transaction(async (session) => {
          await session.transaction(async (nested) => {
            for (const statement of control) await isRefused(() => nested.execute(sql.raw(statement)), statement)
            await nested.insert(owners).values({ name: 'Ann' })
          })
        })
        expect(await datastore.db.$count(owners)).to.equal(1)
      })

      it('is refused behind names with dollar signs, in which no quotation begins', async () => {
        await opened.datastore.transaction(async (session) => {
          for (const statement of ['select 1 AS a$b$; commit', 'select 1 AS a$$; commit', 'select 1 AS ä$b$; commit']) {
            await isRefused(() => session.execute(sql.raw(statement)), statement)
          }
        })
      })

      it('is decided on quickly, however long the text is', async () => {
        const long = [
          `${'/**/'.repeat(10_000)}(select 1)`,
          `${'-- so\n'.repeat(10_000)}(select 1)`,
          `${'/*'.repeat(10_000)} select 1`,
          `select ${"''".repeat(50_000)}; select 1`,
          `select '${"\\'".repeat(50_000)}`,
          `select E'${'\\'.repeat(100_000)}`,
          `;${' '.repeat(100_000)}select 1`,
          `select ${'$a$'.repeat(33_333)};`,
          `select ${'$a'.repeat(20_000)};`,
          `select ${'a'.repeat(100_000)} from (select 1);`,
        ]
        await opened.datastore.transaction(async (session) => {
          const begun = performance.now()
          // what the server thinks of them is not the question
          for (const statement of long)
            await failure(session.transaction((nested) => nested.execute(statement)).then(undo))
          expect(performance.now() - begun, 'ms').to.be.below(5000)
        })
      })

      it('is none where it only looks like one', async () => {
        const { datastore } = opened
        await datastore.transaction(async (session) => {
          for (const [statement, rows] of harmless) {
            expect([...(await session.execute(sql.raw(statement)))], statement).to.deep.equal(rows)
          }
        })
        expect(await datastore.db.$count(owners)).to.equal(2)
      })

      it('is none in the body of a function', async () => {
        const { datastore } = opened
        await datastore.transaction(async (session) => {
          await session.execute(
            sql`CREATE FUNCTION two() RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END`,
          )
          expect([...(await session.execute(sql`SELECT two()`))]).to.deep.equal([{ two: 2 }])
        })
      })

      it('is an error of the server in a block of its own, and nothing is stored', async () => {
        const { datastore } = opened
        const attempt = datastore.transaction(async (session) => {
          await session.insert(owners).values({ name: 'Ann' })
          await session.execute(sql`DO $$ BEGIN COMMIT; END $$`)
        })
        expect(await failure(attempt)).to.have.property('code', '2D000')
        expect(await datastore.db.$count(owners)).to.equal(0)
      })
    })
  }

  it(`is refused by datastore.db through ${ownPool.name}`, async () => {
    await using place = await freshSchema()
    await createOwners(place.name)
    await using opened = await ownPool.open({ schema, searchPath: place.searchPath, max: 1 })
    const { db } = opened.datastore
    for (const statement of control) await isRefused(() => db.execute(sql.raw(statement)), statement)
    await db.insert(owners).values({ name: 'Ann' })
    expect(await db.$count(owners)).to.equal(1)
  })
})

async function isRefused(call: () => PromiseLike<unknown>, statement: string): Promise<void> {
  const error = await (async () => call())().then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error, statement).to.be.instanceOf(ProgrammingError)
  expect((error as Error).message, statement).to.include('transaction()')
}

function undo(): never {
  throw new RangeError('undo')
}
