import { MemoryDatastore } from '../../lib/memory/datastore.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import { runEveryConformanceSuite } from '../conformance/every.js'
import type { Backend } from '../support/backend.js'

const memory: Backend = {
  name: 'memory',
  capabilities: { concurrentWriters: false, ownTables: false },
  async open(options) {
    const datastore = new MemoryDatastore(options)
    const factory = (name?: string) => new MemoryFactory({ datastore, name })
    return { datastore, factory, persistence: factory, close: () => datastore.close() }
  },
}

runEveryConformanceSuite(memory)
