import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import { DrizzleFactory } from '../../lib/drizzle/index.js'
import type { Notification } from '../../lib/persistence/stored-event.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { Child } from '../support/child.js'
import { Dog } from '../support/dogs.js'
import { createOwners, owners, remove, schema, temporaryDirectory } from '../support/sqlite-backends.js'

describe('Several processes on one SQLite file', function () {
  this.timeout(60_000)
  let directory: string
  let file: string

  beforeEach(async () => {
    directory = await temporaryDirectory()
    file = join(directory, 'school.db')
  })

  afterEach(async () => {
    await Child.endAll()
    await remove(directory)
  })

  it('start at once on an empty file, and each saves all its own', async () => {
    const starters = [1, 2, 3, 4, 5, 6].map((n) => start('starter', file, 'School', `dog ${n}`, '20'))
    const ids = (await startTogether(starters)).flat() as number[]
    expect(ids.sort((a, b) => a - b)).to.deep.equal(Array.from({ length: 240 }, (_, i) => i + 1))

    await using datastore = sqlite(file)
    const school = new Application({ name: 'School', persistence: datastore })
    for (const n of [1, 2, 3, 4, 5, 6])
      for (let dog = 1; dog <= 20; dog += 1)
        expect((await school.repository.get(Dog, Dog.createId(`dog ${n} ${dog}`))).tricks).to.deep.equal(['roll over'])
  })

  it('start at once with applications of two names, whose events stay apart', async () => {
    const names = ['School', 'Kennel']
    const starters = names.flatMap((name) => ['a', 'b', 'c'].map((who) => start('starter', file, name, who, '20')))
    const ids = await startTogether(starters)
    await using datastore = sqlite(file)
    for (const [i, name] of names.entries()) {
      const own = (ids.slice(i * 3, i * 3 + 3).flat() as number[]).sort((a, b) => a - b)
      expect(own).to.deep.equal(Array.from({ length: 120 }, (_, n) => n + 1))
      const recorder = await new DrizzleFactory({ datastore, name }).applicationRecorder()
      expect(await recorder.selectNotifications({ limit: 1000 })).to.have.length(120)
    }
  })

  it('write the same aggregate: who is late has a conflict, and no version is missing or there twice', async () => {
    await using datastore = sqlite(file)
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    const conflicts = await startTogether([1, 2].map(() => start('rival', file, 'Fido', '100')))
    // two who read and write in turn without any conflict did not meet, and the case has shown nothing
    expect((conflicts as number[]).reduce((a, b) => a + b)).to.be.above(0)

    const fido = await school.repository.get(Dog, Dog.createId('Fido'))
    expect(fido.version).to.equal(201)
    expect(new Set(fido.tricks).size).to.equal(200)
    const events = await school.recorder.selectEvents(fido.id)
    expect(events.map(({ originatorVersion }) => originatorVersion)).to.deep.equal(
      Array.from({ length: 201 }, (_, i) => i + 1),
    )
  })

  it('write the same aggregate, each in a transaction: who is second waits, decides on what is there, and has no conflict', async () => {
    await using datastore = sqlite(file)
    const school = new Application({ name: 'School', persistence: datastore })
    await school.save(new Dog('Fido'))
    const conflicts = await startTogether([1, 2, 3].map(() => start('rival', file, 'Fido', '40', 'inside')))
    expect(conflicts).to.deep.equal([0, 0, 0])
    const fido = await school.repository.get(Dog, Dog.createId('Fido'))
    expect([fido.version, new Set(fido.tricks).size]).to.deep.equal([121, 120])
  })

  it('show a reader what is committed, in order, and never anything that it has passed', async () => {
    await using datastore = sqlite(file)
    const recorder = await new DrizzleFactory({ datastore, name: 'School' }).applicationRecorder()
    const starters = [1, 2, 3].map((n) => start('starter', file, 'School', `dog ${n}`, '60'))
    let areDone = false
    const starting = startTogether(starters).finally(() => (areDone = true))
    starting.catch(() => undefined) // awaited below; until then a case that fails is to show its own error

    const seen: Notification[] = []
    let pagesMeanwhile = 0
    for (let isLast = false; !isLast;) {
      isLast = areDone
      const start = (seen.at(-1)?.id ?? 0) + 1
      const page = await recorder.selectNotifications({ start, limit: 7 })
      if (page.length > 0) {
        if (!areDone) pagesMeanwhile += 1
        isLast = false
      }
      // each dog's two events were saved together
      expect(versionsByDog([...seen, ...page]).every((n) => n === 2 || page.length === 7)).to.equal(true)
      seen.push(...page)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await starting
    expect(seen.map(({ id }) => id)).to.deep.equal(Array.from({ length: 360 }, (_, i) => i + 1))
    expect(pagesMeanwhile).to.be.above(0)
  })

  for (const round of [1, 2, 3, 4, 5]) {
    it(`lose one to SIGKILL under load, and everything it has acknowledged is there whole (round ${round})`, async () => {
      const migrated = new Database(file)
      migrated.exec(createOwners)
      migrated.close()
      const writer = start('loaded-writer', file, 'dog')
      const atLeast = 5 + Math.floor(Math.random() * 40)
      for (let n = 0; n < atLeast; n += 1) await writer.message()
      // not at the moment of a message, but somewhere behind it
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 10))
      writer.kill()
      const { signal, stderr } = await writer.exit
      expect(signal, stderr).to.equal('SIGKILL')

      await using datastore = sqlite(file, { schema })
      const school = new Application({ name: 'School', persistence: datastore })
      await school.ready()
      const rows = (await datastore.db.select().from(owners)).map(({ name }) => name)
      expect(rows).to.include.members(writer.received)
      // one save for each of the four callers may have been committed and not acknowledged
      expect(rows.length - writer.received.length).to.be.within(0, 4)
      for (const name of rows) {
        const dog = await school.repository.get(Dog, Dog.createId(name))
        expect([dog.version, dog.tricks]).to.deep.equal([5, ['trick 1', 'trick 2', 'trick 3', 'trick 4']])
      }
      expect(await school.recorder.selectNotifications({ limit: 10_000 })).to.have.length(rows.length * 5)
      expect(await school.save(new Dog('afterwards'))).to.have.length(1)
    })
  }
})

function start(program: string, ...args: string[]): Child {
  return new Child(program, args)
}

/** Gives all of them the word when all are ready; what each of them says at its end. */
async function startTogether(children: readonly Child[]): Promise<unknown[]> {
  await Promise.all(children.map((child) => child.message()))
  for (const child of children) child.send('go')
  const said = await Promise.all(children.map((child) => child.message()))
  for (const { code, stderr } of await Promise.all(children.map(({ exit }) => exit))) {
    expect(code, stderr).to.equal(0)
  }
  return said
}

function versionsByDog(notifications: readonly Notification[]): number[] {
  const counts = new Map<string, number>()
  for (const { originatorId } of notifications) counts.set(originatorId, (counts.get(originatorId) ?? 0) + 1)
  return [...counts.values()]
}
