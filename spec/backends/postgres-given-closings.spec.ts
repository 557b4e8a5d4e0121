import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs, { type Sql } from 'postgres'
import { Application } from '../../lib/application/application.js'
import { OperationalError } from '../../lib/errors.js'
import { postgres } from '../../lib/postgres/index.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { createOwners, freshSchema, owners, schema } from '../support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'
import { lost, within } from '../support/victim.js'

/** A school on a user's own client, whose sockets are in the hands of the case. */
interface Place {
  readonly client: Sql
  readonly school: Application<ReturnType<typeof open>>
  readonly dog: Dog
  /**
   * Breaks the connections, and does something when the client has been told so and has not cleared them away: what is
   * sent now goes nowhere.
   */
  inTheMoment<T>(work: () => Promise<T>): Promise<T>
  /** Leaves the connections that there are alone. */
  forget(): void
}

const open = (client: Sql, poolTimeoutMs = 5000) => postgres(drizzle(client, { schema }), { retries: 0, poolTimeoutMs })

// postgres.js settles what was sent in that moment without an answer, when it has connected again; or hands it the answers
// of what comes next
describePostgres("A user's client whose idle connection breaks in the moment in which it is used", () => {
  const calls: Record<string, (place: Place) => Promise<unknown>> = {
    'a read': ({ school, dog }) => school.repository.get(Dog, dog.id),
    'a save': ({ school }) => school.save(new Dog('late')),
    'a transaction': ({ school }) =>
      school.transaction(async (session) => {
        await session.insert(owners).values({ name: 'late' })
        throw new Error('It had a connection')
      }),
    'a page of notifications': ({ school }) => school.recorder.selectNotifications({ start: 1, limit: 10 }),
  }

  for (const prepare of [true, false]) {
    for (const [name, call] of Object.entries(calls)) {
      it(`rejects ${name}${prepare ? '' : ', where nothing is prepared'}, and all is well behind it`, async () => {
        await inPlace({ prepare }, async (place) => {
          // as often as it takes to have used a statement twice
          for (let round = 0; round < 3; round += 1) {
            await lost(
              within(
                'the answer',
                place.inTheMoment(() => call(place)),
              ),
            )
            await isWell(place)
          }
        })
      })
    }

    it(`gives its own answers behind a statement of the user's that was never sent${prepare ? '' : ', where nothing is prepared'}`, async () => {
      await inPlace({ prepare }, async (place) => {
        const { client } = place
        const running = client`SELECT pg_sleep(5)`.execute()
        // behind one that runs, it is sent on the same connection, in the moment in which that is known to be broken
        const again = running.catch(() => client`SELECT 'of the user' AS answer`.execute())
        await place.inTheMoment(() => Promise.resolve())
        await Promise.race([again.catch(() => undefined), isWell(place)])
        await isWell(place)
      })
    })
  }

  // each statement is described first, and the client does not say then where it has sent it
  describe('which only the user has used', () => {
    const short = { poolTimeoutMs: 800 }

    it('rejects a read', async () => {
      await onTheUsers({}, async (place) => {
        await lost(
          within(
            'the answer',
            place.inTheMoment(() => place.school.repository.get(Dog, place.dog.id)),
          ),
        )
      })
    })

    for (const [isLate, options] of [[false, {}] as const, [true, short] as const]) {
      it(`never calls back a transaction that was not begun${isLate ? ', nor rolls it back later' : ''}`, async () => {
        await onTheUsers(options, async ({ school, client, inTheMoment }) => {
          const transaction = inTheMoment(() =>
            school.transaction(async (session) => {
              await session.insert(owners).values({ name: 'late' })
              throw new Error('It had a connection')
            }),
          )
          const outcome = isLate ? rejection(transaction, OperationalError) : lost(transaction)
          if (isLate) await outcome
          await delay(20)
          // connects again, on which postgres.js takes the first transaction for begun
          await client.begin(async (sql) => {
            await sql`INSERT INTO owners VALUES ('of the user')`
            await delay(100)
          })
          await outcome
          expect(await client`DELETE FROM owners RETURNING name`).to.deep.equal([{ name: 'of the user' }])
        })
      })
    }

    /** The first connection is in use until then, and the second is idle. */
    async function onTheUsers(
      options: { poolTimeoutMs?: number },
      run: (place: Place) => Promise<void>,
    ): Promise<void> {
      await inPlace({ prepare: false, max: 2, ...options }, async (place) => {
        const { client } = place
        const end = gate()
        const begun = gate()
        const first = client.begin(async () => {
          begun.open()
          await end.passed
        })
        await begun.passed
        place.forget() // only what is opened from now on will break
        await client`SELECT 1`
        await run(place)
        end.open()
        await first
        await isWell(place)
      })
    }
  })

  /** Everything has the answers that are its own. */
  async function isWell({ school, dog, client }: Place): Promise<void> {
    const all = async () => {
      const read = await school.repository.get(Dog, dog.id)
      read.addTrick('survive')
      await school.transaction(async (session) => {
        await session.insert(owners).values({ name: 'alive' })
        await school.save(read)
        expect(await session.select().from(owners)).to.deep.equal([{ name: 'alive' }])
        await session.delete(owners)
      })
      dog.tricks.push('survive')
      expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(dog.tricks)
      expect(await client`SELECT count(*)::int AS n FROM owners`).to.deep.equal([{ n: 0 }])
    }
    await within('answers', all())
  }
})

async function inPlace(
  {
    prepare,
    max = 1,
    poolTimeoutMs,
  }: { readonly prepare: boolean; readonly max?: number; readonly poolTimeoutMs?: number },
  run: (place: Place) => Promise<void>,
): Promise<void> {
  const { hostname, port } = new URL(postgresUrl())
  const sockets = new Set<Socket>()
  await using schema = await freshSchema()
  const client = postgresJs(postgresUrl(), {
    max,
    prepare,
    connection: { search_path: schema.searchPath },
    onnotice: () => undefined,
    backoff: () => 0.01,
    socket: () => {
      const socket = connect(Number(port), hostname)
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      return socket
    },
  } as postgresJs.Options<Record<string, never>>)
  const datastore = open(client, poolTimeoutMs)
  const school = new Application<typeof datastore>({ name: 'School', persistence: datastore })
  try {
    await school.ready()
    await createOwners(schema.name)
    const dog = new Dog('Fido')
    await school.save(dog)
    await run({
      client,
      school,
      dog,
      forget: () => {
        sockets.clear()
      },
      inTheMoment: <T>(work: () => Promise<T>) =>
        new Promise<T>((resolve, reject) => {
          for (const socket of sockets) {
            socket.once('error', () => {
              queueMicrotask(() => void work().then(resolve, reject))
            })
            socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
          }
        }),
    })
  } finally {
    await school.close().catch(() => undefined)
    await datastore.close()
    await client.end({ timeout: 1 })
  }
}
