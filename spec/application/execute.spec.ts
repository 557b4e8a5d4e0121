import { expect } from 'chai'
import { Application, type Saved } from '../../lib/application/application.js'
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
  })
})
