// Starts an application on a file that may be empty, at the word, and saves dogs: `starter <file> <name> <prefix> <count>`.
import { Application } from '../../../lib/application/application.js'
import { Dog } from '../dogs.js'
import { sqlite } from '../../../lib/sqlite/index.js'
import { tell, told } from './parent.js'

const [file = '', name = '', prefix = '', count = ''] = process.argv.slice(2)
const start = told()
await tell('ready')
await start
const datastore = sqlite(file)
const school = new Application({ name, persistence: datastore })
const ids: number[] = []
for (let n = 1; n <= Number(count); n += 1) {
  const dog = new Dog(`${prefix} ${n}`)
  dog.addTrick('roll over')
  ids.push(...(await school.save(dog)).map(({ notification }) => notification.id))
}
await tell(ids)
await school.close()
await datastore.close()
process.disconnect()
