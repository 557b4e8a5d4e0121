import { AsyncLocalStorage } from 'node:async_hooks'
import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { Repository } from '../../lib/application/repository.js'
import { registerTopicAlias } from '../../lib/domain/topics.js'
import { EventStore } from '../../lib/persistence/event-store.js'
import { Mapper } from '../../lib/persistence/mapper.js'
import type { StoredText } from '../../lib/persistence/stored-event.js'
import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import { Dog } from '../support/dogs.js'
import { Remembered } from '../support/garbage.js'
import { failure } from '../support/rejection.js'
import { describePostgres } from '../support/postgres-server.js'
import { Place, type PlaceOptions, poolOwners, type School } from '../support/shared-statements.js'
import { bytes, plain, storedEvent, storedEvents, textsOf, versions } from '../support/stored-events.js'

describePostgres('Long streams on PostgreSQL', () => {
  for (const poolOwner of poolOwners) {
    describe(`by ${poolOwner}`, () => {
      let place: Place

      beforeEach(async () => {
        place = await Place.open(poolOwner)
      })

      afterEach(async () => {
        await place[Symbol.asyncDispose]()
      })

      /** What follows a long stream is read in chunks. */
      async function afterLongOne(options: PlaceOptions = {}): Promise<School> {
        const school = await place.school(options)
        await school.recorder.insertEvents(storedEvents('long', 1, 450))
        expect(await textsOf(school.recorder, 'long')).to.have.length(450)
        return school
      }

      for (const [name, given] of [
        ['as long', storedEvents('dog', 1, 450)],
        ['that end with a chunk', storedEvents('dog', 1, 200)],
        ['of one event', storedEvents('dog', 7, 7)],
        ['with gaps', [0, 1, 99, 100, 101, 350, 700].map((version) => storedEvent('dog', version))],
        ['with versions far apart', [1, 2, 2 ** 53 - 1].map((version) => storedEvent('dog', version))],
        [
          'with separators in topics',
          storedEvents('dog', 1, 250).map((each) => ({ ...each, topic: 'a\u001db\u001ec' })),
        ],
      ] as const) {
        it(`come whole, those ${name}`, async () => {
          const { recorder } = await afterLongOne()
          await recorder.insertEvents(given)
          for (let turn = 0; turn < 2; turn += 1) {
            const texts = await textsOf(recorder, 'dog')
            expect(versions(await recorder.selectEvents('dog'))).to.deep.equal(versions(given))
            // where texts can't be told apart, there are the bytes
            const isPlain = given.every(({ topic }) => topic.startsWith('Dog'))
            expect(texts && texts.map(({ originatorVersion }) => originatorVersion)).to.deep.equal(
              isPlain ? versions(given) : undefined,
            )
            expect(texts?.map(({ state }) => state)).to.deep.equal(
              isPlain ? given.map(({ state }) => Buffer.from(state).toString()) : undefined,
            )
            expect(await textsOf(recorder, 'nobody')).to.deep.equal([])
            await textsOf(recorder, 'long')
          }
        })
      }

      it('are asked for as bytes where one state in the middle is no text', async () => {
        const { recorder } = await afterLongOne()
        const given = storedEvents('dog', 1, 450)
        given[333] = storedEvent('dog', 334, { state: Uint8Array.of(0xff, 0xfe) })
        await recorder.insertEvents(given)
        expect(await textsOf(recorder, 'dog')).to.equal(undefined)
        expect(await recorder.selectEvents('dog')).to.have.length(450)
        expect(await textsOf(recorder, 'long')).to.have.length(450)
      })

      it('are asked for as bytes where a state holds what stands between events', async () => {
        const { recorder } = await afterLongOne()
        const state = bytes('{}\u001d2\u001eDog.Forged\u001e{}')
        await recorder.insertEvents([storedEvent('dog', 1, { state })])
        expect(await textsOf(recorder, 'dog')).to.equal(undefined)
        expect((await recorder.selectEvents('dog')).map(plain)).to.deep.equal([plain(storedEvent('dog', 1, { state }))])
      })

      it('are asked for as bytes where the connection has text in another encoding by now', async () => {
        const { datastore, recorder } = await afterLongOne({ max: 1 })
        await recorder.insertEvents([storedEvent('dog', 1)])
        await datastore.db.execute(sql`SET client_encoding TO 'LATIN1'`)
        expect(await textsOf(recorder, 'dog')).to.equal(undefined)
        expect(await recorder.selectEvents('dog')).to.have.length(1)
      })

      it('are asked for in chunks by the whole only', async () => {
        const { recorder } = await afterLongOne()
        const some = await textsOf(recorder, 'long', { gt: 98, lte: 204, limit: 104, desc: true })
        expect(some?.map(({ originatorVersion }) => originatorVersion)).to.deep.equal(
          Array.from({ length: 104 }, (_, i) => 204 - i),
        )
      })

      it('are taken once each, a part at a time from the second one on', async () => {
        const { datastore, recorder } = await afterLongOne()
        await recorder.insertEvents(storedEvents('dog', 1, 250))
        const parts = async (id: string) => {
          const begun: number[][] = []
          await recorder.selectTexts?.(id, () => {
            const lengths: number[] = []
            begun.push(lengths)
            return (stored) => void lengths.push(stored.length)
          })
          return begun
        }
        const inParts = [[100, 100, 100, 100, 50]]
        expect(await parts('dog')).to.deep.equal([[100, 100, 50]])
        expect(await parts('long')).to.deep.equal(inParts)
        await datastore.transaction(() => textsOf(recorder, 'long'))
        expect(await parts('long')).to.deep.equal(inParts)
        await recorder.insertEvents([0, 1, 99, 100, 101, 350, 700].map((version) => storedEvent('gaps', version)))
        expect(await parts('gaps')).to.deep.equal([[3, 2, 1, 1]])
        // that was a short one
        expect(await parts('long')).to.deep.equal([[450]])
        await recorder.insertEvents(storedEvents('odd', 1, 120))
        await recorder.insertEvents([storedEvent('odd', 121, { topic: 'Dog.\u001d' })])
        expect(await parts('odd')).to.deep.equal([[100], [121]])
        // and so was that, although more were taken in all
        expect(await parts('long')).to.deep.equal([[450]])
        expect(await parts('long')).to.deep.equal(inParts)
      })

      it('have no gap while others append to them', async () => {
        const { recorder } = await afterLongOne()
        const rival = await place.school()
        for (let last = 450; last < 750; last += 30) {
          const appending = rival.recorder.insertEvents(storedEvents('long', last + 1, last + 30))
          const texts = await textsOf(recorder, 'long')
          const found = texts?.map(({ originatorVersion }) => originatorVersion)
          expect(found?.length).to.be.oneOf([last, last + 30])
          expect(found).to.deep.equal(versions(storedEvents('long', 1, found!.length)))
          await appending
        }
      })

      it('leave nothing of who has read them, or others together with them', async () => {
        const { recorder } = await afterLongOne()
        await recorder.insertEvents([storedEvent('dog', 1)])
        const requests = new AsyncLocalStorage<object>()
        const remembered = new Remembered()
        const read = async (id: string) => {
          const [request, reader] = [{}, {}]
          remembered.add(request)
          remembered.add(reader)
          const taken: unknown[] = [reader]
          await requests.run(request, () => recorder.selectTexts?.(id, () => (stored) => void taken.push(...stored)))
        }
        for (const ids of [['dog', 'dog', 'dog'], ['long'], ['long', 'dog'], ['long', 'long', 'long'], ['long']]) {
          await Promise.all(ids.map(read))
        }
        expect(await remembered.kept(0)).to.equal(0)
      })

      it('begin anew where they are read anew', async () => {
        const { recorder } = await afterLongOne()
        await recorder.insertEvents(storedEvents('dog', 1, 300))
        await recorder.insertEvents([storedEvent('dog', 301, { topic: 'Dog.\u001d' })])
        const taken: number[][] = []
        const begin = () => {
          const these: number[] = []
          taken.push(these)
          return (stored: readonly StoredText[]) => void these.push(...stored.map((each) => each.originatorVersion))
        }
        expect(await recorder.selectTexts?.('dog', begin)).to.equal(true)
        expect(taken).to.have.length(2)
        expect(taken[0]).to.have.length(300)
        expect(taken[1]).to.have.length(301)
      })

      it('make the same events and aggregates where they are read anew', async () => {
        const { recorder } = await afterLongOne()
        const former = 'Dog.\u001dTaught'
        registerTopicAlias(former, 'Dog.TrickAdded')
        const dog = new Dog('Fido')
        for (let i = 1; i < 150; i += 1) dog.addTrick(`trick ${i}`)
        const mapper = new Mapper({ transcoder: new JsonTranscoder() })
        const stored = mapper.toStoredEvents(dog.collectEvents())
        await recorder.insertEvents(stored.map((each, i) => (i === 140 ? { ...each, topic: former } : each)))
        const store = new EventStore(mapper, recorder)
        const repository = new Repository({
          events: () => Promise.resolve(store),
          onRollback: () => undefined,
          doubt: () => undefined,
        })
        expect(await store.get(dog.id)).to.deep.equal(stored.map((each) => mapper.toDomainEvent(each)))
        await textsOf(recorder, 'long')
        const { version, tricks } = await repository.get(Dog, dog.id)
        expect([version, tricks]).to.deep.equal([150, dog.tricks])
      })

      it('are taken in the context of who asked, and what is thrown there is theirs', async () => {
        const { recorder } = await afterLongOne()
        const requests = new AsyncLocalStorage<string>()
        const seen = new Set<string | undefined>()
        let calls = 0
        const read = (request: string, fails: boolean) =>
          requests.run(request, () =>
            recorder.selectTexts?.('long', () => () => {
              calls += 1
              seen.add(requests.getStore())
              if (fails) throw new Error(request)
            }),
          )
        const [first, second, third] = await Promise.all([
          failure(Promise.resolve(read('one', true))),
          read('two', false),
          failure(Promise.resolve(read('three', true))),
        ])
        expect([(first as Error).message, second, (third as Error).message]).to.deep.equal(['one', true, 'three'])
        expect([...seen].sort()).to.deep.equal(['one', 'three', 'two'])
        calls = 0
        expect(await failure(Promise.resolve(read('alone', true)))).to.have.property('message', 'alone')
        expect(calls).to.equal(1)
        expect(await textsOf(recorder, 'long')).to.have.length(450)
      })
    })
  }
})
