import { setImmediate as nextTurn } from 'node:timers/promises'
import { WaitInterruptedError } from '../../lib/errors.js'
import { waitForTracking } from '../../lib/persistence/wait.js'
import { rejection } from '../support/rejection.js'

describe('waiting for a position', () => {
  it('ends at once when the signal is aborted while the question is being asked', async () => {
    const controller = new AbortController()
    const recorder = {
      async hasTrackingId() {
        controller.abort()
        return false
      },
    }
    const waiting = waitForTracking(recorder, 'upstream', 1, { timeoutMs: 10_000, signal: controller.signal })
    // the next turn comes before any pause could be over
    const stillWaiting = nextTurn().then(() => 'still waiting')
    await rejection(Promise.race([waiting, stillWaiting]), WaitInterruptedError)
  })
})
