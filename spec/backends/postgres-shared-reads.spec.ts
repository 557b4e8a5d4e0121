import { AsyncLocalStorage } from 'node:async_hooks'
import { expect } from 'chai'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { InterfaceError, OperationalError } from '../../lib/errors.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { Wiretap } from '../support/postgres-wiretap.js'
import { rejection } from '../support/rejection.js'
import { Place, poolOwners, type School } from '../support/shared-statements.js'
import { textsOf, storedEvent, storedEvents, versions } from '../support/stored-events.js'

describePostgres('Streams on PostgreSQL that are read together', () => {
  for (const poolOwner of poolOwners) {
    describe(`by ${poolOwner}`, () => {
      let place: Place

      beforeEach(async () => {
        place = await Place.open(poolOwner)
      })

      afterEach(async () => {
        await place[Symbol.asyncDispose]()
      })

      const read = async ({ recorder }: School, ids: readonly string[]) =>
        Promise.all(ids.map(async (id) => [id, await textsOf(recorder, id)] as const))
      const versionsOf = (streams: Awaited<ReturnType<typeof read>>) =>
        streams.map(([, events]) => events?.map(({ originatorVersion }) => originatorVersion))
      const ids = Array.from({ length: 20 }, (_, i) => `dog ${i}`)

      async function kennel(): Promise<School> {
        const school = await place.school()
        await school.recorder.insertEvents(ids.flatMap((id, i) => storedEvents(id, 1, (i % 4) + 1)))
        return school
      }

      it('come as they come alone, whoever has no events too', async () => {
        const school = await kennel()
        const together = await read(school, [...ids, 'nobody', 'nobody', 'dog 3'])
        const alone = await read(await place.school({ shareStatements: false }), [...ids, 'nobody', 'nobody', 'dog 3'])
        expect(together).to.deep.equal(alone)
        expect(versionsOf(together).slice(0, 4)).to.deep.equal([[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]])
        expect(together[20]).to.deep.equal(['nobody', []])
      })

      it('share a query, unless that is turned off', async () => {
        await kennel()
        await using tap = await Wiretap.before(postgresUrl())
        for (const [shareStatements, least, most] of [
          [true, 1, 3],
          [false, 20, 20],
        ] as const) {
          const school = await place.school({ url: tap.url, shareStatements, max: 1 })
          await read(school, ids.slice(0, 2)) // so that a connection is there and knows the statements
          await textsOf(school.recorder, 'dog 1')
          const exchanges = await tap.during(() => read(school, ids))
          const queries = exchanges.flatMap(({ messages }) => messages.filter((message) => message === 'Execute'))
          expect(queries).to.have.lengthOf.within(least, most)
        }
      })

      for (const [name, culprit, outcome] of [
        ['a long one', 'long', 450],
        ['one that no query shares, of a length at the limit', 'at the limit', 200],
        ['one just below it', 'below the limit', 199],
        ['one that is no text', 'bytes', undefined],
        ['an id that none can be', 'dog \u0000', undefined],
        ['an id with a separator', 'dog \u001e', 0],
      ] as const) {
        it(`do not fail each other: ${name}`, async () => {
          const { recorder } = await kennel()
          await recorder.insertEvents(storedEvents('long', 1, 450))
          await recorder.insertEvents(storedEvents('at the limit', 1, 200))
          await recorder.insertEvents(storedEvents('below the limit', 1, 199))
          await recorder.insertEvents([storedEvent('bytes', 1, { state: Uint8Array.of(0xff, 0xfe) })])
          const streams = await Promise.all(['dog 2', culprit, 'dog 1'].map((id) => textsOf(recorder, id)))
          expect(streams.map((stream) => stream?.length)).to.deep.equal([3, outcome, 2])
        })
      }

      it('do not fail each other: one that its reader refuses, who is told so, in the reader’s own context', async () => {
        const { recorder } = await kennel()
        const requests = new AsyncLocalStorage<string>()
        const taken: string[] = []
        const read = (id: string) =>
          requests.run(id, async () =>
            recorder.selectTexts?.(id, () => (stored) => {
              taken.push(`${requests.getStore()}: ${stored.length}`)
              if (id === 'dog 2') throw new Error(`not ${requests.getStore()}`)
            }),
          )
        const [first, refused, last] = await Promise.allSettled(['dog 1', 'dog 2', 'dog 3'].map(read))
        expect([first, last]).to.deep.equal([
          { status: 'fulfilled', value: true },
          { status: 'fulfilled', value: true },
        ])
        expect(refused).to.have.property('reason').with.property('message', 'not dog 2')
        expect(taken.filter((each) => !each.startsWith('dog 2'))).to.deep.equal(['dog 1: 2', 'dog 3: 4'])
      })

      it('are asked for as bytes where the connection has text in another encoding', async () => {
        await kennel()
        const school = await place.school({ connection: { client_encoding: 'LATIN1' } })
        const streams = await read(school, ['dog 1', 'nobody', 'dog 2'])
        expect(streams.map(([, events]) => events)).to.deep.equal([undefined, [], undefined])
        expect(await school.recorder.selectEvents('dog 2')).to.have.length(3)
      })

      it('are all read, where they are more than one query takes', async () => {
        await kennel()
        await using tap = await Wiretap.before(postgresUrl())
        const school = await place.school({ url: tap.url, max: 1 })
        await read(school, ids)
        const many = Array.from({ length: 100 }, (_, i) => `dog ${i % 20}`)
        let streams: Awaited<ReturnType<typeof read>> = []
        const exchanges = await tap.during(async () => (streams = await read(school, many)))
        expect(versionsOf(streams)).to.deep.equal(many.map((_, i) => versions(storedEvents('dog', 1, (i % 4) + 1))))
        const queries = exchanges.flatMap(({ messages }) => messages.filter((message) => message === 'Execute'))
        expect(queries).to.have.length(2)
      })

      it('come each from its own table', async () => {
        const { datastore, recorder } = await kennel()
        const others = await new DrizzleFactory({ datastore, name: 'Cattery' }).applicationRecorder()
        await others.insertEvents(storedEvents('dog 1', 11, 15))
        const streams = await Promise.all(
          [recorder, others].flatMap((one) => ['dog 1', 'dog 2'].map((id) => textsOf(one, id))),
        )
        expect(streams.map((stream) => stream?.map(({ originatorVersion }) => originatorVersion))).to.deep.equal([
          [1, 2],
          [1, 2, 3],
          [11, 12, 13, 14, 15],
          [],
        ])
      })

      /** A school where reading `slow` waits until the lock is given back. */
      async function slowOne() {
        const school = await kennel()
        const rival = place.rival()
        await rival`ALTER TABLE school_events RENAME TO kennel`
        const lock = Math.floor(Math.random() * 2 ** 31)
        await rival.unsafe(`
          INSERT INTO kennel (originator_id, originator_version, topic, state) VALUES ('slow', 1, 'Dog.TrickAdded', '{}');
          CREATE VIEW school_events AS SELECT * FROM kennel
            WHERE CASE WHEN originator_id = 'slow' THEN pg_advisory_xact_lock_shared(${lock}) IS NOT NULL ELSE true END`)
        await rival`SELECT pg_advisory_lock(${lock})`
        return { ...school, release: () => rival`SELECT pg_advisory_unlock(${lock})` }
      }

      it('wait for none that takes its time', async () => {
        const school = await slowOne()
        const slow = textsOf(school.recorder, 'slow')
        await place.waits('advisory')
        for (const some of [['dog 1'], ['dog 1', 'dog 2']]) {
          expect(versionsOf(await read(school, some))).to.deep.equal(
            [
              [1, 2],
              [1, 2, 3],
            ].slice(0, some.length),
          )
        }
        await school.release()
        expect(await slow).to.have.length(1)
      })

      it('are refused where their connection is lost, each of them, and can be repeated', async () => {
        const school = await slowOne()
        const reading = Promise.allSettled(['dog 1', 'slow', 'dog 2'].map((id) => textsOf(school.recorder, id)))
        await place.waits('advisory')
        expect(await place.end('advisory')).to.equal(1)
        for (const outcome of await reading) {
          expect(outcome)
            .to.have.property('reason')
            .that.is.instanceOf(OperationalError)
            .with.property('retryable', true)
        }
        await school.release()
        expect(versionsOf(await read(school, ['dog 1', 'slow', 'dog 2']))).to.deep.equal([[1, 2], [1], [1, 2, 3]])
      })

      it('are refused where the datastore is closed before they are sent, each of them', async () => {
        const { datastore, recorder } = await kennel()
        const reading = Promise.allSettled(ids.map((id) => textsOf(recorder, id)))
        await Promise.resolve()
        await datastore.close()
        for (const outcome of await reading) {
          if (outcome.status === 'rejected') expect(outcome.reason).to.be.instanceOf(InterfaceError)
          else expect(outcome.value).to.have.property('length').that.is.above(0)
        }
        await rejection(textsOf(recorder, 'dog 1'), InterfaceError, 'closed')
      })

      it('go to the table that has the name by now', async () => {
        const { recorder } = await kennel()
        const rival = place.rival()
        for (const event of ['one', 'other']) {
          await rival`DROP TABLE school_events`
          const [first] = await Promise.allSettled(['dog 1', 'dog 2'].map((id) => textsOf(recorder, id)))
          expect(first).to.have.property('reason').with.property('code', '42P01')
          await place.school()
          await recorder.insertEvents([storedEvent('dog 1', 7, { topic: event })])
          const streams = await Promise.all(['dog 1', 'dog 2'].map((id) => textsOf(recorder, id)))
          expect(streams.map((stream) => stream?.map(({ topic }) => topic))).to.deep.equal([[event], []])
        }
      })

      it('see what was committed before they were started', async () => {
        const school = await kennel()
        for (let version = 2; version < 12; version += 1) {
          await school.recorder.insertEvents([storedEvent('dog 0', version)])
          const streams = versionsOf(await read(school, ['dog 1', 'dog 0', 'dog 2']))
          expect(streams[1]?.at(-1)).to.equal(version)
        }
      })

      it('inside a transaction are read by it alone, and see its events', async () => {
        const { datastore, recorder } = await kennel()
        const outside = await datastore.transaction(async () => {
          await recorder.insertEvents([storedEvent('dog 0', 2)])
          const [own, others] = await Promise.all([
            recorder.selectEvents('dog 0'),
            datastore.outside(() => Promise.all([textsOf(recorder, 'dog 0'), textsOf(recorder, 'dog 1')])),
          ])
          expect(own).to.have.length(2)
          // texts there are none: what is no text would be an error there
          expect(await Promise.all([textsOf(recorder, 'dog 0'), textsOf(recorder, 'dog 1')])).to.deep.equal([
            undefined,
            undefined,
          ])
          return others
        })
        expect(outside.map((stream) => stream?.length)).to.deep.equal([1, 2])
      })
    })
  }
})
