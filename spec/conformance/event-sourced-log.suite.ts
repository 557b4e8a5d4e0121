import { expect } from 'chai'
import { EventSourcedLog } from '../../lib/application/event-sourced-log.js'
import { causedBy, withMetadata } from '../../lib/domain/metadata.js'
import { AggregateTypeError, RecordConflictError } from '../../lib/errors.js'
import type { DefineCase } from '../support/cases.js'
import { Cat, Dog } from '../support/dogs.js'
import type { Opened } from '../support/backend.js'
import { rejection } from '../support/rejection.js'
import { schoolOn } from '../support/training-school.js'

/** What a log promises whose events make no aggregate, and metadata that follows events into what they cause. */
export function eventSourcedLogSuite(define: DefineCase): void {
  describe('EventSourcedLog', () => {
    define('has nothing at first, then the events that were saved, by version', async (opened) => {
      const { school, log } = logOn(opened)
      expect([await log.get(), await log.first(), await log.last()]).to.deep.equal([[], undefined, undefined])
      for (const name of ['Fido', 'Rex', 'Ann']) {
        const dog = new Dog(name)
        await school.save(dog, await log.trigger({ name }))
      }
      const versions = async (bounds: Parameters<typeof log.get>[0]) =>
        (await log.get(bounds)).map(({ originatorVersion }) => originatorVersion)
      expect((await log.get()).map(({ data }) => data.name)).to.deep.equal(['Fido', 'Rex', 'Ann'])
      expect((await log.first())?.data.name).to.equal('Fido')
      expect((await log.last())?.data.name).to.equal('Ann')
      expect(await versions({ gt: 1 })).to.deep.equal([2, 3])
      expect(await versions({ lte: 2, desc: true })).to.deep.equal([2, 1])
      expect(await versions({ gt: 0, limit: 1 })).to.deep.equal([1])
    })

    define('gives an event that is not saved, which comes back as it was', async (opened) => {
      const { school, log } = logOn(opened)
      const before = Date.now()
      const logged = await withMetadata({ userId: 'ann' }, () => log.trigger({ name: 'Fido' }))
      expect(await log.last()).to.equal(undefined)
      const [recording] = await school.save(logged)
      expect(recording?.domainEvent).to.equal(logged)
      expect(await log.get()).to.deep.equal([logged])
      const { timestamp, ...rest } = logged
      expect(timestamp.getTime()).to.be.within(before, Date.now())
      expect(rest).to.deep.equal({
        originatorId: log.originatorId,
        originatorVersion: 1,
        topic: 'Dogs.Logged',
        data: { name: 'Fido' },
        metadata: { userId: 'ann' },
      })
      const [notification] = await school.notificationLog.select({ topics: ['Dogs.Logged'] })
      expect(notification).to.include({ originatorId: log.originatorId, topic: 'Dogs.Logged' })
    })

    define('keeps an event with what it tells of, or neither: of two, one is a conflict', async (opened) => {
      const { school, log } = logOn(opened)
      const [fido, rex] = [new Dog('Fido'), new Dog('Rex')]
      const [one, other] = await Promise.all([log.trigger({ name: 'Fido' }), log.trigger({ name: 'Rex' })])
      expect([one.originatorVersion, other.originatorVersion]).to.deep.equal([1, 1])
      await school.save(fido, one)
      const error = await rejection(school.save(rex, other), RecordConflictError)
      expect([error.originatorId, error.originatorVersion]).to.deep.equal([log.originatorId, 1])
      expect(await school.repository.has(rex.id)).to.equal(false)
      await school.save(rex, await log.trigger({ name: 'Rex' }))
      expect((await log.get()).map(({ data }) => data.name)).to.deep.equal(['Fido', 'Rex'])
    })

    define('takes the version of each where several are saved at once', async (opened) => {
      const { school, log } = logOn(opened)
      await school.save(await log.trigger({ name: 'Fido' }))
      const rex = await log.trigger({ name: 'Rex' })
      const ann = await log.trigger({ name: 'Ann' }, { version: rex.originatorVersion + 1 })
      await school.save(rex, ann)
      expect((await log.get()).map(({ originatorVersion }) => originatorVersion)).to.deep.equal([1, 2, 3])
    })

    define(
      'goes on after what its transaction has saved, and again from there where that is rolled back',
      async (opened) => {
        const { school, log } = logOn(opened)
        await school.save(await log.trigger({ name: 'Fido' }))
        await rejection(
          school.transaction(async () => {
            await school.save(await log.trigger({ name: 'Rex' }))
            expect((await log.trigger({ name: 'Ann' })).originatorVersion).to.equal(3)
            throw new RangeError('no')
          }),
          RangeError,
        )
        expect((await log.trigger({ name: 'Ann' })).originatorVersion).to.equal(2)
      },
    )

    define('is beside the streams of aggregates, and is none', async (opened) => {
      const { school, log } = logOn(opened)
      await school.save(await log.trigger({ name: 'Fido' }), Cat.register('Tom'))
      expect(await school.repository.has(log.originatorId)).to.equal(true)
      await rejection(school.repository.get(Dog, log.originatorId), AggregateTypeError, 'EventSourcedLog')
      expect(await new EventSourcedLog(school.events, 'other dogs', 'Dogs.Logged').get()).to.deep.equal([])
    })
  })

  describe('Metadata', () => {
    define('leads from an event that was read to what it caused, and back', async (opened) => {
      const school = schoolOn(opened)
      const dog = new Dog('Fido')
      await withMetadata({ correlationId: 'request 7' }, () => school.save(dog))
      const logged = new Dog('Rex')
      await withMetadata({ correlationId: 'request 7' }, async () => {
        logged.addTrick('sit')
        await school.save(logged)
      })
      const [, taught] = await school.events.get(logged.id)
      expect(taught?.metadata).to.deep.equal({ correlationId: 'request 7' })
      const cat = await causedBy(taught!, async () => {
        const caused = Cat.register('Tom')
        await school.save(caused)
        return caused
      })
      const [registered] = await school.events.get(cat.id)
      expect(registered?.metadata).to.deep.equal({ correlationId: 'request 7', causationId: `${logged.id}@2` })
    })
  })
}

function logOn(opened: Opened) {
  const school = schoolOn(opened)
  return { school, log: new EventSourcedLog<{ name: string }>(school.events, 'all dogs', 'Dogs.Logged') }
}
