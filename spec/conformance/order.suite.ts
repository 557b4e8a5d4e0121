import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import type { ApplicationRecorder } from '../../lib/persistence/recorders.js'
import type { Notification } from '../../lib/persistence/stored-event.js'
import type { DefineCase } from '../support/cases.js'
import { gate } from '../support/gate.js'
import { random, type Random } from '../support/random.js'
import { rejection } from '../support/rejection.js'
import { storedEvent, storedEvents } from '../support/stored-events.js'

/** Whoever reads forward while others write misses nothing, and sees nothing twice or out of order. */
export function orderSuite(define: DefineCase): void {
  describe('order of notifications', () => {
    define('lets forward readers miss nothing while writers commit and roll back', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const writers = Array.from({ length: 8 }, (_, i) => new Writer(recorder, `writer ${i}`, random(i)))
      const writing = Promise.all(writers.map((writer) => writer.writeAll(25)))
      let written = false
      const done = writing.then(() => {
        written = true
      })
      const reading = [1, 7, 1000].map((limit, i) => readForward(recorder, limit, random(100 + i), () => written))
      await done
      const committed = writers.flatMap(({ recorded }) => recorded)
      const expected = committed
        .flatMap(({ ids, first, originatorId }) => ids.map((id, i) => `${id} ${originatorId} ${first + i}`))
        .sort((a, b) => parseInt(a) - parseInt(b))
      expect(expected.length).to.be.above(100)
      for (const seen of await Promise.all(reading)) {
        expect(seen.map((one) => `${one.id} ${one.originatorId} ${one.originatorVersion}`)).to.deep.equal(expected)
      }
      for (const { ids } of committed) expect(ids).to.deep.equal(ids.map((_, i) => ids[0]! + i))
    })

    define('keeps each originator’s versions in the order of notifications', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const writers = Array.from({ length: 6 }, (_, i) => new Writer(recorder, `writer ${i}`, random(50 + i)))
      await Promise.all(writers.map((writer) => writer.writeAll(12)))
      const all = await recorder.selectNotifications({ limit: 10_000 })
      for (const { name } of writers) {
        const versions = all.filter(({ originatorId }) => originatorId === name).map((one) => one.originatorVersion)
        expect(versions).to.deep.equal(versions.map((_, i) => i + 1))
      }
    })

    define('never says a last id that a reader does not see next', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const writers = Array.from({ length: 6 }, (_, i) => new Writer(recorder, `writer ${i}`, random(70 + i)))
      let written = false
      const writing = Promise.all(writers.map((writer) => writer.writeAll(12))).then(() => {
        written = true
      })
      let last = 0
      let checks = 0
      while (!written) {
        const max = await recorder.maxNotificationId()
        const seen = await recorder.selectNotifications({ start: Math.max(max ?? 0, 1), limit: 1 })
        if (max !== null) expect(seen[0]?.id).to.equal(max)
        expect(max ?? 0).to.be.at.least(last)
        last = max ?? 0
        checks += 1
        await nextTurn()
      }
      await writing
      expect(checks).to.be.above(0)
      expect(await recorder.maxNotificationId()).to.equal(
        Math.max(...writers.flatMap(({ recorded }) => recorded.at(-1)!.ids)),
      )
    })

    define(
      'shows nothing at or below what a reader has seen, when an older transaction commits late',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        const [inserted, release] = [gate(), gate()]
        const late = recorder.transaction(async () => {
          await recorder.insertEvents(storedEvents('late', 1, 3))
          inserted.open()
          await release.passed
        })
        await inserted.passed
        // where there is one writer this waits for the late one, elsewhere it commits before
        const early = recorder.insertEvents([storedEvent('early', 1)])
        const read = recorder.selectNotifications({ limit: 100 })
        for (let i = 0; i < 5; i += 1) await nextTurn()
        release.open()
        await Promise.all([late, early])
        const before = await read
        const all = await recorder.selectNotifications({ limit: 100 })
        expect(all).to.have.length(4)
        const position = before.at(-1)?.id ?? 0
        const after = await recorder.selectNotifications({ start: position, inclusiveOfStart: false, limit: 100 })
        expect([...before, ...after].map(({ id }) => id)).to.deep.equal(all.map(({ id }) => id))
      },
    )
  })
}

/** Writes one originator's events: single, several, in transactions, in savepoints, some of them rolled back. */
class Writer {
  /** What is committed, insert by insert. */
  readonly recorded: { originatorId: string; first: number; ids: number[] }[] = []
  #version = 0

  constructor(
    readonly recorder: ApplicationRecorder,
    readonly name: string,
    readonly chance: Random,
  ) {}

  async writeAll(units: number): Promise<void> {
    for (let unit = 0; unit < units; unit += 1) {
      await this.chance.yield()
      await this.#unit()
    }
    await this.#insert() // so that each writer has written
  }

  async #unit(): Promise<void> {
    const kind = this.chance.below(4)
    if (kind === 0) {
      await this.#insert()
      return
    }
    const before = { length: this.recorded.length, version: this.#version }
    const outcome = this.recorder.transaction(async () => {
      await this.#insert()
      await this.chance.yield()
      if (kind > 1) await this.recorder.transaction(() => this.#insert())
      if (kind === 3) throw new RangeError('undo')
    })
    if (kind < 3) return outcome
    await rejection(outcome, RangeError)
    this.recorded.length = before.length
    this.#version = before.version
  }

  async #insert(): Promise<void> {
    const first = this.#version + 1
    this.#version += 1 + this.chance.below(4)
    const ids = await this.recorder.insertEvents(storedEvents(this.name, first, this.#version))
    this.recorded.push({ originatorId: this.name, first, ids })
  }
}

/** Pages forward until all is written and a page comes back empty: a bound in events, not in time. */
async function readForward(
  recorder: ApplicationRecorder,
  limit: number,
  chance: Random,
  isWritten: () => boolean,
): Promise<Notification[]> {
  const seen: Notification[] = []
  for (;;) {
    const last = isWritten()
    const start = (seen.at(-1)?.id ?? 0) + 1
    const page = await recorder.selectNotifications({ start, limit })
    seen.push(...page)
    if (last && page.length === 0) return seen
    // also lets the writers go on where reads come back at once
    if (page.length === 0) await nextTurn()
    await chance.yield()
  }
}
