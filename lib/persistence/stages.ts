import { kindOfError } from '../domain/error-kind.js'
import { EventSourcingError, MapperDeserialisationError, ProgrammingError } from '../errors.js'
import type { Cipher, CipherContext } from './cipher.js'
import type { Compressor } from './compressor.js'

/** What states go through between transcoder and database. */
export interface StagesOptions {
  readonly compressor?: Compressor | undefined
  readonly cipher?: Cipher | undefined
  /** Whether states that are not encrypted are read although there is a cipher. Default: no. */
  readonly readsPlain?: boolean | undefined
}

/** A value, or a promise of one where that has to be waited for. */
export type Awaitable<T> = T | Promise<T>

/** Whether it has to be waited for. */
export function isPromise<T>(value: Awaitable<T>): value is Promise<T> {
  return typeof (value as Partial<Promise<T>> | null)?.then === 'function'
}

/** What `next` makes of a value, once it is there. */
export function then<T, R>(value: Awaitable<T>, next: (value: T) => R): Awaitable<R> {
  return isPromise(value) ? value.then(next) : next(value)
}

/**
 * Compresses and encrypts states, and opens them again: the one place for those of events and of snapshots.
 *
 * @see docs/decisions/0028-compressed-and-encrypted-states.md
 */
export class Stages {
  readonly #compressor: Compressor | undefined
  readonly #cipher: Cipher | undefined
  readonly #readsPlain: boolean

  constructor({ compressor, cipher, readsPlain = false }: StagesOptions) {
    this.#compressor = compressor
    this.#cipher = cipher
    this.#readsPlain = readsPlain
  }

  /** Whether there is any; without, states are as the transcoder makes them. */
  get areOn(): boolean {
    return this.compresses || this.encrypts
  }

  get compresses(): boolean {
    return this.#compressor !== undefined
  }

  /** Whether there is a cipher, which alone may have to be waited for. */
  get encrypts(): boolean {
    return this.#cipher !== undefined
  }

  /** The state as it is stored; a promise where the cipher gives one. */
  seal(state: Uint8Array, context: CipherContext): Awaitable<Uint8Array> {
    const compressed = this.#compressor ? escaped(checkBytes(this.#compressor.compress(state), 'compress')) : state
    if (!this.#cipher) return compressed
    return then(native(this.#cipher.encrypt(compressed, context)), markEncrypted)
  }

  /**
   * The state as the transcoder has made it; a promise where the cipher gives one.
   *
   * @throws MapperDeserialisationError  It can't be opened; says why, without the state.
   */
  open(stored: Uint8Array, context: CipherContext): Awaitable<Uint8Array> {
    if (!this.#cipher) {
      // no compressor has given that: it would have another byte before it
      if (this.#compressor && stored[0] === encryptedMark) throw new MapperDeserialisationError(lacksCipher)
      return this.#decompressed(stored)
    }
    if (stored[0] !== encryptedMark) {
      if (this.#readsPlain) return this.#decompressed(stored)
      throw new MapperDeserialisationError(
        'its state is not encrypted, which is read only where CIPHER_READS_PLAIN says yes',
      )
    }
    let decrypted: Awaitable<Uint8Array>
    try {
      decrypted = native(this.#cipher.decrypt(stored.subarray(1), context))
    } catch (error) {
      return failed('decrypting', error)
    }
    if (!isPromise(decrypted)) return this.#decompressed(checkBytes(decrypted, 'decrypt'))
    return decrypted.then(
      (bytes) => this.#decompressed(checkBytes(bytes, 'decrypt')),
      (error: unknown) => failed('decrypting', error),
    )
  }

  #decompressed(state: Uint8Array): Uint8Array {
    // what was stored before compression was turned on
    if (!this.#compressor || state[0] === openingBrace) return state
    try {
      return checkBytes(this.#compressor.decompress(state[0] === escapeMark ? state.subarray(1) : state), 'decompress')
    } catch (error) {
      return failed('decompressing', error)
    }
  }
}

/** Why such a state is no JSON, where its first byte tells. */
export function hintAt(state: Uint8Array | string): string {
  return state[0] === encryptedMark ? `: ${lacksCipher}` : ''
}

const lacksCipher = 'it is encrypted, and no CIPHER_KEY or CIPHER_TOPIC is set'

// What JSON of an event begins with: such a state is neither compressed nor encrypted.
const openingBrace = 0x7b
// Two bytes that are in no UTF-8.
const encryptedMark = 0xc1
const escapeMark = 0xc0

/** With a byte before it where it begins as something else does. */
function escaped(compressed: Uint8Array): Uint8Array {
  const [first] = compressed
  const isClear = first !== openingBrace && first !== encryptedMark && first !== escapeMark
  return isClear ? compressed : marked(escapeMark, compressed)
}

function markEncrypted(ciphertext: Uint8Array): Uint8Array {
  return marked(encryptedMark, checkBytes(ciphertext, 'encrypt'))
}

function marked(mark: number, bytes: Uint8Array): Uint8Array {
  const both = Buffer.allocUnsafe(bytes.length + 1)
  both[0] = mark
  both.set(bytes, 1)
  return both
}

/** Of whatever class the promise is: others may lack `catch`, or give nothing by `then`. */
function native<T>(value: Awaitable<T>): Awaitable<T> {
  return isPromise(value) ? Promise.resolve(value) : value
}

function checkBytes(bytes: unknown, method: string): Uint8Array {
  if (bytes instanceof Uint8Array) return bytes
  // of a compressor, which nobody waits for; refused here, its failure must not end the process as well
  if (isPromise(bytes)) Promise.resolve(bytes).catch(() => undefined)
  throw new ProgrammingError(`${method}() of the compressor or cipher must give a Uint8Array`)
}

/** Ours say what is wrong without the state; others, of a user's stage or of the platform, may quote it. */
function failed(what: string, error: unknown): never {
  if (error instanceof EventSourcingError) throw error
  throw new MapperDeserialisationError(`${what} it failed with ${kindOfError(error)}`)
}
