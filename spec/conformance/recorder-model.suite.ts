import { expect } from 'chai'
import fc from 'fast-check'
import { IntegrityError, RecordConflictError } from '../../lib/errors.js'
import type { ProcessRecorder } from '../../lib/persistence/recorders.js'
import type { Notification, StoredEvent, Tracking } from '../../lib/persistence/stored-event.js'
import type { DefineCase } from '../support/cases.js'
import { failure } from '../support/rejection.js'
import { plain } from '../support/stored-events.js'

/** Random operations, in transactions and savepoints that commit and roll back: the recorder does what a model does. */
export function recorderModelSuite(define: DefineCase): void {
  describe('recorders against a model', () => {
    define('do what a model does, whatever is inserted, read, committed and rolled back', async (opened) => {
      let run = 0
      await fc.assert(
        fc.asyncProperty(operationLists, async (operations) => {
          // one datastore for all runs, a name and so tables of its own for each
          const recorder = await opened.factory(`Model${(run += 1)}`).processRecorder()
          const model = new Model()
          for (const operation of operations) await perform(operation, recorder, model)
          await compare(recorder, model)
        }),
        { numRuns: 60 },
      )
    })
  })
}

type Operation =
  | { kind: 'insert'; events: StoredEvent[]; tracking: Tracking | undefined }
  | { kind: 'track'; tracking: Tracking }
  | { kind: 'compare' }
  | { kind: 'transaction'; end: 'commit' | 'throw' | 'commit: false'; operations: Operation[] }

const names = fc.constantFrom('upstream', 'Upstream')
const trackings: fc.Arbitrary<Tracking> = fc.record({
  applicationName: names,
  notificationId: fc.integer({ min: 1, max: 6 }),
})
const events: fc.Arbitrary<StoredEvent> = fc.record({
  originatorId: fc.constantFrom('a', 'A', 'b'),
  originatorVersion: fc.integer({ min: 1, max: 8 }),
  topic: fc.constantFrom('Dog.Registered', 'Dog.TrickAdded'),
  state: fc.uint8Array({ maxLength: 4 }),
})

const { operations: operationLists } = fc.letrec<{ operation: Operation; operations: Operation[] }>((tie) => ({
  operation: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('insert' as const),
        events: fc.array(events, { maxLength: 3 }),
        tracking: fc.option(trackings, { nil: undefined, freq: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('track' as const), tracking: trackings }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('compare' as const) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('transaction' as const),
        end: fc.constantFrom('commit' as const, 'throw' as const, 'commit: false' as const),
        operations: tie('operations'),
      }),
    },
  ),
  operations: fc.array(tie('operation'), { maxLength: 8 }),
}))

/** What is recorded, as plainly as it can be said. */
class Model {
  notifications: Notification[] = []
  tracking = new Map<string, number>()

  copy(): Model {
    const copy = new Model()
    copy.notifications = [...this.notifications]
    copy.tracking = new Map(this.tracking)
    return copy
  }

  become(other: Model): void {
    this.notifications = other.notifications
    this.tracking = other.tracking
  }

  conflicts(inserted: readonly StoredEvent[]): boolean {
    const key = (event: StoredEvent) => `${event.originatorVersion} ${event.originatorId}`
    const taken = new Set(this.notifications.map(key))
    return inserted.some((event) => taken.size === taken.add(key(event)).size)
  }

  isBehind({ applicationName, notificationId }: Tracking): boolean {
    return notificationId <= (this.tracking.get(applicationName) ?? 0)
  }
}

class Undo extends Error {}

async function perform(operation: Operation, recorder: ProcessRecorder, model: Model): Promise<void> {
  switch (operation.kind) {
    case 'compare':
      return compare(recorder, model)
    case 'track':
      return track(operation.tracking, recorder, model)
    case 'insert':
      return insert(operation, recorder, model)
    case 'transaction': {
      // nothing may be recorded inside `commit: false`, so what is inside of it only reads
      const reads = operation.end === 'commit: false'
      const inside = reads ? operation.operations.filter(({ kind }) => kind === 'compare') : operation.operations
      const before = model.copy()
      const undo = new Undo()
      const outcome = recorder.transaction(
        async () => {
          for (const nested of inside) await perform(nested, recorder, model)
          if (operation.end === 'throw') throw undo
        },
        { commit: !reads },
      )
      if (operation.end !== 'throw') return outcome
      expect(await failure(outcome)).to.equal(undo)
      model.become(before)
    }
  }
}

async function insert(
  { events: inserted, tracking }: Extract<Operation, { kind: 'insert' }>,
  recorder: ProcessRecorder,
  model: Model,
): Promise<void> {
  const inserting = recorder.insertEvents(inserted, { tracking })
  const behind = tracking !== undefined && model.isBehind(tracking)
  if (behind || model.conflicts(inserted)) {
    // where both are refused, which of the two is reported is the backend's
    expect(await failure(inserting)).to.be.instanceOf(behind ? IntegrityError : RecordConflictError)
    return
  }
  const ids = await inserting
  expect(ids).to.deep.equal(inserted.map((_, i) => ids[0]! + i))
  if (ids.length > 0) expect(ids[0]).to.be.above(model.notifications.at(-1)?.id ?? 0)
  model.notifications.push(...inserted.map((event, i) => ({ ...event, id: ids[i]! })))
  if (tracking) model.tracking.set(tracking.applicationName, tracking.notificationId)
}

async function track(tracking: Tracking, recorder: ProcessRecorder, model: Model): Promise<void> {
  const inserting = recorder.insertTracking(tracking)
  if (model.isBehind(tracking)) {
    expect(await failure(inserting)).to.be.instanceOf(IntegrityError)
    return
  }
  await inserting
  model.tracking.set(tracking.applicationName, tracking.notificationId)
}

async function compare(recorder: ProcessRecorder, model: Model): Promise<void> {
  const shown = ({ id, ...event }: Notification) => ({ id, ...plain(event) })
  const all = await recorder.selectNotifications({ limit: 1000 })
  expect(all.map(shown)).to.deep.equal(model.notifications.map(shown))
  expect(await recorder.maxNotificationId()).to.equal(model.notifications.at(-1)?.id ?? null)
  for (const originatorId of ['a', 'A', 'b']) {
    const expected = model.notifications
      .filter((event) => event.originatorId === originatorId)
      .sort((one, other) => one.originatorVersion - other.originatorVersion)
    expect((await recorder.selectEvents(originatorId)).map(plain)).to.deep.equal(expected.map(plain))
  }
  for (const name of ['upstream', 'Upstream']) {
    expect(await recorder.maxTrackingId(name)).to.equal(model.tracking.get(name) ?? null)
  }
}
