import { chmod, mkdir, stat, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { InterfaceError, NotSupportedError, OperationalError, ProgrammingError } from '../../lib/errors.js'
import { type SqliteDatastore, sqlite } from '../../lib/sqlite/index.js'
import { Child } from '../support/child.js'
import { rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'

describe('Opening a SQLite datastore', () => {
  let directory: string

  beforeEach(async () => {
    directory = await temporaryDirectory()
  })

  afterEach(async () => {
    await Child.endAll()
    await remove(directory)
  })

  describe('by a URL or a file name', () => {
    const forms: Record<string, (file: string) => string> = {
      'a relative file name': (file) => relative(process.cwd(), file),
      'an absolute file name': (file) => file,
      'sqlite: and a relative path': (file) => `sqlite:${relative(process.cwd(), file)}`,
      'sqlite: and an absolute path': (file) => `sqlite:${file}`,
      'sqlite:/// and a relative path': (file) => `sqlite:///${relative(process.cwd(), file)}`,
      'sqlite://// and the rest of an absolute path': (file) => `sqlite:///${file}`,
      'file: and a relative path': (file) => `file:${relative(process.cwd(), file)}`,
      'file: and an absolute path': (file) => pathToFileURL(file).href,
      'a scheme in capitals': (file) => `SQLite:${file}`,
    }
    for (const [form, source] of Object.entries(forms)) {
      it(`takes ${form}`, async () => {
        const file = join(directory, 'a school, größer.db')
        await using datastore = sqlite(source(file))
        await datastore.ready()
        expect((await stat(file)).isFile()).to.equal(true)
      })
    }

    it('takes the source among the options, which the second argument completes', async () => {
      const file = join(directory, 'school.db')
      await using datastore = sqlite({ url: `sqlite:${file}`, synchronous: 'normal' }, { poolTimeoutMs: 100 })
      await datastore.ready()
      expect((await stat(file)).isFile()).to.equal(true)
    })

    for (const source of ['sqlite::memory:', 'sqlite:///:memory:', ':memory:']) {
      it(`takes ${source}, each a database of its own`, async () => {
        await using one = sqlite(source)
        await using other = sqlite(source)
        await Promise.all([one.ready(), other.ready()])
        await one.db.run(sql`CREATE TABLE theirs (n integer)`)
        expect(await other.db.all(sql`SELECT name FROM sqlite_master`)).to.deep.equal([])
      })
    }

    const unknown = ['mysql://user:secret@h/db', 'sqlite://secret/x', '', ' ', 'sqlite:', 'sqlite:///', 'libsql:secret']
    for (const source of unknown) {
      it(`refuses ${JSON.stringify(source)}, says what is accepted, and keeps the secret`, () => {
        expect(() => sqlite(source))
          .to.throw(ProgrammingError)
          .with.property('message')
          .that.includes('sqlite:school.db')
          .and.includes('sqlite::memory:')
          .and.does.not.include('secret')
      })
    }

    it('refuses what no file can be called, and options in a URL', () => {
      expect(() => sqlite('a\0b.db')).to.throw(ProgrammingError, 'NUL')
      expect(() => sqlite('sqlite:a\0b.db')).to.throw(ProgrammingError, 'NUL')
      expect(() => sqlite('file:a%00b.db')).to.throw(ProgrammingError, 'NUL')
      expect(() => sqlite('file://host/a.db')).to.throw(ProgrammingError)
      expect(() => sqlite('file:a%ZZb.db')).to.throw(ProgrammingError)
      expect(() => sqlite('sqlite:school.db?mode=ro')).to.throw(ProgrammingError, 'options')
      expect(() => sqlite('file:school.db?mode=ro')).to.throw(ProgrammingError, 'options')
    })

    it('refuses what is neither text nor a database, and options that it does not have', () => {
      // @ts-expect-error what a caller without a compiler may give
      expect(() => sqlite()).to.throw(ProgrammingError, 'file name')
      // @ts-expect-error what a caller without a compiler may give
      expect(() => sqlite(42)).to.throw(ProgrammingError, 'file name')
      // @ts-expect-error what a caller without a compiler may give
      expect(() => sqlite({ url: 42 })).to.throw(ProgrammingError, 'url')
      // @ts-expect-error an option that is none
      expect(() => sqlite('a.db', { max: 10 })).to.throw(ProgrammingError, 'max')
      // @ts-expect-error a value that is none
      expect(() => sqlite('a.db', { synchronous: 'off' })).to.throw(ProgrammingError, 'normal')
      for (const poolTimeoutMs of [-1, 1.5, NaN, '200' as unknown as number])
        expect(() => sqlite('a.db', { poolTimeoutMs })).to.throw(ProgrammingError, 'poolTimeoutMs')
      // @ts-expect-error a value that is none
      expect(() => sqlite('a.db', { autoflush: 'no' })).to.throw(ProgrammingError, 'autoflush must be true or false')
      // @ts-expect-error an option of later
      expect(() => sqlite('a.db', { retries: 10 })).to.throw(NotSupportedError, 'retries')
    })
  })

  describe('of a file that cannot be', () => {
    it('says that the directory is not there, and works once it is', async () => {
      await using datastore = sqlite(join(directory, 'later', 'school.db'))
      const error = await rejection(datastore.ready(), OperationalError, join(directory, 'later'))
      expect([error.code, error.retryable]).to.deep.equal(['SQLITE_CANTOPEN', false])
      await rejection(
        datastore.transaction(() => expect.fail('Has begun')),
        OperationalError,
      )
      expect(() => datastore.db).to.throw(InterfaceError, 'ready()')
      await mkdir(join(directory, 'later'))
      await datastore.ready()
      expect(await datastore.db.get(sql`SELECT 1 AS one`)).to.deep.equal({ one: 1 })
    })

    it('says that the file is no database', async () => {
      const file = join(directory, 'school.db')
      await writeFile(
        file,
        'This is a letter, and a rather long one, so that it fills more than a header.\n'.repeat(30),
      )
      await using datastore = sqlite(file)
      const error = await rejection(datastore.ready(), OperationalError, 'no SQLite database')
      expect(error.code).to.equal('SQLITE_NOTADB')
    })

    it('says that a directory cannot be opened', async () => {
      await using datastore = sqlite(directory)
      expect((await rejection(datastore.ready(), OperationalError)).code).to.equal('SQLITE_CANTOPEN')
    })

    it('says that a file is read-only, in a directory that is too', async () => {
      const file = join(directory, 'school.db')
      const made = new Database(file)
      made.exec('CREATE TABLE theirs (n integer)')
      made.close()
      await chmod(file, 0o444)
      await chmod(directory, 0o555)
      // nothing is read-only to root
      const child = new Child('opener', [file], process.getuid?.() === 0 ? { uid: 65534 } : {})
      const said = await child.message()
      await chmod(directory, 0o755)
      expect(said).to.deep.include({ name: 'OperationalError', code: 'SQLITE_READONLY' })
      expect((await child.exit).code).to.equal(0)
    })
  })

  describe('sets up the connection', () => {
    it('so that what was saved survives a power cut, with readers beside the writer', async () => {
      await using datastore = sqlite(join(directory, 'school.db'))
      expect(await pragmas(datastore)).to.deep.equal({ synchronous: 2, journalMode: 'wal' })
    })

    it('so that it is faster, if asked', async () => {
      await using datastore = sqlite(join(directory, 'school.db'), { synchronous: 'normal' })
      expect(await pragmas(datastore)).to.deep.equal({ synchronous: 1, journalMode: 'wal' })
    })
  })

  it('is closed for good, connected or not', async () => {
    const datastore = sqlite(join(directory, 'school.db'))
    await datastore.ready()
    const { db } = datastore
    await datastore.close()
    await datastore.close()
    await rejection(datastore.ready(), InterfaceError, 'closed')
    await rejection(
      datastore.transaction(() => expect.fail('Has begun')),
      InterfaceError,
      'closed',
    )
    await rejection(Promise.resolve(db.all(sql`SELECT 1`)), InterfaceError)
    const never = sqlite(join(directory, 'never.db'))
    await never.close()
    await rejection(never.ready(), InterfaceError, 'closed')
  })
})

/** As the connection of the writer has them. */
function pragmas(datastore: SqliteDatastore): Promise<{ synchronous: number; journalMode: string }> {
  return datastore.transaction((session) => ({
    synchronous: session.get<{ synchronous: number }>(sql`PRAGMA synchronous`).synchronous,
    journalMode: session.get<{ journal_mode: string }>(sql`PRAGMA journal_mode`).journal_mode,
  }))
}
