export { MemoryDatastore, type MemorySession } from './datastore.js'
export { MemoryFactory } from './factory.js'
export {
  MemoryAggregateRecorder,
  MemoryApplicationRecorder,
  MemoryProcessRecorder,
  MemoryTrackingRecorder,
} from './recorders.js'
