import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import type { Backend } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { openSession } from '../support/sessions.js'
import { schoolOn, type TrainingSchool } from '../support/training-school.js'

/** What becomes of work that was not awaited when its session's transaction is rolled back, however far it has come by then. */
export function abandonedWorkSuite(define: DefineCase, backend: Backend): void {
  describe('what a rollback overtakes', () => {
    for (const end of ['rollback', 'close'] as const) {
      define(`stores nothing, and gives back: a flush of two tables, by ${end}()`, async (opened) => {
        const schools = await Promise.all(['School', 'Kennel'].map((name) => readySchool(schoolOn(opened, name))))
        const saved = schools.map((): Dog[] => [])
        await atEachStep(async (step) => {
          await using session = await openSession(opened)
          session.autoflush = false
          for (const [index, school] of schools.entries()) {
            const dog = new Dog(`Fido ${step}`)
            await session.run(() => school.save(dog))
            saved[index]!.push(dog)
          }
          const flushing = settled(session.flush())
          await steps(step)
          await session[end]()
          await flushing
        })
        for (const [index, school] of schools.entries()) await expectGivenBack(school, saved[index]!)
      })

      define(`stores nothing, and gives back: a save that comes after what waits, by ${end}()`, async (opened) => {
        const school = await readySchool(schoolOn(opened))
        const saved: Dog[] = []
        await atEachStep(async (step) => {
          await using session = await openSession(opened)
          const [waiting, dog] = [new Dog(`Fido ${step}`), new Dog(`Rex ${step}`)]
          await session.noAutoflush(() => session.run(() => school.save(waiting)))
          const saving = settled(session.run(() => school.save(dog)))
          await steps(step)
          await session[end]()
          await saving
          saved.push(waiting, dog)
        })
        await expectGivenBack(school, saved)
      })

      if (!backend.capabilities.ownTables) continue

      define(`stores nothing: the first statement of a session, by ${end}()`, async (opened) => {
        const owners = opened.owners!
        await atEachStep(async (step) => {
          await using session = await openSession(opened)
          const inserting = settled(owners.insert(session, `Ann ${step}`))
          await steps(step)
          await session[end]()
          await inserting
        })
        expect(await owners.names()).to.deep.equal([])
      })
    }

    define('is not stored by the session’s next commit: a first save, whose tables are made', async (opened) => {
      await atEachStep(async (step) => {
        const school = schoolOn(opened, `School${step}`)
        await opened.datastore.ready()
        await using session = await openSession(opened)
        const dog = new Dog('Fido')
        const saving = settled(session.run(() => school.save(dog)))
        await steps(step)
        await session.rollback()
        await saving
        await session.commit()
        // one that had not begun before the rollback is the next transaction's
        const isStored = await school.repository.has(dog.id)
        expect(dog.pendingEvents, `step ${step}`).to.have.length(isStored ? 0 : 1)
      })
    })
  })
}

async function readySchool(school: TrainingSchool): Promise<TrainingSchool> {
  await school.ready()
  return school
}

async function expectGivenBack(school: TrainingSchool, dogs: readonly Dog[]): Promise<void> {
  // what somebody has left behind would be committed by it
  await school.register('Bello')
  const stored = await school.recorder.selectNotifications({ limit: 1000 })
  expect(stored.map(({ originatorId }) => originatorId)).to.deep.equal([Dog.createId('Bello')])
  for (const dog of dogs) expect(dog.pendingEvents, dog.name).to.have.length(1)
}

/** From at once to some turns of the event loop later. */
async function atEachStep(work: (step: number) => Promise<void>): Promise<void> {
  for (let step = 0; step < microtasks + 3; step += 1) await work(step)
}

const microtasks = 27

async function steps(count: number): Promise<void> {
  for (let step = 0; step < Math.min(count, microtasks); step += 1) await Promise.resolve()
  for (let step = microtasks; step < count; step += 1) await nextTurn()
}

function settled(work: unknown): Promise<unknown> {
  return Promise.resolve(work).catch(() => undefined)
}
