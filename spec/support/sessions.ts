import type { SessionExtras } from '../../lib/persistence/session.js'

/** A session as what every backend's sessions are. Suites name no dialect, so `transaction` gives them `unknown`. */
export function extrasOf(session: unknown): SessionExtras {
  return session as SessionExtras
}
