import { expect } from 'chai'
import type { Application } from '../../lib/application/application.js'
import { Construction, type MapperParts } from '../../lib/application/construction.js'
import { NotificationLog } from '../../lib/application/notification-log.js'
import { Repository, type RepositorySource } from '../../lib/application/repository.js'
import type { DomainEvent } from '../../lib/domain/event.js'
import { OperationalError, ProgrammingError } from '../../lib/errors.js'
import '../../lib/index.js'
import { sqlite } from '../../lib/sqlite/index.js'
import { MemoryFactory } from '../../lib/memory/factory.js'
import type { Environment } from '../../lib/persistence/environment.js'
import { EventStore } from '../../lib/persistence/event-store.js'
import { AesCipher, type Cipher, createKey } from '../../lib/persistence/cipher.js'
import { BrotliCompressor, type Compressor } from '../../lib/persistence/compressor.js'
import type { Factory } from '../../lib/persistence/factory.js'
import { Mapper } from '../../lib/persistence/mapper.js'
import type { AggregateRecorder, ApplicationRecorder } from '../../lib/persistence/recorders.js'
import { SnapshotStore } from '../../lib/persistence/snapshot-store.js'
import type { StoredEvent } from '../../lib/persistence/stored-event.js'
import { JsonTranscoder, type Transcoder } from '../../lib/persistence/transcoder.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { TrainingSchool } from '../support/training-school.js'

describe('A hook of an application', () => {
  it('constructEnv adds variables, below or above those that are there', () => {
    class School extends TrainingSchool {
      static override readonly applicationName = 'School'
      static readonly env = { SIZE: 'static', COLOUR: 'static' }
      protected override constructEnv(...[name, layers]: Parameters<Application['constructEnv']>): Environment {
        return super.constructEnv(name, [{ SIZE: 'weak', SHAPE: 'weak' }, ...layers, { COLOUR: `strong, of ${name}` }])
      }
    }
    const { env } = new School({ env: { COLOUR: 'option' } })
    expect(['SIZE', 'SHAPE', 'COLOUR'].map((key) => env.get(key))).to.deep.equal([
      'static',
      'weak',
      'strong, of School',
    ])
  })

  it('constructFactory gives the factory, which closes with the application; not where persistence is given', async () => {
    const made: MemoryFactory[] = []
    class School extends TrainingSchool {
      protected override async constructFactory(env: Environment): Promise<Factory> {
        made.push(new MemoryFactory({ env }))
        return made[0]!
      }
    }
    const school = new School()
    expect(made).to.deep.equal([])
    await Promise.all([school.register('Fido'), school.register('Rex')])
    expect(made).to.have.length(1)
    expect(school.factory).to.equal(made[0])
    expect(made[0]!.env).to.equal(school.env)
    await school.close()
    await rejection(made[0]!.datastore.ready(), Error, 'closed')
    await new School({ persistence: sqlite(':memory:') }).register('Fido')
    expect(made).to.have.length(1)
  })

  it('constructFactory is asked again after it has failed', async () => {
    let attempts = 0
    class School extends TrainingSchool {
      protected override async constructFactory(env: Environment): Promise<Factory> {
        attempts += 1
        if (attempts === 1) throw new OperationalError('not yet')
        return super.constructFactory(env)
      }
    }
    const school = new School()
    await rejection(school.ready(), OperationalError, 'not yet')
    await school.register('Fido')
    expect([attempts, await school.tricks('Fido')]).to.deep.equal([2, []])
  })

  it('constructTranscoder gives the transcoder, and registerTranscodings teaches it types', async () => {
    class Loud extends JsonTranscoder {
      override encode(value: unknown): Uint8Array {
        return Buffer.from(Buffer.from(super.encode(value)).toString().replace('Fido', 'FIDO'))
      }
    }
    const taught: unknown[] = []
    class School extends TrainingSchool {
      protected override async constructTranscoder(): Promise<Transcoder> {
        return new Loud()
      }
      protected override registerTranscodings(transcoder: JsonTranscoder): void {
        taught.push(transcoder)
      }
    }
    const school = new School()
    await school.register('Fido')
    expect((await school.repository.get(Dog, Dog.createId('Fido'))).name).to.equal('FIDO')
    expect(taught).to.have.length(1).and.have.nested.property('[0]').instanceOf(Loud)
  })

  it('constructMapper gives the mapper, of the transcoder', async () => {
    const given: Transcoder[] = []
    class Signing extends Mapper {
      override toStoredEvent(event: DomainEvent): StoredEvent {
        return super.toStoredEvent({ ...event, metadata: { ...event.metadata, signed: 'yes' } })
      }
    }
    class School extends TrainingSchool {
      protected override async constructMapper(_factory: Factory, parts: MapperParts): Promise<Mapper> {
        given.push(parts.transcoder)
        return new Signing(parts)
      }
    }
    const school = new School()
    await school.register('Fido')
    expect((await school.events.get(Dog.createId('Fido')))[0]?.metadata).to.deep.equal({ signed: 'yes' })
    expect(given).to.have.length(1).and.have.nested.property('[0]').instanceOf(JsonTranscoder)
  })

  it('constructCompressor and constructCipher give what states pass on their way', async () => {
    class School extends TrainingSchool {
      protected override async constructCompressor(): Promise<Compressor> {
        return new BrotliCompressor()
      }
      protected override async constructCipher(): Promise<Cipher> {
        return new AesCipher(createKey())
      }
    }
    const school = new School()
    await school.register('Fido')
    const [stored] = await school.recorder.selectEvents(Dog.createId('Fido'))
    expect(stored?.state[0], 'what is encrypted begins with that').to.equal(0xc1)
    expect(await school.tricks('Fido')).to.deep.equal([])
  })

  it('constructMapper that leaves out the cipher is refused: states would be stored plain', async () => {
    class School extends TrainingSchool {
      protected override async constructMapper(_factory: Factory, { transcoder }: MapperParts): Promise<Mapper> {
        return new Mapper({ transcoder })
      }
    }
    await rejection(new School({ env: { CIPHER_KEY: createKey() } }).ready(), ProgrammingError, 'cipher')
  })

  it('constructRecorder gives the recorder', async () => {
    const inserted: string[] = []
    class School extends TrainingSchool {
      protected override async constructRecorder(factory: Factory): Promise<ApplicationRecorder> {
        const recorder = await super.constructRecorder(factory)
        const insertEvents = recorder.insertEvents.bind(recorder)
        recorder.insertEvents = async (events) => {
          inserted.push(...events.map(({ topic }) => topic))
          return insertEvents(events)
        }
        return recorder
      }
    }
    const school = new School()
    await school.register('Fido')
    expect(inserted).to.deep.equal(['Dog.Registered'])
    expect(await school.tricks('Fido')).to.deep.equal([])
  })

  it('constructEventStore gives the event store', async () => {
    const put: number[] = []
    class Counting extends EventStore {
      override async put(...args: Parameters<EventStore['put']>) {
        put.push(args[0].length)
        return super.put(...args)
      }
    }
    class School extends TrainingSchool {
      protected override async constructEventStore(mapper: Mapper, recorder: ApplicationRecorder): Promise<EventStore> {
        return new Counting(mapper, recorder)
      }
    }
    const school = new School()
    await school.save(new Dog('Fido'), new Dog('Rex'))
    await school.events.put(new Dog('Ann').collectEvents())
    expect(put).to.deep.equal([2, 1])
  })

  it('constructSnapshotStore gives the snapshot store, where there are snapshots', async () => {
    const made: AggregateRecorder[] = []
    class School extends TrainingSchool {
      protected override async constructSnapshotStore(mapper: Mapper, recorder: AggregateRecorder) {
        made.push(recorder)
        return new SnapshotStore(mapper, recorder)
      }
    }
    await new School().register('Fido')
    expect(made).to.deep.equal([])
    const school = new School({ env: { IS_SNAPSHOTTING_ENABLED: 'yes' } })
    await school.register('Fido')
    await school.takeSnapshot(Dog, Dog.createId('Fido'))
    expect(made).to.have.length(1)
    expect(await made[0]?.selectEvents(Dog.createId('Fido'))).to.have.length(1)
  })

  it('constructRepository gives the repository', async () => {
    class Dogs extends Repository {
      async named(name: string): Promise<Dog> {
        return this.get(Dog, Dog.createId(name))
      }
    }
    class School extends TrainingSchool {
      declare readonly repository: Dogs
      protected override constructRepository(source: RepositorySource): Repository {
        return new Dogs(source)
      }
    }
    const school = new School()
    await school.register('Fido')
    expect((await school.repository.named('Fido')).name).to.equal('Fido')
    expect(await school.tricks('Fido')).to.deep.equal([])
  })

  it('constructNotificationLog gives the notification log', async () => {
    class School extends TrainingSchool {
      protected override constructNotificationLog(
        ...[recorder, size]: Parameters<Application['constructNotificationLog']>
      ): NotificationLog {
        return new NotificationLog(recorder, size * 2)
      }
    }
    const school = new School()
    expect(school.notificationLog.sectionSize).to.equal(20)
    await school.register('Fido')
    expect((await school.notificationLog.section('1,20')).items).to.have.length(1)
  })

  it('is called once, by the constructor or at the first operation, in the order in which one needs another', async () => {
    const { school, called } = tracedSchool()
    const byConstructor = ['constructEnv', 'constructRepository', 'constructNotificationLog']
    expect(called).to.deep.equal(byConstructor)
    await Promise.all([school.register('Fido'), school.tricks('Rex').catch(() => undefined), school.ready()])
    await school.tricks('Fido')
    expect(called.slice(byConstructor.length)).to.deep.equal([
      'constructFactory',
      'constructTranscoder',
      'registerTranscodings',
      'constructCompressor',
      'constructCipher',
      'constructMapper',
      'constructRecorder',
      'constructEventStore',
    ])
  })

  it('registerTranscodings is refused where it is not done when it returns, and its failure is nobody’s', async () => {
    for (const promise of [Promise.resolve(), Promise.reject(new Error('The module is not there'))]) {
      const { school } = tracedSchool({ registerTranscodings: promise })
      await rejection(school.register('Fido'), ProgrammingError, 'constructTranscoder(factory)')
    }
    await new Promise(setImmediate) // a rejection that nobody has handled would end the process here
  })

  it('that gives nothing, or something else, is a ProgrammingError that names it', async () => {
    for (const hook of [
      'constructFactory',
      'constructTranscoder',
      'constructMapper',
      'constructRecorder',
      'constructEventStore',
    ]) {
      for (const value of [undefined, null, 'text', {}, { encode: () => new Uint8Array(), insertEvents: () => [] }]) {
        const { school } = tracedSchool({ [hook]: value })
        await rejection(school.ready(), ProgrammingError, `${hook}()`)
      }
    }
    for (const hook of ['constructCompressor', 'constructCipher']) {
      for (const value of ['text', {}, { encrypt: () => new Uint8Array(), compress: () => new Uint8Array() }]) {
        const { school } = tracedSchool({ [hook]: value })
        await rejection(school.ready(), ProgrammingError, `${hook}()`)
      }
    }
    for (const hook of ['constructEnv', 'constructRepository', 'constructNotificationLog']) {
      expect(() => tracedSchool({ [hook]: undefined }), hook).to.throw(ProgrammingError, `${hook}()`)
    }
  })
})

/** A school that notes which hooks are called, some of which may give what they should not. */
function tracedSchool(instead: Record<string, unknown> = {}) {
  const called: string[] = []
  class School extends TrainingSchool {}
  for (const name of Object.getOwnPropertyNames(Construction.prototype)) {
    if (!/^construct.|^registerTranscodings$/.test(name)) continue
    const hook = (Construction.prototype as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!
    Object.defineProperty(School.prototype, name, {
      value(this: School, ...args: unknown[]) {
        called.push(name)
        return name in instead ? instead[name] : hook.apply(this, args)
      },
    })
  }
  return { school: new School(), called }
}
