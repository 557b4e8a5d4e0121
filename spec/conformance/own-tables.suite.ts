import { expect } from 'chai'
import { IntegrityError, InterfaceError } from '../../lib/errors.js'
import type { Backend, Opened, OwnersTable } from '../support/backend.js'
import type { DefineCase } from '../support/cases.js'
import { failure, rejection } from '../support/rejection.js'
import { storedEvent, versions } from '../support/stored-events.js'
import { ticks } from '../support/ticks.js'

/** What `transaction()` promises for a table of the user's own, beside the events. */
export function ownTablesSuite(define: DefineCase, backend: Backend): void {
  if (!backend.capabilities.ownTables) return

  describe('own tables', () => {
    define('commit together with events', async (opened) => {
      const { recorder, owners } = await start(opened)
      await recorder.transaction(async (session) => {
        await owners.insert(session, 'Ann')
        await recorder.insertEvents([storedEvent('dog', 1)])
        await owners.insert(session, 'Bea')
        expect(await owners.names(session)).to.deep.equal(['Ann', 'Bea'])
        expect(await owners.relationalNames(session)).to.deep.equal(['Ann', 'Bea'])
      })
      expect(await owners.names()).to.deep.equal(['Ann', 'Bea'])
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
    })

    define('roll back together with events', async (opened) => {
      const { recorder, owners } = await start(opened)
      const thrown = new RangeError('undo')
      const outcome = recorder.transaction(async (session) => {
        await owners.insert(session, 'Ann')
        await recorder.insertEvents([storedEvent('dog', 1)])
        throw thrown
      })
      expect(await failure(outcome)).to.equal(thrown)
      expect(await owners.names()).to.deep.equal([])
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
    })

    define('commit and roll back through a handle’s session', async (opened) => {
      const { recorder, owners } = await start(opened)
      {
        await using tx = await recorder.transaction()
        await owners.insert(tx.session, 'left')
        await tx.run(() => recorder.insertEvents([storedEvent('left', 1)]))
      }
      {
        await using tx = await recorder.transaction()
        await owners.insert(tx.session, 'kept')
        await tx.run(() => recorder.insertEvents([storedEvent('kept', 1)]))
        await tx.commit()
      }
      expect(await owners.names()).to.deep.equal(['kept'])
      expect(await recorder.selectEvents('left')).to.deep.equal([])
      expect(versions(await recorder.selectEvents('kept'))).to.deep.equal([1])
    })

    define('roll back to a savepoint together with events', async (opened) => {
      const { recorder, owners } = await start(opened)
      await recorder.transaction(async (session) => {
        await owners.insert(session, 'outer')
        await rejection(
          recorder.transaction(async (inner) => {
            await owners.insert(inner, 'inner')
            await recorder.insertEvents([storedEvent('inner', 1)])
            throw new RangeError('undo')
          }),
          RangeError,
        )
        await owners.insert(session, 'after')
        await recorder.insertEvents([storedEvent('after', 1)])
      })
      expect(await owners.names()).to.deep.equal(['after', 'outer'])
      expect(await recorder.selectEvents('inner')).to.deep.equal([])
      expect(versions(await recorder.selectEvents('after'))).to.deep.equal([1])
    })

    define('keep or refuse a statement of the outer one that meets a nested one being opened', async (opened) => {
      const { recorder, owners } = await start(opened)
      const inserted: string[] = []
      for (let count = 0; count <= 6; count += 1) {
        await recorder.transaction(async (session) => {
          const inner = recorder.transaction(() => {
            throw new RangeError('undo')
          })
          const undone = rejection(inner, RangeError)
          if (count > 0) await ticks(count) // an await of nothing is a tick too
          const name = `owner ${count}`
          const error = await owners.insert(session, name).then(
            () => undefined,
            (refused: unknown) => refused,
          )
          if (error === undefined) inserted.push(name)
          else expect(error).to.be.instanceOf(InterfaceError)
          await undone
        })
      }
      expect(await owners.names()).to.deep.equal(inserted)
    })

    define('always roll back with commit: false', async (opened) => {
      const { recorder, owners } = await start(opened)
      const seen = await recorder.transaction(
        async (session) => {
          await owners.insert(session, 'Ann')
          return owners.names(session)
        },
        { commit: false },
      )
      expect(seen).to.deep.equal(['Ann'])
      expect(await owners.names()).to.deep.equal([])
    })

    define('are undone alone with a nested commit: false', async (opened) => {
      const { recorder, owners } = await start(opened)
      await recorder.transaction(async (session) => {
        await owners.insert(session, 'kept')
        await recorder.transaction((inner) => owners.insert(inner, 'undone'), { commit: false })
        expect(await owners.names(session)).to.deep.equal(['kept'])
      })
      expect(await owners.names()).to.deep.equal(['kept'])
    })

    define('pass Drizzle’s error inside work, and ours when it leaves transaction()', async (opened) => {
      const { recorder, owners } = await start(opened)
      let inside: unknown
      const outcome = recorder.transaction(async (session) => {
        await owners.insert(session, 'Ann')
        await recorder.insertEvents([storedEvent('dog', 1)])
        try {
          await owners.insert(session, 'Ann')
        } catch (error) {
          inside = error
          throw error
        }
      })
      const error = await rejection(outcome, IntegrityError)
      expect(inside).to.be.instanceOf(Error).and.not.instanceOf(IntegrityError)
      expect(error.code).to.be.a('string').and.not.equal('')
      const cause = error.cause as Error
      expect(cause).to.be.instanceOf(Error)
      expect(cause.name).not.to.match(/^Drizzle/)
      expect(cause.constructor.name).not.to.match(/^Drizzle/)
      expect((cause as { params?: unknown }).params).to.equal(undefined)
      expect(await owners.names()).to.deep.equal([])
      expect(await recorder.selectEvents('dog')).to.deep.equal([])
    })

    define('let a transaction go on after an error of the user’s own statement is caught inside', async (opened) => {
      const { recorder, owners } = await start(opened)
      await recorder.transaction(async (session) => {
        await owners.insert(session, 'Ann')
        expect(await failure(owners.insert(session, 'Ann'))).to.be.instanceOf(Error)
        await owners.insert(session, 'Bea')
        await recorder.insertEvents([storedEvent('dog', 1)])
      })
      expect(await owners.names()).to.deep.equal(['Ann', 'Bea'])
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
    })

    define('let the outer transaction go on after such an error left a nested one, as ours', async (opened) => {
      const { recorder, owners } = await start(opened)
      await recorder.transaction(async (session) => {
        await owners.insert(session, 'Ann')
        const inner = recorder.transaction(async (nested) => {
          await recorder.insertEvents([storedEvent('inner', 1)])
          await owners.insert(nested, 'Ann')
        })
        await rejection(inner, IntegrityError)
        await owners.insert(session, 'Bea')
        await recorder.insertEvents([storedEvent('dog', 1)])
      })
      expect(await owners.names()).to.deep.equal(['Ann', 'Bea'])
      expect(await recorder.selectEvents('inner')).to.deep.equal([])
      expect(versions(await recorder.selectEvents('dog'))).to.deep.equal([1])
    })

    define('keep two units of work apart on one datastore', async (opened) => {
      const { recorder, owners } = await start(opened)
      await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const outcome = recorder.transaction(async (session) => {
            await owners.insert(session, `owner ${i}`)
            await recorder.insertEvents([storedEvent(`dog ${i}`, 1)])
            if (i % 2 === 0) throw new RangeError('undo')
          })
          await (i % 2 === 0 ? rejection(outcome, RangeError) : outcome)
        }),
      )
      const kept = [1, 3, 5, 7, 9]
      expect(await owners.names()).to.deep.equal(kept.map((i) => `owner ${i}`))
      const found = await recorder.selectNotifications({ limit: 100 })
      expect(found.map(({ originatorId }) => originatorId).sort()).to.deep.equal(kept.map((i) => `dog ${i}`))
    })
  })

  describe('a session after its transaction ended', () => {
    for (const end of ['commit', 'rollback'] as const) {
      define(`refuses every use, and does nothing, after a ${end}`, async (opened) => {
        const { recorder, owners } = await start(opened)
        const tx = await recorder.transaction()
        const prepared = owners.prepareInsert(tx.session)
        const insert = owners.buildInsert(tx.session, 'late')
        const select = owners.buildSelect(tx.session)
        await owners.insert(tx.session, 'in time')
        await tx[end]()
        const uses: Record<string, () => Promise<unknown>> = {
          insert: () => owners.insert(tx.session, 'late'),
          select: () => owners.names(tx.session),
          'relational query': () => owners.relationalNames(tx.session),
          'insert built before': insert,
          'select built before': select,
          'statement prepared before': () => prepared('late'),
          'preparing a statement': async () => owners.prepareInsert(tx.session)('late'),
        }
        for (const [use, call] of Object.entries(uses)) {
          const error = await rejection(call(), InterfaceError)
          // itself, not wrapped by Drizzle
          expect(Object.getPrototypeOf(error), use).to.equal(InterfaceError.prototype)
        }
        expect(await owners.names()).to.deep.equal(end === 'commit' ? ['in time'] : [])
      })
    }

    define('refuses an outer session’s use while a nested transaction is open beside it', async (opened) => {
      const { recorder, owners } = await start(opened)
      await recorder.transaction(async (session) => {
        await owners.insert(session, 'outer')
        const nested = await recorder.transaction()
        await owners.insert(nested.session, 'inner')
        // it would land in the nested one's savepoint, and vanish with it
        await rejection(owners.insert(session, 'astray'), InterfaceError)
        await nested.rollback()
        await owners.insert(session, 'after')
      })
      expect(await owners.names()).to.deep.equal(['after', 'outer'])
    })

    define('refuses a nested session after its own end, while the outer one goes on', async (opened) => {
      const { recorder, owners } = await start(opened)
      await recorder.transaction(async (session) => {
        let ended: unknown
        await recorder.transaction(async (nested) => {
          await owners.insert(nested, 'inner')
          ended = nested
        })
        await rejection(owners.insert(ended, 'late'), InterfaceError)
        await owners.insert(session, 'outer')
      })
      expect(await owners.names()).to.deep.equal(['inner', 'outer'])
    })
  })
}

async function start(opened: Opened) {
  const owners: OwnersTable | undefined = opened.owners
  if (!owners) throw new Error('This backend says capabilities.ownTables, but opens no owners table')
  return { owners, recorder: await opened.factory().applicationRecorder() }
}
