import { expect } from 'chai'
import { NotSupportedError, ProgrammingError } from '../../lib/errors.js'
import { MemoryDatastore } from '../../lib/memory/datastore.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import { runEveryConformanceSuite } from '../conformance/every.js'
import type { Backend } from '../support/backend.js'
import { rejection } from '../support/rejection.js'
import { storedEvent } from '../support/stored-events.js'

const memory: Backend = {
  name: 'memory',
  capabilities: { concurrentWriters: false, ownTables: false },
  async open(options) {
    const datastore = new MemoryDatastore(options)
    const factory = (name?: string, env?: Readonly<Record<string, unknown>>) =>
      new MemoryFactory({ datastore, name, env })
    return { datastore, factory, persistence: (name) => factory(name), close: () => datastore.close() }
  },
}

runEveryConformanceSuite(memory)

describe('an application in memory', () => {
  it('lets saves wait where DRIZZLE_AUTOFLUSH says so', async () => {
    for (const [env, waits] of [
      [{}, false],
      [{ DRIZZLE_AUTOFLUSH: 'no' }, true],
      [{ DRIZZLE_AUTOFLUSH: 'yes' }, false],
    ] as const) {
      const factory = new MemoryFactory({ env })
      const recorder = await factory.applicationRecorder()
      const ids = await recorder.transaction(() => recorder.insertEvents([storedEvent('dog', 1)]))
      expect(ids).to.deep.equal(waits ? [] : [1])
      await factory.close()
    }
    const wrong = new MemoryFactory({ env: { DRIZZLE_AUTOFLUSH: 'later' }, datastore: new MemoryDatastore() })
    expect(() => {
      wrong.check()
    }).to.throw(ProgrammingError, 'DRIZZLE_AUTOFLUSH')
    // @ts-expect-error what a caller without a compiler may give
    expect(() => new MemoryDatastore({ autoflush: 'no' })).to.throw(ProgrammingError, 'true or false')
  })
})

describe('a session in memory', () => {
  it('has no tables of the user’s own, and says so', async () => {
    const datastore = new MemoryDatastore()
    await datastore.transaction((session) => {
      const queries = session as unknown as Record<string, (...args: unknown[]) => unknown>
      for (const query of [
        'select',
        'insert',
        'update',
        'delete',
        'run',
        'all',
        'get',
        'values',
        'execute',
        '$count',
      ]) {
        expect(() => queries[query]!({}), query).to.throw(NotSupportedError, 'Memory')
      }
      expect(() => queries.query).to.throw(NotSupportedError, 'Memory')
    })
    await rejection(
      datastore.transaction((session) => (session as { insert?: (table: object) => unknown }).insert!({})),
      NotSupportedError,
      'tables',
    )
  })
})
