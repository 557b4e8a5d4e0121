import { expect } from 'chai'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { Wiretap } from '../support/postgres-wiretap.js'
import { Place, poolOwners, type School } from '../support/shared-statements.js'
import { textsOf, storedEvent, storedEvents } from '../support/stored-events.js'

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

      it('do not fail each other: a long one, one that is no text, an id that none can be', async () => {
        const school = await kennel()
        await school.recorder.insertEvents(storedEvents('long', 1, 450))
        await school.recorder.insertEvents([storedEvent('bytes', 1, { state: Uint8Array.of(0xff, 0xfe) })])
        const streams = await Promise.allSettled([
          textsOf(school.recorder, 'dog 2'),
          textsOf(school.recorder, 'long'),
          textsOf(school.recorder, 'bytes'),
          textsOf(school.recorder, 'dog \u0000'),
          textsOf(school.recorder, 'dog \u001e'),
          textsOf(school.recorder, 'dog 1'),
        ])
        const lengths = streams.map((one) => (one.status === 'fulfilled' ? one.value?.length : 'refused'))
        expect(lengths).to.deep.equal([3, 450, undefined, undefined, 0, 2])
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
          return others
        })
        expect(outside.map((stream) => stream?.length)).to.deep.equal([1, 2])
      })
    })
  }
})
