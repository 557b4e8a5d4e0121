import { Application } from '../../lib/application/application.js'
import type { Opened } from './backend.js'
import { Dog } from './dogs.js'

/** The application of the suites: registers dogs, and teaches them tricks. */
export class TrainingSchool extends Application {
  static readonly applicationName: string = 'TrainingSchool'

  async register(name: string): Promise<void> {
    await this.save(new Dog(name))
  }

  async addTrick(name: string, trick: string): Promise<void> {
    const dog = await this.repository.get(Dog, Dog.createId(name))
    dog.addTrick(trick)
    await this.save(dog)
  }

  async tricks(name: string): Promise<string[]> {
    return (await this.repository.get(Dog, Dog.createId(name))).tricks
  }
}

/** A school of that name on what a case has opened. */
export function schoolOn(opened: Opened, name = 'TrainingSchool'): TrainingSchool {
  return new TrainingSchool({ persistence: opened.persistence(name), name })
}
