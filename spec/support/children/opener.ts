// Opens a datastore on a file, and says how that ended.
import { sqlite } from '../../../lib/sqlite/index.js'
import { tell } from './parent.js'

const datastore = sqlite(process.argv[2] ?? '')
await tell(
  await datastore.ready().then(
    () => 'opened',
    ({ name, code }: { name: string; code: string }) => ({ name, code }),
  ),
)
await datastore.close()
process.disconnect()
