import assert from 'node:assert/strict'
import { sql } from 'drizzle-orm'
import { RecordConflictError, withMetadata } from 'eventsourcing-drizzle'
import { freshSchema } from '../../../spec/support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../../../spec/support/postgres-server.js'
import { ContentManagement } from './application.js'
import { PageError } from './domain.js'

// as a migration of drizzle-kit does
const createPages = sql`
  CREATE TABLE pages (id text PRIMARY KEY, slug text NOT NULL UNIQUE, title text NOT NULL, words text NOT NULL)`

describe('Content management on SQLite', () => {
  cases(
    async () => ({ url: 'sqlite::memory:', drop: async () => undefined }),
    (site) => site.transaction((session) => session.run(createPages)),
  )
})

describePostgres('Content management on PostgreSQL', () => {
  cases(
    async () => {
      const { searchPath, drop } = await freshSchema()
      const url = new URL(postgresUrl())
      url.searchParams.set('search_path', searchPath)
      return { url: url.href, drop }
    },
    (site) => site.transaction((session) => session.execute(createPages)),
  )
})

/** An empty database. */
interface Place {
  readonly url: string
  drop(): Promise<void>
}

function cases(open: () => Promise<Place>, migrate: (site: ContentManagement) => Promise<void>): void {
  let place: Place
  let site: ContentManagement

  beforeEach(async () => {
    place = await open()
    site = new ContentManagement({ env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: place.url } })
    await migrate(site)
  })

  afterEach(async () => {
    await site.close()
    await place.drop()
  })

  const found = async (text: string) => (await site.search(text)).map(({ slug }) => slug)

  it('finds a page by its slug, as it was edited last', async () => {
    await site.create('about-us', 'About us')
    await site.edit('about-us', 'We train dogs.')
    await site.retitle('about-us', 'Who we are')

    const { title, body, version } = await site.page('about-us')
    assert.deepEqual({ title, body, version }, { title: 'Who we are', body: 'We train dogs.', version: 3 })
    await assert.rejects(site.page('about-them'), PageError)
  })

  it('finds pages by words of title and body, in any case and order', async () => {
    await site.create('dogs', 'Dogs')
    await site.edit('dogs', 'They learn TRICKS, such as rolling over.')
    await site.create('cats', 'Cats')
    await site.edit('cats', 'They learn nothing at all.')

    assert.deepEqual(await site.search('tricks dogs'), [{ slug: 'dogs', title: 'Dogs' }])
    assert.deepEqual(await found('learn'), ['cats', 'dogs'])
    assert.deepEqual(await found('learn everything'), [])
  })

  it('finds a page by what it says now, and no longer by what it said before', async () => {
    await site.create('menu', 'Menu')
    await site.edit('menu', 'Soup')
    await site.edit('menu', 'Salad')

    assert.deepEqual([await found('soup'), await found('salad')], [[], ['menu']])
  })

  it('lets one page have a slug, and the next when it has moved', async () => {
    await site.create('news', 'News')
    await assert.rejects(site.create('news', 'Other news'), PageError)
    await assert.rejects(site.create('No slug!', 'News'), PageError)

    await site.move('news', 'news-of-2026')
    await site.create('news', 'Other news')
    await assert.rejects(site.move('news', 'news-of-2026'), PageError)
    assert.deepEqual(await found('news'), ['news', 'news-of-2026'])
    assert.equal((await site.page('news')).version, 1)
  })

  it('stores no event of a page whose slug was taken, also when two are created at once', async () => {
    const creations = [site.create('news', 'News'), site.create('news', 'Other news')]
    const outcomes = await Promise.allSettled(creations)

    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    for (const outcome of outcomes) if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof PageError)
    assert.equal((await site.notificationLog.select({ limit: 10 })).length, 1)
  })

  it('does not let two who edit at once overwrite each other, nor search and pages differ', async () => {
    await site.create('menu', 'Menu')
    const edits = ['Soup', 'Salad'].map((body) => site.edit('menu', body))
    for (const outcome of await Promise.allSettled(edits))
      if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof RecordConflictError)

    const { body } = await site.page('menu')
    assert.deepEqual(await found(body), ['menu'])
    assert.deepEqual(await found('soup salad'), [])
  })

  it('knows who has changed a page', async () => {
    await withMetadata({ editor: 'ann' }, () => site.create('menu', 'Menu'))
    await withMetadata({ editor: 'bob' }, async () => {
      await site.edit('menu', 'Soup')
      await site.edit('menu', 'Soup') // which changes nothing
    })

    assert.deepEqual(
      (await site.history('menu')).map(({ what, editor }) => [what, editor]),
      [
        ['Page.Created', 'ann'],
        ['Page.Edited', 'bob'],
      ],
    )
  })
}
