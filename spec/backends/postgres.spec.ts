import { expect } from 'chai'
import { IntegrityError, InternalError } from '../../lib/errors.js'
import { runEveryConformanceSuite } from '../conformance/every.js'
import { casesOf } from '../support/cases.js'
import { postgresGivenDb, postgresPool } from '../support/postgres-backends.js'
import { describePostgres } from '../support/postgres-server.js'
import { failure, rejection } from '../support/rejection.js'
import { storedEvent } from '../support/stored-events.js'

describePostgres('PostgreSQL', () => {
  runEveryConformanceSuite(postgresPool)

  for (const backend of [postgresPool, postgresGivenDb]) {
    const define = casesOf(backend)

    for (const goesOn of [true, false]) {
      const how = goesOn ? 'although its work goes on' : 'although nothing follows but the commit'

      define(
        `rolls back after an error of the user’s own statement was caught inside, ${how}: ${backend.name}`,
        async ({ factory, owners }) => {
          const recorder = await factory().applicationRecorder()
          const outcome = recorder.transaction(async (session) => {
            await recorder.insertEvents([storedEvent('dog', 1)])
            await owners!.insert(session, 'Ann')
            expect(await failure(owners!.insert(session, 'Ann'))).to.be.instanceOf(Error)
            if (goesOn) await rejection(recorder.insertEvents([storedEvent('dog', 2)]), InternalError)
          })
          // PostgreSQL's answer to the commit would be no error: it says ROLLBACK
          await rejection(outcome, IntegrityError)
          expect(await recorder.selectNotifications({ limit: 10 })).to.deep.equal([])
          expect(await owners!.names()).to.deep.equal([])
          expect(await recorder.insertEvents([storedEvent('dog', 1)])).to.have.length(1)
        },
      )
    }
  }
})
