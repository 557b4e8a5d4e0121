import type { Backend } from '../support/backend.js'
import { casesOf } from '../support/cases.js'
import { sealed } from '../support/sealed.js'
import { abandonedWorkSuite } from './abandoned-work.suite.js'
import { aggregateRecorderSuite } from './aggregate-recorder.suite.js'
import { applicationRecorderSuite } from './application-recorder.suite.js'
import { appendsTogetherSuite } from './appends-together.suite.js'
import { applicationSuite } from './application.suite.js'
import { autoflushSuite } from './autoflush.suite.js'
import { cacheSuite } from './cache.suite.js'
import { concurrentSavesSuite } from './concurrent-saves.suite.js'
import { eventSourcedLogSuite } from './event-sourced-log.suite.js'
import { decidersSuite } from './deciders.suite.js'
import { manySavesSuite } from './many-saves.suite.js'
import { nestedTransactionsSuite } from './nested-transactions.suite.js'
import { orderSuite } from './order.suite.js'
import { ownTablesSuite } from './own-tables.suite.js'
import { recorderModelSuite } from './recorder-model.suite.js'
import { sealedStatesSuite } from './sealed-states.suite.js'
import { sessionsSuite } from './sessions.suite.js'
import { sharedSavesSuite } from './shared-saves.suite.js'
import { snapshotsSuite } from './snapshots.suite.js'
import { storedStateSuite } from './stored-state.suite.js'
import { retriesSuite } from './retries.suite.js'
import { trackingRecorderSuite } from './tracking-recorder.suite.js'
import { transactionsSuite } from './transactions.suite.js'
import { upcastsSuite } from './upcasts.suite.js'

/**
 * Defines every conformance suite on that backend, and all of them once more with states that are compressed and encrypted.
 *
 * `BACKENDS=memory,sqlite-file` runs only those; any other is left out, and says so. On another Drizzle (`OTHER_DRIZZLE`) there
 * is no second time.
 */
export function runEveryConformanceSuite(backend: Backend): void {
  const chosen = process.env.BACKENDS?.split(',')
    .map((name) => name.trim())
    .filter(Boolean)
  if (chosen?.length && !chosen.includes(backend.name)) {
    console.log(`  ${backend.name}: not in BACKENDS, so its suites are left out`)
    return
  }
  // what states are like is nothing that Drizzle sees, so another Drizzle is shown one kind
  const backends = process.env.OTHER_DRIZZLE === undefined ? [backend, sealed(backend)] : [backend]
  for (const each of backends) {
    describe(each.name, () => {
      const define = casesOf(each)
      // those of sealed states say themselves what is on
      for (const suite of suites) if (each === backend || suite !== sealedStatesSuite) suite(define, each)
    })
  }
}

const suites = [
  aggregateRecorderSuite,
  applicationRecorderSuite,
  trackingRecorderSuite,
  appendsTogetherSuite,
  recorderModelSuite,
  transactionsSuite,
  sessionsSuite,
  abandonedWorkSuite,
  nestedTransactionsSuite,
  autoflushSuite,
  retriesSuite,
  ownTablesSuite,
  orderSuite,
  storedStateSuite,
  upcastsSuite,
  sealedStatesSuite,
  applicationSuite,
  eventSourcedLogSuite,
  cacheSuite,
  decidersSuite,
  concurrentSavesSuite,
  sharedSavesSuite,
  manySavesSuite,
  snapshotsSuite,
]
