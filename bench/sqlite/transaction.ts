import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { newDog } from '../domain.js'
import type { Case, Contest, Place } from '../harness.js'
import { newDogRows } from '../raw-dog.js'
import { Databases, owners } from './databases.js'

/** A row of the user's own table and an event, committed together. */
export const transactionCases: readonly Omit<Case, 'place'>[] = [
  { name: 'own row and 1 event in a transaction', unit: 'transactions', open: ownRowAndEvent },
]

async function ownRowAndEvent(place: Place): Promise<Contest> {
  const databases = await Databases.open(place)
  const { app } = databases
  const [preparing, building] = [databases.raw(), databases.raw()]
  const owner = { name: 'Ann Byron of Lovelace', dog: 'Fido of the Riverside Kennels' }
  const insertOwner = drizzle(preparing.client)
    .insert(owners)
    .values({ name: sql.placeholder('name'), dog: sql.placeholder('dog') })
    .prepare()
  const db = drizzle(building.client)
  return databases.contest({
    raws: [
      {
        name: 'BEGIN … COMMIT, own row by a prepared Drizzle query',
        operation: () =>
          preparing.transaction(() => {
            insertOwner.run(owner)
            preparing.insert(newDogRows(1)[0]!)
          }),
      },
      {
        name: 'BEGIN … COMMIT, own row by db.insert(…).values(…)',
        operation: () =>
          building.transaction(() => {
            db.insert(owners).values(owner).run()
            building.insert(newDogRows(1)[0]!)
          }),
      },
    ],
    ours: {
      name: 'app.transaction, session.insert(…).values(…), app.save',
      operation: () =>
        app.transaction(async (session) => {
          await session.insert(owners).values(owner)
          await app.save(newDog())
        }),
    },
  })
}
