// Saves dogs of several events with a row of its own each, as fast as it can, and says so after each has been saved.
import { Application } from '../../../lib/application/application.js'
import { Dog } from '../dogs.js'
import { sqlite } from '../../../lib/sqlite/index.js'
import { owners, schema } from '../sqlite-backends.js'
import { tell } from './parent.js'

const [file = '', prefix = ''] = process.argv.slice(2)
const datastore = sqlite(file, { schema })
const school = new Application<typeof datastore>({ name: 'School', persistence: datastore })

// several callers, so that it is killed in the middle of saving and of waiting alike
await Promise.all([1, 2, 3, 4].map(saveForEver))

async function saveForEver(caller: number): Promise<never> {
  for (let n = 1; ; n += 1) {
    const name = `${prefix} ${caller} ${n}`
    const dog = new Dog(name)
    for (let trick = 1; trick <= 4; trick += 1) dog.addTrick(`trick ${trick}`)
    await school.transaction(async (session) => {
      await session.insert(owners).values({ name })
      await school.save(dog)
    })
    await tell(name)
  }
}
