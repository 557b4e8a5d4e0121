import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { DataError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import type { Notification, StoredEvent } from '../../lib/persistence/stored-event.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { compare, nothing, type Placed } from '../support/order-findings.js'
import { faultsOf, startTogether } from '../support/outcomes.js'
import { pendingVersions } from '../support/pending-versions.js'
import { random, type Random } from '../support/random.js'
import { rejection } from '../support/rejection.js'
import { bytes, plain, storedEvent, storedEvents, versions } from '../support/stored-events.js'
import { schoolOn } from '../support/training-school.js'

/** What saves promise that may share a statement or a commit: that nobody can tell, but by the clock. */
export function sharedSavesSuite(define: DefineCase): void {
  describe('saves that are started while another is under way', () => {
    define('come out as if each were alone, whatever their sizes and whichever version is taken', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const before: Notification[] = []
      for (let seed = 1; seed <= 4; seed += 1) {
        const inserts = drawInserts(random(seed), `round ${seed}`, before)
        const outcomes = await startTogether(recorder, inserts)
        const added = await recorder.selectNotifications({ start: (before.at(-1)?.id ?? 0) + 1, limit: 100_000 })
        expect(faultsOf({ inserts, outcomes, before, added }), `round ${seed}`).to.deep.equal([])
        // otherwise little has been shown
        const refused = outcomes.filter(({ status }) => status === 'rejected').length
        expect(refused, `round ${seed}`).to.be.within(2, inserts.length - 2)
        before.push(...added)
      }
    })

    define('have the same conflict as alone: whose version it is, and where that one stands', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const saves: StoredEvent[][] = []
      for (const size of [1, 2, 10, 100, 600, 1500]) {
        for (const place of new Set([0, Math.floor(size / 2), size - 1])) {
          const name = `${place + 1} of ${size}`
          await recorder.insertEvents(storedEvents(`taken, ${name}`, 1, 3))
          const own = storedEvents(`own, ${name}`, 1, size)
          own[place] = storedEvent(`taken, ${name}`, 2)
          saves.push([storedEvent(`neighbour before ${name}`, 1)], own, storedEvents(`neighbour after ${name}`, 1, 2))
        }
      }
      await recorder.insertEvents(storedEvents('other', 1, 5))
      saves.push(
        [...storedEvents('own', 1, 2), storedEvent('other', 4), storedEvent('other', 2)], // two that are taken
        [storedEvent('new', 1), storedEvent('new', 2), storedEvent('new', 1)], // stands twice
        [storedEvent('other', 6), storedEvent('other', 7), storedEvent('other', 6)],
        [storedEvent('new', 7), storedEvent('new', 7), storedEvent('other', 5)], // both
      )
      const last = (await recorder.maxNotificationId()) as number
      const outcomes = await startTogether(recorder, saves)
      const added = await recorder.selectNotifications({ start: last + 1, limit: 100_000 })
      expect(added).to.have.length((outcomes.length - 4) / 3 + ((outcomes.length - 4) / 3) * 2)
      for (const [index, outcome] of outcomes.entries()) {
        const isNeighbour = index < saves.length - 4 && index % 3 !== 1
        expect(outcome.status, `save ${index}`).to.equal(isNeighbour ? 'fulfilled' : 'rejected')
        if (outcome.status === 'fulfilled') continue
        const alone = await rejection(recorder.insertEvents(saves[index]!), RecordConflictError)
        const shown = ({
          name,
          message,
          originatorId,
          originatorVersion,
          currentVersion,
          retryable,
        }: typeof alone) => ({
          ...{ name, message, originatorId, originatorVersion, currentVersion, retryable },
        })
        expect(outcome.reason).to.be.instanceOf(RecordConflictError)
        expect(shown(outcome.reason as RecordConflictError)).to.deep.equal(shown(alone))
      }
    })

    define('store nothing of one whose version stands twice in it, and all of the others', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const twice = [storedEvent('twice', 1), storedEvent('twice', 2), storedEvent('twice', 1)]
      const inserts = [[storedEvent('a', 1)], twice, storedEvents('b', 1, 3), [storedEvent('twice', 2)], [...twice]]
      const outcomes = await startTogether(recorder, inserts)
      expect(outcomes.map(({ status }) => status)).to.deep.equal([
        ...['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'rejected'],
      ])
      for (const index of [1, 4]) {
        const { reason } = outcomes[index] as PromiseRejectedResult
        expect(reason).to.be.instanceOf(RecordConflictError).with.property('originatorId', 'twice')
      }
      expect(versions(await recorder.selectEvents('twice'))).to.deep.equal([2])
      expect(await recorder.selectNotifications({ limit: 100 })).to.have.length(5)
    })

    define('of one stream are all stored where their versions follow each other', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const inserts = Array.from({ length: 40 }, (_, i) => [
        storedEvents('dog', 3 * i + 1, 3 * i + 3),
        [storedEvent('cat', i + 1)],
      ])
      for (const each of [inserts.flat(), Array.from({ length: 40 }, (_, i) => [storedEvent('fox', i + 1)])]) {
        const last = (await recorder.maxNotificationId()) ?? 0
        const outcomes = await startTogether(recorder, each)
        const added = await recorder.selectNotifications({ start: last + 1, limit: 1000 })
        expect(faultsOf({ inserts: each, outcomes, before: [], added })).to.deep.equal([])
      }
      for (const [id, length] of [['dog', 120] as const, ['cat', 40] as const, ['fox', 40] as const]) {
        const stored = versions(await recorder.selectEvents(id))
        expect(stored).to.deep.equal(Array.from({ length }, (_, i) => i + 1))
      }
    })

    define('tell ids apart that look alike, and give back every byte', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const ids = [
        ...[
          'Fido',
          'fido',
          'Fido ',
          ' Fido',
          'Fid\u00f3',
          'Fido\u0301',
          'NULL',
          'null',
          '{}',
          '{Fido}',
          '"Fido"',
          "'Fido'",
        ],
        ...['Fido,Rex', 'Fi\\do', 'Fido\n', '\\x46', '%', '_', '$1', '1', '01', '1.0', '\u{1f415}', 'x'.repeat(2000)],
      ]
      const inserts = [
        ...ids.map((id, i) => [storedEvent(id, 1, { state: Uint8Array.of(0, i, 255, 92, 34, 39) })]),
        // joined to one text these are the same, or each other's beginning
        ...[['dog', 11] as const, ['dog1', 1] as const, ['dog 1', 1] as const, ['dog', 1] as const].map(
          ([id, version]) => [storedEvent(id, version, { state: new Uint8Array() })],
        ),
        ...[0, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER].map((version) => [
          storedEvent('versions', version, { topic: `topic, "of" {${version}} \\` }),
        ]),
        [storedEvent('large', 1, { state: bytes('x'.repeat(30_000)) })],
        ids.map((id) => storedEvent(id, 2)),
      ]
      const outcomes = await startTogether(recorder, [...inserts, ...inserts])
      const added = await recorder.selectNotifications({ limit: 1000 })
      expect(faultsOf({ inserts: [...inserts, ...inserts], outcomes, before: [], added })).to.deep.equal([])
      expect(added).to.have.length(inserts.flat().length)
      for (const [event] of inserts) {
        const { originatorId, originatorVersion } = event!
        const [found] = await recorder.selectEvents(originatorId, { gt: originatorVersion - 1, lte: originatorVersion })
        expect(plain(found!)).to.deep.equal(plain(event!))
      }
    })

    define(
      'give back every byte of ids, topics and states, whatever is odd and in which of them',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        const odd = { text: 'a\x1eb\x1e', others: ['\x1e', '\x1f', '\ufeff', '\u2028', '\uffff'] }
        const states = [
          ...[odd.text, ...odd.others, 'é\u{1f415}', '', ' '].map(bytes),
          // neither is text for each database: no UTF-8, though without NUL; NUL, though UTF-8; half a pair; too long a form
          ...[[255], [0], [65, 0, 66], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80]].map((state) =>
            Uint8Array.from(state),
          ),
        ]
        const rounds: ((of: string, version: number) => StoredEvent)[] = [
          ...[odd.text, ...odd.others].flatMap((text) => [
            (of: string, version: number) => storedEvent(`${text} ${of}`, version),
            (of: string, version: number) => storedEvent(`topic ${of} ${text}`, version, { topic: text }),
          ]),
          ...states.map(
            (state, i) => (of: string, version: number) => storedEvent(`state ${i} ${of}`, version, { state }),
          ),
        ]
        let before: Notification[] = []
        for (const oddOne of rounds) {
          const inserts = [
            ...[1, 2, 3].map((i) => [storedEvent(`beside ${before.length} ${i}`, 1)]),
            [oddOne('single', 1)],
            [oddOne('several', 1), storedEvent(`with ${before.length}`, 1), oddOne('several', 2)],
            [storedEvent(`beside ${before.length}`, 1)],
          ]
          // one that is sent alone, one that shares
          const alone = [[oddOne('alone', 1)], [oddOne('alone', 2), oddOne('alone', 3)]]
          const outcomes = await startTogether(recorder, inserts)
          for (const insert of alone) outcomes.push(...(await startTogether(recorder, [insert])))
          const all = await recorder.selectNotifications({ limit: 1000 })
          const added = all.slice(before.length)
          expect(faultsOf({ inserts: [...inserts, ...alone], outcomes, before, added })).to.deep.equal([])
          expect(outcomes.every(({ status }) => status === 'fulfilled')).to.equal(true)
          before = all
        }
      },
    )

    define('store what they were called with, whatever becomes of the array meanwhile', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const inserts = Array.from({ length: 12 }, (_, i) => storedEvents(`dog ${i}`, 1, 1 + (i % 3)))
      const buffer: StoredEvent[] = []
      const saving = inserts.map((events) => {
        buffer.push(...events)
        const saved = recorder.insertEvents(buffer)
        buffer.length = 0
        return saved
      })
      buffer.push(null as unknown as StoredEvent)
      const outcomes = await Promise.allSettled(saving)
      const added = await recorder.selectNotifications({ limit: 100 })
      expect(faultsOf({ inserts, outcomes, before: [], added })).to.deep.equal([])
      expect(added).to.have.length(24)
    })

    define('are refused alone for input that can’t be, as ever', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const bad: [unknown, new (...args: never[]) => Error][] = [
        [[storedEvent('nul', 1, { topic: 'Dog\0' })], DataError],
        [[storedEvent('half', 1), storedEvent('half\ud800', 2)], DataError],
        [[storedEvent('below', -1)], DataError],
        [[storedEvent('', 1)], DataError],
        [[storedEvent('text', 1, { state: 'text' as unknown as Uint8Array })], DataError],
        [{ length: 1 }, ProgrammingError],
        [[undefined], ProgrammingError],
      ]
      const saving: Promise<unknown>[] = []
      for (const [i, [events, errorClass]] of bad.entries()) {
        saving.push(recorder.insertEvents(storedEvents(`neighbour ${i}`, 1, 2)))
        saving.push(rejection(recorder.insertEvents(events as StoredEvent[]), errorClass))
        saving.push(recorder.insertEvents([]).then((ids) => expect(ids).to.deep.equal([])))
      }
      await Promise.all(saving)
      expect(await recorder.selectNotifications({ limit: 100 })).to.have.length(2 * bad.length)
    })

    define('may be the first ever, and the tables are yet to be made', async (opened) => {
      const school = schoolOn(opened)
      await Promise.all(Array.from({ length: 20 }, (_, i) => school.register(`dog ${i}`)))
      expect(await school.recorder.selectNotifications({ limit: 100 })).to.have.length(20)
    })

    define('are of one table, whichever application’s or recorder’s they are', async ({ factory }) => {
      const [school, same] = [factory('School'), factory('School')]
      const recorders = [
        await school.processRecorder(),
        await school.applicationRecorder(),
        await same.applicationRecorder(),
      ]
      const inserts = Array.from({ length: 30 }, (_, i) => [
        storedEvent(`dog ${i % 10}`, 1, { state: bytes(`${i}`) }),
        storedEvent(`of ${i}`, 1, { state: bytes(`${i}`) }),
      ])
      const outcomes = await Promise.allSettled(inserts.map((events, i) => recorders[i % 3]!.insertEvents(events)))
      const added = await recorders[0]!.selectNotifications({ limit: 100 })
      expect(faultsOf({ inserts, outcomes, before: [], added })).to.deep.equal([])
      expect(added).to.have.length(20)
    })

    define(
      'know tables apart: a version of another application, or of a snapshot, is no conflict',
      async ({ factory }) => {
        const [school, kennel] = [factory('School'), factory('Kennel')]
        const recorders = [await school.applicationRecorder(), await kennel.applicationRecorder()]
        const snapshots = [await school.aggregateRecorder('snapshots'), await kennel.aggregateRecorder('snapshots')]
        await recorders[0]!.insertEvents([storedEvent('taken', 1)])
        await snapshots[1]!.insertEvents([storedEvent('taken', 1)])
        const all = [...recorders, ...snapshots]
        const ids = Array.from({ length: 10 }, (_, i) => `dog ${i}`).concat('taken')
        const outcomes = await Promise.allSettled([
          ...ids.flatMap((id) => all.map((recorder) => recorder.insertEvents([storedEvent(id, 1)]))),
          ...ids.flatMap((id) => all.map((recorder, i) => recorder.insertEvents([storedEvent(`${id}, only ${i}`, 1)]))),
        ])
        const refused = outcomes.flatMap(({ status }, index) => (status === 'rejected' ? [index] : []))
        expect(refused).to.deep.equal([40, 43])
        for (const [own, recorder] of all.entries()) {
          for (const id of ids) {
            expect(versions(await recorder.selectEvents(id))).to.deep.equal([1])
            for (const i of all.keys()) {
              expect(await recorder.selectEvents(`${id}, only ${i}`)).to.have.length(i === own ? 1 : 0)
            }
          }
        }
      },
    )

    define('are there for every reader once they are acknowledged', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('taken', 1)])
      const seen = await Promise.all(
        Array.from({ length: 40 }, async (_, i) => {
          const events = i % 10 === 5 ? [storedEvent('taken', 1)] : storedEvents(`dog ${i}`, 1, 1 + (i % 3))
          const ids = await recorder.insertEvents(events).catch(() => [])
          const [stored, last] = [await recorder.selectEvents(`dog ${i}`), await recorder.maxNotificationId()]
          return stored.length === ids.length && (last as number) >= (ids.at(-1) ?? 0)
        }),
      )
      expect(seen).not.to.include(false)
    })

    define(
      'take none of a transaction’s along, and go with none, where all are started at once',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        const inTransaction = (name: string, end: 'commit' | 'rollback') =>
          recorder.transaction(async () => {
            await recorder.insertEvents([storedEvent(`inside, ${name}`, 1)])
            await Promise.all([1, 2].map((n) => recorder.insertEvents(storedEvents(`inside, ${name} ${n}`, 1, 2))))
            if (end === 'rollback') throw new RangeError('undo')
          })
        const work = Array.from({ length: 10 }, (_, i) => [
          recorder.insertEvents([storedEvent(`outside ${i}`, 1)]),
          i % 3 === 0
            ? inTransaction(`kept ${i}`, 'commit')
            : rejection(inTransaction(`undone ${i}`, 'rollback'), RangeError),
          recorder.insertEvents(storedEvents(`outside ${i}`, 2, 3)),
        ])
        await Promise.all(work.flat())
        const stored = await recorder.selectNotifications({ limit: 1000 })
        const count = (beginning: string) =>
          stored.filter(({ originatorId }) => originatorId.startsWith(beginning)).length
        expect([count('outside'), count('inside, kept'), count('inside, undone')]).to.deep.equal([30, 20, 0])
      },
    )

    define('go on when the transaction is over from within which the first of them was started', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      const insert = (name: string) =>
        Promise.all(Array.from({ length: 10 }, (_, i) => recorder.insertEvents([storedEvent(`${name} ${i}`, 1)])))
      let outside!: Promise<unknown>
      const undone = recorder.transaction(async () => {
        await recorder.insertEvents([storedEvent('undone', 1)])
        outside = opened.datastore.outside(() => insert('outside'))
        await nextTurn()
        throw new RangeError('undo')
      })
      const beside = insert('beside')
      await rejection(undone, RangeError)
      await Promise.all([outside, beside, insert('after')])
      await insert('last')
      expect(await recorder.selectEvents('undone')).to.deep.equal([])
      expect(await recorder.selectNotifications({ limit: 100 })).to.have.length(40)
    })

    define(
      'are seen in order by who reads meanwhile, none missed, beside transactions of both ends',
      async ({ factory }) => {
        const recorder = await factory().applicationRecorder()
        const given: Placed[] = []
        let isWritten = false
        const read = async () => {
          for (;;) {
            const isLast = isWritten
            const start = given.at(-1)?.id ?? 0
            const page = await recorder.selectNotifications({ start, inclusiveOfStart: false, limit: 25 })
            given.push(...page)
            if (page.length === 0 && isLast) return
            if (page.length === 0) await nextTurn()
          }
        }
        const reading = read()
        try {
          for (let round = 0; round < 12; round += 1) {
            const events = (i: number, count: number) => storedEvents(`dog ${i}`, 3 * round + 1, 3 * round + count)
            const outside = Array.from({ length: 20 }, (_, i) => recorder.insertEvents(events(i, 1 + (i % 3))))
            const inside = [20, 21, 22].map(async (i) => {
              const transaction = recorder.transaction(async () => {
                await recorder.insertEvents(events(i, 1))
                await nextTurn()
                if (i !== 20) throw new RangeError('undo')
              })
              await (i === 20 ? transaction : rejection(transaction, RangeError))
            })
            await Promise.all([...outside, ...inside])
          }
        } finally {
          isWritten = true
        }
        await reading
        const stored = await recorder.selectNotifications({ limit: 10_000 })
        expect(stored).to.have.length(12 * (7 + 2 * 7 + 3 * 6 + 1))
        expect(compare(stored, given)).to.deep.equal(nothing)
      },
    )

    define('settle, hundreds of them, where many conflict', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const inserts = Array.from({ length: 800 }, (_, i) => {
        const state = bytes(`${i}`)
        const shared = storedEvent(`shared ${i % 50}`, 1, { state })
        const own = storedEvent(`own ${i}`, 1, { state })
        return [[own], [own], [shared, own], [own], [own, shared]][i % 5]!
      })
      const outcomes = await startTogether(recorder, inserts)
      const added = await recorder.selectNotifications({ limit: 10_000 })
      expect(faultsOf({ inserts, outcomes, before: [], added })).to.deep.equal([])
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).to.have.length(480 + 20)
    })
  })

  describe('aggregates that are saved while others are', () => {
    define('have their events back where it fails, and no other has', async (opened) => {
      const school = schoolOn(opened)
      const names = Array.from({ length: 20 }, (_, i) => `dog ${i}`)
      await Promise.all(names.map((name) => school.register(name)))
      const dogs = await Promise.all(names.map((name) => school.repository.get(Dog, Dog.createId(name))))
      const stale = [0, 7, 19]
      for (const i of stale) await school.addTrick(names[i]!, 'of a rival')
      for (const dog of dogs) for (const trick of ['sit', 'roll over']) dog.addTrick(trick)
      const pair = [new Dog('one beside a stale one'), new Dog('another one')]
      const [both, ...outcomes] = await Promise.allSettled([
        school.save(pair[0], dogs[7], pair[1]),
        ...dogs.map((dog, i) => (i === 7 ? Promise.resolve([]) : school.save(dog))),
      ])
      expect((both as PromiseRejectedResult).reason).to.be.instanceOf(RecordConflictError)
      for (const [i, dog] of dogs.entries()) {
        const isStale = stale.includes(i)
        if (i !== 7) expect(outcomes[i]!.status).to.equal(isStale ? 'rejected' : 'fulfilled')
        expect(pendingVersions(dog), names[i]).to.deep.equal(isStale ? [2, 3] : [])
        expect(await school.tricks(names[i]!)).to.deep.equal(isStale ? ['of a rival'] : ['sit', 'roll over'])
      }
      for (const dog of pair) {
        expect(pendingVersions(dog)).to.deep.equal([1])
        expect(await school.repository.has(dog.id)).to.equal(false)
      }
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') {
          expect(outcome.reason)
            .to.be.instanceOf(RecordConflictError)
            .and.include({ originatorVersion: 2, currentVersion: 2 })
          continue
        }
        for (const { domainEvent, notification } of outcome.value) {
          const [stored] = await school.notificationLog.select({ start: notification.id, limit: 1 })
          expect(stored).to.include({
            originatorId: domainEvent.originatorId,
            originatorVersion: domainEvent.originatorVersion,
          })
        }
      }
      // whoever had a conflict gets the aggregate again, and has none
      await Promise.all(stale.map((i) => school.addTrick(names[i]!, 'sit')))
    })

    define(
      'may be saved again as soon as that is answered, by many and against rivals, without an end',
      async (opened) => {
        const school = schoolOn(opened)
        await school.register('shared')
        const lone = Array.from({ length: 12 }, async (_, i) => {
          await school.register(`dog ${i}`)
          for (let trick = 1; trick <= 12; trick += 1) await school.addTrick(`dog ${i}`, `trick ${trick}`)
        })
        const rivals = Array.from({ length: 4 }, async (_, i) => {
          let conflicts = 0
          for (let trick = 1; trick <= 6;) {
            const error = await school.addTrick('shared', `${i} ${trick}`).then(
              () => undefined,
              (reason: unknown) => reason,
            )
            if (error === undefined) trick += 1
            else expect(error).to.be.instanceOf(RecordConflictError)
            if (error !== undefined) conflicts += 1
          }
          return conflicts
        })
        await Promise.all([...lone, ...rivals])
        expect(new Set(await school.tricks('shared')).size).to.equal(24)
        const events = await school.recorder.selectEvents(Dog.createId('shared'))
        expect(versions(events)).to.deep.equal(Array.from({ length: 25 }, (_, i) => i + 1))
        for (let i = 0; i < 12; i += 1) expect(await school.tricks(`dog ${i}`)).to.have.length(12)
      },
    )
  })
}

/** Inserts to be started together: of all sizes, and about every third with a version that is taken, or stands twice. */
function drawInserts(chance: Random, name: string, stored: readonly StoredEvent[]): StoredEvent[][] {
  const inserts: StoredEvent[][] = []
  for (let i = 0; i < 24; i += 1) {
    const size = sizes[chance.below(sizes.length)]!
    const state = (n: number) => bytes(`${name}, insert ${i}, event ${n}`)
    const events = Array.from({ length: size }, (_, n) => storedEvent(`${name}, ${i}`, n + 1, { state: state(n) }))
    const place = [0, Math.floor(size / 2), size - 1][chance.below(3)]!
    // taken before, taken by another of them, or twice in the insert itself
    const others = [stored, inserts.flat(), events][chance.below(9)] ?? []
    if (others.length > 0) {
      const { originatorId, originatorVersion } = others[chance.below(others.length)]!
      events[place] = storedEvent(originatorId, originatorVersion, { state: state(place) })
    }
    inserts.push(events)
  }
  return shuffled(inserts, chance)
}

// half of them of one event, as most saves are
const sizes = [1, 1, 1, 1, 1, 1, 2, 2, 10, 10, 100, 600, 1500]

function shuffled<T>(items: readonly T[], chance: Random): T[] {
  const left = [...items]
  return items.map(() => left.splice(chance.below(left.length), 1)[0] as T)
}
