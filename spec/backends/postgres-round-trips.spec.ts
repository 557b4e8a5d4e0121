import { expect } from 'chai'
import { sql } from 'drizzle-orm'
import { npmVersion } from 'drizzle-orm/version'
import { drizzle } from 'drizzle-orm/postgres-js'
import { pgTable, text } from 'drizzle-orm/pg-core'
import { randomUUID } from 'node:crypto'
import postgresJs from 'postgres'
import { postgres, type PostgresDatastore } from '../../lib/postgres/index.js'
import { admin, describePostgres, postgresUrl } from '../support/postgres-server.js'
import { type Exchange, Wiretap } from '../support/postgres-wiretap.js'
import { Dog } from '../support/dogs.js'
import { TrainingSchool } from '../support/training-school.js'

const owners = pgTable('owners', { name: text().primaryKey() })

const prepared = 'Bind Execute Sync'
/** An append; its first words are those of what has to happen before it. */
const append = /INSERT INTO .*training_school_events/s

describePostgres('What reaches a PostgreSQL server', () => {
  let schema: string
  let tap: Wiretap

  beforeEach(async () => {
    schema = `trips_${randomUUID().slice(0, 8)}`
    await admin().unsafe(`CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.owners (name text PRIMARY KEY)`)
    tap = await Wiretap.before(postgresUrl())
  })

  afterEach(async () => {
    await tap[Symbol.asyncDispose]()
    await admin().unsafe(`DROP SCHEMA ${schema} CASCADE`)
  })

  const datastores: Readonly<Record<string, () => { datastore: PostgresDatastore; close: () => Promise<void> }>> = {
    'by connections of our own': () => ({
      datastore: postgres(tap.url, { connection: { search_path: schema } }),
      close: () => Promise.resolve(),
    }),
    "by the user's client": () => {
      const client = postgresJs(tap.url, { connection: { search_path: schema } })
      return { datastore: postgres(drizzle(client)), close: () => client.end() }
    },
  }

  for (const [how, open] of Object.entries(datastores)) {
    describe(how, () => {
      let school: TrainingSchool
      let datastore: PostgresDatastore
      let close: () => Promise<void>

      beforeEach(async () => {
        ;({ datastore, close } = open())
        school = new TrainingSchool({ persistence: datastore })
        // once each, so that a connection is there and knows the statements
        await school.register('Fido')
        await school.addTrick('Fido', 'roll over')
        await registerWithOwner('Ann')
        await page()
      })

      afterEach(async () => {
        await datastore.close()
        await close()
      })

      function registerWithOwner(name: string): Promise<void> {
        return datastore.transaction(async (session) => {
          await session.insert(owners).values({ name })
          await school.register(name)
        })
      }

      const page = () => school.recorder.selectNotifications({ start: 1, limit: 10 })

      function expectEach(exchanges: readonly Exchange[], times: number, statement: RegExp): void {
        expect(exchanges.map(messages)).to.deep.equal(Array.from({ length: times }, () => prepared))
        for (const { statements } of exchanges) {
          expect(statements).to.have.length(1)
          expect(statements[0]).to.match(statement)
        }
      }

      it('is one exchange for a save', async () => {
        // several in a row: what came after one of them would stand before the next
        const exchanges = await tap.during(async () => {
          for (const name of ['Rex', 'Bello', 'Hasso']) await school.register(name)
        })
        expectEach(exchanges, 3, append)
      })

      it('is BEGIN, two inserts and COMMIT for a save with a snapshot that is due, and two exchanges for a load', async () => {
        class Snapshotting extends TrainingSchool {
          static readonly snapshottingIntervals = [[Dog, 3]]
        }
        const snapshotting = new Snapshotting({ persistence: datastore })
        for (const name of ['Rex', 'Bello']) {
          await snapshotting.register(name)
          for (const trick of ['sit', 'bow', 'roll over']) await snapshotting.addTrick(name, trick)
        }
        const hasso = new Dog('Hasso')
        await snapshotting.save(hasso)
        const saves: Exchange[][] = []
        for (const trick of ['sit', 'bow', 'roll over']) {
          hasso.addTrick(trick)
          saves.push(await tap.during(() => snapshotting.save(hasso)))
        }
        const snapshot = /^INSERT INTO .*training_school_snapshots/s
        const statements = saves.map((exchanges) => exchanges.map((exchange) => exchange.statements.join()))
        for (const [index, expected] of [[append], [/^begin/i, append, snapshot, /^commit/i], [append]].entries()) {
          expect(statements[index], `save ${index + 1}`).to.have.length(expected.length)
          for (const [place, statement] of expected.entries()) expect(statements[index]![place]).to.match(statement)
        }
        const load = await tap.during(() => snapshotting.tricks('Hasso'))
        expect(load).to.have.length(2)
        expect(load[0]!.statements.join()).to.match(/^SELECT .*training_school_snapshots/s)
        expect(load[1]!.statements.join()).to.match(/^SELECT .*training_school_events/s)
      })

      it('is one exchange for a load', async () => {
        const exchanges = await tap.during(async () => {
          for (let load = 0; load < 3; load++) await school.tricks('Fido')
        })
        expectEach(exchanges, 3, /^SELECT .*training_school_events/s)
      })

      it('is one exchange for a page of notifications without a gap', async () => {
        const exchanges = await tap.during(async () => {
          for (let read = 0; read < 3; read++) expect(await page()).to.have.length(3)
        })
        expectEach(exchanges, 3, /^SELECT .*training_school_events/s)
      })

      it("is BEGIN, the user's statement, one of ours and COMMIT for an own row and a save", async () => {
        const exchanges = await tap.during(async () => {
          for (const name of ['Rex', 'Bello']) await registerWithOwner(name)
        })
        const statements = [/^begin/i, /^insert into "owners"/, /^insert into "owners"/, append, /^commit/i]
        expect(exchanges).to.have.length(2 * statements.length)
        for (const [index, exchange] of exchanges.entries()) {
          expect(exchange.statements.join()).to.match(statements[index % statements.length]!)
        }
        // Drizzle's builders leave out the name that would let the server keep the plan, so their statements take two
        expect(exchanges.slice(1, 4).map(messages)).to.deep.equal(['Parse Describe Flush', prepared, prepared])
      })

      it('is BEGIN, one append and COMMIT for any number of saves that wait', async () => {
        const saveEach = (names: readonly string[]) =>
          datastore.transaction(
            async () => {
              for (const name of names) await school.register(name)
            },
            { autoflush: false },
          )
        await saveEach(['Rex', 'Bello']) // the statement for several is known then
        for (const saves of [2, 20, 200]) {
          const names = Array.from({ length: saves }, (_, index) => `dog ${index} of ${saves}`)
          const exchanges = await tap.during(() => saveEach(names))
          expect(exchanges).to.have.length(3)
          for (const [index, statement] of [/^begin/i, append, /^commit/i].entries()) {
            expect(exchanges[index]!.statements.join()).to.match(statement)
          }
          expect(messages(exchanges[1]!)).to.equal(prepared)
        }
        expect(await school.recorder.maxNotificationId()).to.be.at.least(222)
      })

      it("is four exchanges where the user's statement is prepared under a name", async () => {
        const registerByName = (name: string) =>
          datastore.transaction(async (session) => {
            const insert = session
              .insert(owners)
              .values({ name: sql.placeholder('name') })
              .prepare('insert_owner')
            await insert.execute({ name })
            await school.register(name)
          })
        await registerByName('Bob')
        const exchanges = await tap.during(() => registerByName('Rex'))
        // before 0.45 Drizzle's session for postgres.js prepares nothing, named or not
        const drizzles = preparesByName ? 1 : 2
        expect(exchanges).to.have.length(3 + drizzles)
        expect(exchanges.slice(preparesByName ? 1 : 3, 2 + drizzles).map(messages)).to.deep.equal(
          preparesByName ? [prepared, prepared] : [prepared],
        )
      })
    })
  }
})

/** Whether Drizzle's session has its named statements prepared. */
const preparesByName = !npmVersion.startsWith('0.44.')

function messages({ messages }: Exchange): string {
  return messages.join(' ')
}
