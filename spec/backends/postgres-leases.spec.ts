import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import postgresJs, { type Sql } from 'postgres'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import { InterfaceError } from '../../lib/errors.js'
import type { ProcessRecorder } from '../../lib/persistence/recorders.js'
import { gate } from '../support/gate.js'
import { createOwners, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { everyWay, isWaitedFor, type OpenedDatastore } from '../support/postgres-datastores.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { storedEvent, storedEvents } from '../support/stored-events.js'

type Datastore = OpenedDatastore<typeof schema>['datastore']

/** What a case works with: tables, and events 1 and 4, which are the first two of `dog`; ids 2 and 3 were drawn in vain. */
interface Kennel {
  readonly datastore: Datastore
  readonly recorder: ProcessRecorder
  /** Somebody else's one connection. */
  readonly other: Sql
  /** Starts a call, whose first statement the server has and can't answer before `release`. */
  inTheMiddle<T>(call: () => Promise<T>): Promise<{ readonly outcome: Promise<T>; release(): Promise<void> }>
}

/** Calls of recorders that have more to send once their first statement is answered. */
const calls: Record<string, (recorder: ProcessRecorder) => Promise<unknown>> = {
  'a save with tracking': (recorder) => recorder.insertEvents([storedEvent('late', 1)], { tracking }),
  'a save of several events with tracking': (recorder) =>
    recorder.insertEvents(storedEvents('late', 1, 3), { tracking }),
  'a save that meets a conflict': (recorder) => recorder.insertEvents([storedEvent('dog', 1)]),
  'a save of several events that meets a conflict': (recorder) =>
    recorder.insertEvents([storedEvent('late', 1), storedEvent('dog', 1)]),
  'a page of notifications with a gap in it': (recorder) => recorder.selectNotifications({ start: 1, limit: 10 }),
  'a look for the last notification id': (recorder) => recorder.maxNotificationId(),
}

const tracking = { applicationName: 'upstream', notificationId: 7 }

/** How a transaction with a call in the middle of it comes to be rolled back. */
const ways: Record<string, (datastore: Datastore, start: () => Promise<void>) => Promise<unknown>> = {
  'its work fails': (datastore, start) =>
    rejection(
      datastore.transaction(async () => {
        await start()
        throw new RangeError('undo')
      }),
      RangeError,
    ),
  async 'its handle is rolled back'(datastore, start) {
    const tx = await datastore.transaction()
    await tx.run(start)
    await tx.rollback()
  },
  'it was never to be committed': (datastore, start) => datastore.transaction(start, { commit: false }),
}

// the one connection is the next user's at once: what is late would be in his transaction, or in none
describePostgres('A call on PostgreSQL that is in the middle when its transaction is rolled back', () => {
  for (const way of everyWay) {
    describe(`in ${way.name}`, () => {
      for (const [name, call] of Object.entries(calls)) {
        for (const [how, rollBack] of Object.entries(ways)) {
          // recording is refused there at once
          if (how === 'it was never to be committed' && name.includes('save')) continue

          it(`sends nothing more where it is ${name} and ${how}`, async () => {
            await inKennel(way.open, async ({ datastore, recorder, other, inTheMiddle }) => {
              let late!: Awaited<ReturnType<typeof inTheMiddle>>
              const begun = gate()
              const transaction = rollBack(datastore, async () => {
                late = await inTheMiddle(() => call(recorder))
                late.outcome.catch(() => undefined) // looked at below
                begun.open()
              })
              await Promise.race([begun.passed, transaction])
              // in line for the same connection
              const next = datastore.transaction(async (session) => {
                await session.insert(owners).values({ name: 'next' })
                const rows = await session.execute(sql`SELECT count(*)::int AS n FROM kennel_tracking`)
                return rows[0]?.n
              })
              await late.release()
              await transaction
              await rejection(late.outcome, InterfaceError, 'ended')
              expect(await next, 'positions that the next transaction sees').to.equal(0)
              await expectNothingLate(recorder, other)
            })
          })
        }

        it(`sends nothing more where it is ${name} in a nested one, and the outer one goes on`, async () => {
          await inKennel(way.open, async ({ datastore, recorder, other, inTheMiddle }) => {
            let late!: Awaited<ReturnType<typeof inTheMiddle>>
            await datastore.transaction(async (session) => {
              await session.insert(owners).values({ name: 'Ann' })
              await rejection(
                datastore.transaction(async () => {
                  late = await inTheMiddle(() => call(recorder))
                  late.outcome.catch(() => undefined) // looked at below
                  void late.release()
                  throw new RangeError('undo')
                }),
                RangeError,
              )
              await rejection(late.outcome, InterfaceError, 'ended')
              await session.insert(owners).values({ name: 'Bea' })
            })
            expect(await datastore.db.$count(owners)).to.equal(2)
            await expectNothingLate(recorder, other)
          })
        })

        it(`sends nothing more where it is ${name} in a nested one, and the outer one is what is rolled back`, async () => {
          await inKennel(way.open, async ({ datastore, recorder, other, inTheMiddle }) => {
            const outer = await datastore.transaction()
            await outer.session.insert(owners).values({ name: 'Ann' })
            const inner = await outer.run(() => datastore.transaction())
            const late = await inner.run(() => inTheMiddle(() => call(recorder)))
            late.outcome.catch(() => undefined) // looked at below
            const rollback = outer.rollback()
            await late.release()
            await rollback
            await rejection(late.outcome, InterfaceError, 'ended')
            await rejection(inner.commit(), InterfaceError)
            expect(await datastore.db.$count(owners)).to.equal(0)
            await expectNothingLate(recorder, other)
          })
        })
      }

      it('is committed with the rest where the transaction commits, which waits for it', async () => {
        await inKennel(way.open, async ({ datastore, recorder, inTheMiddle }) => {
          let late!: Awaited<ReturnType<typeof inTheMiddle>>
          await datastore.transaction(async () => {
            late = await inTheMiddle(() => recorder.insertEvents(storedEvents('late', 1, 2), { tracking }))
            void late.release()
          })
          expect(await late.outcome).to.deep.equal([5, 6])
          expect(await recorder.maxTrackingId('upstream')).to.equal(7)
        })
      })
    })
  }
})

async function inKennel(
  open: (typeof everyWay)[number]['open'],
  run: (kennel: Kennel) => Promise<void>,
): Promise<void> {
  await using place = await freshSchema()
  await createOwners(place.name)
  const connection = { search_path: place.searchPath }
  const other = postgresJs(postgresUrl(), { max: 1, connection, onnotice: () => undefined })
  try {
    await using opened = await open({ schema, searchPath: place.searchPath, max: 1 })
    const { datastore } = opened
    const recorder = await new DrizzleFactory({ datastore, name: 'kennel' }).processRecorder()
    await recorder.insertEvents([storedEvent('dog', 1)])
    await rejection(
      datastore.transaction(async () => {
        await recorder.insertEvents(storedEvents('never', 1, 2))
        throw new RangeError('undo')
      }),
      RangeError,
    )
    await recorder.insertEvents([storedEvent('dog', 2)])
    const [row] = await other`SELECT pg_backend_pid() AS pid`
    const pid = row?.pid as number
    await run({
      datastore,
      recorder,
      other,
      async inTheMiddle(call) {
        await other.unsafe('BEGIN; LOCK TABLE kennel_events IN ACCESS EXCLUSIVE MODE')
        const outcome = call()
        await isWaitedFor(pid)
        return {
          outcome,
          async release() {
            await other.unsafe('COMMIT')
          },
        }
      },
    })
  } finally {
    await other.end({ timeout: 0 })
  }
}

async function expectNothingLate(recorder: ProcessRecorder, other: Sql): Promise<void> {
  expect(await recorder.maxTrackingId('upstream')).to.equal(null)
  const stored = await other`SELECT originator_id FROM kennel_events`
  expect(stored.map((row) => row.originator_id as string)).to.deep.equal(['dog', 'dog'])
  // and the connection is well
  expect(await recorder.insertEvents([storedEvent('dog', 3)])).to.have.length(1)
}
