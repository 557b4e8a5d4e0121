import { expect } from 'chai'
import type { AggregateClass, GetOptions } from '../../lib/application/repository.js'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { decider } from '../../lib/domain/decider.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import type { DomainEvent } from '../../lib/domain/event.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import { definitionOf } from '../../lib/domain/replay.js'
import { findEvent, registerTopicAlias } from '../../lib/domain/topics.js'
import type { Upcast, Upcasts } from '../../lib/domain/upcasts.js'
import { MapperDeserialisationError, TopicError } from '../../lib/errors.js'
import type { DefineCase } from '../support/cases.js'
import { rejection } from '../support/rejection.js'
import { schoolOn, type TrainingSchool } from '../support/training-school.js'

/** What becomes of stored events when their classes change, in each shape of aggregate. */
export function upcastsSuite(define: DefineCase): void {
  describe('events of older classes', () => {
    for (const [shape, defineBooks] of Object.entries(shapes)) {
      define(`are upcast on every read: ${shape}`, async (opened) => {
        const school = schoolOn(opened)
        const name = freshName()
        // the code of long ago: what is not registered is at class version 1
        await school.save(...oldEvents(name, 'old'))
        const books = defineBooks(name)
        const readsAll = async (...chapters: object[]) => {
          const book = await books.get(school, 'old')
          expect(book).to.deep.include({ title: 'Dune', year: 0, chapters: [{ name: 'one', pages: 1 }, ...chapters] })
          expect(book.version).to.equal(2 + chapters.length)
          const [opening, added] = await school.events.get('old')
          expect(opening).to.deep.include({ topic: `${name}.Begun`, data: { title: 'Dune', year: 0 } })
          expect(opening?.data).to.be.frozen
          expect(added?.data).to.deep.equal({ chapter: { name: 'one', pages: 1 } })
          expect(added?.data['chapter']).to.be.frozen
        }
        await readsAll()
        await school.transaction(() => readsAll())
        expect((await books.get(school, 'old', { version: 1 })).chapters).to.deep.equal([])

        await books.add(school, 'old', { name: 'two', pages: 2 })
        await readsAll({ name: 'two', pages: 2 })
        // read again, it is still what it was
        await readsAll({ name: 'two', pages: 2 })
      })

      define(`are upcast from each version, and refused where they are newer: ${shape}`, async (opened) => {
        const school = schoolOn(opened)
        const name = freshName()
        const books = defineBooks(name)
        const topic = `${name}.ChapterAdded`
        const steps = findEvent(topic)!.upcasts
        const [begun, added] = oldEvents(name, 'versions')
        await school.save({ ...begun!, data: { title: 'Dune', year: 1 } })
        for (const [index, data] of [
          { name: 'one' },
          { chapter: 'two' },
          { chapter: { name: 'three', pages: 3 } },
        ].entries()) {
          changeClass(topic, steps.slice(0, index))
          await school.save({ ...added!, originatorVersion: 2 + index, data })
        }
        expect((await books.get(school, 'versions')).chapters).to.deep.equal([
          { name: 'one', pages: 1 },
          { name: 'two', pages: 1 },
          { name: 'three', pages: 3 },
        ])
        changeClass(topic, steps.slice(0, 1))
        try {
          for (const read of [
            () => books.get(school, 'versions'),
            () => school.events.get('versions'),
            () => school.transaction(() => books.get(school, 'versions')),
          ]) {
            const error = await rejection(read(), MapperDeserialisationError, /class version is 3, this code knows 2/)
            expect(error.message).to.include(`"${topic}" of originator "versions", version 4`).and.not.include('three')
          }
          // up to what it knows, it reads
          const { chapters } = await books.get(school, 'versions', { version: 3 })
          expect(chapters).to.have.length(2)
        } finally {
          changeClass(topic, steps)
        }
      })

      define(`are found under former names: ${shape}`, async (opened) => {
        const school = schoolOn(opened)
        const name = freshName()
        const former = `Former${name}`
        const [begun, added] = oldEvents(former, 'renamed')
        await school.save(begun, { ...added!, topic: `${former}.Extended` }, ...oldEvents(`Former${former}`, 'older'))
        const unknown = await rejection(school.events.get('renamed'), TopicError, `"${former}.Begun"`)
        expect(unknown.message).to.include('"renamed"').and.include('registerTopicAlias')

        const books = defineBooks(name)
        await rejection(books.get(school, 'renamed'), TopicError, `"${former}.Begun"`)
        registerTopicAlias(former, name)
        registerTopicAlias(`Former${former}`, former)
        await rejection(books.get(school, 'renamed'), TopicError, `"${former}.Extended"`)
        registerTopicAlias(`${former}.Extended`, `${name}.ChapterAdded`)
        for (const id of ['renamed', 'older']) {
          expect(await books.get(school, id)).to.deep.include({
            title: 'Dune',
            year: 0,
            chapters: [{ name: 'one', pages: 1 }],
          })
          const [, second] = await school.events.get(id)
          expect(second).to.include({ topic: `${name}.ChapterAdded` })
          await books.add(school, id, { name: 'two', pages: 2 })
        }
        await findsByTopic(school, `${name}.ChapterAdded`, [
          `${former}.Extended`,
          `Former${former}.ChapterAdded`,
          `${name}.ChapterAdded`,
          `${name}.ChapterAdded`,
        ])
      })
    }

    define('are upcast in streams of a subclass, by the steps of its parent or its own', async (opened) => {
      const school = schoolOn(opened)
      const [name, comic, atlas] = [freshName(), freshName(), freshName()]
      await school.save(...oldEvents(comic, 'comic'), ...oldEvents(atlas, 'atlas'))
      const Book = defineDecorated(name)
      @aggregate(comic)
      class Comic extends Book {}
      @aggregate(atlas)
      class Atlas extends Book {
        static override upcasts: Upcasts = {
          ChapterAdded: { 1: (data) => ({ chapter: { name: `Map of ${String(data.name)}`, pages: 2 } }) },
        }
      }
      const [first, second] = [await school.repository.get(Book, 'comic'), await school.repository.get(Book, 'atlas')]
      expect(first).to.be.instanceOf(Comic)
      expect(first).to.deep.include({ title: 'Dune', year: 0, chapters: [{ name: 'one', pages: 1 }] })
      expect(second).to.be.instanceOf(Atlas)
      expect(second).to.deep.include({ title: 'Dune', year: 0, chapters: [{ name: 'Map of one', pages: 2 }] })
    })

    define('leave aggregates nothing in common, also where a step puts the same value into each', async (opened) => {
      const school = schoolOn(opened)
      const name = freshName()
      await school.save(...oldEvents(name, 'one'), ...oldEvents(name, 'other'))
      const Book = defineDecorated(name)
      const [one, other] = [await school.repository.get(Book, 'one'), await school.repository.get(Book, 'other')]
      one.chapters[0]!.pages = 100
      expect(other.chapters[0]!.pages).to.equal(1)
      expect((await school.repository.get(Book, 'one')).chapters[0]!.pages).to.equal(1)
    })

    define('are refused where a step fails, by name, without what is in them', async (opened) => {
      const school = schoolOn(opened)
      const name = freshName()
      await school.save(...oldEvents(name, 'SECRETS'))
      const Book = defineDecorated(name)
      const failing: [Upcast, RegExp][] = [
        [
          ({ name: secret }) => {
            throw new TypeError(`SECRET ${String(secret)}`)
          },
          /step 1 of its upcasts failed with TypeError/,
        ],
        [(() => undefined) as unknown as Upcast, /step 1 of its upcasts returns no plain object/],
        [((data: object) => Promise.resolve(data)) as unknown as Upcast, /returns a promise/],
      ]
      for (const [step, why] of failing) {
        changeClass(`${name}.ChapterAdded`, [step])
        for (const read of [() => school.repository.get(Book, 'SECRETS'), () => school.events.get('SECRETS')]) {
          const error = await rejection(read(), MapperDeserialisationError, why)
          expect(error.message).to.include(`"${name}.ChapterAdded" of originator "SECRETS", version 2`)
          expect(error.message).not.to.match(/SECRET /)
          expect(error.cause).to.equal(undefined)
        }
      }
    })
  })
}

/** Books of one shape of aggregate. */
interface Books {
  get(school: TrainingSchool, id: string, options?: GetOptions): Promise<Book>
  /** Gets it, adds to it, and saves it. */
  add(school: TrainingSchool, id: string, chapter: Chapter): Promise<void>
}
interface Book {
  readonly title: string
  readonly year: number
  readonly version: number
  readonly chapters: readonly Chapter[]
}
type BookClass = AggregateClass<Aggregate & Book & { add(chapter: Chapter): void }>
type Chapter = { name: string; pages: number }

/** A name that no other case uses: each is registered once in a process. */
const freshName = () => `Book${(names += 1)}`
let names = 0

/** As the first version of the classes below had made them. */
function oldEvents(name: string, originatorId: string): DomainEvent[] {
  const common = { originatorId, timestamp: new Date('2020-02-20T20:20:20.020Z'), metadata: {} }
  return [
    { ...common, originatorVersion: 1, topic: `${name}.Begun`, data: { title: 'Dune' } },
    { ...common, originatorVersion: 2, topic: `${name}.ChapterAdded`, data: { name: 'one' } },
  ]
}

const onePage = { pages: 1 }

const upcasts: Upcasts<BookEvents> = {
  Begun: { 1: (data) => Object.assign(data, { year: 0 }) },
  ChapterAdded: {
    1: (data) => ({ chapter: data.name }),
    2: (data) => ({ chapter: Object.assign(onePage, { name: data.chapter }) }),
  },
}

/** As another version of the code would have that event. */
function changeClass(topic: string, steps: readonly Upcast[]): void {
  Object.assign(findEvent(topic)!, { upcasts: steps, classVersion: steps.length + 1 })
}

function defineDecorated(name: string) {
  @aggregate(name, { created: event('Begun', 'title', 'year') })
  class DecoratedBook extends Aggregate {
    static upcasts: Upcasts = upcasts
    readonly chapters: Chapter[] = []
    constructor(
      readonly title: string,
      readonly year: number,
    ) {
      super()
    }
    @event('ChapterAdded', 'chapter') add(chapter: Chapter) {
      this.chapters.push(chapter)
    }
  }
  return DecoratedBook
}

type BookEvents = { Begun: { title: string; year: number }; ChapterAdded: { chapter: Chapter } }

function defineEvented(name: string) {
  class EventedBook extends EventedAggregate<BookEvents> {
    static readonly topic = name
    static readonly upcasts = upcasts
    title = ''
    year = 0
    readonly chapters: Chapter[] = []
    add(chapter: Chapter) {
      this.trigger('ChapterAdded', { chapter })
    }
    static readonly evolve: Evolve<EventedBook, BookEvents> = {
      Begun(book, data) {
        Object.assign(book, data)
      },
      ChapterAdded(book, { chapter }) {
        book.chapters.push(chapter)
      },
    }
  }
  definitionOf(EventedBook)
  return EventedBook
}

function booksOf(bookClass: BookClass): Books {
  return {
    async get(school, id, options) {
      const book = await school.repository.get(bookClass, id, options)
      expect(book).to.be.instanceOf(bookClass)
      return book
    },
    async add(school, id, chapter) {
      const book = await school.repository.get(bookClass, id)
      book.add(chapter)
      await school.save(book)
    },
  }
}

function decidedBooks(name: string): Books {
  const DecidedBook = decider(name, { initial: (): Omit<Book, 'version'> => ({ title: '', year: 0, chapters: [] }) })
    .events({
      Begun: (state, data: { title: string; year: number }) => ({ ...state, ...data }),
      ChapterAdded: (state, { chapter }: { chapter: Chapter }) => ({
        ...state,
        chapters: [...state.chapters, chapter],
      }),
    })
    .upcasts(upcasts)
    .commands((events) => ({ add: (_state, chapter: Chapter) => events.ChapterAdded({ chapter }) }))
  return {
    async get(school, id, options) {
      const { version, state } = await school.repository.get(DecidedBook, id, options)
      return { ...state, version }
    },
    async add(school, id, chapter) {
      await school.execute(DecidedBook, id, 'add', chapter)
    },
  }
}

const shapes: Record<string, (name: string) => Books> = {
  'a decorated class': (name) => booksOf(defineDecorated(name)),
  'a class with an event map': (name) => booksOf(defineEvented(name)),
  'a decider': decidedBooks,
}

/** Whichever of its names is asked for, present or former. */
async function findsByTopic(school: TrainingSchool, topic: string, stored: readonly string[]): Promise<void> {
  for (const asked of [topic, stored[0]!]) {
    const found = await school.notificationLog.select({ topics: [asked] })
    expect(found.map((each) => each.topic)).to.deep.equal(stored)
  }
  // a recorder takes topics as they are stored
  const exact = await school.recorder.selectNotifications({ topics: [topic], limit: 10 })
  expect(exact.map((each) => each.topic)).to.deep.equal(stored.filter((each) => each === topic))
}
