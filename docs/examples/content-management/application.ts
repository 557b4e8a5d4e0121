import { and, asc, eq, like } from 'drizzle-orm'
import { pgTable, text as pgText } from 'drizzle-orm/pg-core'
import { sqliteTable, text as sqliteText } from 'drizzle-orm/sqlite-core'
import { type AnySession, Application, IntegrityError, RecordConflictError } from 'eventsourcing-drizzle'
import { Page, PageError } from './domain.js'

/**
 * The table that pages are found by: plain Drizzle, in the database of the events. Its unique column is what keeps two
 * pages from having the same slug. A program of yours has one database, and one of these; drizzle-kit creates it.
 */
export const pagesTables = {
  sqlite: sqliteTable('pages', {
    id: sqliteText().primaryKey(),
    slug: sqliteText().notNull().unique(),
    title: sqliteText().notNull(),
    words: sqliteText().notNull(),
  }),
  postgresql: pgTable('pages', {
    id: pgText().primaryKey(),
    slug: pgText().notNull().unique(),
    title: pgText().notNull(),
    words: pgText().notNull(),
  }),
}

/** A page that was found. */
export interface Found {
  readonly slug: string
  readonly title: string
}

/** What was done to a page. */
export interface Change {
  readonly what: string
  readonly when: Date
  /** As said by whoever called the command: `withMetadata({ editor: 'ann' }, () => site.edit(…))`. */
  readonly editor: unknown
}

/**
 * What one can do with the pages of a site. Commands write events and row in one transaction: what is stored is found at
 * once, and what is found is stored.
 */
export class ContentManagement extends Application {
  create(slug: string, title: string): Promise<void> {
    return this.#write(() => Page.create(slug, title))
  }

  retitle(slug: string, title: string): Promise<void> {
    return this.#change(slug, (page) => page.retitle(title))
  }

  edit(slug: string, body: string): Promise<void> {
    return this.#change(slug, (page) => page.edit(body))
  }

  move(slug: string, newSlug: string): Promise<void> {
    return this.#change(slug, (page) => page.move(newSlug))
  }

  /** The page under that slug, as its events made it. */
  page(slug: string): Promise<Page> {
    return this.transaction((session) => this.#page(session, slug))
  }

  async history(slug: string): Promise<Change[]> {
    const { id } = await this.page(slug)
    const events = await this.events.get(id)
    return events.map(({ topic, timestamp, metadata }) => ({
      what: topic,
      when: timestamp,
      editor: metadata['editor'],
    }))
  }

  /** The pages with all of these words, or beginnings or parts of words, in title or body; by slug. */
  search(text: string): Promise<Found[]> {
    return this.transaction((session) => {
      const { slug, title, words } = this.#pages
      // your own table, so whatever your database has: this may as well be FTS5 or a tsvector
      const conditions = wordsOf(text).map((word) => like(words, `%${word}%`))
      return session
        .select({ slug, title })
        .from(this.#pages)
        .where(and(...conditions))
        .orderBy(asc(slug))
    })
  }

  #change(slug: string, change: (page: Page) => void): Promise<void> {
    return this.#write(async (session) => {
      const page = await this.#page(session, slug)
      change(page)
      return page
    })
  }

  async #write(decide: (session: AnySession) => Page | Promise<Page>): Promise<void> {
    try {
      await this.transaction(async (session) => {
        const page = await decide(session)
        await this.save(page)
        const row = rowOf(page)
        await session.insert(this.#pages).values(row).onConflictDoUpdate({ target: this.#pages.id, set: row })
      })
    } catch (error) {
      // a conflict of events is something else: somebody was faster, who may have been right
      if (error instanceof IntegrityError && !(error instanceof RecordConflictError))
        throw new PageError('Another page has that slug', { cause: error })
      throw error
    }
  }

  async #page(session: AnySession, slug: string): Promise<Page> {
    const [row]: { id: string }[] = await session
      .select({ id: this.#pages.id })
      .from(this.#pages)
      .where(eq(this.#pages.slug, slug))
    if (!row) throw new PageError('No page has that slug')
    return this.repository.get(Page, row.id)
  }

  /** The table of the database that the application is connected to. */
  get #pages() {
    return this.recorder.datastore.dialect === 'postgresql' ? pagesTables.postgresql : pagesTables.sqlite
  }
}

function rowOf({ id, slug, title, body }: Page) {
  return { id, slug, title, words: wordsOf(`${title} ${body}`).join(' ') }
}

function wordsOf(text: string): readonly string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
}
