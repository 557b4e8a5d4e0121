import { ProgrammingError } from '../errors.js'
import { AesCipher, type Cipher } from './cipher.js'
import { BrotliCompressor, type Compressor, ZlibCompressor } from './compressor.js'
import type { Environment } from './environment.js'
import { resolveTopic } from './topic-loader.js'

/** The compressor that `COMPRESSOR_TOPIC` names: `zlib`, `brotli`, a class or an object. `undefined` where it is not set. */
export async function compressorOf(env: Environment, topicBase?: string | URL): Promise<Compressor | undefined> {
  const topic = env.get('COMPRESSOR_TOPIC')
  const known = typeof topic === 'string' && Object.hasOwn(builtIn, topic) ? builtIn[topic] : topic
  return stageOf<Compressor>(env, 'COMPRESSOR_TOPIC', known, ['compress', 'decompress'], topicBase)
}

/** The cipher that `CIPHER_TOPIC` names, a class or an object; else AES with `CIPHER_KEY`. `undefined` where neither is set. */
export async function cipherOf(env: Environment, topicBase?: string | URL): Promise<Cipher | undefined> {
  const topic = env.get('CIPHER_TOPIC')
  // errors of topics quote them
  if (typeof topic === 'string' && looksLikeKey.test(topic)) {
    throw new ProgrammingError(
      `${env.variable('CIPHER_TOPIC')} must name a class or an object: a key belongs in CIPHER_KEY`,
    )
  }
  const cipher = await stageOf<Cipher>(env, 'CIPHER_TOPIC', topic, ['encrypt', 'decrypt'], topicBase)
  return cipher ?? (env.get('CIPHER_KEY') === undefined ? undefined : new AesCipher(env))
}

/** Whether states that are not encrypted are read although there is a cipher: `CIPHER_READS_PLAIN`. Default: no. */
export function readsPlain(env: Environment): boolean {
  return env.yes('CIPHER_READS_PLAIN', false)
}

/** 32 bytes in base64, as they stand in `CIPHER_KEY`, one or several. */
const looksLikeKey = /(^|[:,\s])[A-Za-z0-9+/]{43}=?($|[,\s])/

const builtIn: Readonly<Record<string, unknown>> = { zlib: ZlibCompressor, brotli: BrotliCompressor }

/** What a topic names: an object with these two methods, or a class of such, which is constructed with the environment. */
async function stageOf<T extends object>(
  env: Environment,
  key: string,
  topic: unknown,
  methods: readonly [string, string],
  topicBase: string | URL | undefined,
): Promise<T | undefined> {
  if (topic === undefined) return undefined
  // casts: only the methods tell what is found under a topic
  const found = await resolveTopic<unknown>(topic, topicBase)
  const stage = typeof found === 'function' ? new (found as new (env: Environment) => T)(env) : (found as T)
  if (methods.every((method) => typeof (Object(stage) as Record<string, unknown>)[method] === 'function')) return stage
  throw new ProgrammingError(`${env.variable(key)} must name a class or an object with ${methods[0]} and ${methods[1]}`)
}
