// An application by the environment that it is given, in JSON: `pg-pupil <environment> <dog>`. Teaches the dog one more
// trick, and says all it can do.
import { Application } from '../../../lib/application/application.js'
import '../../../lib/index.js'
import { Dog } from '../dogs.js'
import { tell } from './parent.js'

const [env = '', name = ''] = process.argv.slice(2)
Object.assign(process.env, JSON.parse(env))
const school = await Application.create({ name: 'TrainingSchool' })
const dog = await school.repository.get(Dog, Dog.createId(name))
dog.addTrick('bark')
await school.save(dog)
await tell((await school.repository.get(Dog, dog.id)).tricks)
await school.close()
process.disconnect()
