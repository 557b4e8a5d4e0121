import { registerLazyTopic, registerTopic } from './persistence/topic-loader.js'
import * as memory from './memory/index.js'

export * from './application/application.js'
export type { MapperParts } from './application/construction.js'
export type { Collectable, Saved } from './application/taken-events.js'
export * from './application/event-sourced-log.js'
export type { ExecuteArguments, ExecuteOptions } from './application/execution.js'
export * from './application/notification-log.js'
export { type AggregateClass, Repository, type RepositorySource } from './application/repository.js'
export type { SnapshotProjector } from './application/snapshotting-plan.js'
export { Aggregate } from './domain/aggregate.js'
export {
  decider,
  type AnyDecider,
  type DecidedEventOf,
  type Decider,
  type DeciderOfEvents,
  type DeciderOfState,
  type Decision,
  type StateOf,
} from './domain/decider.js'
export type { DecidedEvent, DeciderAggregate } from './domain/decider-definition.js'
export { aggregate, event } from './domain/decorators.js'
export type { DomainEvent } from './domain/event.js'
export { EventedAggregate, type Evolve } from './domain/evented-aggregate.js'
export { type CausingEvent, causedBy, causeOf, eventId, withMetadata } from './domain/metadata.js'
export { registerTopicAlias } from './domain/topics.js'
export type { SnapshotUpcasts, Upcast, Upcasts, UpcastSteps } from './domain/upcasts.js'
export * from './errors.js'
export * from './memory/index.js'
export { AesCipher, type Cipher, type CipherContext, createKey } from './persistence/cipher.js'
export { BrotliCompressor, type Compressor, type CompressorOptions, ZlibCompressor } from './persistence/compressor.js'
export type { AnyDatastore, Capabilities } from './persistence/datastore.js'
export { Environment } from './persistence/environment.js'
export { EventStore } from './persistence/event-store.js'
export { Factory, type FactoryOptions, type RecorderMaking } from './persistence/factory.js'
export { Mapper, type MapperOptions } from './persistence/mapper.js'
export { isOutcomeUnknown } from './persistence/outcomes.js'
export type * from './persistence/recorders.js'
export { isRetryable } from './persistence/retryable.js'
export type { Snapshot } from './persistence/snapshot.js'
export { SnapshotStore } from './persistence/snapshot-store.js'
export type { Awaitable, StagesOptions } from './persistence/stages.js'
export type * from './persistence/stored-event.js'
export type { TransactionHandle } from './persistence/transaction-handle.js'
export {
  type RetriedSession,
  type TransactionRetry,
  type TransactionRetryOptions,
  transactionRetry,
} from './persistence/transaction-retry.js'
export { registerTopic, resolveTopic } from './persistence/topic-loader.js'
export type { AnySession, AnySessionByHand, SessionByHandExtras, SessionExtras } from './persistence/session.js'
export type { SessionOf, Transactional, TransactionOptions } from './persistence/transactional.js'
export { JsonTranscoder, type Transcoder, type Transcoding } from './persistence/transcoder.js'
export * from './persistence/value-transcodings.js'

// the two names that PERSISTENCE_MODULE knows by itself; the second loads drizzle-orm when it is first used
registerTopic('eventsourcing-drizzle/memory', memory)
registerLazyTopic('eventsourcing-drizzle', () => import('./drizzle/index.js'))
