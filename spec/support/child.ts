import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** How a child process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** What it wrote to standard error. */
  readonly stderr: string
}

/** A program of `spec/support/children/` in a process of its own, talked to by messages instead of by waiting. */
export class Child {
  /** Resolves when it has ended and all it wrote has been read. */
  readonly exit: Promise<Exit>
  /** All messages so far. */
  readonly received: unknown[] = []
  static readonly #running = new Set<Child>()
  readonly #process: ChildProcess
  #taken = 0
  #news: () => void = () => undefined

  /** @param options.uid  Whose process it is, where this one may choose. */
  constructor(program: string, args: readonly string[] = [], options: { uid?: number } = {}) {
    const file = fileURLToPath(new URL(`./children/${program}.js`, import.meta.url))
    const { uid } = options
    this.#process = fork(file, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'], uid, gid: uid })
    let stderr = ''
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    this.#process.on('message', (message) => {
      this.received.push(message)
      this.#news()
    })
    Child.#running.add(this)
    this.exit = once(this.#process, 'close').then(([code, signal]) => {
      Child.#running.delete(this)
      this.#news()
      return { code: code as number | null, signal: signal as NodeJS.Signals | null, stderr }
    })
  }

  /** Ends what a failed case has left running, after which nobody would wait for it. */
  static async endAll(): Promise<void> {
    for (const child of Child.#running) {
      child.kill()
      await child.exit
    }
  }

  send(message: string): void {
    this.#process.send(message)
  }

  kill(): void {
    this.#process.kill('SIGKILL')
  }

  /** The next message. @throws Error  It ended before it said anything more; with what it wrote to standard error. */
  async message(): Promise<unknown> {
    while (this.received.length === this.#taken) {
      const news = new Promise<void>((resolve) => (this.#news = resolve))
      const { exitCode, signalCode } = this.#process
      if (exitCode !== null || signalCode !== null) {
        const { code, signal, stderr } = await this.exit
        if (this.received.length > this.#taken) break
        throw new Error(`The child ended with ${code ?? signal}: ${stderr}`)
      }
      await news
    }
    this.#taken += 1
    return this.received[this.#taken - 1]
  }
}
