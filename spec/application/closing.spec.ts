import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import type { Datastore } from '../../lib/drizzle/index.js'
import { InterfaceError, OperationalError, ProgrammingError } from '../../lib/errors.js'
import '../../lib/index.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { pendingVersions } from '../support/pending-versions.js'
import { rejection } from '../support/rejection.js'
import { remove, temporaryDirectory } from '../support/sqlite-backends.js'
import { TrainingSchool } from '../support/training-school.js'

const environments: Record<string, (directory: string) => Record<string, string>> = {
  'in memory': () => ({}),
  'on SQLite in memory': () => ({ PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: 'sqlite::memory:' }),
  'on a file of SQLite': onFile,
}

for (const [where, environment] of Object.entries(environments)) {
  describe(`closing an application that its environment configures, ${where}`, () => {
    let directory: string
    let env: Record<string, string>
    let school: TrainingSchool

    beforeEach(async () => {
      directory = await temporaryDirectory()
      env = environment(directory)
      school = await TrainingSchool.create({ env })
    })

    afterEach(async () => {
      await school.close()
      await remove(directory)
    })

    it('is refused inside its own transaction, and changes nothing', async () => {
      await school.transaction(async () => {
        await school.register('Fido')
        await rejection(school.close(), ProgrammingError, 'outside')
        await school.addTrick('Fido', 'sit')
        await school.transaction(() => rejection(school.close(), ProgrammingError, 'outside'))
      })
      await school.addTrick('Fido', 'roll over')
      expect(await school.tricks('Fido')).to.deep.equal(['sit', 'roll over'])
      await school.close()
      await rejection(school.tricks('Fido'), InterfaceError, 'closed')
    })

    it('ends for every caller when it is done, and not before', async () => {
      const tx = await school.transaction()
      const order: string[] = []
      const closings = [school.close(), school.close()].map((closing) => closing.then(() => order.push('closed')))
      for (let i = 0; i < 5; i += 1) await nextTurn()
      order.push('rolled back')
      await tx.rollback()
      await Promise.all(closings)
      expect(order).to.deep.equal(['rolled back', 'closed', 'closed'])
    })

    it('lets a transaction go on that is open, saves through the application included', async () => {
      const [begun, called] = [gate(), gate()]
      const rex = new Dog('Rex')
      const work = school.transaction(async () => {
        await school.register('Fido')
        begun.open()
        await called.passed
        await school.addTrick('Fido', 'sit')
        await school.save(rex)
        return school.tricks('Fido')
      })
      await begun.passed
      const closing = school.close()
      called.open()
      expect(await work).to.deep.equal(['sit'])
      await closing
      expect(rex.pendingEvents).to.have.length(0)
      const late = new Dog('Bello')
      await rejection(school.save(late), InterfaceError, 'closed')
      expect(pendingVersions(late)).to.deep.equal([1])
    })

    it('fails while a transaction stays open too long, and works once that has ended', async () => {
      const impatient = await TrainingSchool.create({ env: { ...env, DRIZZLE_POOL_TIMEOUT_MS: '50' } })
      const tx = await impatient.transaction()
      await rejection(impatient.close(), OperationalError)
      await tx.rollback()
      await impatient.close()
      await rejection(impatient.register('Fido'), InterfaceError, 'closed')
    })
  })
}

describe('closing applications that share a datastore', () => {
  let directory: string

  beforeEach(async () => {
    directory = await temporaryDirectory()
  })

  afterEach(() => remove(directory))

  it('commits what was under way, which another application finds', async () => {
    const env = onFile(directory)
    const [school, next] = [await TrainingSchool.create({ env }), new TrainingSchool({ env })]
    const tx = await school.transaction()
    const closing = school.close()
    await tx.run(() => school.register('Fido'))
    await tx.commit()
    await closing
    expect(await next.tricks('Fido')).to.deep.equal([])
    await next.close()
  })

  it('closes the file although a first attempt failed', async () => {
    const school = await TrainingSchool.create({ env: { ...onFile(directory), DRIZZLE_POOL_TIMEOUT_MS: '50' } })
    await school.register('Fido')
    const tx = await school.transaction()
    await rejection(school.close(), OperationalError)
    expect(await readdir(directory)).to.include('school.db-wal')
    await tx.rollback()
    await school.close()
    // SQLite removes the other files with the last connection
    expect(await readdir(directory)).to.deep.equal(['school.db'])
  })

  it('opens nothing again by a look at the datastore of one that is closed', async () => {
    const env = onFile(directory)
    const [first, second] = [await TrainingSchool.create({ env }), await TrainingSchool.create({ env })]
    const datastore = second.recorder.datastore as unknown as Datastore
    await first.close()
    for (const look of [() => first.recorder.datastore, () => first.factory.datastore]) look()
    expect(datastore.isClosed).to.equal(false)
    await second.register('Fido')
    await second.close()
    expect(datastore.isClosed).to.equal(true)
    await rejection(
      (async () => first.recorder.datastore.transaction(() => expect.fail('Has begun')))(),
      InterfaceError,
      'closed',
    )
    await rejection((async () => first.recorder.datastore.ready())(), InterfaceError, 'closed')
  })
})

function onFile(directory: string): Record<string, string> {
  return { PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: `sqlite:${join(directory, 'school.db')}` }
}
