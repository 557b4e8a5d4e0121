export { MemoryDatastore } from './datastore.js'
export { MemoryFactory } from './factory.js'
export {
  MemoryAggregateRecorder,
  MemoryApplicationRecorder,
  MemoryProcessRecorder,
  MemorySnapshotRecorder,
  MemoryTrackingRecorder,
} from './recorders.js'
export type { MemorySession, MemorySessionByHand } from './session.js'
