/** Something that was decided, in the past tense: `Dog.TrickAdded`. Frozen; its data is its own copy. */
export interface DomainEvent<Data = Record<string, unknown>> {
  /** Whose event: a UUID as text, or any other non-empty text. */
  readonly originatorId: string
  /** Its place among theirs; the first is 1. */
  readonly originatorVersion: number
  /** `<aggregate name>.<event name>`. */
  readonly topic: string
  /** When it happened. */
  readonly timestamp: Date
  /** The event's own values. */
  readonly data: Data
  /** What `withMetadata` had set when the event happened; `{}` otherwise. */
  readonly metadata: Record<string, unknown>
}
