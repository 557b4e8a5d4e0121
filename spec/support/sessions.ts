import { scopedSession, type Scope } from '../../lib/persistence/scoped-session.js'
import type { AnySessionByHand, SessionExtras } from '../../lib/persistence/session.js'
import type { Opened } from './backend.js'

/** A session as what every backend's sessions are. Suites name no dialect, so `transaction` gives them `unknown`. */
export function extrasOf(session: unknown): SessionExtras {
  return session as SessionExtras
}

/** Opens a session that is managed by hand, as what every backend's are. */
export function openSession({ datastore }: Opened): Promise<AnySessionByHand> {
  return sessionsOf(datastore).openSession()
}

/** A scope on what a case has opened. */
export function scopeOn({ datastore }: Opened): Scope<AnySessionByHand> {
  return scopedSession(sessionsOf(datastore))
}

function sessionsOf(datastore: unknown): { openSession(): Promise<AnySessionByHand> } {
  return datastore as { openSession(): Promise<AnySessionByHand> }
}
