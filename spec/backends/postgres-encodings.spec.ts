import { randomUUID } from 'node:crypto'
import { expect } from 'chai'
import type { EventSourcingError} from '../../lib/errors.js';
import { DataError, RecordConflictError } from '../../lib/errors.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import type { Notification } from '../../lib/persistence/stored-event.js'
import { postgres } from '../../lib/postgres/index.js'
import { faultsOf, startTogether } from '../support/outcomes.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { bytes, plain, storedEvent } from '../support/stored-events.js'

/** Encodings of databases, and ids that they can hold. */
const encodings = {
  LATIN1: ['é', 'ÿ', '\u00a0', '\x1e', 'a\x1eb'],
  // two characters of ours may be one of theirs, and come back as the other
  EUC_JP: ['犬', '\u00a6', '\x1e', 'a\x1eb'],
}

describePostgres('Saves on PostgreSQL into a database that keeps text in another encoding than UTF-8', () => {
  for (const [encoding, ids] of Object.entries(encodings)) {
    for (const shareStatements of [true, false]) {
      const how = shareStatements ? 'together' : 'each by itself'
      it(`give back every byte, and each has its own outcome: ${encoding}, ${how}`, async () => {
        await using database = await freshDatabase(encoding)
        await using datastore = postgres(database.url, { max: 2, shareStatements })
        const recorder = await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
        const states = [
          bytes('犬 é 🐕'),
          bytes('\ufeffé'),
          new Uint8Array(),
          Uint8Array.of(0xff, 0, 0xe9),
          bytes('woof'),
        ]
        let before: Notification[] = []
        for (const count of [1, 2]) {
          for (const state of states) {
            const version = before.length
            const inserts = [
              [storedEvent('first', version)],
              ...ids.map((id) =>
                Array.from({ length: count }, (_, i) => storedEvent(id, version + i, { topic: `of ${id}`, state })),
              ),
              [storedEvent('last', version, { state })],
            ]
            const outcomes = await startTogether(recorder, inserts)
            const all = await recorder.selectNotifications({ limit: 1000 })
            expect(all).to.have.length(version + inserts.flat().length)
            for (const outcome of outcomes) expect(outcome.status).to.equal('fulfilled')
            for (const [event] of inserts) {
              const { originatorId, originatorVersion } = event!
              const [found] = await recorder.selectEvents(originatorId, { gt: originatorVersion - 1, limit: 1 })
              expect(plain(found!).state).to.deep.equal(plain(event!).state)
            }
            const again = await startTogether(recorder, inserts)
            for (const outcome of again) {
              expect(outcome).to.have.property('reason').that.is.instanceOf(RecordConflictError)
            }
            before = all
          }
        }
      })
    }

    it(`are refused for an id that it can’t hold, and no other is: ${encoding}`, async () => {
      await using database = await freshDatabase(encoding)
      await using datastore = postgres(database.url, { max: 2 })
      const recorder = await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
      const inserts = Array.from({ length: 30 }, (_, i) => [storedEvent(i % 10 === 5 ? `🐕 ${i}` : `dog ${i}`, 1)])
      const outcomes = await startTogether(recorder, inserts)
      const isRefused = (_: unknown, i: number) => i % 10 === 5
      for (const outcome of outcomes.filter(isRefused)) {
        expect(outcome).to.have.property('reason').that.is.instanceOf(DataError)
        expect((outcome as { reason: EventSourcingError }).reason).to.have.property('code', '22P05')
      }
      const isFine = (_: unknown, i: number) => i % 10 !== 5
      const added = await recorder.selectNotifications({ limit: 100 })
      const stored = { inserts: inserts.filter(isFine), outcomes: outcomes.filter(isFine), before: [], added }
      expect(faultsOf(stored)).to.deep.equal([])
    })
  }
})

async function freshDatabase(encoding: string): Promise<AsyncDisposable & { readonly url: string }> {
  const name = `spec_${randomUUID().slice(0, 13)}`
  await admin().unsafe(
    `CREATE DATABASE "${name}" ENCODING '${encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`,
  )
  const url = new URL(postgresUrl())
  url.pathname = `/${name}`
  return {
    url: url.href,
    [Symbol.asyncDispose]: async () => {
      await admin().unsafe(`DROP DATABASE "${name}" WITH (FORCE)`)
    },
  }
}
