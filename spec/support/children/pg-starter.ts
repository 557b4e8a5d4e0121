// Starts an application where there may be no tables, at the word, and saves dogs:
// `pg-starter <url> <search path> <name> <prefix> <count>`. Says the ids of each save.
import { Application } from '../../../lib/application/application.js'
import { postgres } from '../../../lib/postgres/index.js'
import { Dog } from '../dogs.js'
import { tell, told } from './parent.js'

const [url = '', searchPath = '', name = '', prefix = '', count = ''] = process.argv.slice(2)
const start = told()
await tell('ready')
await start
const datastore = postgres(url, { max: 2, connection: { search_path: searchPath } })
const school = new Application({ name, persistence: datastore })
const saves: number[][] = []
for (let n = 1; n <= Number(count); n += 1) {
  const dog = new Dog(`${prefix} ${n}`)
  dog.addTrick('roll over')
  saves.push((await school.save(dog)).map(({ notification }) => notification.id))
}
await tell(saves)
await school.close()
await datastore.close()
process.disconnect()
