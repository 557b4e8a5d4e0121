import { drizzle } from 'drizzle-orm/postgres-js'
import { newDog } from '../domain.js'
import type { Case, Contest } from '../harness.js'
import { newDogRows } from '../raw-dog.js'
import { Databases, owners } from './databases.js'

/** A row of the user's own table and an event, committed together. */
export function transactionCases(url: string): Omit<Case, 'place'>[] {
  return [{ name: 'own row and 1 event in a transaction', unit: 'transactions', open: () => ownRowAndEvent(url) }]
}

async function ownRowAndEvent(url: string): Promise<Contest> {
  const databases = await Databases.open(url)
  const { app } = databases
  const [preparing, building] = [await databases.raw(), await databases.raw()]
  const owner = { name: 'Ann Byron of Lovelace', dog: 'Fido of the Riverside Kennels' }
  const db = drizzle(building.client)
  return databases.contest({
    raws: [
      {
        name: 'BEGIN … COMMIT, own row by a prepared INSERT',
        operation: () =>
          preparing.transaction(async () => {
            await preparing.query('INSERT INTO owners (name, dog) VALUES ($1, $2)', [owner.name, owner.dog])
            await preparing.insert(newDogRows(1)[0]!)
          }),
      },
      {
        name: 'BEGIN … COMMIT, own row by db.insert(…).values(…)',
        operation: () =>
          building.transaction(async () => {
            await db.insert(owners).values(owner)
            await building.insert(newDogRows(1)[0]!)
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
