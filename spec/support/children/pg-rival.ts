// Teaches one dog tricks, against others who do the same: `pg-rival <url> <search path> <dog> <count>`, and `inside` a
// transaction each. Says how many conflicts it had.
import { Application } from '../../../lib/application/application.js'
import { RecordConflictError } from '../../../lib/errors.js'
import { postgres } from '../../../lib/postgres/index.js'
import { Dog } from '../dogs.js'
import { tell, told } from './parent.js'

const [url = '', searchPath = '', name = '', count = '', inside] = process.argv.slice(2)
const start = told()
await tell('ready')
await start
const datastore = postgres(url, { max: 1, connection: { search_path: searchPath } })
const school = new Application({ name: 'School', persistence: datastore })
let conflicts = 0
for (let n = 1; n <= Number(count);) {
  try {
    await (inside ? school.transaction(() => teach(`${process.pid} ${n}`)) : teach(`${process.pid} ${n}`))
    n += 1
  } catch (error) {
    if (!(error instanceof RecordConflictError)) throw error
    conflicts += 1
  }
}
await tell(conflicts)
await school.close()
await datastore.close()
process.disconnect()

async function teach(trick: string): Promise<void> {
  const dog = await school.repository.get(Dog, Dog.createId(name))
  dog.addTrick(trick)
  await school.save(dog)
}
