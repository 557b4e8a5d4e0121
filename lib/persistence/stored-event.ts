import type { DomainEvent } from '../domain/event.js'

/** An event as it is stored: whose, which, what kind, and its bytes. */
export interface StoredEvent {
  /** Whose event: a UUID as text, or any other non-empty text. */
  readonly originatorId: string
  /** Its place among theirs: 1, 2, 3, … */
  readonly originatorVersion: number
  /** `<aggregate name>.<event name>`. */
  readonly topic: string
  /** The event's values as bytes: encoded, then compressed, then encrypted, where those stages are on. */
  readonly state: Uint8Array
}

/** A stored event whose state is text in UTF-8, as databases hand it over faster than bytes. */
export interface StoredText extends Omit<StoredEvent, 'state'> {
  readonly state: string
}

/** A stored event with its place in the order of all events of an application. */
export interface Notification extends StoredEvent {
  /** From 1, ascending in commit order; gaps are possible. */
  readonly id: number
}

/** The last notification of an upstream application that was processed. */
export interface Tracking {
  /** The upstream application's name: text of any length. */
  readonly applicationName: string
  /** From 1. */
  readonly notificationId: number
}

/** What saving an event gives back: the event, and its place in the order of all. */
export interface Recording {
  readonly domainEvent: DomainEvent
  readonly notification: Notification
}
