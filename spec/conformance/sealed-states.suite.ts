import { expect } from 'chai'
import { MapperDeserialisationError, OperationalError, RecordConflictError } from '../../lib/errors.js'
import { AesCipher, type Cipher, createKey } from '../../lib/persistence/cipher.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import type { Opened } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { ticks } from '../support/ticks.js'
import { TrainingSchool } from '../support/training-school.js'

/** What compressors, ciphers and their keys promise of events that are stored with them. */
export function sealedStatesSuite(define: DefineCase): void {
  describe('states that are compressed and encrypted', () => {
    const key = createKey()

    for (const [title, env] of [
      ['by zlib', { COMPRESSOR_TOPIC: 'zlib', CIPHER_KEY: '' }],
      ['by brotli', { COMPRESSOR_TOPIC: 'brotli', CIPHER_KEY: '' }],
      ['with a key', { CIPHER_KEY: key, COMPRESSOR_TOPIC: '' }],
      ['by zlib, then with a key', { CIPHER_KEY: key, COMPRESSOR_TOPIC: 'zlib' }],
      ['by a cipher that gives promises', { CIPHER_TOPIC: slow(new AesCipher(key)) }],
    ] as const) {
      define(`give every event back, however many are read: ${title}`, async (opened) => {
        const school = schoolWith(opened, env)
        const tricks = Array.from({ length: 150 }, (_, index) => `SECRET trick ${index} 🐕 ${'again '.repeat(30)}`)
        const dog = new Dog('Fido')
        for (const trick of tricks) dog.addTrick(trick)
        const recordings = await school.save(dog)
        const reads = async () => {
          expect(await school.tricks('Fido')).to.deep.equal(tricks)
          expect((await school.repository.get(Dog, dog.id, { version: 41 })).tricks).to.deep.equal(tricks.slice(0, 40))
          const events = await school.events.get(dog.id, { gt: 100, desc: true, limit: 3 })
          expect(events.map(({ data }) => data['trick'])).to.deep.equal(tricks.slice(147).reverse())
          expect(events.every((event) => Object.isFrozen(event.data))).to.equal(true)
        }
        await reads()
        await school.transaction(reads)
        const stored = await school.recorder.selectNotifications({ limit: 200 })
        expect(stored.map(({ state }) => [...state])).to.deep.equal(
          recordings.map(({ notification }) => [...notification.state]),
        )
        for (const { state } of stored) expect(textOf(state)).not.to.include('SECRET')
      })
    }

    define('are refused in any other row, by the name of that row', async (opened) => {
      const school = schoolWith(opened, { CIPHER_KEY: key })
      const dogs = ['Fido', 'Rex'].map((name) => new Dog(name))
      for (const dog of dogs) dog.addTrick('SECRET')
      await school.save(...dogs)
      const [fido, rex] = await Promise.all(dogs.map(({ id }) => school.recorder.selectEvents(id)))
      const states: (readonly [string, Uint8Array])[] = [
        ['of another originator', rex![1]!.state],
        ['of another version and topic', fido![0]!.state],
        ['cut short', fido![1]!.state.slice(0, -1)],
        ['cut to its head', fido![1]!.state.slice(0, 5)],
        ['empty', new Uint8Array(0)],
        ['plain', Buffer.from('{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET"}}')],
        ['not JSON', Buffer.from('SECRET')],
      ]
      for (const [what, state] of states) {
        // as somebody who can write to the table would put it there
        const id = `moved: ${what}`
        const created = sealedFor(id, 1, 'Dog.Registered', '{"name":"Fido"}', key)
        await school.recorder.insertEvents([
          created,
          { originatorId: id, originatorVersion: 2, topic: 'Dog.TrickAdded', state },
        ])
        for (const read of [() => school.repository.get(Dog, id), () => school.events.get(id)]) {
          const error = await rejection(read(), MapperDeserialisationError, JSON.stringify(id))
          expect(error.message, what).to.include('Dog.TrickAdded').and.include('version 2').and.not.include('SECRET')
          expect(String(error.cause)).not.to.include('SECRET')
        }
      }
      expect(await school.tricks('Fido')).to.deep.equal(['SECRET'])
    })

    define('stay readable when the key changes, as long as the former key is there', async (opened) => {
      const [second, third] = [createKey(), createKey()]
      const learns = async (keys: string, trick: string) => {
        const school = schoolWith(opened, { CIPHER_KEY: keys })
        if (trick === 'sit') await school.register('Fido')
        await school.addTrick('Fido', trick)
        return school.tricks('Fido')
      }
      await learns(key, 'sit')
      await learns(`2:${second},${key}`, 'beg')
      expect(await learns(`3:${third}, 2:${second}, ${key}`, 'roll over')).to.deep.equal(['sit', 'beg', 'roll over'])
      const without = schoolWith(opened, { CIPHER_KEY: `3:${third},${key}` })
      const { message } = await rejection(without.tricks('Fido'), MapperDeserialisationError, 'the key "2"')
      expect(message).to.include('version 3')
      for (const secret of [key, second, third]) expect(message).not.to.include(secret)
      await rejection(schoolWith(opened, { CIPHER_KEY: third }).tricks('Fido'), MapperDeserialisationError)
    })

    define('follow plain ones where encryption is turned on later, if that is said', async (opened) => {
      const plain = schoolWith(opened, { CIPHER_KEY: '', COMPRESSOR_TOPIC: '' })
      await plain.register('Fido')
      await schoolWith(opened, { CIPHER_KEY: '', COMPRESSOR_TOPIC: 'zlib' }).addTrick('Fido', 'sit')
      await schoolWith(opened, { CIPHER_KEY: '', COMPRESSOR_TOPIC: 'brotli' }).addTrick('Fido', 'beg')
      const env = { CIPHER_KEY: key, COMPRESSOR_TOPIC: 'zlib' }
      await rejection(schoolWith(opened, env).tricks('Fido'), MapperDeserialisationError, 'CIPHER_READS_PLAIN')
      const school = schoolWith(opened, { ...env, CIPHER_READS_PLAIN: 'yes' })
      await school.addTrick('Fido', 'roll over')
      expect(await school.tricks('Fido')).to.deep.equal(['sit', 'beg', 'roll over'])
      const last = (await school.recorder.selectEvents(Dog.createId('Fido'))).at(-1)
      expect(textOf(last!.state)).not.to.include('roll over')
      await rejection(plain.tricks('Fido'), MapperDeserialisationError)
    })

    define('have the keys of their application, by its name', async (opened) => {
      const env = {
        SCHOOL_CIPHER_KEY: key,
        KENNEL_CIPHER_KEY: createKey(),
        CIPHER_KEY: createKey(),
        COMPRESSOR_TOPIC: '',
      }
      const school = schoolWith(opened, env, 'School')
      const kennel = schoolWith(opened, env, 'Kennel')
      await school.transaction(async () => {
        await school.register('Fido')
        await kennel.register('Fido')
      })
      const id = Dog.createId('Fido')
      const [ofSchool] = await school.recorder.selectEvents(id)
      const [ofKennel] = await kennel.recorder.selectEvents(id)
      const cipher = new AesCipher(key)
      const open = ({ state }: StoredEvent) => cipher.decrypt(state.subarray(1), { kind: 'event', ...ofSchool! })
      expect(textOf(open(ofSchool!))).to.include('Fido')
      expect(() => open(ofKennel!)).to.throw(MapperDeserialisationError)
      expect((await kennel.repository.get(Dog, id)).name).to.equal('Fido')
    })

    define('are refused where no key is there any more, and say so', async (opened) => {
      await schoolWith(opened, { CIPHER_KEY: key }).register('Fido')
      const without = schoolWith(opened, { CIPHER_KEY: '', COMPRESSOR_TOPIC: '' })
      await rejection(without.tricks('Fido'), MapperDeserialisationError, 'it is encrypted')
    })
  })

  describe('a cipher that gives promises', () => {
    define('is waited for before anything is written, in a transaction and outside', async (opened) => {
      const gate = new GatedCipher()
      const school = schoolWith(opened, { CIPHER_TOPIC: gate })
      await school.ready()
      for (const inside of [false, true]) {
        const dog = new Dog(inside ? 'Rex' : 'Fido')
        const saves = () => school.save(dog)
        gate.close()
        const saving = inside ? school.transaction(saves) : saves()
        await gate.asked()
        // nothing is held while it waits: others save
        if (!inside) await school.recorder.insertEvents([{ ...other(), originatorVersion: 1 }])
        await ticks(3)
        expect(dog.pendingEvents).to.have.length(0)
        gate.open()
        expect(await saving).to.have.length(1)
        expect(await school.repository.has(dog.id)).to.equal(true)
      }
    })

    define('keeps the saves of an aggregate in order', async (opened) => {
      const gate = new GatedCipher()
      const school = schoolWith(opened, { CIPHER_TOPIC: gate })
      await school.ready()
      const dog = new Dog('Fido')
      gate.close()
      const first = school.save(dog)
      await gate.asked()
      dog.addTrick('sit')
      const second = school.save(dog)
      await ticks(3)
      gate.open()
      expect((await Promise.all([first, second])).flat()).to.have.length(2)
      expect(await school.tricks('Fido')).to.deep.equal(['sit'])
    })

    define('gives events back where it fails, and nothing is stored', async (opened) => {
      const gate = new GatedCipher()
      const school = schoolWith(opened, { CIPHER_TOPIC: gate })
      const dog = new Dog('Fido')
      dog.addTrick('sit')
      const wish = new OperationalError('The key service is away', { retryable: true })
      gate.fails = wish
      expect(await rejection(school.save(dog), OperationalError)).to.equal(wish)
      expect(dog.pendingEvents.map(({ originatorVersion }) => originatorVersion)).to.deep.equal([1, 2])
      expect(await school.recorder.maxNotificationId()).to.equal(null)
      gate.fails = undefined
      await school.save(dog)
      const rival = await school.repository.get(Dog, dog.id)
      dog.addTrick('beg')
      await school.save(dog)
      rival.addTrick('roll over')
      await rejection(school.save(rival), RecordConflictError)
      expect(rival.pendingEvents).to.have.length(1)
      gate.fails = wish
      expect(await rejection(school.tricks('Fido'), OperationalError)).to.equal(wish)
      gate.fails = new Error('SECRET')
      const { message, cause } = await rejection(school.tricks('Fido'), MapperDeserialisationError, dog.id)
      expect(`${message} ${String(cause)}`).not.to.include('SECRET')
    })

    define('may take longer than the transaction that a save is in, which stores nothing then', async (opened) => {
      const gate = new GatedCipher()
      const school = schoolWith(opened, { CIPHER_TOPIC: gate })
      await school.ready()
      const dog = new Dog('Fido')
      gate.close()
      let saving: Promise<unknown> = Promise.resolve()
      await school.transaction(async () => {
        saving = school.save(dog)
        saving.catch(() => undefined)
        await gate.asked()
      })
      gate.open()
      await saving.then(
        () => expect.fail('saved after the end'),
        (error: unknown) => expect(error).to.be.instanceOf(Error),
      )
      expect(dog.pendingEvents).to.have.length(1)
      expect(await school.repository.has(dog.id)).to.equal(false)
      await school.save(dog)
    })
  })
}

function schoolWith(opened: Opened, env: Readonly<Record<string, unknown>>, name = 'School'): TrainingSchool {
  return new TrainingSchool({ persistence: opened.factory(name, env), name })
}

/** The same cipher, each of whose answers comes a little later. */
function slow(cipher: Cipher): Cipher {
  return {
    async encrypt(plaintext, context) {
      await ticks(1)
      return cipher.encrypt(plaintext, context)
    },
    async decrypt(ciphertext, context) {
      await ticks(1)
      return cipher.decrypt(ciphertext, context)
    },
  }
}

/** A cipher that gives promises, and none of them is settled while its gate is closed. */
class GatedCipher implements Cipher {
  fails: Error | undefined
  readonly #cipher = new AesCipher(createKey())
  #open: Promise<void> = Promise.resolve()
  #letThrough: () => void = () => undefined
  #asked: Promise<void> = Promise.resolve()
  #tell: () => void = () => undefined

  close(): void {
    this.#open = new Promise((resolve) => (this.#letThrough = resolve))
    this.#asked = new Promise((resolve) => (this.#tell = resolve))
  }

  open(): void {
    this.#letThrough()
  }

  /** Resolves when something waits at the gate. */
  asked(): Promise<void> {
    return this.#asked
  }

  async encrypt(...args: Parameters<Cipher['encrypt']>) {
    await this.#pass()
    return this.#cipher.encrypt(...args)
  }

  async decrypt(...args: Parameters<Cipher['encrypt']>) {
    await this.#pass()
    return this.#cipher.decrypt(...args)
  }

  async #pass(): Promise<void> {
    this.#tell()
    await this.#open
    if (this.fails) throw this.fails
  }
}

function sealedFor(originatorId: string, originatorVersion: number, topic: string, data: string, key: string) {
  const context = { kind: 'event', originatorId, originatorVersion, topic } as const
  const state = new AesCipher(key).encrypt(
    Buffer.from(`{"timestamp":"2026-01-01T00:00:00.000Z","data":${data}}`),
    context,
  )
  return { originatorId, originatorVersion, topic, state: Buffer.concat([Buffer.of(0xc1), state]) }
}

function other(): StoredEvent {
  return { originatorId: 'other', originatorVersion: 1, topic: 'Dog.Registered', state: Buffer.from('{}') }
}

function textOf(state: Uint8Array): string {
  return Buffer.from(state).toString('utf8')
}
