import { type KeyObject, createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import { MapperDeserialisationError, ProgrammingError } from '../errors.js'
import { Environment } from './environment.js'

/** Which stored state is encrypted: a cipher that authenticates these refuses a state that was moved elsewhere. */
export interface CipherContext {
  /** What the state is of. */
  readonly kind: 'event' | 'snapshot'
  readonly originatorId: string
  readonly originatorVersion: number
  /** As it is stored, aliases not resolved. */
  readonly topic: string
}

/**
 * Makes states unreadable to others: the last stage before they are stored. `CIPHER_TOPIC` names one.
 *
 * Both may return promises, where a key service is asked for example. They are awaited before a transaction opens, or after
 * the events are read; several at once, so that it has to stand being called beside itself.
 */
export interface Cipher {
  /** @returns Any bytes that `decrypt` makes the plaintext of. Errors come out of `save` as they are. */
  encrypt(plaintext: Uint8Array, context: CipherContext): Uint8Array | Promise<Uint8Array>
  /**
   * The plaintext.
   *
   * @throws MapperDeserialisationError  The bytes are damaged, or of another context. Other errors become one, without their
   *   message, which may hold anything; those of our family, such as an `OperationalError` that is `retryable`, come out as
   *   they are.
   */
  decrypt(ciphertext: Uint8Array, context: CipherContext): Uint8Array | Promise<Uint8Array>
}

/** A new key for `CIPHER_KEY`: 32 random bytes in base64. Keep it: what was encrypted with it can't be read without it. */
export function createKey(): string {
  return randomBytes(keySize).toString('base64')
}

/**
 * AES-256-GCM: what `CIPHER_KEY` alone turns on.
 *
 * Ciphertexts are a byte 01, the length of the key's id and the id, a nonce of 12 random bytes, as many bytes as the plaintext has, and
 * a tag of 16 bytes. Everything before the nonce, and the context, are authenticated: in the row of another event, or as
 * a snapshot, a state is refused.
 *
 * @see NIST SP 800-38D §8.3: with random nonces, no more than 2^32 states for a key.
 */
export class AesCipher implements Cipher {
  readonly #keys: ReadonlyMap<string, CipherKey>
  readonly #current: CipherKey

  /**
   * @param keys  As in `CIPHER_KEY`: a key in base64, or several with commas between them, each but one with an id and a colon
   *   before it, `2:…,1:…`. The first encrypts, all decrypt. Or the environment that has them.
   * @throws ProgrammingError  No key, one that is not base64 of 32 bytes, an id that is none or stands there twice. Never
   *   says the key.
   */
  constructor(keys: string | Environment) {
    const [name, text] =
      keys instanceof Environment ? [keys.variable('CIPHER_KEY'), keys.text('CIPHER_KEY')] : ['The key', keys]
    this.#keys = keysOf(name, text)
    this.#current = [...this.#keys.values()][0] as CipherKey
  }

  encrypt(plaintext: Uint8Array, context: CipherContext): Uint8Array {
    const { head, key } = this.#current
    const nonce = randomBytes(nonceSize)
    const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagSize })
    cipher.setAAD(associatedData(head, context))
    return Buffer.concat([head, nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  }

  decrypt(ciphertext: Uint8Array, context: CipherContext): Uint8Array {
    const { head, key } = this.#keyOf(ciphertext)
    const start = head.length + nonceSize
    const end = ciphertext.length - tagSize
    if (end < start) throw unreadable()
    const nonce = ciphertext.subarray(head.length, start)
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagSize })
    decipher.setAAD(associatedData(head, context))
    decipher.setAuthTag(ciphertext.subarray(end))
    const plaintext = decipher.update(ciphertext.subarray(start, end))
    try {
      decipher.final()
    } catch {
      throw unreadable()
    }
    return plaintext
  }

  #keyOf(ciphertext: Uint8Array): CipherKey {
    const length = ciphertext[1]
    if (ciphertext[0] !== aesForm || length === undefined) throw unreadable()
    const id = Buffer.from(ciphertext.subarray(2, 2 + length)).toString('latin1')
    const found = this.#keys.get(id)
    if (found !== undefined) return found
    // of damaged bytes, which may be anything, no id is told
    if (id !== '' && !keyId.test(id)) throw unreadable()
    throw new MapperDeserialisationError(
      `it was encrypted with ${id === '' ? 'a key without an id' : `the key ${JSON.stringify(id)}`}, which is not among ` +
        'those of CIPHER_KEY: add it behind the first',
    )
  }
}

interface CipherKey {
  readonly key: KeyObject
  /** What its ciphertexts begin with. */
  readonly head: Uint8Array
}

const aesForm = 1
const keySize = 32
const nonceSize = 12
const tagSize = 16
const keyId = /^[A-Za-z0-9._-]{1,64}$/

function keysOf(name: string, text: unknown): ReadonlyMap<string, CipherKey> {
  if (typeof text !== 'string' || text.trim() === '') {
    throw new ProgrammingError(`${name} must be a key in base64, as createKey() makes one`)
  }
  const keys = new Map<string, CipherKey>()
  for (const part of text.split(',')) {
    const colon = part.indexOf(':')
    const id = colon < 0 ? '' : part.slice(0, colon).trim()
    if (colon >= 0 && !keyId.test(id)) {
      throw new ProgrammingError(`${name}: a key's id is up to 64 of the letters a to z, digits, dots, dashes and _`)
    }
    const key = keyOf(name, part.slice(colon + 1).trim())
    if (keys.has(id)) {
      throw new ProgrammingError(`${name}: two keys have ${id === '' ? 'no id' : `the id ${JSON.stringify(id)}`}`)
    }
    keys.set(id, { key, head: headOf(id) })
  }
  return keys
}

function keyOf(name: string, text: string): KeyObject {
  const bytes = Buffer.from(text, 'base64')
  // Node passes over what is no base64
  const isBase64 = bytes.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '')
  if (isBase64 && bytes.length === keySize) return createSecretKey(bytes)
  throw new ProgrammingError(
    `${name} must be base64 of ${keySize} bytes, for AES-256; this is ` +
      `${isBase64 ? `of ${bytes.length} bytes` : 'no base64'}: createKey() makes one`,
  )
}

function headOf(id: string): Uint8Array {
  return Buffer.concat([Buffer.of(aesForm, id.length), Buffer.from(id, 'latin1')])
}

/** Each part with its length before it, so that no two contexts give the same bytes. */
function associatedData(head: Uint8Array, { kind, originatorId, originatorVersion, topic }: CipherContext): Uint8Array {
  const parts = [head, ...[kind, originatorId, `${originatorVersion}`, topic].map((text) => Buffer.from(text, 'utf8'))]
  return Buffer.concat(
    parts.flatMap((part) => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(part.length)
      return [length, part]
    }),
  )
}

function unreadable(): MapperDeserialisationError {
  return new MapperDeserialisationError(
    'it can’t be decrypted: the key is another one, or the state is damaged, or was moved here from another event',
  )
}
