import { deflateSync, brotliCompressSync } from 'node:zlib'
import { deserialize, serialize } from 'node:v8'
import { expect } from 'chai'
import fc from 'fast-check'
import { Application } from '../../lib/application/application.js'
import type { DomainEvent } from '../../lib/domain/event.js'
import type { EventSourcingError } from '../../lib/errors.js'
import { MapperDeserialisationError, OperationalError, ProgrammingError, TopicError } from '../../lib/errors.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import { AesCipher, type Cipher, type CipherContext, createKey } from '../../lib/persistence/cipher.js'
import { BrotliCompressor, type Compressor, ZlibCompressor } from '../../lib/persistence/compressor.js'
import { Environment } from '../../lib/persistence/environment.js'
import { EventStore } from '../../lib/persistence/event-store.js'
import { Mapper, type MapperOptions } from '../../lib/persistence/mapper.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import { Dog } from '../support/dogs.js'
import { failure, rejection } from '../support/rejection.js'

const context: CipherContext = { kind: 'event', originatorId: 'fido', originatorVersion: 2, topic: 'Dog.TrickAdded' }
const transcoder = new JsonTranscoder()

describe('Compressed and encrypted states', function () {
  before(function () {
    expect(new Dog('Fido').pendingEvents[0]).to.include({ topic: 'Dog.Registered' })
  })

  const ways: Readonly<Record<string, Partial<MapperOptions>>> = {
    zlib: { compressor: new ZlibCompressor() },
    brotli: { compressor: new BrotliCompressor() },
    AES: { cipher: new AesCipher(createKey()) },
    'zlib and AES': { compressor: new ZlibCompressor(), cipher: new AesCipher(`b:${createKey()}`) },
    'brotli and AES': { compressor: new BrotliCompressor(), cipher: new AesCipher(createKey()) },
  }
  for (const [way, options] of Object.entries(ways)) {
    describe(`by ${way}`, function () {
      const mapper = new Mapper({ transcoder, ...options })

      it('give every event back equal, one by one and together', function () {
        const events = fc.sample(fc.dictionary(fc.string(), fc.jsonValue()), 50).map((data) => anEvent({ data }))
        const together = mapper.toStoredEvents(events)
        for (const [index, event] of events.entries()) {
          for (const stored of [mapper.toStoredEvent(event), together[index]!]) {
            expect(stored).to.include({ originatorId: 'fido', originatorVersion: 2, topic: 'Dog.TrickAdded' })
            expect(mapper.decode(stored)).to.deep.equal(event)
          }
        }
        expect(mapper.openEvents(together)).to.deep.equal(events)
        expect(mapper.openEvents(mapper.sealEvents(events) as StoredEvent[])).to.deep.equal(events)
        expect(mapper.takesText).to.equal(false)
      })

      it('are refused with any one byte changed, or never read as something else', function () {
        const event = anEvent({ data: { trick: 'SECRET '.repeat(4) } })
        const { state, ...row } = mapper.toStoredEvent(event)
        for (const at of state.keys()) {
          for (const flip of [1, 2, 0x10, 0x80, 0xff]) {
            const damaged = Uint8Array.from(state)
            damaged[at]! ^= flip
            refuses(mapper, { ...row, state: damaged }, options.cipher ? undefined : event)
          }
        }
      })

      it('are refused where they are cut short, or have more behind them', function () {
        const { state, ...row } = mapper.toStoredEvent(anEvent({ data: { trick: 'SECRET '.repeat(40) } }))
        for (let length = 0; length < state.length; length++) {
          refuses(mapper, { ...row, state: state.subarray(0, length) })
        }
        for (const more of [Buffer.of(0), state]) refuses(mapper, { ...row, state: Buffer.concat([state, more]) })
      })

      it('are refused where they are any other bytes', function () {
        fc.assert(
          fc.property(fc.uint8Array({ maxLength: 100 }), (state) => {
            refuses(mapper, { ...row(), state })
          }),
        )
      })
    })
  }

  describe('A compressor', function () {
    for (const [name, bomb] of [
      ['zlib', deflateSync(Buffer.alloc(1_000_001, 'SECRET'))],
      ['brotli', Buffer.from(new BrotliCompressor({ maxSize: 1e7 }).compress(Buffer.alloc(1_000_001, 'SECRET')))],
    ] as const) {
      it(`refuses what would grow above its limit, before it has grown: ${name}`, async function () {
        expect(bomb.length).to.be.below(2000)
        const env = { COMPRESSOR_TOPIC: name }
        const mapper = await mapperOf({ ...env, COMPRESSOR_MAX_SIZE: '1000000' })
        const error = refuses(mapper, { ...row(), state: bomb })
        expect(error.message).to.include('1000000').and.include('COMPRESSOR_MAX_SIZE')
        expect(refuses(await mapperOf(env), { ...row(), state: bomb }).message).not.to.include('COMPRESSOR_MAX_SIZE')
        // nor does it write what it could not read
        expect(() => mapper.toStoredEvent(anEvent({ data: { trick: 'a'.repeat(1_000_000) } }))).to.throw(
          ProgrammingError,
          'COMPRESSOR_MAX_SIZE',
        )
        const largest = anEvent({ data: { trick: 'a'.repeat(900_000) } })
        expect(mapper.decode(mapper.toStoredEvent(largest))).to.deep.equal(largest)
      })
    }

    it('allows 64 MiB', function () {
      for (const compressor of [new ZlibCompressor(), new BrotliCompressor()]) {
        expect(() => compressor.compress(Buffer.alloc(64 * 1024 * 1024 + 1))).to.throw(ProgrammingError, '67108864')
      }
      const most = deflateSync(Buffer.alloc(64 * 1024 * 1024))
      expect(new ZlibCompressor().decompress(most)).to.have.length(64 * 1024 * 1024)
      const bomb = deflateSync(Buffer.alloc(64 * 1024 * 1024 + 1))
      expect(() => new ZlibCompressor().decompress(bomb)).to.throw(MapperDeserialisationError, '67108864')
      for (const maxSize of [0, -1, 1.5, NaN, '7' as never]) {
        expect(() => new ZlibCompressor({ maxSize })).to.throw(ProgrammingError, 'maxSize')
      }
    })

    it('reads what it has written, however much it allows', function () {
      for (const maxSize of [2 ** 32, Number.MAX_SAFE_INTEGER]) {
        for (const compressor of [new ZlibCompressor({ maxSize }), new BrotliCompressor({ maxSize })]) {
          expect(compressor.decompress(compressor.compress(Buffer.of(1, 2)))).to.deep.equal(Buffer.of(1, 2))
        }
      }
    })

    it('says of an encrypted state what is missing', function () {
      const compressor = new ZlibCompressor()
      const sealed = new Mapper({ transcoder, compressor, cipher: new AesCipher(createKey()) }).toStoredEvent(
        anEvent({}),
      )
      const error = refuses(new Mapper({ transcoder, compressor }), sealed)
      expect(error.message).to.include('it is encrypted, and no CIPHER_KEY')
    })

    it('that gives promises is refused, and leaves no rejection alone', async function () {
      const later = () => Promise.reject(new Error('SECRET')) as unknown as Uint8Array
      const mapper = new Mapper({ transcoder, compressor: { compress: later, decompress: later } })
      expect(() => mapper.toStoredEvent(anEvent({}))).to.throw(ProgrammingError, 'compress()')
      expect(() => mapper.toDomainEvent({ ...row(), state: Buffer.of(1) })).to.throw(ProgrammingError, 'decompress()')
      // mocha fails the run at an unhandled rejection
      await new Promise((resolve) => setImmediate(resolve))
    })

    it('reads what was stored before it, and what the other one has written', function () {
      const event = anEvent({ data: { trick: 'sit' } })
      const mappers = [
        new Mapper({ transcoder }),
        new Mapper({ transcoder, compressor: new ZlibCompressor() }),
        new Mapper({ transcoder, compressor: new BrotliCompressor() }),
      ]
      for (const writer of mappers) {
        for (const reader of mappers.slice(1)) expect(reader.decode(writer.toStoredEvent(event))).to.deep.equal(event)
      }
    })

    it('stores a zlib stream that anybody can inflate', function () {
      const plain = new Mapper({ transcoder })
      const { state } = plain.toStoredEvent(anEvent({}))
      const stored = new Mapper({ transcoder, compressor: new ZlibCompressor() }).toStoredEvent(anEvent({}))
      expect(Buffer.from(stored.state).equals(deflateSync(state))).to.equal(true)
      expect(() => plain.decode({ ...stored, state: brotliCompressSync(state) })).to.throw(MapperDeserialisationError)
    })

    it('may be one of one’s own, whatever its bytes begin with', async function () {
      for (const first of [0x7b, 0xc0, 0xc1, 0x78, 0]) {
        const compressor: Compressor = {
          compress: (state) => Buffer.concat([Buffer.of(first), state]),
          decompress: (state) => {
            expect(state[0]).to.equal(first)
            return state.subarray(1)
          },
        }
        for (const env of [{}, { CIPHER_KEY: createKey() }]) {
          const mapper = await mapperOf({ ...env, COMPRESSOR_TOPIC: compressor })
          expect(mapper.decode(mapper.toStoredEvent(anEvent({})))).to.deep.equal(anEvent({}))
        }
      }
    })
  })

  describe('AES', function () {
    const plaintext = Buffer.from('SECRET')

    it('has another nonce for each state', function () {
      const cipher = new AesCipher(createKey())
      const nonces = new Set<string>()
      for (let i = 0; i < 1000; i++) {
        nonces.add(Buffer.from(cipher.encrypt(plaintext, context).subarray(2, 14)).toString('hex'))
      }
      expect(nonces.size).to.equal(1000)
    })

    it('gives up nothing for any other context, however alike they look', function () {
      const cipher = new AesCipher(createKey())
      const contexts: CipherContext[] = [
        context,
        { ...context, kind: 'snapshot' },
        { ...context, originatorId: 'rex' },
        { ...context, originatorId: 'fido2', originatorVersion: 2 },
        { ...context, originatorVersion: 22 },
        { ...context, originatorId: 'fid', topic: 'oDog.TrickAdded' },
        { ...context, topic: 'Dog.TrickAdded2' },
        { ...context, originatorId: '', topic: 'fidoDog.TrickAdded' },
      ]
      for (const one of contexts) {
        const encrypted = cipher.encrypt(plaintext, one)
        for (const other of contexts) {
          const decrypt = () => Buffer.from(cipher.decrypt(encrypted, other)).toString()
          if (one === other) expect(decrypt()).to.equal('SECRET')
          else expect(decrypt).to.throw(MapperDeserialisationError)
        }
      }
    })

    it('decrypts with the key whose id is in the state, and says which is missing', function () {
      const [one, two] = [createKey(), createKey()]
      const old = new AesCipher(one).encrypt(plaintext, context)
      const both = new AesCipher(`2.b:${two}, ${one}`)
      expect(Buffer.from(both.decrypt(old, context)).toString()).to.equal('SECRET')
      const current = both.encrypt(plaintext, context)
      expect(Buffer.from(new AesCipher(`2.b:${two}`).decrypt(current, context)).toString()).to.equal('SECRET')
      for (const [keys, encrypted, missing] of [
        [one, current, 'the key "2.b"'],
        [`2.b:${two}`, old, 'a key without an id'],
      ] as const) {
        expect(() => new AesCipher(keys).decrypt(encrypted, context))
          .to.throw(MapperDeserialisationError, missing)
          .with.property('message')
          .that.satisfies((message: string) => !message.includes(one) && !message.includes(two))
      }
      // a key under another's id
      expect(() => new AesCipher(`2.b:${one}`).decrypt(current, context)).to.throw(MapperDeserialisationError)
    })

    it('makes keys of its own size, each another', function () {
      const keys = Array.from({ length: 100 }, createKey)
      expect(new Set(keys).size).to.equal(100)
      for (const key of keys) expect(Buffer.from(key, 'base64')).to.have.length(32)
      expect(() => new AesCipher(keys[0]!.replaceAll('=', ''))).not.to.throw()
    })

    const wrong: readonly (readonly [string, RegExp])[] = [
      ['SECRET', /base64/],
      [Buffer.alloc(16, 'SECRET').toString('base64'), /32 bytes.*of 16 bytes.*createKey/],
      [Buffer.alloc(24, 'SECRET').toString('base64'), /32 bytes.*of 24 bytes/],
      [Buffer.alloc(33, 'SECRET').toString('base64'), /32 bytes/],
      [Buffer.alloc(32, 'SECRET').toString('hex'), /32 bytes/],
      [`${createKey()},`, /of 0 bytes/],
      [`${createKey()},${createKey()}`, /two keys have no id/],
      [`1:${createKey()},1:${createKey()}`, /two keys have the id "1"/],
      [`:${createKey()}`, /id is/],
      [`SECRET key:${createKey()}`, /id is/],
      [`${'1'.repeat(65)}:${createKey()}`, /id is/],
      [' ', /base64/],
    ]
    for (const [keys, why] of wrong) {
      it(`refuses to begin with ${why.source}: ${keys.length} characters`, async function () {
        for (const begin of [
          () => new AesCipher(keys),
          () => new AesCipher(new Environment('School', { SCHOOL_CIPHER_KEY: keys })),
        ]) {
          expect(begin)
            .to.throw(ProgrammingError, why)
            .with.property('message')
            .that.satisfies((message: string) =>
              keys.split(/[:,]/).every((part) => part.length < 9 || !message.includes(part)),
            )
        }
        await rejection(new MemoryFactory({ CIPHER_KEY: keys }).cipher(), ProgrammingError, 'CIPHER_KEY')
      })
    }
  })

  describe('A cipher by topic', function () {
    it('may be a class, constructed with the environment, or an object', async function () {
      class Swapped implements Cipher {
        readonly #key: string
        constructor(env: Environment) {
          this.#key = env.text('CIPHER_KEY') ?? ''
        }
        encrypt(plaintext: Uint8Array) {
          return Buffer.concat([Buffer.from(this.#key), Buffer.from(plaintext).reverse()])
        }
        decrypt(ciphertext: Uint8Array) {
          return Buffer.from(ciphertext.subarray(this.#key.length)).reverse()
        }
      }
      for (const key of ['of its own form', '{']) {
        const mapper = await mapperOf({ CIPHER_TOPIC: Swapped, CIPHER_KEY: key })
        expect(mapper.decode(mapper.toStoredEvent(anEvent({})))).to.deep.equal(anEvent({}))
      }
      const cipher = new AesCipher(createKey())
      expect(await new MemoryFactory({ CIPHER_TOPIC: cipher }).cipher()).to.equal(cipher)
      expect(await new MemoryFactory({ CIPHER_TOPIC: AesCipher, CIPHER_KEY: createKey() }).cipher()).to.be.instanceOf(
        AesCipher,
      )
      expect(await new MemoryFactory({}).cipher()).to.equal(undefined)
    })

    it('is refused where it is none', async function () {
      for (const [key, value] of [
        ['CIPHER_TOPIC', { encrypt() {} }],
        ['CIPHER_TOPIC', class Nothing {}],
        ['CIPHER_TOPIC', 7],
        ['COMPRESSOR_TOPIC', { compress() {} }],
        ['COMPRESSOR_TOPIC', new JsonTranscoder()],
      ] as const) {
        await rejection(new MemoryFactory({ [key]: value }).mapper(), ProgrammingError, key)
      }
      for (const key of ['COMPRESSOR_TOPIC', 'CIPHER_TOPIC']) {
        await rejection(new MemoryFactory({ [key]: 'gzip' }).mapper(), TopicError, 'gzip')
      }
      for (const [key, value] of [
        ['CIPHER_READS_PLAIN', 'perhaps'],
        ['COMPRESSOR_MAX_SIZE', '0'],
      ] as const) {
        expect(() => {
          new MemoryFactory({ [key]: value }).check()
        }).to.throw(ProgrammingError, key)
      }
    })

    it('is never told where it is a key, in the wrong variable', async function () {
      const key = createKey()
      for (const value of [key, `2026:${key}`, `a:${createKey()}, b:${key}`]) {
        const error = await rejection(
          new MemoryFactory({ CIPHER_TOPIC: value }).mapper(),
          ProgrammingError,
          'CIPHER_KEY',
        )
        expect(error.message).not.to.include(key)
      }
    })

    it('gives bytes, or is refused', async function () {
      const text = 'SECRET' as unknown as Uint8Array
      for (const [cipher, message] of [
        [{ encrypt: () => text, decrypt: () => text }, 'encrypt()'],
        [{ encrypt: async () => text, decrypt: async () => text }, 'encrypt()'],
      ] as const) {
        const mapper = new Mapper({ transcoder, cipher })
        const error = await failure(Promise.resolve().then(() => mapper.sealEvents([anEvent({})])))
        expect(error).to.be.instanceOf(ProgrammingError).with.property('message').that.includes(message)
        const opening = Promise.resolve().then(() => mapper.openEvents([{ ...row(), state: Buffer.of(0xc1, 1) }]))
        expect(await failure(opening))
          .to.be.instanceOf(ProgrammingError)
          .with.property('message')
          .that.includes('decrypt()')
      }
    })

    it('lets errors of our family through when it reads, and says nothing of others', function () {
      const wish = new OperationalError('The key service is away', { retryable: true })
      for (const [thrown, check] of [
        [wish, (error: unknown) => expect(error).to.equal(wish)],
        [
          new RangeError('SECRET'),
          (error: Error) => expect(error).to.be.instanceOf(MapperDeserialisationError).and.not.have.property('cause'),
        ],
        ['SECRET', (error: Error) => expect(error).to.be.instanceOf(MapperDeserialisationError)],
      ] as const) {
        const cipher: Cipher = {
          encrypt: (plaintext) => plaintext,
          decrypt: () => {
            throw thrown as Error
          },
        }
        const mapper = new Mapper({ transcoder, cipher })
        try {
          mapper.decode(mapper.toStoredEvent(anEvent({})))
          expect.fail('was read')
        } catch (error) {
          check(error as Error)
          expect((error as Error).message).not.to.include('SECRET')
        }
      }
    })
  })

  describe('A cipher that gives promises', function () {
    const aes = new AesCipher(createKey())

    it('is asked for a few at once, in any order, and everything stays in its place', async function () {
      const events = Array.from({ length: 100 }, (_, index) =>
        anEvent({ originatorVersion: index + 1, data: { index } }),
      )
      let underWay = 0
      let most = 0
      const random = async () => {
        most = Math.max(most, ++underWay)
        for (let i = Math.random() * 20; i > 0; i--) await new Promise((resolve) => setImmediate(resolve))
        underWay--
      }
      const mapper = new Mapper({
        transcoder,
        cipher: {
          encrypt: async (...args) => (await random(), aes.encrypt(...args)),
          decrypt: async (...args) => (await random(), aes.decrypt(...args)),
        },
      })
      const stored = await mapper.sealEvents(events)
      expect(stored.map(({ originatorVersion }) => originatorVersion)).to.deep.equal(
        events.map(({ originatorVersion }) => originatorVersion),
      )
      for (const by of ['decode', 'toDomainEvent'] as const) {
        expect(await mapper.openEvents(stored, by)).to.deep.equal(events)
      }
      expect(most).to.be.above(1).and.at.most(16)
    })

    it('may give promises of another class, that have nothing but then', async function () {
      const later = (bytes: Uint8Array) => {
        const promise = { then: (next: (bytes: Uint8Array) => void) => void setImmediate(next, bytes) }
        return promise as unknown as Promise<Uint8Array>
      }
      const mapper = new Mapper({ transcoder, cipher: { encrypt: later, decrypt: later } })
      const events = [anEvent({}), anEvent({ originatorVersion: 3 })]
      expect(await mapper.openEvents(await mapper.sealEvents(events))).to.deep.equal(events)
    })

    it('may also give what it has at once', async function () {
      let calls = 0
      const cipher: Cipher = {
        encrypt: (...args) => (calls++ % 3 === 1 ? Promise.resolve(aes.encrypt(...args)) : aes.encrypt(...args)),
        decrypt: (...args) => (calls++ % 3 === 1 ? Promise.resolve(aes.decrypt(...args)) : aes.decrypt(...args)),
      }
      const mapper = new Mapper({ transcoder, cipher })
      const events = Array.from({ length: 40 }, (_, index) =>
        anEvent({ originatorVersion: index + 1, data: { index } }),
      )
      const stored = await mapper.sealEvents(events)
      expect(await mapper.openEvents(stored)).to.deep.equal(events)
    })

    it('fails all where one fails, and asks for no more of them', async function () {
      let calls = 0
      const mapper = new Mapper({
        transcoder,
        cipher: {
          encrypt: async (...args) => aes.encrypt(...args),
          decrypt: async () => {
            calls++
            throw new Error('SECRET')
          },
        },
      })
      const stored = await mapper.sealEvents(Array.from({ length: 100 }, () => anEvent({})))
      await rejection(Promise.resolve(mapper.openEvents(stored)), MapperDeserialisationError, 'fido')
      expect(calls).to.be.below(20)
    })

    it('is refused where nothing can wait for it, by name of what can', async function () {
      const mapper = new Mapper({ transcoder, cipher: asPromises(aes) })
      for (const call of [
        () => mapper.toStoredEvent(anEvent({})),
        () => mapper.toStoredEvents([anEvent({}), anEvent({})]),
      ]) {
        expect(call).to.throw(ProgrammingError, 'sealEvents')
      }
      const [stored] = await mapper.sealEvents([anEvent({})])
      for (const call of [() => mapper.toDomainEvent(stored!), () => mapper.decode(stored!)]) {
        expect(call).to.throw(ProgrammingError, 'openEvents')
      }
    })

    it('leaves no rejection alone where another event can’t be stored', async function () {
      const cipher: Cipher = {
        encrypt: () => Promise.reject(new Error('SECRET')),
        decrypt: () => Promise.reject(new Error()),
      }
      const mapper = new Mapper({ transcoder, cipher })
      const wrong = anEvent({ timestamp: 'now' as never })
      expect(() => mapper.sealEvents([anEvent({}), wrong])).to.throw(ProgrammingError, 'timestamp')
      await rejection(Promise.resolve(mapper.sealEvents([anEvent({}), anEvent({})])), Error, 'SECRET')
      // mocha fails the run at an unhandled rejection
      await new Promise((resolve) => setImmediate(resolve))
    })
  })

  describe('A mapper of one’s own', function () {
    const aes = new AesCipher(createKey())

    /** As one may have been written before there were any stages. */
    class Renaming extends Mapper {
      override toStoredEvent(event: DomainEvent): StoredEvent {
        const stored = super.toStoredEvent({ ...event, data: { ...event.data, stamp: 1 } })
        return { ...stored, topic: `old:${stored.topic}` }
      }
      override decode(stored: StoredEvent): DomainEvent {
        const event = super.decode({ ...stored, topic: stored.topic.slice('old:'.length) })
        const { stamp, ...data } = event.data
        expect(stamp).to.equal(1)
        return { ...event, data }
      }
    }

    for (const [how, cipher] of [
      ['at once', aes],
      ['in promises', asPromises(aes)],
    ] as const) {
      it(`does what it did, with a cipher that answers ${how}`, async function () {
        const mapper = new Renaming({ transcoder, compressor: new ZlibCompressor(), cipher })
        const events = [1, 2, 3].map((originatorVersion) => anEvent({ originatorVersion, data: { trick: 'sit' } }))
        const stored = await mapper.sealEvents(events)
        for (const { topic, state } of stored) {
          expect(topic).to.equal('old:Dog.TrickAdded')
          expect(Buffer.from(state).toString()).not.to.include('sit')
        }
        expect(await mapper.openEvents(stored)).to.deep.equal(events)
        expect(await mapper.openEvents(stored, 'decode')).to.deep.equal(events)
        const moved = { ...stored[0]!, originatorVersion: 2 }
        expect(await failure(Promise.resolve().then(() => mapper.openEvents([moved])))).to.be.instanceOf(
          MapperDeserialisationError,
        )
      })

      it(`may put something in the place of what can’t be read, with a cipher that answers ${how}`, async function () {
        class Shredding extends Mapper {
          override decode(stored: StoredEvent): DomainEvent {
            try {
              return super.decode(stored)
            } catch {
              return anEvent({ originatorVersion: stored.originatorVersion, data: { isForgotten: true } })
            }
          }
        }
        const mapper = new Shredding({ transcoder, cipher })
        const stored = [...(await mapper.sealEvents([anEvent({ data: { trick: 'sit' } }), anEvent({})]))]
        stored[1] = { ...stored[1]!, originatorVersion: 3 }
        const events = await mapper.openEvents(stored)
        expect(events.map(({ data }) => data)).to.deep.equal([{ trick: 'sit' }, { isForgotten: true }])
      })
    }

    it('that changes the state itself is told that it is not there yet, and nothing is stored', function () {
      class Copying extends Mapper {
        override toStoredEvent(event: DomainEvent): StoredEvent {
          const stored = super.toStoredEvent(event)
          return { ...stored, state: Buffer.from(stored.state) }
        }
      }
      const mapper = new Copying({ transcoder, cipher: asPromises(aes) })
      expect(() => mapper.sealEvents([anEvent({})])).to.throw(ProgrammingError, 'toStoredEvent')
      const [stored] = new Copying({ transcoder, cipher: aes }).sealEvents([anEvent({})]) as StoredEvent[]
      expect(new Mapper({ transcoder, cipher: aes }).decode(stored!)).to.deep.equal(anEvent({}))
    })

    it('that makes another state each time it is called comes to an end', async function () {
      class Copying extends Mapper {
        override decode(stored: StoredEvent): DomainEvent {
          return super.decode({ ...stored, state: Buffer.from(stored.state) })
        }
      }
      const mapper = new Copying({ transcoder, cipher: asPromises(aes) })
      await rejection(
        Promise.resolve(mapper.openEvents(await mapper.sealEvents([anEvent({})]))),
        ProgrammingError,
        'another state each time',
      )
    })

    it('that leaves out the stages is refused, where any is on', async function () {
      class Old extends Mapper {
        constructor({ transcoder }: { transcoder: JsonTranscoder }) {
          super({ transcoder })
        }
      }
      expect(await mapperOf({ MAPPER_TOPIC: Old })).to.be.instanceOf(Old)
      for (const env of [{ CIPHER_KEY: createKey() }, { COMPRESSOR_TOPIC: 'zlib' }]) {
        await rejection(new MemoryFactory({ ...env, MAPPER_TOPIC: Old }).mapper(), ProgrammingError, 'super')
      }
    })
  })

  describe('A state that is sealed anew', function () {
    const event = anEvent({ data: { trick: 'sit' } })
    const [old, current] = [createKey(), createKey()]
    const former = new Mapper({ transcoder, cipher: new AesCipher(old) })
    const keys = `2:${current},${old}`
    const afterwards = new Mapper({
      transcoder,
      cipher: new AesCipher(`2:${current}`),
      compressor: new ZlibCompressor(),
    })

    for (const [how, cipher] of [
      ['at once', new AesCipher(keys)],
      ['in promises', asPromises(new AesCipher(keys))],
    ] as const) {
      it(`needs its former key no more, whatever it was before: a cipher that answers ${how}`, async function () {
        const mapper = new Mapper({ transcoder, cipher, compressor: new ZlibCompressor(), readsPlain: true })
        for (const writer of [former, new Mapper({ transcoder }), afterwards]) {
          const resealed = await mapper.reseal(writer.toStoredEvent(event))
          expect(afterwards.decode(resealed)).to.deep.equal(event)
        }
        const moved = { ...former.toStoredEvent(event), originatorVersion: 3 }
        await rejection(
          Promise.resolve().then(() => mapper.reseal(moved)),
          MapperDeserialisationError,
          'version 3',
        )
        await rejection(
          Promise.resolve().then(() => mapper.reseal(former.toStoredEvent(event), 'snapshot')),
          MapperDeserialisationError,
        )
      })
    }

    it('stays as it is where there is no stage', function () {
      const plain = new Mapper({ transcoder })
      const stored = plain.toStoredEvent(event)
      expect(plain.reseal(stored)).to.deep.equal(stored)
    })
  })

  for (const [how, cipher] of [
    ['at once', new AesCipher(createKey())],
    ['in promises', asPromises(new AesCipher(createKey()))],
  ] as const) {
    it(`are the same bytes again for events of which nobody knows whether they are stored, encrypted ${how}`, async function () {
      const store = new EventStore(new Mapper({ transcoder, cipher }), await new MemoryFactory().applicationRecorder())
      const events = [anEvent({}), anEvent({ originatorVersion: 3 })]
      const before = await store.toStoredEvents(events)
      expect(await store.toStoredEvents(events)).not.to.deep.equal(before)
      store.doubt(events.slice(1), before.slice(1))
      const again = await store.toStoredEvents(events)
      expect(again[1]).to.equal(before[1])
      expect(again[0]!.state).not.to.deep.equal(before[0]!.state)
      await store.put(events, again)
      expect(await store.get('fido')).to.deep.equal(events)
    })
  }

  it('are asked for by an application, also where the factory that it is given knows nothing of it', async function () {
    const key = createKey()
    const factory = new MemoryFactory()
    const school = new Application({ name: 'School', persistence: factory, env: { SCHOOL_CIPHER_KEY: key } })
    const dog = new Dog('Fido')
    await school.save(dog)
    const [stored] = await school.recorder.selectEvents(dog.id)
    const cipher = new AesCipher(key)
    expect(() => new Mapper({ transcoder }).decode(stored!)).to.throw(MapperDeserialisationError, 'it is encrypted')
    expect(new Mapper({ transcoder, cipher }).decode(stored!).data).to.deep.equal({ name: 'Fido' })
    expect((await school.repository.get(Dog, dog.id)).name).to.equal('Fido')
    // its own, where it has one
    const own = new MemoryFactory({ env: { CIPHER_KEY: createKey() }, datastore: factory.datastore })
    const other = new Application({ name: 'School', persistence: own, env: { CIPHER_KEY: key } })
    await rejection(other.repository.get(Dog, dog.id), MapperDeserialisationError)
    const reader = { persistence: factory, env: { CIPHER_KEY: createKey(), CIPHER_READS_PLAIN: 'yes' } }
    await factory
      .applicationRecorder()
      .then((recorder) =>
        recorder.insertEvents([
          { ...new Mapper({ transcoder }).toStoredEvent({ ...new Dog('Rex').pendingEvents[0]! }) },
        ]),
      )
    expect(
      (await new Application({ name: 'School', ...reader }).repository.get(Dog, Dog.createId('Rex'))).name,
    ).to.equal('Rex')
  })

  it('give their stages by the factory of an application, before it is connected', async function () {
    const school = new Application({
      name: 'School',
      env: { COMPRESSOR_TOPIC: 'zlib', SCHOOL_CIPHER_KEY: createKey() },
    })
    expect(await school.factory.cipher()).to.be.instanceOf(AesCipher)
    expect(await school.factory.compressor()).to.be.instanceOf(ZlibCompressor)
    expect(await new Application({ name: 'School' }).factory.cipher()).to.equal(undefined)
  })

  it('may be those of a transcoder that makes no text', async function () {
    const env = {
      COMPRESSOR_TOPIC: 'brotli',
      CIPHER_KEY: createKey(),
      TRANSCODER_TOPIC: { encode: serialize, decode: deserialize },
    }
    const mapper = await mapperOf(env)
    const event = anEvent({ data: { at: new Date(0) } })
    expect(mapper.decode(mapper.toStoredEvent(event))).to.deep.equal(event)
  })
})

/** @returns The error. @param unless  The event that it may be read as, for all that was done to it. */
function refuses(mapper: Mapper, stored: StoredEvent, unless?: DomainEvent): Error {
  let event: DomainEvent
  try {
    event = mapper.decode(stored)
  } catch (error) {
    expect(error).to.be.instanceOf(MapperDeserialisationError)
    const { message, cause } = error as EventSourcingError
    expect(message).to.include('Event "Dog.TrickAdded" of originator "fido", version 2')
    expect(`${message} ${String(cause)}`).not.to.include('SECRET')
    return error as Error
  }
  expect(event).to.deep.equal(unless)
  return new Error('It was read')
}

function mapperOf(env: Readonly<Record<string, unknown>>): Promise<Mapper> {
  return new MemoryFactory(env).mapper()
}

function asPromises(cipher: Cipher): Cipher {
  return {
    encrypt: async (...args) => cipher.encrypt(...args),
    decrypt: async (...args) => cipher.decrypt(...args),
  }
}

function row() {
  return { originatorId: 'fido', originatorVersion: 2, topic: 'Dog.TrickAdded' }
}

function anEvent(fields: Partial<DomainEvent>): DomainEvent {
  return { ...row(), timestamp: new Date('2026-11-21T10:20:30.400Z'), data: {}, metadata: {}, ...fields }
}
