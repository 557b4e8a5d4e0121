import { expect } from 'chai'
import { OperationalError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import { transactionRetry } from '../../lib/persistence/transaction-retry.js'
import type { Backend } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { openSession } from '../support/sessions.js'
import { storedEvent, versions } from '../support/stored-events.js'
import { schoolOn } from '../support/training-school.js'

/** What `transactionRetry` promises of transactions. */
export function retriesSuite(define: DefineCase, _backend: Backend): void {
  const lost = () => new OperationalError('lost', { retryable: true })

  describe('A transaction that is repeated', () => {
    define('leaves nothing of its first attempts', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      let calls = 0
      const unit = transactionRetry(
        () =>
          recorder.transaction(async () => {
            calls += 1
            await recorder.insertEvents([storedEvent('dog', 1), storedEvent(`attempt ${calls}`, 1)])
            if (calls < 3) throw lost()
            return calls
          }),
        { total: 2 },
      )
      expect(await unit()).to.equal(3)
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
      for (const [attempt, count] of [
        ['attempt 1', 0],
        ['attempt 2', 0],
        ['attempt 3', 1],
      ] as const) {
        expect(await recorder.selectEvents(attempt)).to.have.length(count)
      }
    })

    define('has the events of its aggregates again each time', async (opened) => {
      await using school = schoolOn(opened)
      const dog = new Dog('Fido')
      let calls = 0
      await transactionRetry(() =>
        school.transaction(async () => {
          await school.save(dog)
          calls += 1
          if (calls === 1) throw lost()
        }),
      )()
      expect(dog.pendingEvents).to.have.length(0)
      expect((await school.repository.get(Dog, dog.id)).version).to.equal(1)
    })

    define('is not repeated from inside of another, whose savepoint it would be', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const unit = transactionRetry(() => recorder.transaction(() => recorder.insertEvents([storedEvent('dog', 1)])))
      await recorder.transaction(() => rejection(unit(), ProgrammingError, 'outermost'))
      expect(await recorder.selectEvents('dog')).to.have.length(0)
      expect(await unit()).to.have.length(1)
    })

    define('is repeated in a session as long as the session has done nothing in it', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      await using session = await openSession(opened)
      for (const autoflush of [true, false]) {
        session.autoflush = autoflush
        let calls = 0
        const failing = transactionRetry(async () => {
          calls += 1
          await recorder.insertEvents([storedEvent(`attempt ${calls}`, 1)])
          throw lost()
        })
        await rejection(
          session.run(() => failing()),
          OperationalError,
        )
        // what it did is still there, and would be done twice
        expect(calls).to.equal(1)
        await session.rollback()
        const idle = transactionRetry(async () => {
          calls += 1
          if (calls === 2) throw lost()
          await recorder.insertEvents([storedEvent('dog', autoflush ? 1 : 2)])
        })
        await session.run(() => idle())
        expect(calls).to.equal(3)
        await session.commit()
      }
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
      expect(await recorder.selectEvents('attempt 1')).to.have.length(0)
    })

    define('does those before it again that were committed, where a unit has several', async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      let calls = 0
      const unit = async () => {
        calls += 1
        await recorder.transaction(() => recorder.insertEvents([storedEvent('dog', calls)]))
        await recorder.transaction(async () => {
          await recorder.insertEvents([storedEvent('cat', 1)])
          if (calls === 1) throw lost()
        })
      }
      await transactionRetry(unit)()
      // which is why each transaction is to be a unit of its own
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
      expect(versions(await recorder.selectEvents('cat'))).to.deep.equal([1])
    })
  })

  define(
    'Events that are inserted twice are a conflict, also when they are the very same objects',
    async ({ factory }) => {
      const recorder = await factory().applicationRecorder()
      const events = [storedEvent('dog', 1), storedEvent('dog', 2)]
      await recorder.insertEvents(events)
      await rejection(recorder.insertEvents(events), RecordConflictError)
      await rejection(recorder.insertEvents(events.slice(1)), RecordConflictError)
    },
  )
}
