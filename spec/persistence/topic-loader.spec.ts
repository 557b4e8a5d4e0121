import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { ProgrammingError, TopicError } from '../../lib/errors.js'
import { registerLazyTopic, registerTopic, resolveTopic } from '../../lib/persistence/topic-loader.js'
import { rejection } from '../support/rejection.js'

describe('Topics of configuration', function () {
  let folder: string
  let base: URL

  before(function () {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'topics-')))
    base = pathToFileURL(join(folder, 'main.js'))
    const files = {
      'session.mjs':
        'export const getSession = () => "session"\nexport const count = 3\nexport default "default"\n' +
        'export const sessions = { current: { id: 7 } }\nexport let nothing\n',
      'with space/session.mjs': 'export const getSession = () => "spaced"',
      'broken.mjs': 'throw new Error("password=Ann-1815")',
      'syntax.mjs': 'export const = 3',
      'importing.mjs': 'import "./nowhere.mjs"\nexport const name = 1',
      'node_modules/kennels/package.json':
        '{"name":"kennels","type":"module","exports":{"./sessions":{"import":"./sessions.js"}}}',
      'node_modules/kennels/sessions.js': 'export const getSession = () => "kennels"',
      'package.json': '{"type":"module","imports":{"#sessions":"./session.mjs"}}',
    }
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true })
      writeFileSync(join(folder, path), text)
    }
  })

  after(function () {
    rmSync(folder, { recursive: true })
  })

  describe('find', function () {
    const found: readonly (readonly [topic: string, result: unknown])[] = [
      ['./session.mjs#getSession', 'session'],
      ['./session.mjs:getSession', 'session'],
      ['./with%20space/session.mjs#getSession', 'spaced'],
      ['./with space/session.mjs#getSession', 'spaced'],
      ['kennels/sessions#getSession', 'kennels'],
      ['kennels/sessions:getSession', 'kennels'],
      ['#sessions#getSession', 'session'],
      ['#sessions:getSession', 'session'],
    ]
    for (const [topic, result] of found) {
      it(topic, async function () {
        expect((await resolveTopic<() => string>(topic, base))()).to.equal(result)
      })
    }

    it('a path within an export', async function () {
      expect(await resolveTopic('./session.mjs#sessions.current.id', base)).to.equal(7)
    })

    it('a module itself, where no export is named', async function () {
      for (const topic of ['./session.mjs', '#sessions', pathToFileURL(join(folder, 'session.mjs')).href]) {
        expect(await resolveTopic<{ count: number }>(topic, base)).to.include({ count: 3, default: 'default' })
      }
    })

    it('a file by its URL or absolute path', async function () {
      const file = join(folder, 'session.mjs')
      expect(await resolveTopic(`${pathToFileURL(file).href}#count`)).to.equal(3)
      expect(await resolveTopic(`${file}#count`)).to.equal(3)
      expect(await resolveTopic(`${file}:count`)).to.equal(3)
    })

    it("Node's own modules, with and without a name", async function () {
      const fs = await import('node:fs')
      expect(await resolveTopic('node:fs', base)).to.equal(fs)
      expect(await resolveTopic('node:fs:existsSync', base)).to.equal(fs.existsSync)
      expect(await resolveTopic('node:fs#constants.O_RDONLY', base)).to.equal(fs.constants.O_RDONLY)
      expect(await resolveTopic('fs#existsSync', base)).to.equal(fs.existsSync)
    })

    it('a base given as text, URL or path', async function () {
      for (const start of [base, base.href, join(folder, 'main.js')]) {
        expect(await resolveTopic('./session.mjs#count', start)).to.equal(3)
      }
    })

    it('relative ones from the current directory, without a base', async function () {
      const before = process.cwd()
      process.chdir(folder)
      try {
        expect(await resolveTopic('./session.mjs#count')).to.equal(3)
      } finally {
        process.chdir(before)
      }
    })

    it('packages that only this package can see', async function () {
      expect(await resolveTopic('uuid#validate', base)).to.equal((await import('uuid')).validate)
    })

    it('the object itself', async function () {
      const topic = { getSession: () => 1 }
      expect(await resolveTopic(topic)).to.equal(topic)
    })
  })

  describe('say what is wrong', function () {
    const wrong: readonly (readonly [topic: string, message: RegExp])[] = [
      ['./session.mjs#getSesion', /no export 'getSesion'; it has count, default, getSession, nothing, sessions$/],
      ['./session.mjs#toString', /no export 'toString'/],
      ['./session.mjs#sessions.next', /'sessions' has no export 'next'; it has current$/],
      ['./session.mjs#count.x.y', /'count' has no export 'x'; it has none$/],
      ['./session.mjs#nothing', /is undefined/],
      ['./nowhere.mjs#getSession', /no module "\.\/nowhere\.mjs", seen from file:/],
      ['session.mjs#getSession', /no module "session\.mjs".*starts with '\.\/'/],
      ['nowhere#getSession', /no module "nowhere", seen from file:/],
      ['kennels#getSession', /no module "kennels"/],
      ['kennels/private#getSession', /no module "kennels\/private"/],
      ['#nowhere#getSession', /no module "#nowhere"/],
      ['node:nowhere#x', /no module "node:nowhere"/],
      ['http://localhost/session.js#x', /no module "http:/],
      ['C:\\session.js#x', /no module "C:/],
      ['C:\\session.js', /no module "C:/],
      ['./broken.mjs#x', /failed while loading/],
      ['./syntax.mjs#x', /failed while loading/],
      ['./importing.mjs#name', /failed while loading/],
      ['./session.mjs#', /can't be read/],
      ['./session.mjs#a-b', /can't be read/],
      ['./session.mjs#a..b', /can't be read/],
      ['#', /no module "#"/],
      [':getSession', /no module ":getSession"/],
      ['', /can't be read/],
      ['  ', /can't be read/],
      ['a\0b', /can't be read/],
    ]
    for (const [topic, message] of wrong) {
      it(JSON.stringify(topic), async function () {
        const error = await rejection(resolveTopic(topic, base), TopicError, message)
        expect(error.message).to.include(JSON.stringify(topic)).and.not.include('Ann-1815')
      })
    }

    it('with the reason as the cause, where a module throws', async function () {
      const { cause } = await rejection(resolveTopic('./broken.mjs#x', base), TopicError)
      expect(cause).to.be.instanceOf(Error).with.property('message', 'password=Ann-1815')
    })

    it('for nothing at all', async function () {
      await rejection(resolveTopic(undefined), TopicError, 'undefined')
      await rejection(resolveTopic(null), TopicError, 'null')
    })
  })

  describe('registered', function () {
    it('are found by name, before any module of that name', async function () {
      const getSession = () => 'mine'
      expect(registerTopic('kennels/sessions', getSession)).to.equal(getSession)
      expect(await resolveTopic('kennels/sessions', base)).to.equal(getSession)
      expect(await resolveTopic<() => string>('kennels/sessions#getSession', base).then((found) => found())).to.equal(
        'kennels',
      )
    })

    it('take the same object again, but no other', function () {
      const one = {}
      registerTopic('one of them', one)
      registerTopic('one of them', one)
      expect(() => registerTopic('one of them', {})).to.throw(TopicError, /"one of them"/)
      expect(() => registerLazyTopic('one of them', async () => one)).to.throw(TopicError, /"one of them"/)
    })

    it('need a name', function () {
      expect(() => registerTopic('', {})).to.throw(TopicError)
      expect(() => registerTopic(undefined as unknown as string, {})).to.throw(TopicError)
    })

    it('may be loaded at first use', async function () {
      let loads = 0
      const load = async () => ({ loads: ++loads })
      registerLazyTopic('lazy', load)
      registerLazyTopic('lazy', load)
      expect(loads).to.equal(0)
      expect(await resolveTopic('lazy')).to.deep.equal({ loads: 1 })
      expect(() => registerTopic('lazy', {})).to.throw(TopicError)
    })

    it('say which package to install, where loading them fails for that', async function () {
      // A name that the compiler can't follow: it is not installed.
      const name: string = 'a-package-that-is-not-there'
      registerLazyTopic('needs a package', () => import(name))
      const error = await rejection(resolveTopic('needs a package'), TopicError)
      expect(error.message).to.equal(
        'Topic "needs a package" failed while loading: install a-package-that-is-not-there',
      )
    })

    it('pass on our own errors, and wrap others', async function () {
      registerLazyTopic('refuses', () => Promise.reject(new ProgrammingError('not like this')))
      await rejection(resolveTopic('refuses'), ProgrammingError, 'not like this')
      const reason = new Error('Ann-1815')
      registerLazyTopic('fails', () => Promise.reject(reason))
      const error = await rejection(resolveTopic('fails'), TopicError)
      expect(error.cause).to.equal(reason)
      expect(error.message).not.to.include('Ann-1815')
    })
  })
})
