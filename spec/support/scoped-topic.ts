import { expect } from 'chai'
import { AsyncLocalStorage } from 'node:async_hooks'
import { Application } from '../../lib/application/application.js'
import {
  InterfaceError,
  NotSupportedError,
  ProgrammingError,
  RecordConflictError,
  TopicError,
} from '../../lib/errors.js'
import { type DrizzleFactory, scopedSession } from '../../lib/drizzle/index.js'
import '../../lib/index.js'
import { cacheEnv } from './cached-schools.js'
import { Dog } from './dogs.js'
import { gate } from './gate.js'
import { rejection } from './rejection.js'

/** A database with a table `owners`, and how a program of its user's works with it. */
export interface Stage extends AsyncDisposable {
  /** Variables that say where it is. */
  readonly url: Record<string, unknown>
  /** Variables beside a topic without a URL. */
  readonly noUrl: Record<string, unknown>
  /** A Drizzle database without a transaction. */
  readonly db: object
  /** Begins a transaction of the user's, does the work with it, and ends it: by default commits what resolves. */
  begun<T>(work: (session: object) => Promise<T>, commits?: boolean): Promise<T>
  insertOwner(session: object, name: string): Promise<void>
  /** Those that are committed. */
  ownerNames(): Promise<string[]>
  /** Event tables that are committed. */
  eventTables(): Promise<string[]>
}

/** What every database does with the sessions that a topic gives. */
export function scopedTopicCases(open: () => Promise<Stage>): void {
  let stage: Stage
  const applications: Application[] = []
  const current = new AsyncLocalStorage<object>()
  const topic = () => current.getStore()

  beforeEach(async () => {
    stage = await open()
  })

  afterEach(async () => {
    for (const application of applications.splice(0)) await application.close()
    await stage[Symbol.asyncDispose]()
  })

  it('commits events with the rows of the scope’s transaction, when its user commits that', async () => {
    const school = await created(stage.url)
    await scope(async (session) => {
      await stage.insertOwner(session, 'Ann')
      await school.save(new Dog('Fido'))
      expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
      expect(await current.exit(() => school.repository.has(Dog.createId('Fido')))).to.equal(false)
    })
    expect(await stage.ownerNames()).to.deep.equal(['Ann'])
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
  })

  it('loses both where the scope ends without a commit, or with an error', async () => {
    const school = await created(stage.url)
    const work = async (session: object) => {
      await stage.insertOwner(session, 'Ann')
      await school.save(new Dog('Fido'))
    }
    await scope(work, false)
    await rejection(
      scope(async (session) => {
        await work(session)
        throw new RangeError('of the handler')
      }),
      RangeError,
    )
    expect(await stage.ownerNames()).to.deep.equal([])
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(false)
    await scope(work)
    expect(await school.repository.has(Dog.createId('Fido'))).to.equal(true)
  })

  it('keeps scopes that are open at the same time apart', async () => {
    const school = await created(stage.url)
    await school.save(new Dog('Rex'))
    const [saved, looked] = [gate(), gate()]
    const has = (name: string) => school.repository.has(Dog.createId(name))
    await Promise.all([
      scope(async () => {
        await school.save(new Dog('Fido'))
        saved.open()
        await looked.passed
        expect(await has('Fido')).to.equal(true)
      }, false),
      scope(async () => {
        await saved.passed
        expect([await has('Rex'), await has('Fido')]).to.deep.equal([true, false])
        looked.open()
      }),
    ])
    expect(await has('Fido')).to.equal(false)
  })

  it('has nothing of a cache inside of a scope, which may end as it will', async () => {
    const school = await created({ ...stage.url, ...cacheEnv() })
    await school.save(new Dog('Fido'))
    const learn = async () => {
      const dog = await school.repository.get(Dog, Dog.createId('Fido'))
      dog.addTrick('never')
      await school.save(dog)
      return (await school.repository.get(Dog, dog.id)).tricks
    }
    const tricks = async () => (await school.repository.get(Dog, Dog.createId('Fido'))).tricks
    for (let time = 0; time < 2; time += 1) {
      expect(await scope(learn, false)).to.deep.equal(['never'])
      expect(await tricks()).to.deep.equal([])
    }
    await scope(learn)
    expect(await tricks()).to.deep.equal(['never'])
  })

  it('leaves the scope’s transaction usable after a conflict', async () => {
    const school = await created(stage.url)
    await school.save(new Dog('Fido'))
    await scope(async (session) => {
      await rejection(school.save(new Dog('Fido')), RecordConflictError)
      await rejection(school.save(new Dog('Rex'), new Dog('Fido')), RecordConflictError)
      await stage.insertOwner(session, 'Ann')
      await school.save(new Dog('Buster'))
    })
    expect(await stage.ownerNames()).to.deep.equal(['Ann'])
    expect(await names(school)).to.deep.equal(['Fido', 'Buster'])
  })

  it('has its own connections where there is no scope, and outside of it by outside()', async () => {
    const school = await created(stage.url)
    await school.save(new Dog('Fido'))
    await scope(async () => {
      await school.factory.datastore.outside(() => school.save(new Dog('Rex')))
      await school.save(new Dog('Buster'))
    }, false)
    expect(await names(school)).to.deep.equal(['Fido', 'Rex'])
  })

  it('has savepoints in the scope’s transaction for transaction(), and never commits that', async () => {
    const school = await created(stage.url)
    const inner = async () => {
      await school.transaction(async (session) => {
        await stage.insertOwner(session, 'Ann')
        await school.save(new Dog('Fido'))
      })
      await rejection(
        school.transaction(async (session) => {
          await stage.insertOwner(session, 'Ben')
          await school.save(new Dog('Rex'))
          await stage.insertOwner(session, 'Ann')
        }),
        Error,
      )
      await school.transaction(async () => {
        await school.transaction(() => school.save(new Dog('Buster')))
        await rejection(
          school.transaction(async () => {
            await school.save(new Dog('Rex'))
            throw new RangeError('undone')
          }),
          RangeError,
        )
      })
      expect(await names(school)).to.deep.equal(['Fido', 'Buster'])
    }
    await scope(inner, false)
    expect(await stage.ownerNames()).to.deep.equal([])
    expect(await names(school)).to.deep.equal([])
    await scope(inner)
    expect(await stage.ownerNames()).to.deep.equal(['Ann'])
    expect(await names(school)).to.deep.equal(['Fido', 'Buster'])
  })

  it('refuses what it can’t know of a transaction of the user’s, and an isolation level in one', async () => {
    const school = await created(stage.url)
    await scope(async () => {
      await school.transaction((session) => {
        expect(() => session.afterCommit(() => undefined)).to.throw(NotSupportedError, 'commits')
      })
      await rejection(
        school.transaction(() => undefined, { isolationLevel: 'serializable' }),
        ProgrammingError,
        'outermost',
      )
    })
  })

  it('gives an aggregate its events back at the rollback of a savepoint of ours, and saves it again later', async () => {
    const school = await created(stage.url)
    const dog = new Dog('Fido')
    await scope(async () => {
      await rejection(
        school.transaction(async () => {
          await school.save(dog)
          throw new RangeError('undone')
        }),
        RangeError,
      )
      await school.save(dog)
    })
    dog.addTrick('roll over')
    await school.save(dog)
    expect((await school.repository.get(Dog, dog.id)).tricks).to.deep.equal(['roll over'])
  })

  it('prefers the innermost transaction() of ours to a scope', async () => {
    const school = await created(stage.url)
    await rejection(
      school.transaction(async () => {
        await current.run(stage.db, () => school.save(new Dog('Fido')))
        throw new RangeError('undone')
      }),
      RangeError,
    )
    expect(await names(school)).to.deep.equal([])
  })

  it('makes tables outside of the scope’s transaction where it has a URL', async () => {
    const school = made(stage.url)
    await scope(() => school.save(new Dog('Fido')), false)
    expect(await stage.eventTables()).to.deep.equal(['school_events'])
    expect(await names(school)).to.deep.equal([])
  })

  it('needs no URL: the first scope tells the database, and tables are made in its transaction', async () => {
    const school = await created(stage.noUrl)
    await rejection(school.save(new Dog('Fido')), ProgrammingError, /no scoped session.*DRIZZLE_URL/)
    await rejection(names(school), ProgrammingError, /no scoped session/)
    await rejection(
      school.transaction(() => undefined),
      ProgrammingError,
      /no scoped session/,
    )
    await scope(() => school.save(new Dog('Fido')), false)
    expect(await stage.eventTables()).to.deep.equal([])
    for (const name of ['Fido', 'Rex', 'Buster']) await scope(() => school.save(new Dog(name)))
    expect(await stage.eventTables()).to.deep.equal(['school_events'])
    await scope(async () => {
      expect(await names(school)).to.deep.equal(['Fido', 'Rex', 'Buster'])
      await rejection(
        school.factory.datastore.outside(() => names(school)),
        ProgrammingError,
      )
    })
  })

  it('makes tables at create() where that is called inside a scope', async () => {
    const school = await scope(() => created(stage.noUrl))
    expect(await stage.eventTables()).to.deep.equal(['school_events'])
    await scope(() => school.save(new Dog('Fido')))
  })

  it('needs no URL where the scope’s session is one of ours', async () => {
    const kennel = await created(stage.url, undefined, 'Kennel')
    const school = await created(stage.noUrl)
    const inOurs = (commits: boolean) =>
      kennel.transaction((session) => current.run(session, () => school.save(new Dog('Fido'))), { commit: commits })
    await rejection(inOurs(false), ProgrammingError, 'commit=False')
    await inOurs(true)
    await current.run(stage.db, async () => {
      expect(await names(school)).to.deep.equal(['Fido'])
    })
  })

  it('takes a scope of scopedSession() and a session by hand, also without a URL', async () => {
    const kennel = await created(stage.url, null, 'Kennel')
    const { datastore } = kennel.factory as DrizzleFactory
    await using session = await datastore.openSession()
    const requests = scopedSession(datastore)
    for (const [index, variables] of [stage.url, stage.noUrl].entries()) {
      const name = `School${index}`
      const school = await created(variables, requests, name)
      await requests.run(() => school.save(new Dog('Fido')))
      await requests.run(() => school.save(new Dog('Rex')), { commitOnExit: true })
      expect(await requests.run(() => names(school))).to.deep.equal(['Rex'])

      const byHand = await created(variables, () => session, name)
      await byHand.save(new Dog('Fido'))
      await session.rollback()
      await byHand.save(new Dog('Buster'))
      await session.commit()
      expect(await names(byHand)).to.deep.equal(['Rex', 'Buster'])
      await session.rollback()
    }
  })

  it('says that a session of ours which has ended has ended', async () => {
    const school = await created(stage.url)
    const session = await school.transaction((each) => each)
    await rejection(
      current.run(session, () => school.save(new Dog('Fido'))),
      InterfaceError,
      'ended',
    )
  })

  for (const variables of ['url', 'noUrl'] as const) {
    it(`takes a plain database, on which each save stands by itself (${variables})`, async () => {
      const school = await created(stage[variables])
      await current.run(stage.db, async () => {
        await school.save(new Dog('Fido'), new Dog('Rex'))
        await rejection(school.save(new Dog('Buster'), new Dog('Fido')), RecordConflictError)
        await rejection(
          school.transaction(async (session) => {
            await school.save(new Dog('Buster'))
            await stage.insertOwner(session, 'Ann')
            throw new RangeError('undone')
          }),
          RangeError,
        )
        let committed = 0
        await school.transaction(async (session) => {
          session.afterCommit(() => {
            committed += 1
          })
          await school.save(new Dog('Lassie'))
        })
        expect(committed).to.equal(1)
        expect(await names(school)).to.deep.equal(['Fido', 'Rex', 'Lassie'])
      })
      expect(await stage.ownerNames()).to.deep.equal([])
      expect(await stage.eventTables()).to.deep.equal(['school_events'])
    })
  }

  it('keeps a transaction of ours on a plain database from others that have the same database', async () => {
    const school = await created(stage.noUrl)
    const [saved, goOn] = [gate(), gate()]
    const undone = current.run(stage.db, () =>
      rejection(
        school.transaction(async () => {
          await school.save(new Dog('Fido'))
          saved.open()
          await goOn.passed
          throw new RangeError('undone')
        }),
        RangeError,
      ),
    )
    await saved.passed
    const other = current.run(stage.db, () => school.save(new Dog('Rex')))
    goOn.open()
    await Promise.all([undone, other])
    expect(await current.run(stage.db, () => names(school))).to.deep.equal(['Rex'])
  })

  it('refuses whatever is done without a scope where DRIZZLE_REQUIRE_SCOPED_SESSION is on', async () => {
    for (const variables of [stage.url, stage.noUrl]) {
      const school = await created({ ...variables, DRIZZLE_REQUIRE_SCOPED_SESSION: 'y' })
      const refused = async (work: () => Promise<unknown>) => {
        await rejection(work(), ProgrammingError, 'DRIZZLE_REQUIRE_SCOPED_SESSION')
      }
      await refused(() => school.save(new Dog('Fido')))
      await refused(() => school.repository.get(Dog, 'a'))
      await refused(() => names(school))
      await refused(() => school.recorder.maxNotificationId())
      await refused(() => school.transaction(() => undefined))
      await scope(() => school.save(new Dog('Fido')), false)
    }
  })

  it('asks for the session at each operation, of whatever forwards to it', async () => {
    const forwards: [string, unknown][] = [
      ['a function', topic],
      ['an object that has it as tx', Object.defineProperty({}, 'tx', { get: topic })],
      ['an object that has it as session', Object.defineProperty({}, 'session', { get: topic })],
      [
        'an object that forwards every property',
        new Proxy({}, { get: (_, key) => Reflect.get(topic() ?? {}, key) as unknown }),
      ],
      [
        'a class whose object forwards',
        class {
          get tx() {
            return topic()
          }
        },
      ],
      [
        'a class with a constructor that returns it',
        class {
          constructor() {
            return topic() ?? { tx: undefined }
          }
        },
      ],
      [
        'a class that is itself asked',
        class {
          static get tx() {
            return topic()
          }
        },
      ],
    ]
    for (const [index, [title, forward]] of forwards.entries()) {
      const school = await created(stage.url, forward, `School${index}`)
      await scope(() => school.save(new Dog('Fido')), false)
      expect(await names(school), title).to.deep.equal([])
      await scope(() => school.save(new Dog('Fido')))
      expect(await names(school), title).to.deep.equal(['Fido'])
    }
  })

  const refused: [title: string, given: unknown, says: RegExp][] = [
    ['a promise', () => Promise.resolve(undefined), /promise/],
    ['an object that is no session', () => ({ a: 1 }), /leads to no session/],
    ['a number', () => 1, /leads to no session/],
    ['a database of another driver', () => new OtherDatabase(), /OtherDatabase.*(postgres\.js|better-sqlite3)/],
  ]
  for (const [title, given, says] of refused) {
    it(`refuses ${title} where a session is wanted`, async () => {
      const school = made(stage.url, given)
      await rejection(school.ready(), ProgrammingError, says)
      await rejection(school.save(new Dog('Fido')), ProgrammingError, says)
    })
  }

  it('names the drivers that it takes sessions of, where no URL tells the database', async () => {
    const school = made(stage.noUrl, () => new OtherDatabase())
    await rejection(school.save(new Dog('Fido')), ProgrammingError, /better-sqlite3.* or postgres\.js/)
  })

  it('is refused by create() where the topic names nothing', async () => {
    await rejection(created(stage.url, 'node:path#nothing'), TopicError)
    await rejection(created(stage.noUrl, './nothing-here.js#getSession'), TopicError)
  })

  it('reads both variables with the application’s name before them', async () => {
    const env = { ...stage.url, SCHOOL_DRIZZLE_SCOPED_SESSION_TOPIC: topic }
    const [school, kennel] = [await created(env, null), await created(env, null, 'Kennel')]
    await scope(() => school.save(new Dog('Fido')), false)
    await current.run(stage.db, () => kennel.save(new Dog('Rex')))
    expect([await names(school), await names(kennel)]).to.deep.equal([[], ['Rex']])
    expect(school.factory.datastore).not.to.equal(kennel.factory.datastore)
    const strict = await created({ ...env, STRICT_DRIZZLE_REQUIRE_SCOPED_SESSION: 'on' }, null, 'Strict')
    await rejection(names(strict), ProgrammingError, 'DRIZZLE_REQUIRE_SCOPED_SESSION')
  })

  it('is shared by applications with the same topic: a transaction of one covers the other', async () => {
    const [school, kennel] = [await created(stage.url), await created(stage.url, topic, 'Kennel')]
    expect(school.factory.datastore).to.equal(kennel.factory.datastore)
  })

  it('serves a datastore that is given, and refuses a second topic for it', async () => {
    const { datastore } = (await created(stage.url, null)).factory
    const school = new Application({
      name: 'School',
      persistence: datastore,
      env: { DRIZZLE_SCOPED_SESSION_TOPIC: topic },
    })
    await scope(() => school.save(new Dog('Fido')), false)
    expect(await names(school)).to.deep.equal([])
    const other = { name: 'Other', persistence: datastore, env: { DRIZZLE_SCOPED_SESSION_TOPIC: () => undefined } }
    expect(() => new Application(other)).to.throw(ProgrammingError, 'another')
  })

  function scope<T>(work: (session: object) => Promise<T>, commits = true): Promise<T> {
    return stage.begun((session) => current.run(session, () => work(session)), commits)
  }

  function made(env: Record<string, unknown>, asked: unknown = topic, name = 'School'): Application {
    const variables = asked === null ? env : { ...env, DRIZZLE_SCOPED_SESSION_TOPIC: asked }
    const application = new Application({
      name,
      env: { PERSISTENCE_MODULE: 'eventsourcing-drizzle', ...variables },
    })
    applications.push(application)
    return application
  }

  async function created(env: Record<string, unknown>, asked: unknown = topic, name = 'School'): Promise<Application> {
    const application = made(env, asked, name)
    await application.ready()
    return application
  }
}

/** The dogs of a school, in the order of their registration. */
async function names(school: Application): Promise<string[]> {
  const notifications = await school.recorder.selectNotifications({ start: 1, limit: 100 })
  const dogs = new Map(['Fido', 'Rex', 'Buster', 'Lassie'].map((name) => [Dog.createId(name), name]))
  return notifications.map(({ originatorId }) => dogs.get(originatorId) ?? originatorId)
}

const entityKind = Symbol.for('drizzle:entityKind')

class OtherSession {
  static readonly [entityKind] = 'OtherSession'
}

class OtherDatabase {
  static readonly [entityKind] = 'OtherDatabase'
  readonly session = new OtherSession()
  select(): void {
    // as Drizzle's have
  }
}
