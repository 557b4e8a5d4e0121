import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import { Decimal } from 'decimal.js'
import { Temporal } from 'temporal-polyfill'
import { Application } from '../../lib/application/application.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import { MapperDeserialisationError, ProgrammingError, TranscodingNotRegisteredError } from '../../lib/errors.js'
import '../../lib/index.js'
import { sqlite } from '../../lib/sqlite/index.js'
import type { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import { decimalTranscoding, temporalTranscodings } from '../../lib/persistence/value-transcodings.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { TrainingSchool } from '../support/training-school.js'

type LeashEvents = { Sold: { values: unknown } }

class Leash extends EventedAggregate<LeashEvents> {
  static readonly topic = 'Leash'
  values: unknown
  static sell(values: unknown) {
    return Leash.create('Sold', { values })
  }
  static readonly evolve: Evolve<Leash, LeashEvents> = {
    Sold(leash, { values }) {
      leash.values = values
    },
  }
}

class Shop extends Application {
  protected override registerTranscodings(transcoder: JsonTranscoder): void {
    transcoder.register(decimalTranscoding(Decimal))
    for (const each of temporalTranscodings(Temporal)) transcoder.register(each)
  }
}

describe('values in events', () => {
  it('of JavaScript’s own classes are the same in an aggregate that was replayed as in the one that was saved', async () => {
    const shop = new Application()
    const leash = Leash.sell({
      url: new URL('https://example.com/leash?length=2'),
      pattern: /^L-\d+$/i,
      lengths: Float64Array.of(1.5, 2),
      picture: new Uint8Array([1, 2]).buffer,
      nothing: undefined,
      reason: new RangeError('too short', { cause: new Error('measured', { cause: 1.4 }) }),
    })
    await shop.save(leash)
    const replayed = await shop.repository.get(Leash, leash.id)
    expect(isDeepStrictEqual(replayed, leash)).to.equal(true)
    const { url, reason } = replayed.values as { url: URL; reason: Error }
    expect(url.href).to.equal('https://example.com/leash?length=2')
    expect(reason.stack).to.equal((leash.values as { reason: Error }).reason.stack)
    expect(
      (replayed.values as object) !== leash.values && Object.hasOwn(replayed.values as object, 'nothing'),
    ).to.equal(true)
  })

  it('of registered classes come back as instances, and are refused by an application that has them not', async () => {
    const persistence = sqlite(':memory:')
    const [shop, other] = [new Shop({ persistence }), new Application({ persistence, name: 'Shop' })]
    const price = new Decimal('19.99')
    const [day, warranty] = [Temporal.PlainDate.from('2026-11-22'), Temporal.Duration.from({ months: 24 })]
    const leash = Leash.sell({ price, day, warranty })
    await rejection(other.save(leash), TranscodingNotRegisteredError, /Leash\.Sold.*(Decimal|PlainDate)/)
    await shop.save(leash)
    const values = (await shop.repository.get(Leash, leash.id)).values as Record<string, unknown>
    expect(values['price'])
      .to.be.instanceOf(Decimal)
      .and.satisfy((found: Decimal) => found.equals(price))
    expect(values['day'])
      .to.be.instanceOf(Temporal.PlainDate)
      .and.satisfy((found: Temporal.PlainDate) => found.equals(day))
    expect((values['warranty'] as Temporal.Duration).months).to.equal(24)
    await rejection(other.repository.get(Leash, leash.id), MapperDeserialisationError, '"decimal"')
  })
})

describe('a transcoder and a mapper by topic', () => {
  const topicBase = new URL('../support/', import.meta.url)
  const schoolWith = (env: Record<string, unknown>, persistence = sqlite(':memory:')) =>
    new TrainingSchool({ env, topicBase, persistence })

  it('are what events are stored and read by, found from a relative topic', async () => {
    const TRANSCODER_TOPIC = './custom-mapping.js#BackwardsTranscoder'
    const MAPPER_TOPIC = './custom-mapping.js#ForeignMapper'
    const school = schoolWith({ TRANSCODER_TOPIC, TRAINING_SCHOOL_MAPPER_TOPIC: MAPPER_TOPIC })
    await school.register('Fido')
    await school.addTrick('Fido', 'sit')
    expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    const [, taught] = await school.notificationLog.select()
    expect(taught?.topic).to.equal('foreign:Dog.TrickAdded')
    expect(Buffer.from(taught!.state).reverse().toString()).to.match(/^\{"timestamp":.*"data":\{"trick":"sit"\}\}$/)
    expect((await school.events.get(Dog.createId('Fido'))).map(({ topic }) => topic)).to.deep.equal([
      'Dog.Registered',
      'Dog.TrickAdded',
    ])
  })

  it('may be a ready transcoder, whose events others can’t read', async () => {
    const persistence = sqlite(':memory:')
    const { BackwardsTranscoder } = await import('../support/custom-mapping.js')
    await schoolWith({ TRANSCODER_TOPIC: new BackwardsTranscoder() }, persistence).register('Fido')
    await rejection(schoolWith({}, persistence).tricks('Fido'), MapperDeserialisationError, 'Dog.Registered')
  })

  it('are refused where they are none', async () => {
    const transcoder = schoolWith({ TRANSCODER_TOPIC: './custom-mapping.js#notATranscoder' })
    await rejection(transcoder.ready(), ProgrammingError, 'TRANSCODER_TOPIC')
    const mapper = schoolWith({ MAPPER_TOPIC: './custom-mapping.js#BackwardsTranscoder' })
    await rejection(mapper.ready(), ProgrammingError, 'MAPPER_TOPIC')
  })
})
