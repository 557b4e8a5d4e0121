import { expect } from 'chai'
import {
  AggregateNotFoundError,
  EventSourcingError,
  InterfaceError,
  OperationalError,
  ProgrammingError,
  RecordConflictError,
} from '../../lib/errors.js'
import type { AnySessionByHand } from '../../lib/persistence/session.js'
import { scopedSession } from '../../lib/persistence/scoped-session.js'
import type { Backend, Opened } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { gate } from '../support/gate.js'
import { lazy } from '../support/lazy.js'
import { failure, rejection } from '../support/rejection.js'
import { openSession, scopeOn } from '../support/sessions.js'
import { storedEvent, versions } from '../support/stored-events.js'
import { schoolOn } from '../support/training-school.js'

/** What `datastore.openSession()` and `scopedSession(datastore)` promise, on every backend. */
export function sessionsSuite(define: DefineCase, backend: Backend): void {
  const { concurrentWriters, ownTables } = backend.capabilities

  describe('a session by hand', () => {
    define('commits what was done, again and again', async (opened) => {
      const school = schoolOn(opened)
      await using session = await openSession(opened)
      for (const name of ['Fido', 'Rex']) {
        await session.run(() => school.register(name))
        // with one connection, who reads outside waits for the commit
        if (concurrentWriters) expect(await school.repository.has(Dog.createId(name))).to.equal(false)
        await session.commit()
        expect(await school.tricks(name)).to.deep.equal([])
      }
      await session.commit()
    })

    define('rolls back what was not committed, and goes on', async (opened) => {
      const school = schoolOn(opened)
      await using session = await openSession(opened)
      const dog = new Dog('Fido')
      await session.run(() => school.save(dog))
      expect(await session.run(() => school.tricks('Fido'))).to.deep.equal([])
      await session.rollback()
      await session.rollback()
      expect(dog.pendingEvents).to.have.length(1)
      expect(await session.run(() => school.repository.has(dog.id))).to.equal(false)
      await session.run(() => school.save(dog))
      await session.commit()
      expect(await school.repository.has(dog.id)).to.equal(true)
    })

    define('rolls back at its end, whichever way the block is left', async (opened) => {
      const school = schoolOn(opened)
      await school.ready()
      const thrown = new RangeError('the user’s own')
      const block = async () => {
        await using session = await openSession(opened)
        await session.run(() => school.register('Fido'))
        throw thrown
      }
      expect(await failure(block())).to.equal(thrown)
      const session = await openSession(opened)
      await session.run(() => school.register('Rex'))
      await session.close()
      await session.close()
      for (const name of ['Fido', 'Rex']) expect(await school.repository.has(Dog.createId(name))).to.equal(false)
      await school.register('Rex')
    })

    define('waits at its end for a commit that is under way, although another one was refused', async (opened) => {
      const school = schoolOn(opened)
      const session = await openSession(opened)
      await session.run(() => school.register('Fido'))
      let isCommitted = false
      const committing = session.commit().then(() => (isCommitted = true))
      await rejection(session.commit(), InterfaceError, 'ended')
      await session.close()
      expect(isCommitted).to.equal(true)
      await committing
    })

    define('takes no calls after its end', async (opened) => {
      const school = schoolOn(opened)
      const session = await openSession(opened)
      const { inside, goOn } = session.run(() => {
        const { passed, open } = gate()
        return { inside: passed.then(() => school.register('Fido')), goOn: open }
      })
      await session.close()
      goOn()
      await rejection(inside, InterfaceError, 'ended')
      for (const call of [() => session.commit(), () => session.rollback(), () => session.flush()]) {
        await rejection(call(), InterfaceError, 'closed')
      }
      expect(() => session.run(() => 7)).to.throw(InterfaceError, 'closed')
      expect(() => session.afterCommit(() => 7)).to.throw(InterfaceError, 'closed')
      await rejection(session.transaction(() => 7) as Promise<unknown>, InterfaceError, 'closed')
      await school.register('Fido')
    })

    define('has savepoints, which any transaction inside is', async (opened) => {
      const { datastore } = opened
      const school = schoolOn(opened)
      await using session = await openSession(opened)
      await session.run(async () => {
        await school.register('outer')
        await rejection(
          datastore.transaction(async () => {
            await school.register('inner')
            throw new RangeError('undo')
          }),
          RangeError,
        )
      })
      await session.transaction(() => school.register('nested'))
      expect(await session.run(() => school.repository.has(Dog.createId('inner')))).to.equal(false)
      await session.commit()
      // the first thing may be a savepoint, too
      await session.transaction(() => school.register('first'))
      await session.rollback()
      const names = ['outer', 'nested', 'inner', 'first']
      const there = await Promise.all(names.map((name) => school.repository.has(Dog.createId(name))))
      expect(there).to.deep.equal([true, true, false, false])
    })

    define('goes on after a conflict', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      await recorder.insertEvents([storedEvent('dog', 1)])
      await using session = await openSession(opened)
      await session.run(async () => {
        await rejection(recorder.insertEvents([storedEvent('dog', 1)]), RecordConflictError)
        await recorder.insertEvents([storedEvent('dog', 2)])
      })
      await session.commit()
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
    })

    define('runs what was left for after the commit then, and never after a rollback', async (opened) => {
      const school = schoolOn(opened)
      await using session = await openSession(opened)
      const ran: string[] = []
      session.afterCommit(() => ran.push('never'))
      await session.rollback()
      session.afterCommit(async () => {
        await school.register('Rex') // outside: the session's transaction is over
        ran.push('once')
      })
      await session.run(() => school.register('Fido'))
      expect(ran).to.deep.equal([])
      await session.commit()
      await session.commit()
      expect(ran).to.deep.equal(['once'])
      await session.rollback()
      expect(await school.repository.has(Dog.createId('Rex'))).to.equal(true)
    })

    define('joins calls that are started together, and work that starts only when it is awaited', async (opened) => {
      const school = schoolOn(opened)
      await using session = await openSession(opened)
      const names = ['a', 'b', 'c', 'd']
      await session.run(() => Promise.all(names.map((name) => school.register(name))))
      await session.run(() => lazy(() => school.register('lazy')))
      if (concurrentWriters) expect(await school.repository.has(Dog.createId('lazy'))).to.equal(false)
      await session.commit()
      for (const name of [...names, 'lazy']) expect(await school.tricks(name)).to.deep.equal([])
    })

    define('lets saves wait for a flush or the commit, also in the transactions after it', async (opened) => {
      const recorder = await opened.factory().applicationRecorder()
      await using session = await openSession(opened)
      expect(session.autoflush).to.equal(true)
      session.autoflush = false
      for (const [index, name] of ['dog', 'cat'].entries()) {
        expect(await session.run(() => recorder.insertEvents([storedEvent(name, 1)]))).to.deep.equal([])
        expect(await session.run(() => recorder.selectEvents(name))).to.deep.equal([])
        if (index === 0) await session.flush()
        expect(await session.run(() => recorder.selectEvents(name))).to.have.length(1 - index)
        await session.commit()
        expect(await recorder.selectEvents(name)).to.have.length(1)
        expect(session.autoflush).to.equal(false)
      }
      await session.run(() => recorder.insertEvents([storedEvent('dog', 1)]))
      await rejection(session.commit(), RecordConflictError)
      session.autoflush = true
      await session.noAutoflush(() => session.run(() => recorder.insertEvents([storedEvent('undone', 1)])))
      await session.rollback()
      expect(await session.run(() => recorder.insertEvents([storedEvent('dog', 2)]))).to.have.length(1)
      await session.commit()
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2])
      expect(await recorder.selectEvents('undone')).to.deep.equal([])
    })

    define(
      'lets saves wait for as long as noAutoflush(fn) is under way, whatever is committed in it',
      async (opened) => {
        const recorder = await opened.factory().applicationRecorder()
        await using session = await openSession(opened)
        const save = (version: number) => session.run(() => recorder.insertEvents([storedEvent('dog', version)]))
        await session.noAutoflush(async () => {
          expect(await save(1)).to.deep.equal([])
          await session.commit()
          expect(session.autoflush).to.equal(false)
          expect(await save(2)).to.deep.equal([])
          await session.rollback()
          expect(await save(2)).to.deep.equal([])
        })
        expect(session.autoflush).to.equal(true)
        expect(await save(3)).to.have.length(1)
        await session.commit()
        expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1, 2, 3])
      },
    )

    define('is independent of the current transaction, and of a session whose run it is opened in', async (opened) => {
      const { datastore } = opened
      const school = schoolOn(opened)
      await school.ready()
      await using other = await openSession(opened)
      await datastore.transaction(async () => {
        await using session = await openSession(opened)
        const outer = datastore.currentTransaction()
        const inner = session.run(() => datastore.currentTransaction())
        expect(inner!.isInside(outer!)).to.equal(false)
        if (!concurrentWriters) return
        await session.run(() => school.register('Rex'))
        await session.commit()
        expect(await school.tricks('Rex')).to.deep.equal([])
      })
      await other.run(async () => {
        await using session = await openSession(opened)
        await session.run(() => school.register('Fido'))
        await session.commit()
      })
      await other.rollback()
      expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
    })

    define('that only reads keeps nobody from writing, and sees what was committed since', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      await using session = await openSession(opened)
      expect(await session.run(() => school.tricks('Fido'))).to.deep.equal([])
      await school.addTrick('Fido', 'roll over')
      expect(await session.run(() => school.tricks('Fido'))).to.deep.equal(['roll over'])
      await session.run(() => school.addTrick('Fido', 'fetch ball'))
      await session.commit()
      expect(await school.tricks('Fido')).to.deep.equal(['roll over', 'fetch ball'])
    })

    if (concurrentWriters) {
      define('writes beside another', async (opened) => {
        const school = schoolOn(opened)
        await school.ready()
        await using first = await openSession(opened)
        await using second = await openSession(opened)
        await first.run(() => school.register('Fido'))
        await second.run(() => school.register('Rex'))
        expect(await second.run(() => school.repository.has(Dog.createId('Fido')))).to.equal(false)
        await second.commit()
        await first.rollback()
        expect(await school.repository.has(Dog.createId('Rex'))).to.equal(true)
        expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
      })
    } else {
      define('waits for another to write, and writes when that has ended', async (opened) => {
        const school = schoolOn(opened)
        await school.ready()
        await using first = await openSession(opened)
        await using second = await openSession(opened)
        await first.run(() => school.register('Fido'))
        const waiting = second.run(() => school.register('Rex'))
        await first.commit()
        await waiting
        await second.commit()
        for (const name of ['Fido', 'Rex']) expect(await school.tricks(name)).to.deep.equal([])
      })

      define(
        'gives up waiting for another to write, says so, and can try again',
        async (opened) => {
          const school = schoolOn(opened)
          await school.ready()
          const first = await openSession(opened)
          await using second = await openSession(opened)
          await first.run(() => school.register('Fido'))
          const error = await rejection(
            second.run(() => school.register('Rex')),
            OperationalError,
            /^Waited 300 ms for the (writer|connection) of .*, which was not free in that time/,
          )
          expect(error.retryable).to.equal(true)
          await first.close()
          await second.run(() => school.register('Rex'))
          await second.commit()
          expect(await school.tricks('Rex')).to.deep.equal([])
        },
        { poolTimeoutMs: 300 },
      )

      define('that is closed while it waits to write leaves the writer to others', async (opened) => {
        const school = schoolOn(opened)
        await school.ready()
        await using first = await openSession(opened)
        const second = await openSession(opened)
        await first.run(() => school.register('Fido'))
        const waiting = failure(second.run(() => school.register('Rex')))
        await second.close()
        await first.commit()
        expect(await waiting).to.be.instanceOf(InterfaceError)
        await school.register('Rex')
      })
    }

    define(
      'that is forgotten does not keep the datastore from closing, and does nothing afterwards',
      async (opened) => {
        const school = schoolOn(opened)
        const idle = await openSession(opened)
        const read = await openSession(opened)
        await school.register('Fido')
        if (!concurrentWriters) expect(await read.run(() => school.tricks('Fido'))).to.deep.equal([])
        const open = await openSession(opened)
        await open.run(() => school.register('Rex'))
        await open.commit()
        await opened.datastore.close()
        await rejection(
          idle.run(() => opened.datastore.transaction(() => 7)),
          InterfaceError,
          'closed',
        )
        await rejection(openSession(opened), InterfaceError, 'closed')
        for (const session of [idle, read, open]) await session.close()
      },
    )

    define(
      'with something to commit keeps the datastore from closing, which says so',
      async (opened) => {
        const school = schoolOn(opened)
        const session = await openSession(opened)
        await session.run(() => school.register('Rex'))
        await rejection(opened.datastore.close(), OperationalError)
        await session.run(() => rejection(opened.datastore.close(), ProgrammingError))
        await session.close()
      },
      { poolTimeoutMs: 300 },
    )
  })

  describe('a scope', () => {
    define('commits what scope.commit() is called for, and rolls back the rest', async (opened) => {
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      const result = { an: 'object' }
      const returned = await scope.run(async () => {
        await school.register('kept')
        await scope.commit()
        await school.register('undone')
        await scope.rollback()
        await school.register('forgotten')
        expect(await school.tricks('forgotten')).to.deep.equal([])
        return result
      })
      expect(returned).to.equal(result)
      expect(await thereOf(opened, ['kept', 'undone', 'forgotten'])).to.deep.equal(['kept'])
    })

    define('commits at its end with commitOnExit, unless what it runs throws', async (opened) => {
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      await scope.run(() => school.register('kept'), { commitOnExit: true })
      await scope.run(() => lazy(() => school.register('lazy')), { commitOnExit: true })
      const thrown = new RangeError('the user’s own')
      const outcome = scope.run(
        async () => {
          await school.register('undone')
          throw thrown
        },
        { commitOnExit: true },
      )
      expect(await failure(outcome)).to.equal(thrown)
      expect(await thereOf(opened, ['kept', 'lazy', 'undone'])).to.deep.equal(['kept', 'lazy'])
    })

    define('that throws keeps what it had committed before', async (opened) => {
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      const outcome = scope.run(async () => {
        await school.register('kept')
        await scope.commit()
        await school.register('undone')
        throw new RangeError('the user’s own')
      })
      await rejection(outcome, RangeError)
      expect(await thereOf(opened, ['kept', 'undone'])).to.deep.equal(['kept'])
    })

    define('has one session, until it is removed', async (opened) => {
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      await scope.run(async () => {
        const { session } = scope
        await school.register('undone')
        expect(scope.session).to.equal(session)
        await scope.remove()
        await rejection(session.commit(), InterfaceError, 'closed')
        expect(scope.session).to.not.equal(session)
        await school.register('kept')
        await scope.commit()
        await scope.remove()
        await scope.remove()
        await scope.commit()
      })
      expect(await thereOf(opened, ['undone', 'kept'])).to.deep.equal(['kept'])
    })

    define('takes no calls outside of run, nor after its end', async (opened) => {
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      expect(scope.isRunning).to.equal(false)
      expect(() => scope.session).to.throw(ProgrammingError, 'inside of scope.run(')
      await rejection(scope.commit(), ProgrammingError, 'inside of scope.run(')
      await rejection(scope.rollback(), ProgrammingError)
      await rejection(scope.remove(), ProgrammingError)
      const { passed, open } = gate()
      const late: (() => unknown)[] = [
        () => school.register('Fido'),
        () => school.repository.has('Fido'),
        () => opened.datastore.transaction(() => 7),
        () => scope.session,
        () => scope.commit(),
        () => scope.rollback(),
        () => scope.remove(),
      ]
      let session!: AnySessionByHand
      const outcomes = await scope.run(() => {
        expect(scope.isRunning).to.equal(true)
        ;({ session } = scope)
        return { all: late.map((call) => failure(passed.then(call))) }
      })
      open()
      for (const error of await Promise.all(outcomes.all)) expect(error).to.be.instanceOf(InterfaceError)
      await rejection(session.commit(), InterfaceError, 'closed')
      expect(await thereOf(opened, ['Fido'])).to.deep.equal([])
    })

    define(
      'is isolated from others that run at the same time',
      async (opened) => {
        const school = schoolOn(opened)
        await school.ready()
        const scope = scopeOn(opened)
        const names = ['a', 'b', 'c', 'd', 'e', 'f']
        const sessions = new Set<object>()
        await Promise.all(
          names.map((name, index) =>
            scope.run(async () => {
              sessions.add(scope.session)
              await school.register(name)
              // what is never committed is seen by nobody else
              const other = names[(index + (index % 2 === 0 ? 1 : 2)) % names.length] as string
              await rejection(school.tricks(other), AggregateNotFoundError)
              await school.addTrick(name, 'roll over')
              if (index % 2 === 0) await scope.commit()
            }),
          ),
        )
        expect(sessions.size).to.equal(names.length)
        expect(await thereOf(opened, names)).to.deep.equal(['a', 'c', 'e'])
      },
      { poolTimeoutMs: 5000 },
    )

    define('inside another is one of its own', async (opened) => {
      const school = schoolOn(opened)
      await school.ready()
      const scope = scopeOn(opened)
      await scope.run(async () => {
        const { session } = scope
        await scope.run(() => school.register('inner'), { commitOnExit: true })
        expect(scope.session).to.equal(session)
        await school.register('outer')
      })
      expect(await thereOf(opened, ['inner', 'outer'])).to.deep.equal(['inner'])
    })

    define('has savepoints, which any transaction inside is', async (opened) => {
      const { datastore } = opened
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      await scope.run(
        async () => {
          await school.register('before')
          await rejection(
            datastore.transaction(async () => {
              await school.register('undone')
              throw new RangeError('undo')
            }),
            RangeError,
          )
          await datastore.transaction(() => school.register('nested'))
        },
        { commitOnExit: true },
      )
      expect(await thereOf(opened, ['before', 'undone', 'nested'])).to.deep.equal(['before', 'nested'])
    })

    define('is left by outside()', async (opened) => {
      const { datastore } = opened
      const school = schoolOn(opened)
      await school.ready()
      const scope = scopeOn(opened)
      await scope.run(async () => {
        await datastore.outside(() => school.register('outside'))
        await school.register('inside')
      })
      expect(await thereOf(opened, ['outside', 'inside'])).to.deep.equal(['outside'])
    })

    define('is refused inside a transaction, unless that is left', async (opened) => {
      const { datastore } = opened
      const scope = scopeOn(opened)
      await datastore.transaction(async () => {
        await rejection(
          scope.run(() => expect.fail('should not run')),
          ProgrammingError,
          'datastore.outside',
        )
        expect(await datastore.outside(() => scope.run(() => 7))).to.equal(7)
      })
      await scope.run(() =>
        datastore.transaction(() =>
          rejection(
            scope.run(() => 7),
            ProgrammingError,
          ),
        ),
      )
    })

    define('of one datastore is none of another', async (opened) => {
      const other = await backend.open()
      try {
        const [school, otherSchool] = [schoolOn(opened), schoolOn(other)]
        const [scope, otherScope] = [scopeOn(opened), scopeOn(other)]
        await scope.run(async () => {
          expect(() => otherScope.session).to.throw(ProgrammingError)
          await otherSchool.register('alone')
          await otherScope.run(async () => {
            await school.register('undone')
            await otherSchool.register('kept')
            await otherScope.commit()
          })
        })
        expect(await thereOf(opened, ['undone'])).to.deep.equal([])
        expect(await thereOf(other, ['alone', 'kept'])).to.deep.equal(['alone', 'kept'])
      } finally {
        await other.close()
      }
    })

    define('that is eager has begun before it runs', async (opened) => {
      const scope = scopeOn(opened)
      const school = schoolOn(opened)
      await school.ready()
      await scope.run(() => rejection(opened.datastore.close(), ProgrammingError), { eager: true })
      await scope.run(
        async () => {
          await school.register('kept')
          await scope.commit()
        },
        { eager: true },
      )
      expect(await thereOf(opened, ['kept'])).to.deep.equal(['kept'])
    })

    define('that is eager and can’t begin does not run', async (opened) => {
      const scope = scopeOn(opened)
      await opened.datastore.close()
      await rejection(
        scope.run(() => expect.fail('should not run'), { eager: true }),
        InterfaceError,
        'closed',
      )
      // and one that uses nothing needs nothing
      expect(await scope.run(() => 7, { commitOnExit: true })).to.equal(7)
    })

    define('passes on what fails after its commit', async (opened) => {
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      const outcome = scope.run(
        async () => {
          await school.register('kept')
          scope.session.afterCommit(() => {
            throw new RangeError('the user’s own')
          })
        },
        { commitOnExit: true },
      )
      await rejection(outcome, EventSourcingError, 'is committed')
      expect(await thereOf(opened, ['kept'])).to.deep.equal(['kept'])
    })

    define('refuses options and datastores that it does not know', async (opened) => {
      const scope = scopeOn(opened)
      const wrong: object[] = [{ commit: true }, { eager: 1 }, { commitOnExit: 'yes' }]
      for (const options of wrong)
        await rejection(
          scope.run(() => expect.fail('ran'), options),
          ProgrammingError,
        )
      expect(() => scopedSession({} as never)).to.throw(ProgrammingError, 'takes a datastore')
    })
  })

  if (!ownTables) return

  describe('own tables in a session by hand', () => {
    define('commit and roll back together with events, relational queries included', async (opened) => {
      const { owners } = opened
      const school = schoolOn(opened)
      await using session = await openSession(opened)
      await owners!.insert(session, 'Ann')
      await session.run(() => school.register('Fido'))
      expect(await owners!.names(session)).to.deep.equal(['Ann'])
      expect(await owners!.relationalNames(session)).to.deep.equal(['Ann'])
      await session.rollback()
      expect(await owners!.names(session)).to.deep.equal([])
      await session.run(() => school.register('Rex'))
      await owners!.insert(session, 'Bea')
      await session.commit()
      expect(await owners!.names()).to.deep.equal(['Bea'])
      expect(await thereOf(opened, ['Fido', 'Rex'])).to.deep.equal(['Rex'])
    })

    define('go into the transaction that is current when a query is run, whenever it was built', async (opened) => {
      const { owners } = opened
      await using session = await openSession(opened)
      const insert = owners!.prepareInsert(session)
      await insert('Ann')
      await session.commit()
      await insert('Bea')
      await session.rollback()
      await insert('Cleo')
      await session.commit()
      expect(await owners!.names()).to.deep.equal(['Ann', 'Cleo'])
    })

    define('are refused after its end, also by queries that were built before', async (opened) => {
      const { owners } = opened
      const session = await openSession(opened)
      const built = owners!.buildInsert(session, 'built')
      const prepared = owners!.prepareInsert(session)
      const select = owners!.buildSelect(session)
      await session.close()
      const calls = [built, () => prepared('prepared'), select, () => owners!.names(session)]
      for (const call of calls) await rejection(call(), InterfaceError, 'closed')
      await rejection(owners!.insert(session, 'late'), InterfaceError, 'closed')
      expect(await owners!.names()).to.deep.equal([])
    })

    define('roll back to a savepoint', async (opened) => {
      const { owners } = opened
      await using session = await openSession(opened)
      await owners!.insert(session, 'outer')
      const undone = session.transaction(async (inner: unknown) => {
        await owners!.insert(inner, 'inner')
        throw new RangeError('undo')
      }) as Promise<unknown>
      await rejection(undone, RangeError)
      await session.commit()
      expect(await owners!.names()).to.deep.equal(['outer'])
    })

    define('are refused while a savepoint is open that the caller is not in', async (opened) => {
      const { owners, datastore } = opened
      await using session = await openSession(opened)
      await owners!.insert(session, 'before')
      const { passed, open } = gate()
      const entered = gate()
      const nested = session.run(() =>
        datastore.transaction(() => {
          entered.open()
          return passed
        }),
      )
      await entered.passed
      await rejection(owners!.insert(session, 'beside'), InterfaceError, 'nested transaction is open')
      open()
      await nested
      await owners!.insert(session, 'after')
      await session.commit()
      expect(await owners!.names()).to.deep.equal(['after', 'before'])
    })

    define('that are started together are all in one transaction', async (opened) => {
      const { owners } = opened
      await using session = await openSession(opened)
      const names = ['Ann', 'Bea', 'Cleo', 'Dora']
      await Promise.all(names.map((name) => owners!.insert(session, name)))
      if (concurrentWriters) expect(await owners!.names()).to.deep.equal([])
      await session.commit()
      expect(await owners!.names()).to.deep.equal(names)
    })

    define('are a scope’s as well', async (opened) => {
      const { owners } = opened
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      await scope.run(
        async () => {
          await owners!.insert(scope.session, 'Ann')
          await school.register('Fido')
        },
        { commitOnExit: true },
      )
      await scope.run(async () => {
        await school.register('Rex')
        await owners!.insert(scope.session, 'Bea')
      })
      expect(await owners!.names()).to.deep.equal(['Ann'])
      expect(await thereOf(opened, ['Fido', 'Rex'])).to.deep.equal(['Fido'])
    })

    define('that refuse a row leave the scope with an error of ours, rolled back', async (opened) => {
      const { owners } = opened
      const school = schoolOn(opened)
      const scope = scopeOn(opened)
      const outcome = scope.run(
        async () => {
          await school.register('Fido')
          await owners!.insert(scope.session, 'Ann')
          await owners!.insert(scope.session, 'Ann')
        },
        { commitOnExit: true },
      )
      await rejection(outcome, EventSourcingError)
      expect(await owners!.names()).to.deep.equal([])
      expect(await thereOf(opened, ['Fido'])).to.deep.equal([])
    })
  })
}

/** Those of these dogs that are registered. */
async function thereOf(opened: Opened, names: readonly string[]): Promise<string[]> {
  const school = schoolOn(opened)
  const there: string[] = []
  for (const name of names) if (await school.repository.has(Dog.createId(name))) there.push(name)
  return there
}
