import fc from 'fast-check'
import { errorClasses, typedArrayClasses } from '../../lib/domain/built-ins.js'

/** Of JavaScript's own classes whose values can be changed, any value; errors hold `inner` as their causes. */
export function anyBuiltIn(inner: fc.Arbitrary<unknown>): fc.Arbitrary<object> {
  return fc.oneof(
    fc.webUrl({ withFragments: true, withQueryParameters: true }).map((text) => new URL(text)),
    anyRegExp,
    fc.uint8Array().map((bytes) => bytes.slice().buffer),
    fc.uint8Array().map((bytes) => new DataView(bytes.slice().buffer)),
    anyTypedArray,
    anyError(inner),
  )
}

const anyRegExp = fc
  .tuple(
    fc.constantFrom('', 'a+', '^[/\\]\n]$', '(?<year>\\d{4})/\\p{L}', '🐕'),
    fc.subarray([...'dgimsuy']),
    fc.nat(9),
  )
  .map(([source, flags, lastIndex]) => Object.assign(new RegExp(source, flags.join('')), { lastIndex }))

const anyTypedArray = fc
  .tuple(fc.constantFrom(...typedArrayClasses.values()), fc.array(fc.nat(255)))
  .map(([type, bytes]) => {
    const whole = Uint8Array.from(bytes.slice(0, bytes.length - (bytes.length % type.BYTES_PER_ELEMENT)))
    const view = new type(whole.buffer)
    // Node takes two that are no number for different
    return Array.from(view as Uint8Array).some((each) => Number.isNaN(each)) ? new type(new ArrayBuffer(8)) : view
  })

const anyError = (inner: fc.Arbitrary<unknown>) =>
  fc
    .tuple(
      fc.constantFrom(...errorClasses.keys()),
      fc.option(fc.string(), { nil: undefined }),
      fc.option(inner, { nil: undefined }),
      fc.array(inner, { maxLength: 2 }),
      fc.dictionary(fc.constantFrom('code', 'errno', '__proto__', 'name', 'type'), fc.string()),
    )
    .map(([type, message, cause, errors, properties]) => {
      const errorClass = errorClasses.get(type)!
      const error = type === 'AggregateError' ? new AggregateError(errors, message) : new errorClass(message)
      if (cause !== undefined)
        Object.defineProperty(error, 'cause', { value: cause, writable: true, configurable: true })
      for (const [key, value] of Object.entries(properties)) {
        Object.defineProperty(error, key, { value, writable: true, enumerable: true, configurable: true })
      }
      return error
    })
