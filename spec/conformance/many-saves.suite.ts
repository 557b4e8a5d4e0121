import { expect } from 'chai'
import { OperationalError, RecordConflictError } from '../../lib/errors.js'
import type { Recording } from '../../lib/persistence/stored-event.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { Remembered } from '../support/garbage.js'
import { pendingVersions } from '../support/pending-versions.js'
import { storedEvents } from '../support/stored-events.js'
import { schoolOn, type TrainingSchool } from '../support/training-school.js'

/** What holds for however many saves there are at once, and for however many events there are to read. */
export function manySavesSuite(define: DefineCase): void {
  describe('ten thousand saves that are started at once', () => {
    define('are all settled: each is stored once, and a conflict fails nobody else', async (opened) => {
      const school = schoolOn(opened)
      const taken = takenDogs(100)
      await school.save(...taken.map(({ stored }) => stored))
      const before = (await school.recorder.maxNotificationId())!

      const dogs = Array.from({ length: 10_000 }, (_, i) =>
        i % 100 === 50 ? taken[(i - 50) / 100]!.rival : pupil(`dog ${i}`, i % 10 === 0 ? 3 : 1),
      )
      const outcomes = await Promise.allSettled(dogs.map((dog) => school.save(dog)))

      outcomes.forEach((outcome, i) => {
        if (i % 100 === 50) expect(reasonOf(outcome)).to.be.instanceOf(RecordConflictError)
        else expect(outcome.status).to.equal('fulfilled')
      })
      const recorded = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
      for (const recordings of recorded) expect(areContiguous(recordings)).to.equal(true)
      const given = new Map(recorded.flat().map(({ notification }) => [notification.id, notification.originatorId]))
      const storable = dogs.filter((_, i) => i % 100 !== 50)
      expect(given.size).to.equal(storable.reduce((sum, { version }) => sum + version, 0))

      // a refused one has its events back, as it had them; nobody else has
      for (const { rival } of taken) expect(pendingVersions(rival)).to.deep.equal([1, 2])
      expect(dogs.filter((dog) => dog.pendingEvents.length > 0)).to.have.length(100)

      const stored = await school.recorder.selectNotifications({ start: before + 1, limit: 20_000 })
      expect(stored).to.have.length(given.size)
      for (const { id, originatorId } of stored) expect(given.get(id)).to.equal(originatorId)
    })
  })

  describe('thousands of saves that are started at once', () => {
    define('leave nothing behind of what they have stored, or have not', async (opened) => {
      const school = schoolOn(opened)
      const [{ stored, rival }] = takenDogs(1) as [TakenDog]
      await school.save(stored)
      const [event] = rival.collectEvents()

      const remembered = new Remembered()
      await (async () => {
        const saves = Array.from({ length: 5000 }, async (_, i) => {
          const dog = new Dog(`dog ${i}`)
          remembered.add(dog)
          remembered.add(dog.pendingEvents[0]!)
          try {
            const recordings = await (i % 10 === 0 ? school.save(dog, event) : school.save(dog))
            remembered.add(recordings)
          } catch (error) {
            remembered.add(error as Error)
          }
        })
        await Promise.all(saves)
      })()
      expect(remembered.count).to.equal(15_000)
      // connections may keep what they have sent last
      expect(await remembered.kept(150)).to.be.at.most(150)
    })
  })

  describe('a save that has to wait for longer than the pool timeout', () => {
    define(
      'is an OperationalError, as is each that waits with it; nothing is stored, and all of them can be repeated',
      async (opened) => {
        const school = schoolOn(opened)
        await school.register('Fido')
        const dogs = Array.from({ length: 2000 }, (_, i) => pupil(`dog ${i}`, (i % 3) + 1))
        const occupied = await occupy(school)

        const outcomes = await Promise.allSettled(dogs.map((dog) => school.save(dog)))
        for (const outcome of outcomes) {
          expect(reasonOf(outcome)).to.be.instanceOf(OperationalError).with.property('retryable', true)
        }
        dogs.forEach((dog, i) => expect(pendingVersions(dog)).to.deep.equal([1, 2, 3].slice(0, (i % 3) + 1)))
        await occupied.free()
        expect(await school.recorder.maxNotificationId()).to.equal(1)

        await saveInParts(school, dogs)
        const stored = await school.recorder.selectNotifications({ start: 2, limit: 10_000 })
        expect(stored).to.have.length(dogs.reduce((sum, { version }) => sum + version, 0))
        for (const dog of dogs) expect(dog.pendingEvents).to.have.length(0)
      },
      { poolTimeoutMs: 300 },
    )
  })

  describe('a read of all notifications', () => {
    define('keeps no more of them than a part, however many there are', async (opened) => {
      const school = schoolOn(opened)
      await school.ready()
      for (let i = 0; i < 12; i += 1) await school.recorder.insertEvents(storedEvents(`dog ${i}`, 1, 1000))

      const seen = new Remembered()
      let last = 0
      for await (const notification of school.notificationLog.read()) {
        expect(notification.id).to.be.above(last)
        last = notification.id
        seen.add(notification)
        // the page that it is in, and perhaps the next one, are there
        if (seen.count === 6000) expect(await seen.kept(2000)).to.be.at.most(2000)
      }
      expect(seen.count).to.equal(12_000)
      expect(await seen.kept(2000)).to.be.at.most(2000)
    })
  })
}

/** A dog that is stored, and another with the same id that is not. */
interface TakenDog {
  readonly stored: Dog
  readonly rival: Dog
}

function takenDogs(count: number): TakenDog[] {
  return Array.from({ length: count }, (_, i) => ({
    stored: new Dog(`taken ${i}`),
    rival: pupil(`taken ${i}`, 2),
  }))
}

/** A new dog with so many pending events. */
function pupil(name: string, events: number): Dog {
  const dog = new Dog(name)
  for (let trick = 1; trick < events; trick += 1) dog.addTrick(`trick ${trick}`)
  return dog
}

function reasonOf(outcome: PromiseSettledResult<unknown>): unknown {
  return outcome.status === 'rejected' ? outcome.reason : undefined
}

function areContiguous(recordings: readonly Recording[]): boolean {
  const first = recordings[0]!.notification.id
  return recordings.every(({ notification }, index) => notification.id === first + index)
}

/** Few enough at a time to be done within a short pool timeout on a busy machine. */
async function saveInParts(school: TrainingSchool, dogs: readonly Dog[]): Promise<void> {
  for (let start = 0; start < dogs.length; start += 20) {
    await Promise.all(dogs.slice(start, start + 20).map((dog) => school.save(dog)))
  }
}

/** Begins transactions until there is no connection left for another one, or no writer. */
async function occupy(school: TrainingSchool): Promise<{ free(): Promise<void> }> {
  const open: { rollback(): Promise<void> }[] = []
  for (;;) {
    try {
      open.push(await school.transaction())
    } catch (error) {
      expect(error).to.be.instanceOf(OperationalError)
      break
    }
  }
  return {
    async free() {
      for (const transaction of open) await transaction.rollback()
    },
  }
}
