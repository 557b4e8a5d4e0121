// Reads all notifications forward, as another process does that knows nothing of the writers'. Says when it has started;
// told that all is written, it reads to the end and says what it was given.
import { setTimeout as delay } from 'node:timers/promises'
import { OrderDatabase, type Placement } from '../order-database.js'
import type { Placed } from '../order-findings.js'
import { tell, told } from './parent.js'

const [schemaName = '', placement = ''] = process.argv.slice(2)
const database = OrderDatabase.at(schemaName, placement as Placement)
const { recorder } = await database.application('Kennel', database.datastore({ max: 1 }))
let isWritten = false
void told().then(() => {
  isWritten = true
})
await tell('started')

const given: Placed[] = []
for (;;) {
  const isLast = isWritten
  const page = await recorder.selectNotifications({
    start: given.at(-1)?.id ?? 0,
    inclusiveOfStart: false,
    limit: 30,
  })
  for (const { id, originatorId, originatorVersion } of page) given.push({ id, originatorId, originatorVersion })
  if (isLast && page.length === 0) break
  if (page.length === 0) await delay(2)
}
await tell(given)
await database.close()
process.disconnect()
