// Sixteen workers save, alone and in transactions, while somebody ends connections at random for a second or more.
// Says how many saves were acknowledged, how many failed, and how many connections were ended.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { RecordConflictError } from '../../../lib/errors.js'
import { Dog } from '../dogs.js'
import { owners } from '../postgres-backends.js'
import { Victim, lost } from '../victim.js'
import { tell } from './parent.js'

const victim = await Victim.start()
const { admin, school } = victim
/** Names by what was said of them. What failed may be there or not, and is not there in part. */
const [acknowledged, inDoubt]: [string[], string[]] = [[], []]
let [failures, kills] = [0, 0]
let isOver = false

await Promise.all([killNowAndThen(), ...Array.from({ length: 16 }, (_, worker) => work(worker))])
await victim.expectHealthy()

const rows = await admin`
  SELECT convert_from(state, 'UTF8') AS state, originator_id, topic FROM school_events ORDER BY notification_id`
const versions = new Map<string, number>()
for (const { originator_id: id } of rows) versions.set(id as string, (versions.get(id as string) ?? 0) + 1)
const names = new Set((await admin`SELECT name FROM owners`).map(({ name }) => name as string))
for (const name of acknowledged) expect(versions.get(Dog.createId(name)), `${name}, acknowledged`).to.equal(3)
for (const name of inDoubt) expect(versions.get(Dog.createId(name)), `${name}, in doubt`).to.be.oneOf([undefined, 3])
for (const name of [...acknowledged, ...inDoubt].filter(isTransacted)) {
  expect(names.has(name), `${name}: its row, beside its events`).to.equal(versions.has(Dog.createId(name)))
}
await tell({ acknowledged: acknowledged.length, failures, kills })
await victim.close()

async function killNowAndThen(): Promise<void> {
  const end = performance.now() + 1200
  // on a slow machine longer, until there is something to see
  const isEnough = () => performance.now() > end && acknowledged.length > 50 && failures > 5 && kills > 10
  for (; !isEnough(); await delay(Math.random() * 60)) {
    kills += await victim.terminateOne()
  }
  isOver = true
}

/** The first half of the workers saves alone, the others in transactions, with a row of their own. */
async function work(worker: number): Promise<void> {
  for (let n = 1; !isOver; n += 1) {
    const name = `${worker < 8 ? 'alone' : 'transacted'} ${worker} ${n}`
    const dog = new Dog(name)
    dog.addTrick('roll over')
    dog.addTrick('fetch')
    await saved(name, dog)
  }
}

async function saved(name: string, dog: Dog): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await (isTransacted(name) ? transacted(name, dog) : school.save(dog))
      acknowledged.push(name)
      return
    } catch (error) {
      if (error instanceof RecordConflictError) {
        // right only if an attempt whose answer was lost has stored it
        expect(attempt, `${name}: a conflict at its first attempt`).to.be.above(1)
        acknowledged.push(name)
        return
      }
      await lost(Promise.reject(error))
      failures += 1
      expect(dog.pendingEvents).to.have.length(3)
      if (!isOver) continue
      inDoubt.push(name)
      return
    }
  }
}

async function transacted(name: string, dog: Dog): Promise<void> {
  await school.transaction(async (session) => {
    await session.insert(owners).values({ name }).onConflictDoNothing()
    await school.save(dog)
    await session.select().from(owners).limit(1)
  })
}

function isTransacted(name: string): boolean {
  return name.startsWith('transacted')
}
