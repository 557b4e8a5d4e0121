import { expect } from 'chai'
import { Application, type ApplicationOptions } from '../../lib/application/application.js'
import { InfrastructureFactoryError, OperationalError, ProgrammingError, TopicError } from '../../lib/errors.js'
import { MemoryDatastore } from '../../lib/memory/datastore.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import '../../lib/index.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { TrainingSchool } from '../support/training-school.js'

// What an application makes of its class and its environment; what it does on a backend is in the conformance suites.
describe('an application’s name', () => {
  it('is the option, else static applicationName, else the class’s name', () => {
    class Kennel extends Application {}
    class Shelter extends Application {
      static readonly applicationName = 'AnimalShelter'
    }
    expect(new Kennel().name).to.equal('Kennel')
    expect(new Shelter().name).to.equal('AnimalShelter')
    expect(new Shelter({ name: 'Refuge' }).name).to.equal('Refuge')
    expect(new Application().name).to.equal('Application')
  })

  it('is asked for where the class has none, or one of one or two letters, as minifiers leave', () => {
    const nameless = (() => class extends Application {})()
    class a extends Application {}
    class Ab extends Application {}
    for (const applicationClass of [nameless, a, Ab]) {
      expect(() => new applicationClass()).to.throw(ProgrammingError, 'applicationName')
      expect(new applicationClass({ name: 'Kennel' }).name).to.equal('Kennel')
    }
  })

  it('is text', () => {
    expect(() => new Application({ name: 7 as never })).to.throw(ProgrammingError, 'name')
  })
})

describe('an application’s options', () => {
  it('are those that it knows: another one is refused by name', async () => {
    for (const options of [{ persistance: new MemoryDatastore() }, { environment: {} }, { topicbase: '.' }]) {
      const [name] = Object.keys(options)
      expect(() => new TrainingSchool(options as ApplicationOptions)).to.throw(ProgrammingError, name)
      await rejection(TrainingSchool.create(options as ApplicationOptions), ProgrammingError, name)
    }
    const nothing = { env: undefined, name: undefined, persistence: undefined, topicBase: undefined }
    expect(new TrainingSchool(nothing).name).to.equal('TrainingSchool')
  })
})

describe('a datastore’s autoflush', () => {
  it('may be set before the application is connected, as the environment or not', async () => {
    for (const [DRIZZLE_AUTOFLUSH, then] of [
      ['yes', false],
      ['no', true],
    ] as const) {
      const school = new TrainingSchool({ env: { DRIZZLE_AUTOFLUSH } })
      const { datastore } = school.recorder
      expect(datastore.autoflush).to.equal(!then)
      expect(() => (datastore.autoflush = 'no' as never)).to.throw(ProgrammingError, 'true or false')
      datastore.autoflush = then
      expect(datastore.autoflush).to.equal(then)
      const saved = await school.recorder.transaction(async () => school.save(new Dog('Fido')))
      expect(saved).to.have.length(then ? 1 : 0)
      expect(datastore.autoflush).to.equal(then)
      await school.close()
    }
  })
})

describe('an application’s environment', () => {
  class Kennel extends Application {
    static readonly env = { COLOUR: 'static', SIZE: 'static', KENNEL_SHAPE: 'static', SPEC_TASTE: 'static' }
  }

  it('is static env, process.env and the env option, weakest first', async () => {
    await withVariables({ SIZE: 'process', SPEC_TASTE: 'process' }, () => {
      const { env } = new Kennel({ env: { SPEC_TASTE: 'option' } })
      expect(env.get('COLOUR')).to.equal('static')
      expect(env.get('SIZE')).to.equal('process')
      expect(env.get('SPEC_TASTE')).to.equal('option')
    })
  })

  it('prefers a variable with the application’s name in front, in whichever layer', async () => {
    await withVariables({ KENNEL_SIZE: 'process, prefixed' }, () => {
      const { env } = new Kennel({ env: { SIZE: 'option', SHAPE: 'option' } })
      expect(env.get('SIZE')).to.equal('process, prefixed')
      expect(env.get('SHAPE')).to.equal('static')
      expect(new Kennel({ name: 'OtherKennel', env: { SIZE: 'option' } }).env.get('SIZE')).to.equal('option')
      expect(new Kennel({ name: 'TheKennel', env: { THE_KENNEL_SIZE: 'option' } }).env.get('SIZE')).to.equal('option')
    })
  })

  it('is what it was at construction', async () => {
    const kennel = await withVariables({ SIZE: 'then' }, () => new Kennel())
    await withVariables({ SIZE: 'now' }, () => {
      expect(kennel.env.get('SIZE')).to.equal('then')
    })
  })

  it('names the persistence; without one, events are in memory, each application’s own', async () => {
    await withVariables({ PERSISTENCE_MODULE: undefined }, async () => {
      const [one, other] = [new TrainingSchool(), new TrainingSchool()]
      await one.register('Fido')
      expect(await one.tricks('Fido')).to.deep.equal([])
      expect(await other.repository.has(Dog.createId('Fido'))).to.equal(false)
      expect(one.factory).to.be.instanceOf(MemoryFactory)
    })
    const named = new TrainingSchool({ env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle/memory' } })
    await named.register('Fido')
    expect(named.factory).to.be.instanceOf(MemoryFactory)
  })

  it('may hold the factory class itself, which closes with the application', async () => {
    const school = await TrainingSchool.create({ env: { PERSISTENCE_MODULE: MemoryFactory } })
    await school.register('Fido')
    const { datastore } = school.factory
    await school.close()
    await rejection(datastore.ready(), Error, 'closed')
  })

  it('is refused at create and at the first operation where it names nothing usable', async () => {
    const wrong: [unknown, new (...args: never[]) => Error][] = [
      ['no-such-package/persistence', TopicError],
      ['./no-such-file.js', TopicError],
      ['node:path', InfrastructureFactoryError],
      [class NoFactory {}, InfrastructureFactoryError],
      [7, Error],
    ]
    for (const [topic, errorClass] of wrong) {
      const options = { env: { PERSISTENCE_MODULE: topic } }
      await rejection(TrainingSchool.create(options), errorClass)
      const school = new TrainingSchool(options)
      const dog = new Dog('Fido')
      await rejection(school.save(dog), errorClass)
      expect(dog.pendingEvents).to.have.length(1)
      await rejection(
        school.transaction(() => undefined),
        errorClass,
      )
      await rejection(school.recorder.maxNotificationId(), errorClass)
      await school.close()
    }
  })

  it('is refused where a yes/no value or a number is none, and the message names the variable', async () => {
    const wrong = {
      IS_SNAPSHOTTING_ENABLED: 'perhaps',
      CREATE_TABLE: 'maybe',
      DRIZZLE_POOL_TIMEOUT_MS: 'soon',
      TRAINING_SCHOOL_CREATE_TABLE: '2',
    }
    for (const [variable, value] of Object.entries(wrong)) {
      await rejection(TrainingSchool.create({ env: { [variable]: value } }), ProgrammingError, variable)
      await rejection(new TrainingSchool({ env: { [variable]: value } }).register('Fido'), ProgrammingError, variable)
    }
  })
})

describe('an application’s persistence option', () => {
  it('wins over the environment', async () => {
    const persistence = new MemoryFactory({ name: 'School' })
    const school = new TrainingSchool({ persistence, env: { PERSISTENCE_MODULE: 'no-such-package' } })
    await school.register('Fido')
    expect(school.factory).to.equal(persistence)
  })

  it('is a datastore or a factory, and nothing else', () => {
    for (const persistence of [{}, 'sqlite::memory:', 7, null]) {
      expect(() => new TrainingSchool({ persistence: persistence as never })).to.throw(ProgrammingError, 'persistence')
    }
  })

  it('is tried again by the next operation where it could not be reached', async () => {
    const datastore = new Unreachable()
    const school = new TrainingSchool({ persistence: new MemoryFactory({ datastore }) })
    const dog = new Dog('Fido')
    const attempts = await Promise.allSettled([school.save(dog), school.ready(), school.repository.has(dog.id)])
    for (const attempt of attempts) expect(attempt).to.include({ status: 'rejected', reason: datastore.error })
    expect(datastore.attempts).to.equal(1)
    expect(dog.pendingEvents).to.have.length(1)
    datastore.reachable = true
    await school.save(dog)
    await school.ready()
    expect(await school.tricks('Fido')).to.deep.equal([])
  })
})

/** A datastore in memory that can't be reached at first. */
class Unreachable extends MemoryDatastore {
  reachable = false
  attempts = 0
  readonly error = new OperationalError('Not reachable just now', { retryable: true })

  override async ready(): Promise<void> {
    this.attempts += 1
    if (!this.reachable) throw this.error
    await super.ready()
  }
}

/** Sets variables of this process while `work` runs; `undefined` takes one away. */
async function withVariables<T>(variables: Record<string, string | undefined>, work: () => T | Promise<T>): Promise<T> {
  const before = { ...process.env }
  const set = (values: Record<string, string | undefined>) => {
    for (const key of Object.keys(variables)) {
      const value = values[key]
      if (value === undefined) delete process.env[key]
      else process.env[key] = value
    }
  }
  set(variables)
  try {
    return await work()
  } finally {
    set(before)
  }
}
