import { expect } from 'chai'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { sqlite } from '../../lib/sqlite/index.js'
import { TrainingSchool } from '../support/training-school.js'

describe('What SQLite runs for saves in a transaction', () => {
  const cases = [
    { title: 'is one INSERT for a hundred that wait', autoflush: false, inserts: 1 },
    { title: 'is an INSERT for each that is written at once', autoflush: true, inserts: 100 },
  ]
  for (const { title, autoflush, inserts } of cases) {
    it(title, async () => {
      const statements: string[] = []
      const client = new Database(':memory:', { verbose: (statement) => statements.push(String(statement)) })
      const datastore = sqlite(drizzle(client), { autoflush })
      const school = await TrainingSchool.create({ persistence: datastore })
      statements.length = 0
      await datastore.transaction(async () => {
        for (let index = 0; index < 100; index++) await school.register(`dog ${index}`)
      })
      expect(statements.filter((statement) => statement.startsWith('INSERT'))).to.have.length(inserts)
      expect(await school.recorder.maxNotificationId()).to.equal(100)
      await datastore.close()
      client.close()
    })
  }
})
