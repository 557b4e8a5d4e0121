import { expect } from 'chai'
import { withMetadata } from '../../lib/domain/metadata.js'
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
