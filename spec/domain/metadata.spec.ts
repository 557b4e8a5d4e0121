import { expect } from 'chai'
import { causedBy, causeOf, eventId, withMetadata } from '../../lib/domain/metadata.js'
import { ProgrammingError } from '../../lib/errors.js'
import { Cat, Dog } from '../support/dogs.js'

const metadataOf = (dog: Dog | Cat) => dog.pendingEvents.map(({ metadata }) => metadata)

describe('Metadata', () => {
  it('is on every event caused inside, and on none outside', () => {
    const dog = new Dog('Fido')
    withMetadata({ userId: 1 }, () => dog.addTrick('sit'))
    dog.addTrick('beg')
    expect(metadataOf(dog)).to.deep.equal([{}, { userId: 1 }, {}])
    expect(metadataOf(withMetadata({ userId: 2 }, () => Cat.register('Tom')))).to.deep.equal([{ userId: 2 }])
  })

  it('lasts across awaits, each call with its own', async () => {
    const work = async (userId: number) =>
      withMetadata({ userId }, async () => {
        const dog = new Dog('Fido')
        await new Promise((resolve) => setTimeout(resolve, 3 - userId))
        dog.addTrick('sit')
        return dog
      })
    const [a, b] = await Promise.all([work(1), work(2)])
    expect([metadataOf(a), metadataOf(b)]).to.deep.equal([
      [{ userId: 1 }, { userId: 1 }],
      [{ userId: 2 }, { userId: 2 }],
    ])
  })

  it('merges when nested, the innermost value first', () => {
    const dogs = withMetadata({ userId: 1, request: 'a' }, () => {
      const inner = withMetadata({ userId: 2, step: 3 }, () => new Dog('Inner'))
      return [inner, new Dog('Outer')]
    })
    expect(dogs.map(metadataOf)).to.deep.equal([[{ userId: 2, request: 'a', step: 3 }], [{ userId: 1, request: 'a' }]])
  })

  it('is a frozen copy', () => {
    const given = { user: { roles: ['admin'] } }
    const dog = withMetadata(given, () => {
      given.user.roles.push('root')
      return new Dog('Fido')
    })
    const [metadata] = metadataOf(dog)
    expect(metadata).to.deep.equal({ user: { roles: ['admin'] } })
    expect(() => (metadata!['user'] = 1)).to.throw(TypeError)
    expect(() => (metadata as typeof given).user.roles.push('x')).to.throw(TypeError)
  })

  it('passes on what the work returns or throws', async () => {
    expect(withMetadata({}, () => 7)).to.equal(7)
    expect(() =>
      withMetadata({}, () => {
        throw new RangeError('no')
      }),
    ).to.throw(RangeError)
    expect(await withMetadata({}, () => Promise.resolve(8))).to.equal(8)
  })

  it('refuses what is no plain object, and values that can’t be kept', () => {
    for (const metadata of [null, undefined, 'text', ['a'], new Map()]) {
      expect(() => withMetadata(metadata as never, () => 1)).to.throw(ProgrammingError, /plain object/)
    }
    expect(() => withMetadata({ f: () => 1 }, () => 1)).to.throw(ProgrammingError, /metadata.*function/)
  })
})

describe('causedBy', () => {
  const idsOf = (dog: Dog | Cat) => metadataOf(dog).at(-1)
  const firstOf = (dog: Dog | Cat) => dog.pendingEvents[0]!

  it('says what caused an event, and what everything belongs to that came of it', () => {
    const dog = new Dog('Fido')
    const first = firstOf(dog)
    const cat = causedBy(first, () => Cat.register('Tom'))
    expect(idsOf(cat)).to.deep.equal({ correlationId: `${dog.id}@1`, causationId: `${dog.id}@1` })
    const other = causedBy(firstOf(cat), () => new Dog('Rex'))
    expect(idsOf(other)).to.deep.equal({ correlationId: `${dog.id}@1`, causationId: `${cat.id}@1` })
  })

  it('passes on the correlation that somebody else began, and nothing else of the event', () => {
    const dog = withMetadata({ correlationId: 'request 7', userId: 'ann' }, () => new Dog('Fido'))
    expect(idsOf(dog)).to.deep.equal({ correlationId: 'request 7', userId: 'ann' })
    const cat = causedBy(firstOf(dog), () => Cat.register('Tom'))
    expect(idsOf(cat)).to.deep.equal({ correlationId: 'request 7', causationId: `${dog.id}@1` })
  })

  it('is about the innermost event where it is nested, and leaves other metadata as it is', () => {
    const [a, b] = [new Dog('A'), withMetadata({ correlationId: 'request 7' }, () => new Dog('B'))]
    withMetadata({ userId: 'ann', correlationId: 'request 8' }, () =>
      causedBy(firstOf(a), () => {
        const inner = causedBy(firstOf(b), () => new Dog('Inner'))
        expect(idsOf(inner)).to.deep.equal({
          userId: 'ann',
          correlationId: 'request 7',
          causationId: eventId(firstOf(b)),
        })
        expect(idsOf(new Dog('Outer'))).to.deep.equal({
          userId: 'ann',
          correlationId: eventId(firstOf(a)),
          causationId: eventId(firstOf(a)),
        })
      }),
    )
  })

  it('lasts across awaits, each call with its own', async () => {
    const causes = ['A', 'B', 'C'].map((name) => new Dog(name))
    const effects = await Promise.all(
      causes.map(async (cause, index) =>
        causedBy(firstOf(cause), async () => {
          await new Promise((resolve) => setTimeout(resolve, 3 - index))
          return new Dog(`because of ${cause.name}`)
        }),
      ),
    )
    expect(effects.map(idsOf)).to.deep.equal(
      causes.map(({ id }) => ({ correlationId: `${id}@1`, causationId: `${id}@1` })),
    )
  })

  it('gives back what the work returns', async () => {
    expect(causedBy(firstOf(new Dog('Fido')), () => 7)).to.equal(7)
    expect(await causedBy(firstOf(new Dog('Fido')), async () => 8)).to.equal(8)
  })

  it('takes whatever has an originator and a version, and refuses the rest', () => {
    const { metadata } = causedBy({ originatorId: 'x', originatorVersion: 3 }, () => firstOf(new Dog('Fido')))
    expect(metadata).to.deep.equal({ correlationId: 'x@3', causationId: 'x@3' })
    for (const event of [
      undefined,
      null,
      {},
      new Dog('Fido'),
      { originatorId: '', originatorVersion: 1 },
      { originatorId: 'x', originatorVersion: 0 },
    ]) {
      expect(() => causedBy(event as never, () => 1)).to.throw(ProgrammingError, 'no domain event')
    }
  })

  it('can be followed back to the event, whatever its originator’s id is like', () => {
    for (const originatorId of [Dog.createId('Fido'), 'a@b', '@', 'x@1']) {
      const event = causedBy({ originatorId, originatorVersion: 12 }, () => firstOf(new Dog('Fido')))
      expect(causeOf(event)).to.deep.equal({ originatorId, originatorVersion: 12 })
    }
    for (const causationId of [undefined, 7, 'message 7', 'a@', '@1', 'a@0', 'a@1.5', 'a@1e3', 'a@99999999999999999']) {
      expect(causeOf({ metadata: { causationId } }), String(causationId)).to.equal(undefined)
    }
  })
})
