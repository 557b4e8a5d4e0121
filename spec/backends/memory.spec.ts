import { expect } from 'chai'
import { NotSupportedError } from '../../lib/errors.js'
import { MemoryDatastore } from '../../lib/memory/datastore.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import { runEveryConformanceSuite } from '../conformance/every.js'
import type { Backend } from '../support/backend.js'
import { rejection } from '../support/rejection.js'

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
