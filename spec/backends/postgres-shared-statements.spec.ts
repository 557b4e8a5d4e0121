import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { expect } from 'chai'
import type { Sql } from 'postgres'
import { EventSourcingError, InterfaceError, OperationalError, ProgrammingError } from '../../lib/errors.js'
import { IntegrityError, RecordConflictError } from '../../lib/errors.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { compare, nothing, type Placed } from '../support/order-findings.js'
import { Remembered } from '../support/garbage.js'
import { faultsOf, type Outcome, startBehindFirst, startTogether } from '../support/outcomes.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { type Exchange, Wiretap } from '../support/postgres-wiretap.js'
import { failure, rejection } from '../support/rejection.js'
import { Place, type PlaceOptions, poolOwners, type School } from '../support/shared-statements.js'
import { bytes, storedEvent } from '../support/stored-events.js'
import { FaultProxy } from '../support/fault-proxy.js'
import { eventually, within } from '../support/victim.js'

const ends = ['commit', 'rollback'] as const

for (const poolOwner of poolOwners) {
  describePostgres(`Saves on PostgreSQL that are started while another is under way, by ${poolOwner},`, () => {
    let place: Place
    let rival: Sql

    beforeEach(async () => {
      place = await Place.open(poolOwner)
      rival = place.rival()
    })

    afterEach(() => place[Symbol.asyncDispose]())

    describe('go', () => {
      let tap: Wiretap

      beforeEach(async () => {
        tap = await Wiretap.before(postgresUrl())
      })

      afterEach(() => tap[Symbol.asyncDispose]())

      /** What reaches the server of thirty-two saves, on a connection that knows their statements. */
      async function exchangesOf(
        save: (school: School, name: string) => Promise<unknown>,
        options: PlaceOptions = {},
      ): Promise<Exchange[]> {
        const school = await place.school({ url: tap.url, max: 1, ...options })
        for (const name of ['first', 'second']) await save(school, name)
        return await tap.during(() => save(school, 'third'))
      }

      const atOnce = ({ recorder }: School, name: string) =>
        Promise.all(Array.from({ length: 32 }, (_, i) => recorder.insertEvents(events(`${name} ${i}`, 1))))

      it('together: thirty-two in a few statements', async () => {
        const exchanges = await exchangesOf(atOnce)
        // the first by itself or with the others, and those at once or in two halves
        expect(exchanges.length).to.be.within(1, 4)
        for (const { messages, statements } of exchanges) {
          expect(messages.join(' ')).to.equal(prepared)
          expect(statements.join()).to.match(/INSERT INTO .*school_events/s)
        }
      })

      const big = (name: string) => [event(name, 1, name.padEnd(300_000, '.'))]
      for (const [what, inserts, expected] of [
        ['six hundred events', (name: string) => Array.from({ length: 60 }, (_, i) => events(`${name} ${i}`, 10)), 2],
        ['more than a MiB', (name: string) => Array.from({ length: 5 }, (_, i) => big(`${name} ${i}`)), 2],
        [
          'one that is too long for others to share',
          (name: string) => [1, 600, 1].map((count, i) => events(`${name} ${i}`, count)),
          3,
        ],
      ] as const) {
        it(`together, as many as a statement takes: ${what}`, async () => {
          const exchanges = await exchangesOf(({ recorder }, name) =>
            Promise.all(inserts(name).map((each) => recorder.insertEvents(each))),
          )
          const executed = exchanges.flatMap(({ messages }) => messages.filter((message) => message === 'Execute'))
          expect(executed).to.have.length(expected)
          const all = ['first', 'second', 'third'].flatMap((name) => inserts(name).flat().map(storedKey))
          expect((await place.stored()).sort()).to.deep.equal(all.sort())
        })
      }

      it('together, where some conflict: only those are looked at again', async () => {
        const exchanges = await exchangesOf(({ recorder }, name) =>
          Promise.allSettled(
            Array.from({ length: 32 }, (_, i) =>
              recorder.insertEvents(i % 16 === 8 ? events('taken', 1) : events(`${name} ${i}`, 1)),
            ),
          ),
        )
        expect(exchanges.length).to.be.below(10)
      })

      it('after a conflict for a while by statements that expect one, which cost more, and then by others again', async () => {
        const school = await place.school({ url: tap.url, max: 1 })
        await school.recorder.insertEvents(events('taken', 1))
        const expecting = async (name: string, conflicts: boolean) => {
          const exchanges = await tap.during(() =>
            Promise.allSettled([
              ...Array.from({ length: 8 }, (_, i) => school.recorder.insertEvents(events(`${name} ${i}`, 1))),
              ...(conflicts ? [school.recorder.insertEvents(events('taken', 1))] : []),
            ]),
          )
          const shared = exchanges.flatMap(({ statements }) => statements).filter((text) => text.includes('unnest'))
          return new Set(shared.filter((text) => text.includes('INSERT')).map((text) => text.includes('DO NOTHING')))
        }
        expect([...(await expecting('before', false))]).to.deep.equal([false])
        expect([...(await expecting('conflict', true))]).to.deep.equal([false, true])
        expect([...(await expecting('another', true))]).to.deep.equal([true])
        for (let round = 0; round < 20; round += 1) await expecting(`round ${round}`, false)
        expect([...(await expecting('after', false))]).to.deep.equal([false])
      })

      it('together beside one that waits for an open transaction, which others with its version don’t join', async () => {
        const { recorder } = await place.school({ url: tap.url, max: 2 })
        const transaction = await heldByHand(1)
        const waiting = [watched(recorder.insertEvents([event('held', 1)]))]
        await place.waits()
        for (const round of ['first', 'second', 'third']) {
          const exchanges = await tap.during(() => {
            const saving = neighbours(round).map((each, i) => {
              if (i % 10 === 5)
                waiting.push(watched(recorder.insertEvents([event('held', 1), event(`${round} ${i}`, 1)])))
              return recorder.insertEvents(each)
            })
            return within('the neighbours', Promise.all(saving))
          })
          // one that met the lock would be repeated thirty times; the first may have been sent before it was known
          if (round !== 'first') expect(exchanges.length, `statements, ${round} round`).to.be.below(20)
        }
        expect(waiting.some(({ isSettled }) => isSettled)).to.equal(false)
        await transaction.rollback()
        await within('those that wait', Promise.allSettled(waiting.map(({ promise }) => promise)))
        expect(await recorder.selectEvents('held')).to.have.length(1)
      })

      it('together again once the transaction is over that they have waited for', async () => {
        const { recorder } = await place.school({ url: tap.url, max: 2 })
        const transaction = await heldByHand(30)
        const saveAll = () => Array.from({ length: 30 }, (_, i) => recorder.insertEvents([event('held', i + 1)]))
        const waiting = Promise.all(saveAll())
        await place.waits()
        await pause(200) // until all of them are known to wait
        await transaction.rollback()
        await within('those that wait', waiting)
        const exchanges = await tap.during(() =>
          Promise.all(saveAll().map((each) => rejection(each, RecordConflictError))),
        )
        // by itself each is an INSERT and two looks
        expect(exchanges.length).to.be.below(20)
      })

      it('in one statement each, at once, where one comes after the other', async () => {
        const exchanges = await exchangesOf(async ({ recorder }, name) => {
          for (let i = 0; i < 5; i += 1) await recorder.insertEvents(events(`${name} ${i}`, 1 + (i % 2) * 2))
        })
        expect(exchanges.map(({ messages }) => messages.join(' '))).to.deep.equal(Array(5).fill(prepared))
      })

      it('in a statement each where that is turned off', async () => {
        const exchanges = await exchangesOf(atOnce, { shareStatements: false })
        const executed = exchanges.flatMap(({ messages }) => messages.filter((message) => message === 'Execute'))
        expect(executed).to.have.length(32)
      })
    })

    it('refuse an option that is neither yes nor no', async () => {
      const wrong = { shareStatements: 'no' as unknown as boolean }
      await rejection(place.school(wrong), ProgrammingError, 'shareStatements')
    })

    it('keep nothing of the requests that the first of them were part of, while others follow', async () => {
      const { recorder } = await place.school()
      const requests = new AsyncLocalStorage<object>()
      const remembered = new Remembered()
      let isOver = false
      // more than one statement takes, so that some always wait
      const saving = Array.from({ length: 600 }, async (_, who) => {
        for (let i = 0; !isOver; i += 1) {
          const request = {}
          if (who < 10 && i === 0) remembered.add(request)
          await requests.run(request, () => recorder.insertEvents([event(`dog ${who}`, i + 1)]))
        }
      })
      await pause(500)
      const kept = await remembered.kept(0)
      isOver = true
      await Promise.all(saving)
      expect(kept).to.equal(0)
    })

    it('keep their order: of one version the first is stored', async () => {
      const { recorder } = await place.school()
      const inserts = Array.from({ length: 40 }, (_, i) =>
        i % 4 === 3
          ? [event('shared', 1 + Math.floor(i / 12), `${i}`), event(`beside ${i}`, 1)]
          : events(`dog ${i}`, 1 + (i % 3)),
      )
      const outcomes = await startTogether(recorder, inserts)
      const kept = inserts.filter((_, i) => i % 4 !== 3 || i % 12 === 3)
      expect(await place.stored()).to.deep.equal(kept.flat().map(storedKey))
      for (const [i, outcome] of outcomes.entries()) {
        expect(outcome.status, `insert ${i}`).to.equal(kept.includes(inserts[i]!) ? 'fulfilled' : 'rejected')
      }
    })

    describe('and of which one has to wait for an open transaction', () => {
      const several = [event('own', 1), event('own', 2), event('held', 1), event('own', 3)]

      for (const end of ends) {
        for (const [size, held] of [['one event', [event('held', 1)]] as const, ['several', several] as const]) {
          for (const holder of ['by hand', 'by another process'] as const) {
            it(`(written ${holder}, ${size}, ${end}) are acknowledged meanwhile, and it has its own outcome`, async () => {
              const { recorder } = await place.school({ max: 2 })
              const transaction = await (holder === 'by hand' ? heldByHand(1) : heldElsewhere())
              const [first, ...others] = neighbours()
              const saving = [first!, ...others.slice(0, 8), held, ...others.slice(8)].map((each) =>
                recorder.insertEvents(each),
              )
              const waiting = watched(saving.splice(9, 1)[0]!)
              await within('the neighbours', Promise.all(saving))
              expect((await place.stored()).sort()).to.deep.equal(neighbours().flat().map(storedKey).sort())
              await within('a save that comes later', recorder.insertEvents(events('later', 2)))
              expect(waiting.isSettled).to.equal(false)
              await transaction[end]()
              await within('the one that waits', expectOutcome(end, waiting.promise, held))
              expect(await recorder.selectEvents('own')).to.have.length(
                end === 'commit' || size === 'one event' ? 0 : 3,
              )
              expect(await recorder.selectEvents('held')).to.have.length(1)
            })
          }

          it(`(${size}, ${end}) are acknowledged meanwhile where it was sent before they came`, async () => {
            const { recorder } = await place.school({ max: 2 })
            const transaction = await heldByHand(1)
            const waiting = watched(recorder.insertEvents(held))
            await place.waits()
            for (const round of ['', ', again']) {
              const inserts = neighbours(round)
              await within('the neighbours', Promise.all(inserts.map((each) => recorder.insertEvents(each))))
            }
            expect(waiting.isSettled).to.equal(false)
            await transaction[end]()
            await within('the one that waits', expectOutcome(end, waiting.promise, held))
          })
        }

        for (const count of [1, 30]) {
          const keys = count === 1 ? 'one version' : 'a version each'
          it(`(thirty that wait for ${keys}, ${end}) delay nobody, with two connections`, async () => {
            const { recorder, datastore } = await place.school({ max: 2 })
            const transaction = await heldByHand(count)
            const inserts = neighbours().flatMap((neighbour, i) => [
              neighbour,
              [event('held', 1 + (i % count), `of ${i}`), event(`own ${i}`, 1)],
            ])
            const saving = inserts.map((each) => recorder.insertEvents(each))
            const isNeighbour = (_: unknown, i: number) => i % 2 === 0
            await within('the neighbours', Promise.all(saving.filter(isNeighbour)))
            await within('a later save', recorder.insertEvents(events('later', 1)))
            await within('a read', recorder.selectEvents('later'))
            const inTransaction = datastore.transaction(() => recorder.insertEvents(events('inside', 1)))
            await within('a transaction', inTransaction)
            expect((await place.stored()).filter((key) => /^(held|own)/.test(key))).to.deep.equal([])
            await transaction[end]()

            const outcomes = await within('those that wait', Promise.allSettled(saving))
            const all = await recorder.selectNotifications({ limit: 1000 })
            const others = (each: StoredEvent) => ['later', 'inside'].includes(each.originatorId)
            const before = end === 'commit' ? all.filter(({ state }) => state.length === 0) : []
            const added = all.filter((each) => !others(each) && !before.includes(each))
            expect(faultsOf({ inserts, outcomes, before, added })).to.deep.equal([])
            const isStored = ({ status }: Outcome, i: number) => !isNeighbour(undefined, i) && status === 'fulfilled'
            expect(outcomes.filter(isStored)).to.have.length(end === 'commit' ? 0 : count)
          })
        }
      }

      it('are acknowledged, and it is refused when the pool timeout is over, with nothing stored later', async () => {
        const { recorder } = await place.school({ max: 2, poolTimeoutMs: 500 })
        const transaction = await heldByHand(2)
        const held = [[event('held', 1)], [event('own', 1), event('held', 2)]]
        // the first of all, which is alone, and two among others
        const outcomes = await within(
          'the saves',
          startTogether(recorder, [[event('held', 2)], ...neighbours(), ...held, ...neighbours(', too')]),
        )
        const refused = outcomes.flatMap((outcome) =>
          outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
        )
        expect(refused).to.have.length(3)
        for (const error of refused) expect(error).to.be.instanceOf(OperationalError).with.property('retryable', true)
        await transaction.rollback()
        await place.isIdle()
        const expected = [...neighbours(), ...neighbours(', too')].flat().map(storedKey)
        expect((await place.stored()).sort()).to.deep.equal(expected.sort())
        for (const each of held) await recorder.insertEvents(each)
      })

      it('(a thousand that wait) are each refused when the pool timeout is over, with nothing stored later', async () => {
        const { recorder } = await place.school({ max: 2, poolTimeoutMs: 500 })
        const transaction = await heldByHand(1000)
        const held = Array.from({ length: 1000 }, (_, i) => [event('held', i + 1)])
        const outcomes = await within('the saves', startTogether(recorder, held))
        for (const outcome of outcomes) {
          expect(outcome.status).to.equal('rejected')
          expect((outcome as PromiseRejectedResult).reason)
            .to.be.instanceOf(OperationalError)
            .with.property('retryable', true)
        }
        await transaction.rollback()
        await place.isIdle()
        expect(await place.stored()).to.deep.equal([])
      })

      it('(a hundred that wait) have their conflicts told without waiting for all of those', async () => {
        await using tap = await Wiretap.before(postgresUrl())
        const { recorder } = await place.school({ max: 2, url: tap.url })
        await recorder.insertEvents([event('taken', 1)])
        const transaction = await heldByHand(100)
        const waiting = Promise.allSettled(
          Array.from({ length: 100 }, (_, i) => recorder.insertEvents([event('held', i + 1)])),
        )
        await within('a save beside them', recorder.insertEvents([event('beside', 1)]))
        const isAsked = (exchanges: readonly Exchange[]) =>
          exchanges.filter(({ messages }) => messages.includes('Execute'))
        for (const round of [1, 2, 3]) {
          const exchanges = await tap.during(() =>
            within(
              'the conflict',
              Promise.all([
                recorder.insertEvents([event(`neighbour ${round}`, 1)]),
                rejection(recorder.insertEvents([event('taken', 1)]), RecordConflictError),
                recorder.insertEvents([event(`neighbour ${round}, too`, 1)]),
              ]),
            ),
          )
          // its own are a few
          expect(isAsked(exchanges).length, `statements until then, round ${round}`).to.be.below(40)
        }
        await transaction.commit()
        const outcomes = await within('those that wait', waiting)
        for (const outcome of outcomes) {
          expect((outcome as PromiseRejectedResult).reason).to.be.instanceOf(RecordConflictError)
        }
      })

      it('are refused, and not stored later, where the datastore is closed meanwhile', async () => {
        const { recorder, datastore } = await place.school({ max: 2 })
        const transaction = await heldByHand(1)
        const waiting = failure(recorder.insertEvents([event('own', 1), event('held', 1)]))
        const beside = neighbours().map((each) => recorder.insertEvents(each))
        await place.waits()
        await within('the others', Promise.all(beside))
        await within('closing', datastore.close())
        const error = await within('the one that waits', waiting)
        expect(error).to.be.instanceOf(InterfaceError)
        await transaction.rollback()
        await place.isIdle()
        expect((await place.stored()).sort()).to.deep.equal(neighbours().flat().map(storedKey).sort())
      })

      it('are saved beside inserts with tracking, snapshots and transactions, which wait for none of them', async () => {
        const { recorder, factory, datastore } = await place.school({ max: 4 })
        const snapshots = await factory.aggregateRecorder('snapshots')
        const transaction = await heldByHand(1)
        const waiting = recorder.insertEvents([event('held', 1)])
        await place.waits()
        const tracking = { applicationName: 'upstream', notificationId: 7 }
        await within('an insert with tracking', recorder.insertEvents(events('tracked', 2), { tracking }))
        await within('a snapshot', snapshots.insertEvents(events('held', 1)))
        await within(
          'a transaction',
          datastore.transaction(() => recorder.insertEvents(events('inside', 2))),
        )
        await transaction.rollback()
        await within('the one that waits', waiting)
        expect(await place.stored()).to.include.members(['tracked 1', 'tracked 2', 'inside 1', 'inside 2', 'held 1'])
      })
    })

    it('wait for no transaction that is open beside them, nor it for them, and its rollback takes none along', async () => {
      const { recorder, datastore } = await place.school({ max: 2 })
      for (const end of ends) {
        const transaction = await datastore.transaction()
        await transaction.run(() => recorder.insertEvents(events(`inside 1, ${end}`, 2)))
        const inserts = neighbours(end)
        await within('the saves', Promise.all(inserts.map((each) => recorder.insertEvents(each))))
        const saving = Promise.all(neighbours(`${end}, again`).map((each) => recorder.insertEvents(each)))
        await within(
          'the transaction',
          transaction.run(() => recorder.insertEvents(events(`inside 2, ${end}`, 2))),
        )
        await saving
        await transaction[end]()
      }
      const stored = await place.stored()
      expect(stored).to.have.length(4 * neighbours().flat().length + 4)
      expect(stored.filter((key) => key.startsWith('inside'))).to.have.length(4)
      expect(stored.join()).not.to.include('rollback, inside')
      expect(stored.filter((key) => key.includes('inside') && key.includes('rollback'))).to.deep.equal([])
    })

    describe('and of which one fails for more than a conflict', () => {
      const bite = { topic: 'Dog.Bit' }
      const raise = (how: string) =>
        `CREATE FUNCTION bites() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN ${how}; RETURN NEW; END $$;`
      const trigger = `CREATE TRIGGER bites BEFORE INSERT ON school_events FOR EACH ROW WHEN (NEW.topic = 'Dog.Bit')
         EXECUTE FUNCTION bites()`
      const bitten = (name: string) => event(name, 1, name, bite)

      const failures: Record<
        string,
        { code: string; sql?: string; connection?: Record<string, number>; bad?: (name: string) => StoredEvent }
      > = {
        'a trigger that raises an error': { code: 'P0001', sql: raise(`RAISE 'no bites'`) + trigger },
        'a constraint of the user': {
          code: '23514',
          sql: `ALTER TABLE school_events ADD CONSTRAINT no_bites CHECK (topic <> 'Dog.Bit')`,
        },
        'a trigger that fails when it is committed': {
          code: '23503',
          sql:
            raise(`RAISE 'no bites' USING ERRCODE = '23503'`) +
            `CREATE CONSTRAINT TRIGGER bites AFTER INSERT ON school_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
             WHEN (NEW.topic = 'Dog.Bit') EXECUTE FUNCTION bites()`,
        },
        'a unique index of the user, which is no conflict of versions': {
          code: '23505',
          sql: `CREATE UNIQUE INDEX no_twins ON school_events (md5(state))`,
          bad: (name) => event(name, 1, 'before'),
        },
        'an originator’s id that no index can hold': {
          code: '54000',
          bad: (name) => event(name + Array.from({ length: 3000 }, (_, i) => `${i * i}`).join(), 1),
        },
        'the user’s statement timeout': {
          code: '57014',
          sql: raise('PERFORM pg_sleep(5)') + trigger,
          connection: { statement_timeout: 250 },
        },
      }
      for (const [what, { code, sql = '', connection, bad = bitten }] of Object.entries(failures)) {
        it(`(${what}) are stored, once each; it fails as it does alone`, async () => {
          const { recorder } = await place.school({ connection })
          await rival.unsafe(sql)
          await recorder.insertEvents([event('taken', 1, 'before')])
          const alone = (await failure(recorder.insertEvents([bad('alone')]))) as EventSourcingError
          expect(alone).to.be.instanceOf(EventSourcingError).and.not.instanceOf(RecordConflictError)
          expect(alone).to.have.property('code', code)

          const [before, between, after] = [neighbours(' before'), neighbours(' between'), neighbours(' after')]
          const refused = [[bad('first')], [bad('single')], [event('half', 1), bad('several'), event('half', 2)]]
          const inserts = [refused[0]!, ...before, refused[1]!, [event('taken', 1)], ...between, refused[2]!, ...after]
          const outcomes = await within('the saves', startTogether(recorder, inserts))
          for (const [i, outcome] of outcomes.entries()) {
            const events = inserts[i]!
            const isStored = !refused.includes(events) && events[0]!.originatorId !== 'taken'
            expect(outcome.status, `insert ${i}`).to.equal(isStored ? 'fulfilled' : 'rejected')
            if (outcome.status === 'fulfilled') continue
            const error = outcome.reason as EventSourcingError & { code?: string }
            if (!refused.includes(events)) expect(error).to.be.instanceOf(RecordConflictError)
            else expect([error.constructor, error.code]).to.deep.equal([alone.constructor, code])
          }
          const expected = ['taken 1', ...[...before, ...between, ...after].flat().map(storedKey)]
          expect((await place.stored()).sort()).to.deep.equal(expected.sort())
        })
      }

      it('(two of them against each other) are stored, and one of the two', async () => {
        const { recorder } = await place.school()
        await rival.unsafe('CREATE UNIQUE INDEX no_twins ON school_events (md5(state))')
        const twins = [[event('one twin', 1, 'same')], [event('other twin', 1, 'same')]]
        const inserts = [...neighbours(), twins[0]!, ...neighbours(', between'), twins[1]!]
        const outcomes = await startTogether(recorder, inserts)
        const reasons = outcomes.flatMap((outcome) =>
          outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
        )
        expect(reasons).to.have.length(1)
        expect(reasons[0]).to.be.instanceOf(IntegrityError).and.not.instanceOf(RecordConflictError)
        expect(await place.stored()).to.have.length(2 * neighbours().flat().length + 1)
      })
    })

    describe('and whose connection is lost', () => {
      const slept = [nap('slept')]

      beforeEach(async () => {
        const { recorder } = await place.school()
        await recorder.insertEvents([event('first', 1)])
        await rival.unsafe(napping('PERFORM pg_sleep(30)'))
      })

      /** Repeats what was refused, and expects that everything is there in the end, once. */
      async function expectAllAtLast(
        { recorder }: School,
        inserts: readonly StoredEvent[][],
        outcomes: readonly Outcome[],
      ) {
        await rival.unsafe('DROP TRIGGER nap ON school_events')
        const stored = await place.stored()
        for (const [i, each] of inserts.entries()) {
          const isRefused = outcomes[i]!.status === 'rejected'
          const found = each.filter((one) => stored.includes(storedKey(one))).length
          expect(found, `insert ${i}`).to.be.oneOf(isRefused ? [0, each.length] : [each.length])
          // of those nobody knew: stored or not, they are there now
          if (isRefused) await recorder.insertEvents(each)
          else await rejection(recorder.insertEvents(each), RecordConflictError)
        }
        expect((await place.stored()).sort()).to.deep.equal(['first 1', ...inserts.flat().map(storedKey)].sort())
      }

      it('are refused, can be repeated, and nothing of them is stored', async () => {
        const school = await place.school()
        const inserts = [...neighbours(), slept, ...neighbours(', too')]
        const saving = startBehindFirst(school.recorder, inserts)
        await place.waits('PgSleep')
        expect(await place.end('PgSleep')).to.equal(1)
        const outcomes = await within('the saves', saving)
        const refused = outcomes.flatMap((outcome) =>
          outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
        )
        for (const error of refused) expect(error).to.be.instanceOf(OperationalError).with.property('retryable', true)
        expect(outcomes[0]!.status).to.equal('fulfilled')
        expect(outcomes[inserts.indexOf(slept)]!.status).to.equal('rejected')
        expect(refused.length, 'that shared the statement').to.be.above(1)
        const kept = inserts.filter((_, i) => outcomes[i]!.status === 'fulfilled').flat()
        expect((await place.stored()).sort()).to.deep.equal(['first 1', ...kept.map(storedKey)].sort())
        await expectAllAtLast(school, inserts, outcomes)
      })

      it('leave nobody waiting: who has come behind one of them with the same version is stored in its place', async () => {
        const { recorder } = await place.school()
        const inserts = [events('leading', 1), slept, events('same', 1), events('same', 1), events('other', 1)]
        const saving = startBehindFirst(recorder, inserts)
        await place.waits('PgSleep')
        expect(await place.end('PgSleep')).to.equal(1)
        const outcomes = await within('the saves', saving)
        expect(outcomes.map(({ status }) => status === 'fulfilled')).to.deep.equal([true, false, false, true, false])
        expect(await place.stored()).to.deep.equal(['first 1', 'leading 1', 'same 1'])
      })

      it('(that of the one before) are stored all the same', async () => {
        const school = await place.school()
        const inserts = [slept, ...neighbours()]
        const saving = startBehindFirst(school.recorder, inserts)
        await place.waits('PgSleep')
        expect(await place.end('PgSleep')).to.equal(1)
        const outcomes = await within('the saves', saving)
        expect(outcomes.map(({ status }) => status)).to.deep.equal(['rejected', ...neighbours().map(() => 'fulfilled')])
        await expectAllAtLast(school, inserts, outcomes)
      })

      it('(with the server’s answer) have no conflict with themselves', async () => {
        await using proxy = await FaultProxy.before(postgresUrl())
        const school = await place.school({ url: proxy.url, max: 1 })
        const inserts = neighbours()
        const leading = school.recorder.insertEvents(inserts[0]!)
        await nextTurn()
        const others = startTogether(school.recorder, inserts.slice(1))
        await leading
        await Promise.all([proxy.loseNextReply(), others])
        const outcomes = [...(await Promise.allSettled([leading])), ...(await others)]
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason).to.be.instanceOf(OperationalError)
        }
        expect(outcomes.filter(({ status }) => status === 'rejected').length).to.be.above(1)
        await expectAllAtLast(school, inserts, outcomes)
      })
    })

    it('resolve when another connection sees them, and not before', async () => {
      const { recorder } = await place.school()
      const seen = neighbours().map(async (each) => {
        await recorder.insertEvents(each)
        const stored = await place.stored()
        return each.every((one) => stored.includes(storedKey(one)))
      })
      expect(await Promise.all(seen)).not.to.include(false)
    })

    it('go to the table that has the name by now', async () => {
      const { recorder } = await place.school()
      await startTogether(recorder, neighbours())
      for (const round of [1, 2]) {
        await rival.unsafe(
          `ALTER TABLE school_events RENAME TO old_events_${round};
           CREATE TABLE school_events (notification_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME ids_${round}),
             originator_id text COLLATE "C" NOT NULL, originator_version bigint NOT NULL, topic text NOT NULL, state bytea NOT NULL);
           CREATE UNIQUE INDEX key_${round} ON school_events (originator_id, originator_version)`,
        )
        const inserts = neighbours()
        const outcomes = await within('the saves', startTogether(recorder, inserts))
        const added = await recorder.selectNotifications({ limit: 1000 })
        expect(faultsOf({ inserts, outcomes, before: [], added })).to.deep.equal([])
        expect(added).to.have.length(inserts.flat().length)
      }
    })

    const settings: Record<string, PlaceOptions> = {
      'repeatable read is the default': { connection: { default_transaction_isolation: 'repeatable read' } },
      'nothing is prepared': { prepare: false },
      'locks are waited for a moment only': { connection: { lock_timeout: 50 } },
      'it is turned off': { shareStatements: false },
    }
    for (const [where, options] of Object.entries(settings)) {
      it(`have each their own outcome where ${where}, against rivals who save the same`, async () => {
        const schools = await Promise.all([place.school(options), place.school(options)])
        await schools[0].recorder.insertEvents([event('taken', 2)])
        const of = (who: number) =>
          Array.from({ length: 30 }, (_, i) => [
            ...(i % 3 === 0 ? [event(`own ${who} ${i}`, 1)] : []),
            ...(i % 10 === 9 ? [event('taken', 2)] : [event(`shared ${i}`, 1, `of ${who}`)]),
          ])
        const outcomes = await Promise.all(schools.map(({ recorder }, who) => startTogether(recorder, of(who))))
        const inserts = [of(0), of(1)].flat()
        const { recorder } = await place.school()
        const [taken, ...added] = await recorder.selectNotifications({ limit: 1000 })
        const faults = faultsOf({ inserts, outcomes: outcomes.flat(), before: [taken!], added })
        expect(faults).to.deep.equal([])
        expect(outcomes.flat().filter(({ status }) => status === 'fulfilled')).to.have.length(27)
      })
    }

    it('and those of a rival in the opposite order are no deadlock: one of each two is stored', async () => {
      const schools = await Promise.all([place.school(), place.school()])
      // slow enough for the two to meet
      await rival.unsafe(
        `CREATE FUNCTION nod() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.004); RETURN NEW; END $$;
         CREATE TRIGGER nod BEFORE INSERT ON school_events FOR EACH ROW EXECUTE FUNCTION nod()`,
      )
      const upwards = Array.from({ length: 30 }, (_, i) => i)
      const of = (who: number) => [
        [event(`first of ${who}`, 1)],
        ...(who === 0 ? upwards : [...upwards].reverse()).map((i) => [event(`shared ${i}`, 1, `of ${who}`)]),
      ]
      const outcomes = await within(
        'both',
        Promise.all(schools.map(({ recorder }, who) => startTogether(recorder, of(who)))),
      )
      const added = await schools[0].recorder.selectNotifications({ limit: 1000 })
      const faults = faultsOf({ inserts: [of(0), of(1)].flat(), outcomes: outcomes.flat(), before: [], added })
      expect(faults).to.deep.equal([])
      expect(added).to.have.length(32)
    })

    for (const expected of ['expected', 'not expected']) {
      it(`are stored whole or not at all where a rival takes a version at that very moment, a conflict being ${expected}`, async () => {
        const { recorder } = await place.school()
        // after a conflict others are expected for a while
        const taken = [event('taken', 1)]
        await recorder.insertEvents(taken)
        if (expected === 'expected')
          await startTogether(recorder, [[event('first of all', 1)], [event('with it', 1)], taken])
        const before = (await place.stored()).length
        await asleep(rival)
        const beaten = [[event('own', 1), event('rival', 1), event('own', 2)], [event('rival', 2)]]
        const last = [event('rival', 4), event('own', 3)]
        const inserts = [events('first', 1), [nap('nap')], ...beaten, ...neighbours(), ...neighbours(', too'), last]
        const saving = startTogether(recorder, inserts)
        await place.waits('PgSleep')
        // the statement has looked, and has not yet come to them
        await rival.unsafe(
          `INSERT INTO school_events (originator_id, originator_version, topic, state)
         SELECT 'rival', n, 'Dog.Held', '' FROM generate_series(1, 4) AS n`,
        )
        await awake(rival)
        const outcomes = await within('the saves', saving)
        for (const [i, outcome] of outcomes.entries()) {
          const isBeaten = [...beaten, last].includes(inserts[i]!)
          expect(outcome.status, `insert ${i}`).to.equal(isBeaten ? 'rejected' : 'fulfilled')
          if (outcome.status === 'fulfilled') continue
          expect(outcome.reason)
            .to.be.instanceOf(RecordConflictError)
            .and.include({ originatorId: 'rival', currentVersion: 4 })
        }
        const kept = inserts
          .filter((each) => ![...beaten, last].includes(each))
          .flat()
          .map(storedKey)
        const stored = (await place.stored()).slice(before).filter((key) => !key.startsWith('rival'))
        expect(stored.sort()).to.deep.equal(kept.sort())
        const ids = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
        for (const own of ids) expect(own).to.deep.equal(own.map((_, i) => own[0]! + i))
      })
    }

    for (const [size, count] of [
      ['one event each', 1],
      ['several', 3],
    ] as const) {
      it(`(${size}) hold readers back from their ids on until they are committed`, async () => {
        const [{ recorder }, other] = await Promise.all([place.school(), place.school()])
        await asleep(rival)
        const others = Array.from({ length: 10 }, (_, i) => events(`dog ${i}`, count))
        const leading = recorder.insertEvents(events('first', 1))
        await nextTurn()
        const saving = [leading, ...[[nap('nap')], ...others].map((each) => recorder.insertEvents(each))]
        const states = saving.map(watched)
        await place.waits('PgSleep')
        const [id] = await other.recorder.insertEvents([event('later', 1)])
        const seen = await other.recorder.selectNotifications({ limit: 1000 })
        const maximum = await other.recorder.maxNotificationId()
        const isShared = states.filter(({ isSettled }) => !isSettled).length > 1
        await awake(rival)
        const [first, napped] = (await Promise.all(saving)).flat()
        // otherwise the case has shown nothing
        expect([isShared, napped! < id!]).to.deep.equal([true, true])
        expect(maximum).to.equal(first)
        expect(seen.map((one) => one.id)).to.deep.equal([first])
        expect(await other.recorder.selectNotifications({ limit: 1000 })).to.have.length(3 + 10 * count)
      })
    }

    for (const [max, atATime] of [
      [2, 1],
      [16, 4],
    ] as const) {
      it(`are stored while many are sent by themselves and take their time, of ${max} connections`, async () => {
        const { recorder } = await place.school({ max })
        await asleep(rival)
        // with one version twice each of them goes by itself
        const slow = startTogether(
          recorder,
          Array.from({ length: 20 }, (_, i) => [nap(`slow ${i}`), nap(`slow ${i}`)]),
        )
        await eventually('as many as go at a time', async () => (await place.asleep()) === atATime)
        for (const round of [1, 2, 3]) {
          await within('the saves beside them', startTogether(recorder, neighbours(`, ${round}`)))
          expect(await place.asleep()).to.be.at.most(atATime)
        }
        await awake(rival)
        for (const outcome of await slow) {
          expect(outcome).to.have.property('reason').that.is.instanceOf(RecordConflictError)
        }
        expect(await place.stored()).to.have.length(3 * neighbours().flat().length)
      })
    }

    it('are each refused after their own time where all connections are taken, with nothing stored', async () => {
      const { recorder, datastore } = await place.school({ max: 1, poolTimeoutMs: 500 })
      const holding = await datastore.transaction()
      const early = neighbours().map((each) => recorder.insertEvents(each))
      const error = await rejection(early[0]!, OperationalError)
      const late = neighbours(', late').map((each) => recorder.insertEvents(each))
      const refused = Promise.all(early.map((each) => rejection(each, OperationalError)))
      for (const each of [error, ...(await refused)]) expect(each.retryable).to.equal(true)
      await holding.rollback()
      await Promise.all(late)
      const expected = neighbours(', late').flat().map(storedKey)
      expect((await place.stored()).sort()).to.deep.equal(expected.sort())
    })

    it('wait no longer than the pool timeout for a statement that takes its time', async () => {
      const { recorder } = await place.school({ max: 2, poolTimeoutMs: 500 })
      await rival.unsafe(napping('PERFORM pg_sleep(30)'))
      const slow = watched(recorder.insertEvents([nap('slept')]))
      await place.waits('PgSleep')
      const inserts = neighbours()
      const outcomes = await within('the others', startTogether(recorder, inserts))
      expect(slow.isSettled).to.equal(false)
      // stored by another connection, or refused
      for (const outcome of outcomes) {
        if (outcome.status === 'fulfilled') continue
        expect(outcome.reason).to.be.instanceOf(OperationalError).with.property('retryable', true)
      }
      await place.end('PgSleep')
      await rejection(slow.promise, OperationalError)
      await place.isIdle()
      const kept = inserts.filter((_, i) => outcomes[i]!.status === 'fulfilled').flat()
      expect((await place.stored()).sort()).to.deep.equal(kept.map(storedKey).sort())
    })

    it('are stored and acknowledged, or refused and not stored, where the datastore is closed at once', async () => {
      const { recorder, datastore } = await place.school({ max: 2 })
      const inserts = [...neighbours(), ...neighbours(', too')]
      const saving = startTogether(recorder, inserts)
      const closing = datastore.close()
      const outcomes = await within('the saves', saving)
      await within('closing', closing)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(outcome.reason).to.be.instanceOf(InterfaceError)
      }
      const kept = inserts.filter((_, i) => outcomes[i]!.status === 'fulfilled').flat()
      expect((await place.stored()).sort()).to.deep.equal(kept.map(storedKey).sort())
      await rejection(recorder.insertEvents([event('late', 1)]), InterfaceError)
    })

    it('are seen in order beside another process’s and beside transactions of both ends', async () => {
      const schools = await Promise.all([place.school({ max: 6 }), place.school({ max: 6 })])
      const reader = (await place.school({ max: 1 })).recorder
      const given: Placed[] = []
      let isWritten = false
      const read = async () => {
        for (;;) {
          const isLast = isWritten
          const start = given.at(-1)?.id ?? 0
          const page = await reader.selectNotifications({ start, inclusiveOfStart: false, limit: 20 })
          given.push(...page)
          if (page.length === 0 && isLast) return
        }
      }
      const write = async ({ recorder, datastore }: School, who: number) => {
        const scattered: number[][] = []
        for (let round = 0; round < 15; round += 1) {
          const of = (i: number, count: number) => events(`dog ${who} ${i}`, count, 3 * round)
          const outside = Array.from({ length: 25 }, async (_, i) => {
            const ids = await recorder.insertEvents(of(i, 1 + (i % 3)))
            if (ids.some((id, place) => id !== ids[0]! + place)) scattered.push(ids)
          })
          const inside = [25, 26, 27].map(async (i) => {
            const transaction = datastore.transaction(async () => {
              await recorder.insertEvents(of(i, 2))
              await nextTurn()
              if (i > 25) throw new RangeError('undo')
              await recorder.insertEvents([event(`dog ${who} ${i}`, 3 * round + 3)])
            })
            await (i > 25 ? rejection(transaction, RangeError) : transaction)
          })
          await Promise.all([...outside, ...inside])
        }
        return scattered
      }
      const reading = read()
      try {
        expect(await Promise.all(schools.map(write))).to.deep.equal([[], []])
      } finally {
        isWritten = true
      }
      await reading
      const stored = await reader.selectNotifications({ limit: 100_000 })
      expect(stored).to.have.length(2 * 15 * (9 + 2 * 8 + 3 * 8 + 3))
      expect(compare(stored, given)).to.deep.equal(nothing)
    })

    /** A transaction that has written the first versions of `held` by statements of its own, with empty states. */
    async function heldByHand(count: number) {
      const other = place.rival()
      await other.unsafe(
        `BEGIN; INSERT INTO school_events (originator_id, originator_version, topic, state)
         SELECT 'held', n, 'Dog.Held', '' FROM generate_series(1, ${count}) AS n`,
      )
      return { commit: () => other.unsafe('COMMIT'), rollback: () => other.unsafe('ROLLBACK') }
    }

    async function heldElsewhere() {
      const other = await place.school()
      const transaction = await other.datastore.transaction()
      await transaction.run(() => other.recorder.insertEvents([event('held', 1)]))
      return transaction
    }
  })
}

const prepared = 'Bind Execute Sync'

/** Makes a trigger that does that for each event of `nap`. */
function napping(how: string): string {
  return `CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${how}; RETURN NEW; END $$;
    CREATE TRIGGER nap BEFORE INSERT ON school_events FOR EACH ROW WHEN (NEW.topic = 'Dog.Slept') EXECUTE FUNCTION nap()`
}

/** Lets events of `nap` take until `awake`, and not by waiting for a lock, which statements do for a moment only. */
async function asleep(rival: Sql): Promise<void> {
  const isLocked = `EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = 1 AND objid = hashtext(current_schema())::oid)`
  await rival.unsafe('SELECT pg_advisory_lock(1, hashtext(current_schema()))')
  await rival.unsafe(napping(`WHILE ${isLocked} LOOP PERFORM pg_sleep(0.02); END LOOP`))
}

async function awake(rival: Sql): Promise<void> {
  await rival.unsafe('SELECT pg_advisory_unlock_all()')
}

function nap(name: string): StoredEvent {
  return event(name, 1, name, { topic: 'Dog.Slept' })
}

/** Thirty inserts of one to three events, of originators that nobody else has. */
function neighbours(suffix = ''): StoredEvent[][] {
  return Array.from({ length: 30 }, (_, i) => events(`neighbour ${i}${suffix}`, 1 + (i % 3)))
}

/** That many events of one originator. */
function events(name: string, count: number, after = 0): StoredEvent[] {
  return Array.from({ length: count }, (_, i) => event(name, after + i + 1))
}

/** An event whose state is its own, or the one that is given. */
function event(name: string, version: number, state = '', how: Partial<StoredEvent> = {}): StoredEvent {
  return storedEvent(name, version, { state: bytes(state || `${name} ${version}`), ...how })
}

function storedKey({ originatorId, originatorVersion }: StoredEvent): string {
  return `${originatorId} ${originatorVersion}`
}

/** What the one that has waited comes to: a conflict with what was committed, or it is stored. */
async function expectOutcome(end: (typeof ends)[number], waiting: Promise<number[]>, held: readonly StoredEvent[]) {
  if (end === 'rollback') {
    const ids = await waiting
    expect(ids).to.deep.equal(held.map((_, i) => ids[0]! + i))
    return
  }
  const { originatorId, originatorVersion, currentVersion } = await rejection(waiting, RecordConflictError)
  expect([originatorId, originatorVersion, currentVersion]).to.deep.equal(['held', 1, 1])
}

/** A promise of which can be said whether it is settled. */
function watched<T>(promise: Promise<T>): { readonly promise: Promise<T>; readonly isSettled: boolean } {
  let isSettled = false
  const settle = () => {
    isSettled = true
  }
  promise.then(settle, settle)
  return {
    promise,
    get isSettled() {
      return isSettled
    },
  }
}
