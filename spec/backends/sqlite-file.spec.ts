import { setImmediate as nextTurn } from 'node:timers/promises'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import { type SqliteDatastore, sqlite } from '../../lib/sqlite/index.js'
import { runEveryConformanceSuite } from '../conformance/every.js'
import { Dog } from '../support/dogs.js'
import { remove, sqliteFile, temporaryDirectory } from '../support/sqlite-backends.js'

runEveryConformanceSuite(sqliteFile)

describe('A SQLite file', () => {
  let directory: string
  let file: string

  beforeEach(async () => {
    directory = await temporaryDirectory()
    file = join(directory, 'school.db')
  })

  afterEach(() => remove(directory))

  it('has everything after it was closed and opened again, in one file', async () => {
    const { id } = await during(async (school) => {
      const dog = new Dog('Fido')
      dog.addTrick('roll over')
      await school.save(dog)
      return dog
    })
    expect(await readdir(directory)).to.deep.equal(['school.db'])
    await during(async (school) => {
      const dog = await school.repository.get(Dog, id)
      expect([dog.name, dog.tricks, dog.version]).to.deep.equal(['Fido', ['roll over'], 2])
      dog.addTrick('fetch')
      expect((await school.save(dog))[0]?.notification.id).to.equal(3)
    })
  })

  it('may be open in two datastores, whose writers take turns and whose readers wait for nobody', async () => {
    await using one = sqlite(file)
    await using other = sqlite(file)
    const [school, kennel] = [one, other].map(
      (datastore) => new Application({ name: 'School', persistence: datastore }),
    )
    await school!.save(new Dog('Fido'))
    const tx = await one.transaction()
    await tx.run(() => school!.save(new Dog('Rex')))
    let isSaved = false
    const saving = kennel!.save(new Dog('Bello')).then(() => (isSaved = true))
    expect(await kennel!.repository.has(Dog.createId('Fido'))).to.equal(true)
    expect(await kennel!.repository.has(Dog.createId('Rex'))).to.equal(false)
    await nextTurn()
    expect(isSaved).to.equal(false)
    await tx.commit()
    await saving
    expect(await school!.recorder.maxNotificationId()).to.equal(3)
  })

  async function during<T>(work: (school: Application<SqliteDatastore>) => Promise<T>): Promise<T> {
    await using datastore = sqlite(file)
    return await work(new Application<SqliteDatastore>({ name: 'School', persistence: datastore }))
  }
})
