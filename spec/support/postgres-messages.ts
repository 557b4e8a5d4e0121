/** One message of a stream, and where it stands. */
export interface Message {
  /** `B` for Bind, `C` for CommandComplete; empty for the first of a client, which has none. */
  readonly letter: string
  readonly body: Buffer
  /** Its place in the bytes that were taken last; below 0 where it began in bytes before. */
  readonly start: number
}

/**
 * Cuts the stream of a connection that is not encrypted into messages: a letter, a length that counts itself, and a body.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
class Messages {
  #rest = Buffer.alloc(0)

  /** @param isStarted  Whether the first message has a letter, as all of a server have. */
  constructor(private isStarted: boolean) {}

  /** The messages that come to their end in these bytes. */
  protected cut(bytes: Buffer): Message[] {
    const before = this.#rest.length
    let [rest, at] = [before > 0 ? Buffer.concat([this.#rest, bytes]) : bytes, -before]
    const messages: Message[] = []
    for (;;) {
      const start = this.isStarted ? 1 : 0
      const end = rest.length < start + 4 ? Infinity : start + rest.readInt32BE(start)
      if (rest.length < end) {
        this.#rest = Buffer.from(rest)
        return messages
      }
      const letter = rest.toString('latin1', 0, start)
      messages.push({ letter, body: rest.subarray(start + 4, end), start: at })
      this.isStarted = true
      rest = rest.subarray(end)
      at += end
    }
  }
}

/** What a server says. */
export class ServerMessages extends Messages {
  /** Whether it has taken the client, who may ask now. */
  isReady = false

  constructor() {
    super(true)
  }

  /** The tags of the commands whose completion these bytes bring: `INSERT 0 1`, `COMMIT`. */
  completed(bytes: Buffer): string[] {
    const messages = this.cut(bytes)
    this.isReady ||= messages.some(({ letter }) => letter === 'Z')
    const completions = messages.filter(({ letter }) => letter === 'C')
    return completions.map(({ body }) => body.toString('utf8', 0, body.length - 1))
  }
}

const names: Readonly<Record<string, string>> = {
  '': 'Startup',
  B: 'Bind',
  C: 'Close',
  D: 'Describe',
  E: 'Execute',
  H: 'Flush',
  P: 'Parse',
  Q: 'Query',
  S: 'Sync',
  X: 'Terminate',
}

/** A client's message. */
export interface Request {
  /** In the protocol's words: `Bind`, `Execute`, `Sync`. */
  readonly name: string
  /** The text of the statement that it is about, a prepared one's too. */
  readonly statement: string | undefined
  readonly start: number
}

/** What a client says. */
export class ClientMessages extends Messages {
  readonly #prepared = new Map<string, string>()

  constructor() {
    super(false)
  }

  requests(bytes: Buffer): Request[] {
    return this.cut(bytes).map(({ letter, body, start }) => ({
      name: names[letter] ?? letter,
      statement: this.#statement(letter, body),
      start,
    }))
  }

  #statement(letter: string, body: Buffer): string | undefined {
    if (!/[QPB]/.test(letter)) return undefined
    const [first = '', second = ''] = body.toString('utf8').split('\0', 2)
    if (letter === 'Q') return first
    if (letter === 'P') this.#prepared.set(first, second)
    // the portal's name comes before the statement's
    return letter === 'P' ? second : this.#prepared.get(second)
  }
}
