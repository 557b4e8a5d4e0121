export { MemoryDatastore } from './datastore.js'
export { MemoryFactory } from './factory.js'
export {
  MemoryAggregateRecorder,
  MemoryApplicationRecorder,
  MemoryProcessRecorder,
  MemoryTrackingRecorder,
} from './recorders.js'
export type { MemorySession } from './session.js'
