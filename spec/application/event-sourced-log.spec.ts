import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import { EventSourcedLog } from '../../lib/application/event-sourced-log.js'
import { aggregate } from '../../lib/domain/decorators.js'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { registerTopicAlias } from '../../lib/domain/topics.js'
import { ProgrammingError, TopicError } from '../../lib/errors.js'
import '../../lib/index.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'

class Kennel extends Application {
  // a field: app.events is there when fields are made
  readonly dogs = EventSourcedLog<DogListed>(this.events, 'dogs', 'Kennel.DogListed')

  async add(name: string): Promise<void> {
    const dog = new Dog(name)
    await this.save(dog, await this.dogs.trigger({ dogId: dog.id }))
  }
}

/** An interface, which has no index signature. */
interface DogListed {
  dogId: string
}

// What every backend has is in the conformance suite.
describe('EventSourcedLog', () => {
  const { events } = new Application()

  it('may be a field of an application, with or without new', async () => {
    const kennel = new Kennel()
    await kennel.add('Fido')
    await kennel.add('Rex')
    const ids = (await kennel.dogs.get()).map(({ data }) => data.dogId)
    expect(ids).to.deep.equal([Dog.createId('Fido'), Dog.createId('Rex')])
    const same = new EventSourcedLog<DogListed>(kennel.events, 'dogs', 'Kennel.DogListed')
    expect(await same.get()).to.deep.equal(await kennel.dogs.get())
    for (const log of [same, kennel.dogs]) {
      expect(log).to.be.instanceOf(EventSourcedLog)
      expect(log.constructor).to.equal(EventSourcedLog)
    }
  })

  it('may be extended by methods in the domain’s words', async () => {
    class Dogs extends EventSourcedLog<DogListed> {
      async ids() {
        return (await this.get()).map(({ data }) => data.dogId)
      }
    }
    const kennel = new Kennel()
    await kennel.add('Fido')
    const dogs = new Dogs(kennel.events, 'dogs', 'Kennel.DogListed')
    expect(dogs).to.be.instanceOf(Dogs)
    expect(await dogs.ids()).to.deep.equal([Dog.createId('Fido')])
  })

  it('takes data as it is at the call, and gives it frozen', async () => {
    const log = new EventSourcedLog<{ names: string[] }>(events, 'names', 'Names.Given')
    const data = { names: ['Fido'] }
    const triggering = log.trigger(data)
    data.names.push('Rex')
    const event = await triggering
    expect(event.data).to.deep.equal({ names: ['Fido'] })
    expect(Object.isFrozen(event) && Object.isFrozen(event.data.names)).to.equal(true)
  })

  it('reads nothing where it is told the version', async () => {
    const log = new EventSourcedLog({ get: () => expect.fail('reads') }, 'names', 'Names.Given')
    expect((await log.trigger({}, { version: 7 })).originatorVersion).to.equal(7)
    for (const version of [0, -1, 1.5, NaN, '2' as never]) {
      await rejection(log.trigger({}, { version }), ProgrammingError, 'version')
    }
  })

  it('refuses data that can’t be kept, and arguments that it has no use for', async () => {
    const log = new EventSourcedLog(events, 'names', 'Names.Given')
    // @ts-expect-error the data is said by the type
    await new EventSourcedLog<DogListed>(events, 'dogs', 'Kennel.DogListed').trigger({ dog: 'Fido' })
    for (const data of [undefined, null, 'Fido', [1], new Map()]) {
      await rejection(log.trigger(data as never), ProgrammingError, 'plain object')
    }
    await rejection(log.trigger({ name: () => 'Fido' }), ProgrammingError, 'Names.Given')
    expect(() => new EventSourcedLog(undefined as never, 'names', 'Names.Given')).to.throw(ProgrammingError, 'events')
    for (const id of ['', undefined, 7, 'a\0']) {
      expect(() => new EventSourcedLog(events, id as never, 'Names.Given')).to.throw(ProgrammingError, 'originatorId')
    }
    for (const topic of ['', undefined, 'a\0']) {
      expect(() => new EventSourcedLog(events, 'names', topic as never)).to.throw(ProgrammingError, 'topic')
    }
  })

  it('shares its topic with no aggregate, whichever comes first', () => {
    for (const topic of ['Dog', 'Dog.Registered']) {
      expect(() => new EventSourcedLog(events, 'dogs', topic)).to.throw(TopicError, 'taken')
    }
    new EventSourcedLog(events, 'wolves', 'Wolf.Created')
    new EventSourcedLog(events, 'foxes', 'Vixen')
    const define = (name: string) => () => {
      @aggregate(name)
      class Animal extends Aggregate {}
      return Animal
    }
    for (const name of ['Wolf', 'Vixen']) expect(define(name)).to.throw(TopicError, 'taken')
    new EventSourcedLog(events, 'wolves', 'Wolf.Created')
  })

  it('is to be constructed before its events are read, and says so', async () => {
    const app = new Application()
    const state = Buffer.from('{"timestamp":"2026-11-22T10:00:00.000Z","data":{}}')
    await app.recorder.insertEvents([{ originatorId: 'cats', originatorVersion: 1, topic: 'Cats.Listed', state }])
    const error = await rejection(app.events.get('cats'), TopicError, '"Cats.Listed"')
    expect(error.message).to.include('EventSourcedLog')
    expect(await new EventSourcedLog(app.events, 'cats', 'Cats.Listed').get()).to.have.length(1)
  })

  it('finds events that were stored under a former topic, by an alias', async () => {
    const kennel = new Kennel()
    const { data, ...rest } = await new EventSourcedLog(kennel.events, 'old', 'Kennel.DogListed').trigger({
      dogId: 'x',
    })
    const state = Buffer.from(JSON.stringify({ timestamp: rest.timestamp.toISOString(), data }))
    const { originatorId, originatorVersion } = rest
    await kennel.recorder.insertEvents([{ originatorId, originatorVersion, topic: 'DogWasListed', state }])
    registerTopicAlias('DogWasListed', 'Kennel.DogListed')
    const [found] = await new EventSourcedLog(kennel.events, 'old', 'Kennel.DogListed').get()
    expect(found).to.include({ topic: 'Kennel.DogListed' })
    expect(found?.data).to.deep.equal({ dogId: 'x' })
  })
})
