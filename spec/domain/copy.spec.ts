import { expect } from 'chai'
import fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import { frozenCopy, ownCopy } from '../../lib/domain/copy.js'
import { ProgrammingError } from '../../lib/errors.js'
import { anyBuiltIn } from '../support/built-in-values.js'

const owner = `Event 'Dog.Registered'`

describe('A copy of data', () => {
  it('has what the original has, and shares nothing with it', () => {
    fc.assert(
      fc.property(anyData, (data) => {
        for (const copy of [copyOf(data), frozenCopy(data, owner)]) {
          if (!isDeepStrictEqual(copy, data)) throw new Error('differs')
          const originals = new Set(objectsIn(data))
          for (const object of objectsIn(copy)) if (originals.has(object)) throw new Error('shares')
        }
      }),
      { numRuns: 500 },
    )
  })

  it('is frozen at every level, or nowhere', () => {
    fc.assert(
      fc.property(anyData, (data) => {
        for (const object of objectsIn(frozenCopy(data, owner))) {
          if (isDictionaryOrArray(object)) expect(Object.isFrozen(object)).to.equal(true)
        }
        for (const object of objectsIn(copyOf(data))) {
          if (Reflect.ownKeys(object).length > 0) expect(Object.isFrozen(object)).to.equal(false)
        }
      }),
    )
  })

  it('turns holes into undefined, a Buffer into bytes, and an object without prototype into a plain one', () => {
    const holes = copyOf([1, , 3])
    expect(1 in holes).to.equal(true)
    const bytes = copyOf({ bytes: Buffer.from('abc') }).bytes
    expect(Object.getPrototypeOf(bytes)).to.equal(Uint8Array.prototype)
    expect([...bytes]).to.deep.equal([97, 98, 99])
    expect(bytes.buffer.byteLength).to.equal(3)
    const plain = copyOf(Object.assign(Object.create(null) as object, { a: 1 }))
    expect(Object.getPrototypeOf(plain)).to.equal(Object.prototype)
  })

  it('keeps instances of other classes as they are', () => {
    class Money {
      constructor(readonly cents: number) {}
    }
    const money = new Money(1)
    const copy = copyOf({ list: [money] })
    expect(copy.list[0]).to.equal(money)
    expect(Object.isFrozen(frozenCopy({ money }, owner).money)).to.equal(false)
  })

  it('is reached by no change of a value of JavaScript’s own classes', () => {
    const given = {
      url: new URL('https://example.com/a'),
      pattern: /a/g,
      numbers: Float64Array.of(1, 2),
      view: new DataView(new ArrayBuffer(2)),
      buffer: new ArrayBuffer(2),
      error: new Error('no', { cause: { wind: 1 } }),
    }
    const frozen = frozenCopy(given, owner)
    for (const { url, pattern, numbers, view, buffer, error } of [given, ownCopy(frozen)]) {
      url.searchParams.set('q', '1')
      pattern.lastIndex = 7
      numbers.fill(9)
      view.setInt8(0, 9)
      new Uint8Array(buffer).fill(9)
      error.message = 'changed'
      ;(error.cause as { wind: number }).wind = 2
    }
    expect(frozen.url.href).to.equal('https://example.com/a')
    expect(frozen.pattern.lastIndex).to.equal(0)
    expect([...frozen.numbers, frozen.view.getInt8(0), ...new Uint8Array(frozen.buffer)]).to.deep.equal([1, 2, 0, 0, 0])
    expect([frozen.error.message, frozen.error.cause]).to.deep.equal(['no', { wind: 1 }])
  })

  it('of an error has no stack, and refuses accessors of it as those of any object', () => {
    expect(copyOf(new RangeError('no')).stack).to.equal('RangeError: no')
    const error = Object.defineProperty(new Error('no'), 'secret', { get: () => 'secret', enumerable: true })
    expect(() => frozenCopy({ error }, owner)).to.throw(ProgrammingError, 'accessor')
  })

  it('has a __proto__ of its own where the original has, and no other prototype', () => {
    const data = JSON.parse('{"__proto__":{"admin":true},"a":{"__proto__":1}}') as Record<string, unknown>
    const copy = copyOf(data)
    expect(Object.getPrototypeOf(copy)).to.equal(Object.prototype)
    expect(copy['admin']).to.equal(undefined)
    expect(JSON.stringify(copy)).to.equal('{"__proto__":{"admin":true},"a":{"__proto__":1}}')
  })

  it('refuses what is no data, by the owner’s name and without the value', () => {
    const circle: Record<string, unknown> = {}
    circle['list'] = [circle, circle]
    const deep = Array.from({ length: 600 }).reduce<unknown>((inner) => ({ inner }), 'secret')
    const accessor = Object.defineProperty({}, 'a', { get: () => 'secret', enumerable: true })
    for (const value of [
      () => 'secret',
      Symbol('secret'),
      { [Symbol('secret')]: 1 },
      accessor,
      circle,
      deep,
      new Map([['a', () => 'secret']]),
      new Set([Symbol('secret')]),
    ]) {
      for (const data of [{ value }, [[value]]]) {
        expect(() => frozenCopy(data, owner))
          .to.throw(ProgrammingError, /Dog\.Registered/)
          .with.property('message')
          .not.match(/secret/)
      }
    }
  })
})

/** The copy of an event's data that its body is given. */
function copyOf<T>(data: T): T {
  return ownCopy(frozenCopy(data, owner))
}

const { value: anyData } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'data' },
    fc.string(),
    fc.double(),
    fc.bigInt(),
    fc.constantFrom(undefined, null, true, -0),
    // Node takes two dates that are none for different
    fc.date({ noInvalidDate: true }),
    fc.uint8Array(),
    fc.array(tie('value')),
    fc
      .dictionary(fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'toString')), tie('value'))
      .map((each) => ({
        ...each,
      })),
    fc.array(fc.tuple(tie('value'), tie('value'))).map((entries) => new Map(entries)),
    fc.array(tie('value')).map((items) => new Set(items)),
    anyBuiltIn(tie('value')),
  ),
}))

function* objectsIn(value: unknown): Generator<object> {
  if (typeof value !== 'object' || value === null) return
  yield value
  const inside =
    value instanceof Map ? [...value.keys(), ...value.values()] : value instanceof Set ? [...value] : innerValues(value)
  for (const each of inside) yield* objectsIn(each)
}

function innerValues(value: object): unknown[] {
  return value instanceof Uint8Array ? [] : Object.values(value)
}

function isDictionaryOrArray(value: object): boolean {
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype
}
