import { expect } from 'chai'
import { NotSupportedError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import type { SelectNotificationsOptions } from '../../lib/persistence/recorders.js'
import type { DefineCase } from '../support/cases.js'
import { rejection } from '../support/rejection.js'
import { freshId, plain, storedEvent, storedEvents } from '../support/stored-events.js'
import { schoolOn } from '../support/training-school.js'

/** What every recorder does that gives events one order. */
export function applicationRecorderSuite(define: DefineCase): void {
  describe('ApplicationRecorder', () => {
    define('has no notifications and no last one at first', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      expect(await recorder.maxNotificationId()).to.equal(null)
      expect(await recorder.selectNotifications({ limit: 10 })).to.deep.equal([])
      expect(await recorder.insertEvents([])).to.deep.equal([])
      expect(await recorder.maxNotificationId()).to.equal(null)
    })

    define('gives each insert contiguous ids in the order of its events, above all that were there', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const [a, b] = [freshId(), freshId()]
      expect(await recorder.insertEvents([storedEvent(a, 1)])).to.deep.equal([1])
      let last = 1
      const inserts = [
        storedEvents(a, 2, 4),
        [storedEvent(b, 2), storedEvent(a, 5), storedEvent(b, 1)],
        storedEvents(b, 3, 102),
      ]
      for (const events of inserts) {
        const ids = await recorder.insertEvents(events)
        const first = ids[0]!
        expect(first).to.be.above(last)
        expect(ids).to.deep.equal(events.map((_, i) => first + i))
        last = ids.at(-1)!
        expect(await recorder.maxNotificationId()).to.equal(last)
        const found = await recorder.selectNotifications({ start: first, limit: 1000 })
        expect(found.map(plain)).to.deep.equal(events.map(plain))
        expect(found.map(({ id }) => id)).to.deep.equal(ids)
      }
    })

    define('says that subscriptions are not built yet', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const school = schoolOn(opened)
      for (const subscribing of [recorder, school.recorder] as { subscribe?(options?: object): unknown }[]) {
        await rejection((async () => subscribing.subscribe!({ gt: 1 }))(), NotSupportedError, 'subscribe')
      }
    })

    define('gives ids as numbers', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const [id] = await recorder.insertEvents([storedEvent(freshId(), 1)])
      const [notification] = await recorder.selectNotifications({ limit: 1 })
      for (const number of [
        id,
        notification!.id,
        await recorder.maxNotificationId(),
        notification!.originatorVersion,
      ]) {
        expect(number).to.be.a('number')
      }
    })

    define('selects from start to stop, of those topics, at most limit', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const topics = ['Dog.Registered', 'Dog.TrickAdded', 'Cat.Napped']
      const events = Array.from({ length: 12 }, (_, i) => storedEvent('dog', i + 1, { topic: topics[i % 3]! }))
      const ids = await recorder.insertEvents(events)
      const bounds = [undefined, null, -5, 0, 1, 3, 12, 13, 1000]
      // Of all combinations each fifth, in which any three values meet, as no list has a multiple of 5 values.
      let combination = 0
      for (const start of bounds) {
        for (const stop of bounds) {
          for (const limit of [0, 1, 4, 100]) {
            for (const wanted of [undefined, [], ['Cat.Napped'], ['Dog.Registered', 'Cat.Napped'], ['Nothing'], ['']]) {
              for (const inclusiveOfStart of [undefined, true, false]) {
                if (combination++ % 5 !== 0) continue
                const expected = ids
                  .filter((id) => (inclusiveOfStart === false && start != null ? id > start : id >= (start ?? 0)))
                  .filter((id) => id <= (stop ?? Infinity))
                  .filter((id) => !wanted?.length || wanted.includes(events[id - ids[0]!]!.topic))
                  .slice(0, limit)
                const options = { start, stop, limit, topics: wanted, inclusiveOfStart }
                const found = await recorder.selectNotifications(options)
                expect(
                  found.map(({ id }) => id),
                  JSON.stringify(options),
                ).to.deep.equal(expected)
              }
            }
          }
        }
      }
    })

    define('counts towards the limit only what it returns', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const rare = (n: number) => (n % 10 === 0 ? 'Dog.Retired' : 'Dog.TrickAdded')
      await recorder.insertEvents(
        Array.from({ length: 40 }, (_, i) => storedEvent('dog', i + 1, { topic: rare(i + 1) })),
      )
      const found = await recorder.selectNotifications({ limit: 3, topics: ['Dog.Retired'] })
      expect(found.map(({ originatorVersion }) => originatorVersion)).to.deep.equal([10, 20, 30])
    })

    define('tells topics apart by their bytes', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const topics = [
        'Dog.A',
        'dog.a',
        'Dog.Ä',
        'Dog.A\u0308',
        'Dog.A ',
        "Dog.'A'",
        'Dog.%',
        'Dog.😀',
        'Dog,A',
        '{Dog}',
      ]
      await recorder.insertEvents(topics.map((topic, i) => storedEvent('dog', i + 1, { topic })))
      for (const topic of topics) {
        const found = await recorder.selectNotifications({ limit: 100, topics: [topic] })
        expect(
          found.map((notification) => notification.topic),
          topic,
        ).to.deep.equal([topic])
      }
      expect(await recorder.selectNotifications({ limit: 100, topics })).to.have.length(topics.length)
    })

    define('refuses bounds that are no integers, a missing limit, and topics that are none', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const bad = [
        { limit: -1 },
        { limit: 0.5 },
        { limit: undefined },
        { start: 1.5, limit: 1 },
        { start: '1', limit: 1 },
        { stop: NaN, limit: 1 },
        { topics: 'Dog.Registered', limit: 1 },
        { topics: [7], limit: 1 },
        { topics: ['Dog.\0'], limit: 1 },
      ]
      for (const options of bad) {
        const [name] = Object.keys(options)
        await rejection(
          recorder.selectNotifications(options as SelectNotificationsOptions),
          ProgrammingError,
          `\`${name}\``,
        )
      }
    })

    define('gives no notification to an insert that was refused', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const [first] = await recorder.insertEvents([storedEvent('dog', 1)])
      await rejection(recorder.insertEvents([storedEvent('cat', 1), storedEvent('dog', 1)]), RecordConflictError)
      expect(await recorder.maxNotificationId()).to.equal(first)
      const [next] = await recorder.insertEvents([storedEvent('cat', 1)])
      expect(next).to.be.above(first!)
      const found = await recorder.selectNotifications({ limit: 10 })
      expect(found.map(({ originatorId }) => originatorId)).to.deep.equal(['dog', 'cat'])
    })

    define('gives ascending ids also after the newest was rolled back', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      await recorder.insertEvents(storedEvents('dog', 1, 2))
      const tx = await recorder.transaction()
      await tx.run(() => recorder.insertEvents([storedEvent('dog', 3)]))
      await tx.rollback()
      expect(await recorder.maxNotificationId()).to.equal(2)
      const [id] = await recorder.insertEvents([storedEvent('cat', 1)])
      expect(id).to.be.above(2)
      const found = await recorder.selectNotifications({ limit: 10 })
      expect(found.map((notification) => notification.id)).to.deep.equal([1, 2, id])
    })

    define('is an AggregateRecorder of the same events', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const id = freshId()
      await recorder.insertEvents([storedEvent(id, 1), storedEvent(freshId(), 1), storedEvent(id, 2)])
      const found = await recorder.selectEvents(id, { desc: true })
      expect(found.map(plain)).to.deep.equal([plain(storedEvent(id, 2)), plain(storedEvent(id, 1))])
      expect(found[0]).to.have.all.keys('originatorId', 'originatorVersion', 'topic', 'state')
    })

    define('knows its datastore, whose transactions are its own', async (opened) => {
      const factory = opened.factory()
      const recorder = await factory.applicationRecorder()
      await rejection(
        opened.datastore.transaction(async () => {
          await recorder.insertEvents([storedEvent('dog', 1)])
          throw new RangeError('no')
        }),
        RangeError,
      )
      expect(factory.datastore).to.equal(opened.datastore)
      expect((recorder as unknown as { datastore: unknown }).datastore).to.equal(opened.datastore)
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
    })
  })
}
