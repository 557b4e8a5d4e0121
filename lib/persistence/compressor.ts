import { constants as bufferConstants } from 'node:buffer'
import { brotliCompressSync, brotliDecompressSync, constants, crc32, deflateSync, inflateSync } from 'node:zlib'
import { MapperDeserialisationError, ProgrammingError } from '../errors.js'
import { Environment } from './environment.js'

/** Makes states smaller: a stage after the transcoder. `COMPRESSOR_TOPIC` names one. */
export interface Compressor {
  /** @returns Any bytes that `decompress` makes the same bytes of. */
  compress(state: Uint8Array): Uint8Array
  /**
   * What `compress` was given. It limits by itself how much memory it takes.
   *
   * @throws MapperDeserialisationError  The bytes are damaged, or hold more than it allows. Other errors become one, without
   *   their message.
   */
  decompress(compressed: Uint8Array): Uint8Array
}

/** How a built-in compressor is made. */
export interface CompressorOptions {
  /** Bytes that a state may have when it isn't compressed; more is neither written nor read. Default: 67108864, 64 MiB. */
  readonly maxSize?: number | undefined
}

const defaultMaxSize = 64 * 1024 * 1024

/** The part that the built-in ones share: sizes, and reading what either of them has written. */
abstract class NodeCompressor implements Compressor {
  readonly #maxSize: number

  /** @throws ProgrammingError  `maxSize`, or `COMPRESSOR_MAX_SIZE` of an environment, is no integer from 1. */
  constructor(source: CompressorOptions | Environment = {}) {
    // what is more, Node takes for a mistake, and has no buffer for
    this.#maxSize = Math.min(maxSizeOf(source), bufferConstants.MAX_LENGTH)
  }

  /** @throws ProgrammingError  The state has more than `maxSize` bytes: it could not be read again. */
  compress(state: Uint8Array): Uint8Array {
    if (state.length > this.#maxSize) {
      throw new ProgrammingError(
        `The state of an event has ${state.length} bytes, and ${this.#maxSize} are allowed where it is compressed: store ` +
          'less in it, or raise COMPRESSOR_MAX_SIZE',
      )
    }
    return this.compressed(state)
  }

  /** Takes what zlib and brotli have written, so that one may follow the other. */
  decompress(compressed: Uint8Array): Uint8Array {
    try {
      return compressed[0] === brotliMark
        ? unbrotlied(compressed, this.#maxSize)
        : whole(inflateSync, compressed, this.#maxSize)
    } catch (error) {
      if (error instanceof MapperDeserialisationError) throw error
      // without the cause: what zlib says holds no state, but nothing that helps either
      if ((error as NodeJS.ErrnoException | null)?.code === 'ERR_BUFFER_TOO_LARGE') {
        throw new MapperDeserialisationError(
          `decompressed, it has more than the ${this.#maxSize} bytes that COMPRESSOR_MAX_SIZE allows`,
        )
      }
      throw damaged()
    }
  }

  protected abstract compressed(state: Uint8Array): Uint8Array
}

/** Compresses by zlib (RFC 1950), as Python eventsourcing does; built in as `zlib`. What it gives is a zlib stream. */
export class ZlibCompressor extends NodeCompressor {
  protected compressed(state: Uint8Array): Uint8Array {
    return deflateSync(state)
  }
}

/**
 * Compresses by Brotli (RFC 7932): smaller than zlib's, and slower to make; built in as `brotli`. What it gives is a byte B5 hex, a
 * CRC-32 of the state (4 bytes, big endian), and a Brotli stream.
 */
export class BrotliCompressor extends NodeCompressor {
  protected compressed(state: Uint8Array): Uint8Array {
    const stream = brotliCompressSync(state, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_SIZE_HINT]: state.length },
    })
    const head = Buffer.alloc(brotliHead)
    head[0] = brotliMark
    head.writeUInt32BE(crc32(state), 1)
    return Buffer.concat([head, stream])
  }
}

// No zlib stream begins with it. A Brotli stream has no check of its own: damaged, it may decompress to something else.
const brotliMark = 0xb5
const brotliHead = 5

function unbrotlied(compressed: Uint8Array, maxOutputLength: number): Uint8Array {
  if (compressed.length < brotliHead) throw damaged()
  const state = whole(brotliDecompressSync, compressed.subarray(brotliHead), maxOutputLength)
  const check = Buffer.from(compressed.buffer, compressed.byteOffset, brotliHead).readUInt32BE(1)
  if (crc32(state) !== check) throw damaged()
  return state
}

/** What a stream holds, all of it: Node passes over what stands behind its end. */
function whole(
  decompress: typeof inflateSync | typeof brotliDecompressSync,
  stream: Uint8Array,
  maxOutputLength: number,
): Uint8Array {
  // the types leave out what `info` gives
  const { buffer, engine } = decompress(stream, { maxOutputLength, info: true }) as unknown as {
    buffer: Uint8Array
    engine: { bytesWritten: number }
  }
  if (engine.bytesWritten !== stream.length) throw damaged()
  return buffer
}

function damaged(): MapperDeserialisationError {
  return new MapperDeserialisationError('decompressing it failed: it is damaged, or was compressed by something else')
}

function maxSizeOf(source: CompressorOptions | Environment): number {
  if (source instanceof Environment) return source.integer('COMPRESSOR_MAX_SIZE', defaultMaxSize, 1)
  const { maxSize = defaultMaxSize } = source
  if (Number.isSafeInteger(maxSize) && maxSize >= 1) return maxSize
  throw new ProgrammingError('The maxSize of a compressor must be an integer from 1, in bytes')
}
