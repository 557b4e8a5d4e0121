import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import type { Saved } from '../../lib/application/taken-events.js'
import { decider } from '../../lib/domain/decider.js'
import { withMetadata } from '../../lib/domain/metadata.js'
import { AggregateNotFoundError, AggregateTypeError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import type { Backend, Opened } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { Fox } from '../support/foxes.js'
import { rejection } from '../support/rejection.js'
import { openSession } from '../support/sessions.js'
import { versions } from '../support/stored-events.js'

const Badger = decider('Badger', { initial: () => 0 })
  .events({ Dug: (state, data: { holes: number }) => state + data.holes })
  .commands((events) => ({ dig: (_state, holes: number) => events.Dug({ holes }) }))

/** What deciders promise: loading, deciding and saving by `execute`, and getting back by the repository. */
export function decidersSuite(define: DefineCase, backend: Backend): void {
  describe('Application.execute', () => {
    define(
      'begins from the initial state, goes on from what is stored, and gives back the new state',
      async (opened) => {
        const den = denOn(opened)
        expect(await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })).to.deep.equal(basil())
        expect(await den.execute(Fox, 'basil', 'run', { km: 3 })).to.deep.equal(basil({ km: 3 }))
        const { id, version, state, createdOn, modifiedOn } = await den.repository.get(Fox, 'basil')
        expect({ id, version, state }).to.deep.equal({ id: 'basil', version: 2, state: basil({ km: 3 }) })
        const events = await den.events.get('basil')
        expect([createdOn, modifiedOn]).to.deep.equal(events.map(({ timestamp }) => timestamp))
      },
    )

    define('stores events as those of any aggregate are', async (opened) => {
      const den = denOn(opened)
      const command = { name: 'Basil', nested: { at: new Date(7) } }
      await withMetadata({ userId: 'ann' }, () => den.execute(Fox, 'basil', 'bear', command))
      const [event] = await den.events.get('basil')
      expect(event).to.deep.include({ originatorId: 'basil', originatorVersion: 1, topic: 'Fox.Born' })
      expect(event?.data).to.deep.equal(command)
      expect(event?.metadata).to.deep.equal({ userId: 'ann' })
      expect(event?.timestamp).to.be.instanceOf(Date)
      const { items } = await den.notificationLog.section('1,10')
      expect(items.map(({ topic }) => topic)).to.deep.equal(['Fox.Born'])
    })

    define('stores several events of a command with consecutive versions, decided from one state', async (opened) => {
      const den = denOn(opened)
      await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })
      expect(await den.execute(Fox, 'basil', 'roam', { legs: [8, 9] })).to.deep.equal(basil())
      expect(await storedVersions(den)).to.deep.equal([1, 2, 3, 4])
      expect((await den.repository.get(Fox, 'basil', { version: 3 })).state).to.deep.equal(basil({ km: 17 }))
    })

    define('saves nothing where nothing was decided, or the command throws', async (opened) => {
      const den = denOn(opened)
      expect(await den.execute(Fox, 'basil', 'sleep')).to.deep.equal(Fox.initial())
      await rejection(den.execute(Fox, 'basil', 'rename', { name: '' }), RangeError)
      expect(await den.repository.has('basil')).to.equal(false)
      await den.execute(Fox, 'basil', 'roam', { legs: [] })
      expect(await den.execute(Fox, 'basil', 'sleep')).to.deep.equal(Fox.initial())
      expect(await storedVersions(den)).to.deep.equal([1])
    })

    define('keeps what is given and what is handed out apart from what is stored', async (opened) => {
      const den = denOn(opened)
      const command = { cubs: ['Rusty'] }
      const state = await den.execute(Fox, 'basil', 'litter', command)
      command.cubs.push('never told')
      state.cubs.push('never born')
      const got = await den.repository.get(Fox, 'basil')
      expect(got.state.cubs).to.deep.equal(['Rusty'])
      got.state.cubs.push('never born')
      expect((await den.execute(Fox, 'basil', 'litter', { cubs: ['Roxy'] })).cubs).to.deep.equal(['Rusty', 'Roxy'])
    })

    define('is refused on what another decider or a class has made, and the other way round', async (opened) => {
      const den = denOn(opened)
      const dog = new Dog('Fido')
      await den.save(dog)
      await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })
      await rejection(den.execute(Fox, dog.id, 'run', { km: 1 }), AggregateTypeError, 'Dog.Registered')
      await rejection(den.execute(Badger, 'basil', 'dig', 1), AggregateTypeError, 'no Badger')
      await rejection(den.repository.get(Badger, 'basil'), AggregateTypeError, 'Fox.Born')
      await rejection(den.repository.get(Dog, 'basil'), AggregateTypeError, 'no Dog')
      await rejection(den.repository.get(Fox, 'nobody'), AggregateNotFoundError)
      expect(await storedVersions(den)).to.deep.equal([1])
      expect(await den.execute(Badger, 'brock', 'dig', 2)).to.equal(2)
    })

    define('is a conflict where somebody else was faster, and stores nothing', async (opened) => {
      const den = denOn(opened)
      den.beforeSaves = [() => den.execute(Fox, 'basil', 'bear', { name: 'Faster' })]
      const error = await rejection(den.execute(Fox, 'basil', 'bear', { name: 'Basil' }), RecordConflictError)
      expect(error).to.include({ originatorId: 'basil', originatorVersion: 1 })
      expect((await den.repository.get(Fox, 'basil')).state.name).to.equal('Faster')
      expect(await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })).to.deep.equal(basil())
    })

    define('decides again after a conflict, as often as it may', async (opened) => {
      const den = denOn(opened)
      const run = (km: number) => () => den.execute(Fox, 'basil', 'run', { km })
      den.beforeSaves = [run(3), undefined, run(4), undefined]
      expect(await den.execute(Fox, 'basil', 'run', { km: 2 }, { retries: 2 })).to.deep.include({ km: 9 })
      den.beforeSaves = [run(1), undefined, run(1), undefined]
      await rejection(den.execute(Fox, 'basil', 'run', { km: 2 }, { retries: 1 }), RecordConflictError)
      expect(await storedVersions(den)).to.deep.equal([1, 2, 3, 4, 5])
      // what the other did leaves nothing to decide
      den.beforeSaves = [() => den.execute(Fox, 'basil', 'sleep'), undefined]
      expect(await den.execute(Fox, 'basil', 'sleep', undefined, { retries: 1 })).to.deep.include({ km: 0 })
      expect(await storedVersions(den)).to.deep.equal([1, 2, 3, 4, 5, 6])
    })

    define('loses none of many at once that may be repeated', async (opened) => {
      const den = denOn(opened)
      const cubs = ['a', 'b', 'c', 'd', 'e', 'f']
      const litter = (cub: string) => den.execute(Fox, 'basil', 'litter', { cubs: [cub] }, { retries: cubs.length })
      await Promise.all(cubs.map(litter))
      const { state, version } = await den.repository.get(Fox, 'basil')
      expect([...state.cubs].sort()).to.deep.equal(cubs)
      expect(version).to.equal(cubs.length)
    })
  })

  describe('Snapshots of deciders', () => {
    define('are taken by execute, and a state of any kind begins with them', async (opened) => {
      const sett = new Sett({ persistence: opened.persistence('Sett') })
      for (let holes = 1; holes <= 5; holes += 1) await sett.execute(Badger, 'brock', 'dig', holes)
      expect((await sett.snapshots.get('brock')).map(({ originatorVersion }) => originatorVersion)).to.deep.equal([
        2, 4,
      ])
      const { state, version } = await sett.repository.get(Badger, 'brock')
      expect([state, version]).to.deep.equal([15, 5])
      expect((await sett.repository.get(Badger, 'brock', { version: 3 })).state).to.equal(6)
      await sett.takeSnapshot(Badger, 'brock')
      expect(await sett.execute(Badger, 'brock', 'dig', 1)).to.equal(16)
    })
  })

  describe('Application.execute in a transaction', () => {
    define('joins it', async (opened) => {
      const den = denOn(opened)
      await den.transaction(async () => {
        await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })
        expect(await den.execute(Fox, 'basil', 'run', { km: 3 })).to.deep.equal(basil({ km: 3 }))
        expect((await den.repository.get(Fox, 'basil')).version).to.equal(2)
      })
      expect(await storedVersions(den)).to.deep.equal([1, 2])
    })

    define('leaves nothing when that is rolled back, and no gap after it', async (opened) => {
      const den = denOn(opened)
      await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })
      const undone = den.transaction(async () => {
        await den.execute(Fox, 'basil', 'run', { km: 3 })
        throw new RangeError('undo')
      })
      await rejection(undone, RangeError)
      expect((await den.repository.get(Fox, 'basil')).state.km).to.equal(0)
      expect(await den.execute(Fox, 'basil', 'run', { km: 1 })).to.deep.equal(basil({ km: 1 }))
      expect(await storedVersions(den)).to.deep.equal([1, 2])
    })

    define('goes on from before a savepoint that was rolled back', async (opened) => {
      const den = denOn(opened)
      await den.transaction(async () => {
        await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })
        const undone = den.transaction(async () => {
          await den.execute(Fox, 'basil', 'run', { km: 3 })
          throw new RangeError('undo')
        })
        await rejection(undone, RangeError)
        expect(await den.execute(Fox, 'basil', 'run', { km: 1 })).to.deep.equal(basil({ km: 1 }))
      })
      expect(await storedVersions(den)).to.deep.equal([1, 2])
    })

    define('saves nothing that was decided from what a rollback took back meanwhile', async (opened) => {
      const den = denOn(opened)
      const session = await openSession(opened)
      await session.run(async () => {
        await den.execute(Fox, 'basil', 'bear', { name: 'Basil' })
        den.beforeSaves = [() => session.rollback()]
        await rejection(den.execute(Fox, 'basil', 'run', { km: 3 }), ProgrammingError, 'rolled back')
        await session.commit()
      })
      await session.close()
      expect(await den.repository.has('basil')).to.equal(false)
    })

    define('decides again after a conflict inside of it', async (opened) => {
      const den = denOn(opened)
      const cubs = ['a', 'b', 'c']
      await den.transaction(async () => {
        await Promise.all(cubs.map((cub) => den.execute(Fox, 'basil', 'litter', { cubs: [cub] }, { retries: 3 })))
        den.beforeSaves = [() => den.execute(Fox, 'basil', 'run', { km: 1 })]
        await rejection(den.execute(Fox, 'basil', 'run', { km: 5 }), RecordConflictError)
        await den.execute(Fox, 'basil', 'run', { km: 2 })
      })
      const { state, version } = await den.repository.get(Fox, 'basil')
      expect(state.km).to.equal(3)
      expect([...state.cubs].sort()).to.deep.equal(cubs)
      expect(version).to.equal(5)
    })

    if (backend.capabilities.concurrentWriters) {
      define('decides again after a conflict with what was committed outside of it', async (opened) => {
        const den = denOn(opened)
        await den.transaction(async () => {
          const { datastore } = opened
          den.beforeSaves = [() => datastore.outside(() => den.execute(Fox, 'basil', 'run', { km: 1 })), undefined]
          expect(await den.execute(Fox, 'basil', 'run', { km: 2 }, { retries: 1 })).to.deep.include({ km: 3 })
        })
        expect(await storedVersions(den)).to.deep.equal([1, 2])
      })
    }
  })
}

/** Where something may happen before each of the next saves, as if another process had done it. */
class Den extends Application {
  static readonly applicationName: string = 'Den'
  static readonly aggregates = [Fox, Badger, Dog]
  beforeSaves: ((() => unknown) | undefined)[] = []

  override async save(...objects: readonly Saved[]) {
    await this.beforeSaves.shift()?.()
    return super.save(...objects)
  }
}

class Sett extends Application {
  static readonly applicationName: string = 'Sett'
  static readonly snapshottingIntervals = [[Badger, 2] as const]
}

function denOn(opened: Opened): Den {
  return new Den({ persistence: opened.persistence('Den') })
}

function basil(changes: { km?: number } = {}) {
  return { name: 'Basil', km: 0, cubs: [], ...changes }
}

async function storedVersions(den: Den): Promise<number[]> {
  return versions(await den.recorder.selectEvents('basil'))
}
