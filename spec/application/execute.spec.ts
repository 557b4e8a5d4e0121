import { expect } from 'chai'
import { Application } from '../../lib/application/application.js'
import type { Saved } from '../../lib/application/taken-events.js'
import type { ExecuteOptions } from '../../lib/application/execution.js'
import { decider, type AnyDecider } from '../../lib/domain/decider.js'
import { findEvent } from '../../lib/domain/topics.js'
import { DataError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import { MemoryDatastore } from '../../lib/memory/datastore.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import { Dog } from '../support/dogs.js'
import { Fox } from '../support/foxes.js'
import { failure, rejection } from '../support/rejection.js'

describe('app.execute', () => {
  it('refuses what is no decider with events, and says what it takes', async () => {
    const app = new Application({ name: 'Den' })
    const start = decider('Wolverine', { initial: () => 0 })
    for (const wrong of [undefined, null, 7, {}, Dog, { ...Fox }, start]) {
      await rejection(app.execute(wrong as AnyDecider, 'basil', 'run'), ProgrammingError, 'takes a decider')
    }
    const Wolverine = start.events({ Ran: (state) => state })
    await rejection(app.execute(Wolverine as AnyDecider, 'basil', 'run'), ProgrammingError, 'give it some by commands')
  })

  it('refuses commands that are not there, and options that can’t be', async () => {
    const app = new Application({ name: 'Den' })
    await rejection(app.execute(Fox as AnyDecider, 'basil', 'bark'), ProgrammingError, 'has no command "bark"')
    const wrong: [unknown, string][] = [
      [7, 'options'],
      [null, 'options'],
      [{ tries: 3 }, 'no option tries'],
      [{ retries: -1 }, 'retries must be'],
      [{ retries: 1.5 }, 'retries must be'],
      [{ retries: '3' }, 'retries must be'],
    ]
    for (const [options, message] of wrong) {
      const executing = app.execute(Fox, 'basil', 'run', { km: 1 }, options as ExecuteOptions)
      await rejection(executing, ProgrammingError, message)
    }
    await app.execute(Fox, 'basil', 'run', { km: 1 }, { retries: undefined })
  })

  it('refuses ids that can’t be stored', async () => {
    const app = new Application({ name: 'Den' })
    for (const id of ['', 7, undefined, null, {}]) {
      await rejection(app.execute(Fox, id as string, 'run', { km: 1 }), ProgrammingError, 'id is text')
    }
    const error = await failure(app.execute(Fox, 'a\0b', 'run', { km: 1 }))
    expect(error).to.satisfy((each: unknown) => each instanceof TypeError || each instanceof DataError)
    expect(await app.recorder.maxNotificationId()).to.equal(null)
  })

  it('passes a conflict on at once where nothing newer can be read, so that the same would be decided', async () => {
    let saves = 0
    class Den extends Application {
      static readonly applicationName: string = 'Den'
      override save(..._objects: readonly Saved[]): Promise<never> {
        saves += 1
        return Promise.reject(new RecordConflictError('As in a transaction that sees what it saw', 'basil', 1, 1))
      }
    }
    await rejection(new Den().execute(Fox, 'basil', 'run', { km: 1 }, { retries: 5 }), RecordConflictError)
    expect(saves).to.equal(1)
  })

  it('is refused on data that can’t be kept, and stores nothing of the command', async () => {
    const app = new Application({ name: 'Den' })
    const command = { cubs: [() => 'no value'] as unknown as string[] }
    await rejection(app.execute(Fox, 'basil', 'litter', command), ProgrammingError, "'Fox.Littered' holds a function")
    expect(await app.repository.has('basil')).to.equal(false)
  })

  it('hands a conflict of saves that wait to the flush', async () => {
    const datastore = new MemoryDatastore()
    const app = new Application({ name: 'Den', persistence: new MemoryFactory({ datastore }) })
    const waiting = app.transaction(
      async () => {
        expect(await app.execute(Fox, 'basil', 'run', { km: 1 })).to.deep.include({ km: 1 })
        // what waits is not read, so this begins from nothing too
        expect(await app.execute(Fox, 'basil', 'run', { km: 2 }, { retries: 3 })).to.deep.include({ km: 2 })
      },
      { autoflush: false },
    )
    await rejection(waiting, RecordConflictError)
    expect(await app.repository.has('basil')).to.equal(false)
  })

  it('tells of deciders among static aggregates when it opens', async () => {
    const Otter = decider('Otter', { initial: () => 0 }).events({ Swum: (state) => state + 1 })
    class River extends Application {
      static readonly aggregates = [Dog, Otter]
    }
    await using _river = await River.create()
    expect(findEvent('Otter.Swum')?.aggregate.aggregateClass).to.equal(Otter)
    class Wrong extends Application {
      static readonly aggregates = [{}]
    }
    await rejection(Wrong.create(), ProgrammingError, 'or a decider')
    class NoList extends Application {
      static readonly aggregates = { Dog }
    }
    await rejection(new NoList().ready(), ProgrammingError, 'static aggregates must be a list')
  })
})

describe('app.execute with a cache', () => {
  const choices = [
    { AGGREGATE_CACHE_MAXSIZE: '10' },
    { AGGREGATE_CACHE_MAXSIZE: '10', AGGREGATE_CACHE_FASTFORWARD: 'n' },
    { AGGREGATE_CACHE_MAXSIZE: '10', DEEPCOPY_FROM_AGGREGATE_CACHE: 'n' },
    { AGGREGATE_CACHE_MAXSIZE: '10', AGGREGATE_CACHE_FASTFORWARD: 'n', DEEPCOPY_FROM_AGGREGATE_CACHE: 'n' },
  ]
  for (const env of choices) {
    const named = Object.keys(env).slice(1).join(' and ') || 'its defaults'
    const denOn = (persistence: MemoryFactory) => new Application({ name: 'Den', persistence, env })

    it(`goes on from what was saved, with ${named}`, async () => {
      const den = denOn(new MemoryFactory())
      for (const km of [1, 2, 3]) await den.execute(Fox, 'basil', 'run', { km })
      const { state, version } = await den.repository.get(Fox, 'basil')
      expect([state.km, version]).to.deep.equal([6, 3])
      expect(Object.keys(state)).to.deep.equal(['name', 'km', 'cubs'])
    })

    it(`is given what is cached, and nothing that somebody did to it, with ${named}`, async () => {
      const datastore = new MemoryDatastore()
      const [den, other] = [1, 2].map(() => denOn(new MemoryFactory({ datastore }))) as [Application, Application]
      await den.execute(Fox, 'basil', 'litter', { cubs: ['Rusty'] })
      const cached = await den.repository.get(Fox, 'basil')
      if (!('DEEPCOPY_FROM_AGGREGATE_CACHE' in env)) cached.state.cubs.push('never born')
      await other.execute(Fox, 'basil', 'litter', { cubs: ['Roxy'] })
      const { state } = await den.repository.get(Fox, 'basil')
      expect(state.cubs).to.deep.equal('AGGREGATE_CACHE_FASTFORWARD' in env ? ['Rusty'] : ['Rusty', 'Roxy'])
    })

    it(`sees after a conflict what the other has saved, with ${named}`, async () => {
      const datastore = new MemoryDatastore()
      const [den, other] = [1, 2].map(() => denOn(new MemoryFactory({ datastore }))) as [Application, Application]
      await den.execute(Fox, 'basil', 'run', { km: 1 })
      for (const km of [1, 2, 3]) {
        await den.repository.get(Fox, 'basil')
        await other.execute(Fox, 'basil', 'run', { km }, { retries: 1 })
        await den.execute(Fox, 'basil', 'roam', { legs: [] }, { retries: 1 })
        expect((await den.repository.get(Fox, 'basil')).state.km).to.equal(0)
      }
      expect((await den.repository.get(Fox, 'basil')).version).to.equal(7)
    })

    it(`keeps nothing of a command that was refused or rolled back, with ${named}`, async () => {
      const den = denOn(new MemoryFactory())
      await den.execute(Fox, 'basil', 'rename', { name: 'Basil' })
      await rejection(den.execute(Fox, 'basil', 'rename', { name: 'Basil' }), RangeError)
      const undone = den.transaction(async () => {
        await den.execute(Fox, 'basil', 'run', { km: 5 })
        throw new RangeError('undo')
      })
      await rejection(undone, RangeError)
      expect((await den.repository.get(Fox, 'basil')).state.km).to.equal(0)
      expect(await den.execute(Fox, 'basil', 'run', { km: 1 })).to.deep.include({ km: 1 })
      expect((await den.repository.get(Fox, 'basil')).version).to.equal(2)
    })
  }
})
