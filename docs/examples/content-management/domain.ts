import { Aggregate, aggregate, event } from 'eventsourcing-drizzle'

/** What a page refuses. Nothing has happened then. */
export class PageError extends Error {}

/** A page of a web site, found under its slug: `/about-us`. What changes nothing is no event. */
@aggregate('Page', { created: event('Created', 'slug', 'title') })
export class Page extends Aggregate {
  body = ''

  constructor(
    public slug: string,
    public title: string,
  ) {
    super()
  }

  /** The constructor is an event, and asks nothing; this decides. */
  static create(slug: string, title: string): Page {
    checkSlug(slug)
    return new Page(slug, title)
  }

  retitle(title: string): void {
    if (title !== this.title) this.changeTitle(title)
  }

  edit(body: string): void {
    if (body !== this.body) this.changeBody(body)
  }

  move(slug: string): void {
    checkSlug(slug)
    if (slug !== this.slug) this.changeSlug(slug)
  }

  @event('Retitled', 'title')
  protected changeTitle(title: string): void {
    this.title = title
  }

  @event('Edited', 'body')
  protected changeBody(body: string): void {
    this.body = body
  }

  @event('Moved', 'slug')
  protected changeSlug(slug: string): void {
    this.slug = slug
  }
}

function checkSlug(slug: string): void {
  if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(slug)) throw new PageError('A slug is made of a-z, 0-9 and single dashes')
}
