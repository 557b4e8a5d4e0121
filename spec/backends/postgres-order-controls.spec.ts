import { expect } from 'chai'
import { ProgrammingError } from '../../lib/errors.js'
import type { PostgresResult } from '../../lib/postgres/drivers/client.js'
import { nothing, type Placed } from '../support/order-findings.js'
import { type Change, type Reader, Stage, stepOf } from '../support/order-stage.js'
import { describePostgres } from '../support/postgres-server.js'
import { rejection } from '../support/rejection.js'

/** What is written and read, step by step; gives the reader back. `isWrong`: with the one thing done wrong. */
type Script = (stage: Stage, isWrong: boolean) => Promise<Reader>

// What keeps the order, left out one piece at a time: each script shows how an event is then missed. Beside it the same
// script as things are, whose reader misses none: so it isn't the script.
describePostgres('The order of events on PostgreSQL is lost, and an event missed,', () => {
  control('where writers take no lock: a lower id commits after a higher one was read', [1], async (stage, isWrong) => {
    const change = isWrong ? withoutLock : undefined
    const [early, late, reader] = [await stage.writer(change), await stage.writer(change), await stage.reader()]
    await early.begin()
    await early.insert()
    await late.insert()
    expect(await reader.read()).to.deep.equal(isWrong ? [2] : [])
    await early.commit()
    return reader
  })

  control('where one writer among others takes no lock', [2], async (stage, isWrong) => {
    const [one, another, third] = [await stage.writer(), await stage.writer(), await stage.writer()]
    const careless = await stage.writer(isWrong ? withoutLock : undefined)
    const reader = await stage.reader()
    await one.begin()
    await one.insert()
    await careless.begin()
    await careless.insert()
    await another.begin()
    await another.insert()
    await third.insert()
    expect(await reader.read()).to.deep.equal([])
    await one.commit()
    // the lowest lock is that of id 3, and says nothing of id 2
    expect(await reader.read()).to.deep.equal([1])
    await another.commit()
    expect(await reader.read()).to.deep.equal(isWrong ? [3, 4] : [])
    await careless.commit()
    return reader
  })

  control('where the lock is taken after the insert: it then says where others are', [1], async (stage, isWrong) => {
    const early = await stage.writer(isWrong ? withoutLock : undefined)
    const [late, reader] = [await stage.writer(), await stage.reader()]
    await early.begin()
    await early.insert()
    await late.insert()
    await early.register()
    expect(await reader.read()).to.deep.equal(isWrong ? [2] : [])
    await early.commit()
    return reader
  })

  control('where a lock that went with a savepoint is not taken again', [3], async (stage, isWrong) => {
    const early = await stage.writer(isWrong ? lockedOnce() : undefined)
    const [late, reader] = [await stage.writer(), await stage.reader()]
    await early.begin()
    await early.savepoint()
    await early.insert()
    await early.rollbackToSavepoint()
    await late.insert()
    await early.insert()
    await late.insert()
    expect(await reader.read()).to.deep.equal(isWrong ? [2, 4] : [2])
    await early.commit()
    return reader
  })

  control('where bound and events are read in one statement, thus in one snapshot', [1], async (stage, isWrong) => {
    const [early, late, reader] = [await stage.writer(), await stage.writer(), await stage.reader()]
    await early.begin()
    await early.insert()
    await late.insert()
    if (isWrong) {
      expect(reader.take(await readInOneStatement(stage, () => early.commit()))).to.deep.equal([2])
    } else {
      expect(await reader.read('locks', () => early.commit())).to.deep.equal([1, 2])
    }
    return reader
  })

  for (const level of ['REPEATABLE READ', 'SERIALIZABLE']) {
    control(`where a reader is in a transaction that is ${level}`, [1], async (stage, isWrong) => {
      const [early, late, reader] = [await stage.writer(), await stage.writer(), await stage.reader()]
      await early.begin()
      await early.insert()
      await late.insert()
      await reader.begin(isWrong ? level : 'READ COMMITTED')
      expect(await reader.read('sequence', () => early.commit())).to.deep.equal(isWrong ? [2] : [1, 2])
      await reader.commit()
      return reader
    })
  }

  control(
    'where locks are read before the sequence: who begins in between is in neither',
    [4],
    async (stage, isWrong) => {
      const reader = await stage.reader(isWrong ? locksFirst(stage) : undefined)
      const [early, late] = [await stage.writer(), await stage.writer()]
      await late.insert()
      await early.begin()
      await early.insert()
      await early.rollback()
      await late.insert()
      const page = await reader.read(isWrong ? 'sequence' : 'locks', async () => {
        await early.begin()
        await early.insert()
        await late.insert()
      })
      expect(page).to.deep.equal(isWrong ? [1, 3, 5] : [1, 3])
      await early.commit()
      return reader
    },
  )

  control('where the rows are read before the bound, and not again', [1], async (stage, isWrong) => {
    const reader = await stage.reader(isWrong ? rowsOnce : undefined)
    const [early, late] = [await stage.writer(), await stage.writer()]
    await early.begin()
    await early.insert()
    await late.insert()
    expect(await reader.read('sequence', () => early.commit())).to.deep.equal(isWrong ? [2] : [1, 2])
    return reader
  })

  control('where the sequence has CACHE 20: connections draw from what they keep', [2], async (stage, isWrong) => {
    const [one, another, reader] = [await stage.writer(), await stage.writer(), await stage.reader()]
    if (isWrong) await stage.client().unsafe('ALTER TABLE events ALTER notification_id SET CACHE 20')
    await one.insert()
    await another.insert()
    expect(await reader.read()).to.deep.equal(isWrong ? [1, 21] : [1, 2])
    await one.insert()
    // who comes now finds it, and refuses
    if (isWrong) await rejection(stage.reader(), ProgrammingError, 'CACHE 1')
    return reader
  })

  control(
    'where a reader goes on from the bound instead of its last event, beside writers who lock the table',
    [2],
    async (stage, isWrong) => {
      const [writer, foreign, reader] = [await stage.writer(), stage.client(), await stage.reader()]
      await writer.insert()
      await foreign.unsafe('BEGIN; LOCK TABLE events IN EXCLUSIVE MODE')
      await foreign`
        INSERT INTO events (originator_id, originator_version, topic, state) VALUES ('foreign', 1, 'Dog.Registered', '')`
      expect(await reader.read()).to.deep.equal([1])
      if (isWrong) reader.position = await reader.bound()
      await foreign.unsafe('COMMIT')
      await writer.insert()
      return reader
    },
  )
})

/**
 * Defines a case: what is missed by the script as it is wrong, and that nothing is as it is right.
 *
 * @param missed  Ids.
 */
function control(title: string, missed: readonly number[], script: Script): void {
  it(title, async () => {
    for (const isWrong of [true, false]) {
      await using stage = await Stage.open()
      const findings = await stage.judge(await script(stage, isWrong))
      expect(findings, isWrong ? 'wrong on purpose' : 'as it is').to.deep.equal({
        ...nothing,
        ...(isWrong && { missed }),
      })
    }
  })
}

const lock = 'pg_advisory_xact_lock_shared'

/** The statement, all but its lock. */
function unlocked(sql: string): string {
  return sql.replaceAll(lock, 'row')
}

const withoutLock: Change = (channel) => ({
  send: (sql, parameters, how) => channel.send(unlocked(sql), parameters, how),
})

/** Remembers by itself that it has the lock, and not by what a savepoint takes along. */
function lockedOnce(): Change {
  let isLocked = false
  return (channel) => ({
    send: (sql, parameters, how) => {
      const sent = isLocked ? unlocked(sql) : sql
      isLocked ||= sql.includes(lock)
      return channel.send(sent, parameters, how)
    },
  })
}

/** Asks who is registered before it asks where the sequence is. */
function locksFirst(stage: Stage): Change {
  return (channel) => {
    let lowest: number | null = null
    let last = 0
    return {
      send: async (sql, parameters, how) => {
        const step = stepOf(sql)
        if (step === 'sequence') {
          const { schema, name } = stage.table
          const [row] = await channel.send(
            'SELECT min(objid::bigint)::int FROM pg_locks ' +
              `WHERE locktype = 'advisory' AND objsubid = 2 AND classid = '"${schema}"."${name}"'::regclass::oid`,
            [],
            how,
          )
          lowest = (row as [number | null])[0]
          const drawn = await channel.send(sql, parameters, how)
          last = Number((drawn as unknown as [[string]])[0][0])
          return drawn
        }
        if (step !== 'locks') return channel.send(sql, parameters, how)
        return answer([[lowest === null ? null : lowest - last]])
      },
    }
  }
}

/** Takes what it has read before it knew the bound for what there is up to the bound. */
const rowsOnce: Change = (channel) => {
  let rows: PostgresResult | undefined
  return {
    send: async (sql, parameters, how) => {
      if (stepOf(sql) !== 'rows') return channel.send(sql, parameters, how)
      if (!rows) return (rows = await channel.send(sql, parameters, how))
      const before = rows
      rows = undefined
      return before
    },
  }
}

function answer(rows: unknown[][]): PostgresResult {
  return Object.assign(rows, { count: rows.length, command: 'SELECT', columns: [] })
}

/**
 * Reads the bound and the events up to it by one statement.
 *
 * @param meanwhile  What happens after it has got its snapshot, and before it comes to the bound.
 */
async function readInOneStatement(stage: Stage, meanwhile: () => Promise<void>): Promise<Placed[]> {
  const [keeper, reader] = [stage.client(), stage.client()]
  const [row] = await reader<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`
  const { pid } = row!
  await keeper`SELECT pg_advisory_lock(${pid})`
  const page = reader.unsafe<Placed[]>(
    `WITH entered AS MATERIALIZED (SELECT (pg_advisory_xact_lock(${pid}) IS NULL)::int AS zero),
          bound AS MATERIALIZED (
            SELECT least(CASE WHEN is_called THEN last_value ELSE last_value - 1 END + entered.zero, locks.lowest) AS id
              FROM entered CROSS JOIN events_id_seq CROSS JOIN LATERAL (
                SELECT min(objid::bigint) AS lowest FROM pg_locks
                 WHERE locktype = 'advisory' AND objsubid = 2 AND classid = 'events'::regclass::oid
                   AND entered.zero = 0) AS locks)
     SELECT notification_id::int AS id, originator_id AS "originatorId", originator_version::int AS "originatorVersion"
       FROM events WHERE notification_id <= (SELECT id FROM bound) ORDER BY notification_id`,
  )
  const reading = page.execute()
  for (let isWaiting = false; !isWaiting;) {
    const found = await keeper`SELECT 1 FROM pg_locks WHERE pid = ${pid} AND locktype = 'advisory' AND NOT granted`
    isWaiting = found.length > 0
  }
  await meanwhile()
  await keeper`SELECT pg_advisory_unlock(${pid})`
  return [...(await reading)]
}
