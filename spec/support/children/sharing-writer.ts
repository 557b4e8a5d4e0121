// Saves three events at a time for each of 32 callers, as fast as it can, and says which after each has been saved.
import { DrizzleFactory } from '../../../lib/drizzle/index.js'
import { sqlite } from '../../../lib/sqlite/index.js'
import { storedEvents } from '../stored-events.js'
import { tell } from './parent.js'

const [file = '', synchronous] = process.argv.slice(2)
const datastore = sqlite(file, { synchronous: synchronous === 'normal' ? 'normal' : 'full' })
const recorder = await new DrizzleFactory({ datastore }).applicationRecorder()

await Promise.all(Array.from({ length: 32 }, (_, caller) => saveForEver(caller)))

async function saveForEver(caller: number): Promise<never> {
  for (let n = 1; ; n += 1) {
    const id = `dog ${caller} ${n}`
    await recorder.insertEvents(storedEvents(id, 1, 3))
    await tell(id)
  }
}
