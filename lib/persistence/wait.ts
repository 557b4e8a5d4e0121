import { WaitInterruptedError, WaitTimeoutError } from '../errors.js'
import { checkPosition } from './checks.js'
import type { TrackingRecorder, WaitOptions } from './recorders.js'

/**
 * Waits until a position is tracked: asks at once, then after 100, 200, 400, 800, 800, … ms, never past the deadline.
 *
 * @see Python eventsourcing, `TrackingRecorder.wait`: same schedule.
 */
export async function waitForTracking(
  recorder: Pick<TrackingRecorder, 'hasTrackingId'>,
  applicationName: string,
  notificationId: number | null,
  { timeoutMs = 1000, signal }: WaitOptions = {},
): Promise<void> {
  checkPosition(applicationName, notificationId, timeoutMs)
  const deadline = performance.now() + timeoutMs
  const where = `notification ${notificationId} of ${JSON.stringify(applicationName)}`
  for (let pauseMs = 100; ; pauseMs = Math.min(pauseMs * 2, 800)) {
    if (signal?.aborted) throw new WaitInterruptedError(`Interrupted while waiting for ${where}`)
    if (await recorder.hasTrackingId(applicationName, notificationId)) return
    const leftMs = deadline - performance.now()
    if (leftMs <= 0) throw new WaitTimeoutError(`Waited ${timeoutMs} ms for ${where}, which was not processed`)
    await pause(Math.min(pauseMs, leftMs), signal)
  }
}

/** Resolves after that time, or at once when the signal is aborted. */
function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve()
      return
    }
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end)
  })
}
