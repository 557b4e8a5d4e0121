// Teaches one dog tricks, against others who do the same: `rival <file> <dog> <count>`. Says how many conflicts it had.
import { RecordConflictError } from '../../../lib/errors.js'
import { sqlite } from '../../../lib/sqlite/index.js'
import { Application } from '../../../lib/application/application.js'
import { Dog } from '../dogs.js'
import { tell, told } from './parent.js'

const [file = '', name = '', count = ''] = process.argv.slice(2)
const start = told()
await tell('ready')
await start
const datastore = sqlite(file)
const school = new Application({ name: 'School', persistence: datastore })
let conflicts = 0
for (let n = 1; n <= Number(count);) {
  const dog = await school.repository.get(Dog, Dog.createId(name))
  dog.addTrick(`${process.pid} ${n}`)
  try {
    await school.save(dog)
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
