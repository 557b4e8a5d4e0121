import { Application } from 'eventsourcing-drizzle'
import { Dog } from './domain.js'

/** What one can do at the training school: commands and queries, each in the words of the trade. */
export class TrainingSchool extends Application {
  static readonly applicationName = 'TrainingSchool'

  async register(name: string): Promise<void> {
    await this.save(new Dog(name))
  }

  async addTrick(name: string, trick: string): Promise<void> {
    const dog = await this.repository.get(Dog, Dog.createId(name))
    dog.addTrick(trick)
    await this.save(dog)
  }

  async tricks(name: string): Promise<readonly string[]> {
    return (await this.repository.get(Dog, Dog.createId(name))).tricks
  }
}
