import { expect } from 'chai'
import { isDeepStrictEqual } from 'node:util'
import { v5 as uuidv5 } from 'uuid'
import { Aggregate, giveBack } from '../../lib/domain/aggregate.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import type { DomainEvent } from '../../lib/domain/event.js'
import { definitionOf, Replay } from '../../lib/domain/replay.js'
import { OriginatorIdError, OriginatorVersionError, ProgrammingError, TopicError } from '../../lib/errors.js'
import { Cat, Dog, Puppy } from '../support/dogs.js'
import { readAgain, replay, replayed } from '../support/replayed.js'

const uuid4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

describe('An aggregate', () => {
  it('has one pending event when it is made, with its arguments by name', () => {
    const dog = new Dog('Fido')
    expect(dog.version).to.equal(1)
    expect(dog.pendingEvents).to.have.length(1)
    const { timestamp, ...rest } = dog.pendingEvents[0]!
    expect(rest).to.deep.equal({
      originatorId: dog.id,
      originatorVersion: 1,
      topic: 'Dog.Registered',
      data: { name: 'Fido' },
      metadata: {},
    })
    expect(timestamp).to.deep.equal(dog.createdOn).and.to.deep.equal(dog.modifiedOn)
  })

  it('has one more with each decorated call, at the next version', () => {
    const dog = new Dog('Fido')
    dog.addTrick('roll over')
    expect(dog.tricks).to.deep.equal(['roll over'])
    expect(dog.version).to.equal(2)
    const { topic, data, originatorVersion, timestamp } = dog.pendingEvents[1]!
    expect({ topic, data, originatorVersion }).to.deep.equal({
      topic: 'Dog.TrickAdded',
      data: { trick: 'roll over' },
      originatorVersion: 2,
    })
    expect(dog.modifiedOn).to.deep.equal(timestamp)
  })

  it('shows what is pending as it was, and cannot be changed through it', () => {
    const dog = new Dog('Fido')
    const before = dog.pendingEvents
    dog.addTrick('sit')
    expect(before).to.have.length(1)
    expect(() => (before as DomainEvent[]).pop()).to.throw(TypeError)
  })

  it('gives its events once, in order', () => {
    const dog = new Dog('Fido')
    dog.addTrick('sit')
    expect(dog.collectEvents().map(({ originatorVersion }) => originatorVersion)).to.deep.equal([1, 2])
    expect(dog.collectEvents()).to.deep.equal([])
    dog.addTrick('beg')
    expect(dog.collectEvents().map(({ originatorVersion }) => originatorVersion)).to.deep.equal([3])
  })

  it('takes events back before those that came meanwhile', () => {
    const dog = new Dog('Fido')
    const collected = dog.collectEvents()
    dog.addTrick('sit')
    giveBack(dog, collected)
    expect(dog.pendingEvents.map(({ originatorVersion }) => originatorVersion)).to.deep.equal([1, 2])
    giveBack(dog, [])
    expect(dog.pendingEvents).to.have.length(2)
  })

  it('equals what its events make, pending events aside', () => {
    const dog = new Dog('Fido')
    dog.addTrick('sit')
    const again = replayed(dog)
    expect(again?.pendingEvents).to.deep.equal([])
    expect(isDeepStrictEqual(again, dog)).to.equal(true)
    dog.addTrick('beg')
    expect(isDeepStrictEqual(again, dog)).to.equal(false)
  })

  it('is an aggregate without any class of its own', () => {
    const plain = new Aggregate()
    expect(plain.id).to.match(uuid4)
    expect(plain.pendingEvents.map(({ topic, data }) => ({ topic, data }))).to.deep.equal([
      { topic: 'Aggregate.Created', data: {} },
    ])
    expect(isDeepStrictEqual(replayed(plain), plain)).to.equal(true)
  })

  it('keeps its constructor, instanceof and name', () => {
    const dog = new Dog('Fido')
    expect(dog.constructor).to.equal(Dog)
    expect(dog).to.be.instanceOf(Dog).and.instanceOf(Aggregate)
    expect(Dog.name).to.equal('Dog')
    expect(Dog.prototype.addTrick.name).to.equal('addTrick')
    expect(Dog.prototype.addTrick).to.have.length(1)
    expect(Object.keys(dog)).to.have.members(['id', 'version', 'createdOn', 'modifiedOn', 'name', 'tricks'])
  })

  it('has dates that nobody shares with its events', () => {
    const dog = new Dog('Fido')
    const time = dog.createdOn.getTime()
    dog.createdOn.setTime(0)
    dog.addTrick('sit')
    dog.modifiedOn.setTime(1)
    const [first, second] = dog.pendingEvents
    expect(first!.timestamp.getTime()).to.equal(time)
    expect(second!.timestamp.getTime()).to.be.at.least(time)
  })

  it('has private fields and readonly parameters', () => {
    @aggregate('Vault', { created: event('Built', 'code', 'place') })
    class Vault extends Aggregate {
      static #built = 0
      #opened = 0
      readonly #code: string
      constructor(
        code: string,
        readonly place: string,
      ) {
        super()
        this.#code = code
        Vault.#built++
      }
      static get built() {
        return this.#built
      }
      static #secret() {
        return Vault.#built * 10
      }
      static reveal() {
        return this.#secret()
      }
      @event('Opened', 'code')
      open(code: string) {
        if (code === this.#code) this.#opened++
      }
      get opened() {
        return this.#opened
      }
    }
    const vault = new Vault('1234', 'cellar')
    vault.open('1234')
    vault.open('0000')
    expect(vault.opened).to.equal(1)
    const again = replayed(vault) as Vault
    expect(again.opened).to.equal(1)
    expect(again.place).to.equal('cellar')
    expect([Vault.built, Vault.reveal()]).to.deep.equal([2, 20])
  })
})

describe('A decorated method', () => {
  @aggregate('Robot')
  class Robot extends Aggregate {
    at = { x: 0, y: 0 }
    log: unknown[] = []
    @event('Moved') move(to: { x: number; y: number }) {
      this.at = to
    }
    @event('Started') start() {
      this.log.push('started')
    }
    @event('Noted', 'what', 'why') note(what: unknown, why?: string) {
      this.log.push(what, why)
      return this.log.length
    }
    @event('Failed', 'what') fail(what: string) {
      this.log.push('half')
      throw new RangeError(what)
    }
    @event('Nested') nest() {
      this.start()
    }
    @event('Promised', 'fails') promise(fails: boolean): unknown {
      return fails ? Promise.reject(new Error('late')) : Promise.resolve()
    }
    @event('Odd', 'toString', 'constructor') odd(a?: string, b?: string) {
      this.log.push(a, b)
    }
    @event('Protected', 'x') protected hidden(x: number) {
      this.log.push(x)
    }
    @event('Private', 'x') private veryHidden(x: number) {
      this.log.push(x)
    }
    hide(x: number) {
      if (x < 0) return
      this.hidden(x)
      this.veryHidden(x + 1)
    }
  }

  it('may take one object, which is the data', () => {
    const robot = new Robot()
    robot.move({ x: 1, y: 2 })
    expect(robot.at).to.deep.equal({ x: 1, y: 2 })
    expect(robot.pendingEvents[1]!.data).to.deep.equal({ x: 1, y: 2 })
    expect(isDeepStrictEqual(replayed(robot), robot)).to.equal(true)
  })

  it('may take nothing', () => {
    const robot = new Robot()
    robot.start()
    expect(robot.pendingEvents[1]!.data).to.deep.equal({})
  })

  it('returns what its body returns', () => {
    expect(new Robot().note('a')).to.equal(2)
  })

  it('leaves an undefined argument out of the data', () => {
    const robot = new Robot()
    robot.note('a')
    robot.note(null, undefined)
    robot.odd(undefined, 'b')
    expect(robot.pendingEvents.slice(1).map(({ data }) => data)).to.deep.equal([
      { what: 'a' },
      { what: null },
      { constructor: 'b' },
    ])
    expect(robot.log).to.deep.equal(['a', undefined, null, undefined, undefined, 'b'])
    expect(isDeepStrictEqual(replayed(robot), robot)).to.equal(true)
  })

  it('gets as many arguments as it has parameters, when it happens as on replay', () => {
    const counts: number[] = []
    @aggregate('Counting')
    class Counting extends Aggregate {
      @event('Counted', 'a', 'b', 'c') count(_a: unknown, _b?: unknown, _c?: unknown) {
        counts.push(arguments.length)
      }
    }
    const counting = new Counting()
    counting.count(1)
    counting.count(undefined, [2])
    counting.count(1, 2, 3)
    replayed(counting)
    expect(counts).to.deep.equal([3, 3, 3, 3, 3, 3])
  })

  it('is applied by the method of the subclass that overrides it, with names of its own', () => {
    const seen: unknown[] = []
    @aggregate('Parent')
    class Parent extends Aggregate {
      @event('Told', 'what') tell(what: unknown) {
        seen.push(['parent', what])
      }
    }
    @aggregate('Child')
    class Child extends Parent {
      @event('Told', 'news') override tell(news: unknown) {
        seen.push(['child', news])
      }
      tellAsParent(what: unknown) {
        super.tell(what)
      }
    }
    const [parent, child] = [new Parent(), new Child()]
    parent.tell(1)
    child.tell(2)
    child.tellAsParent(3)
    parent.tell(4)
    const happened = [...seen]
    expect(happened).to.deep.equal([
      ['parent', 1],
      ['child', 2],
      ['child', undefined],
      ['parent', 4],
    ])
    expect(child.pendingEvents.slice(1).map(({ data }) => data)).to.deep.equal([{ news: 2 }, { what: 3 }])
    replayed(child)
    expect(seen.slice(4)).to.deep.equal(happened.slice(1, 3))
  })

  it('has its own copy of the data, as has the event', () => {
    const robot = new Robot()
    const to = { x: 1, y: 2 }
    robot.move(to)
    to.x = 10
    expect(robot.at.x).to.equal(1)
    robot.at.x = 20
    const data = robot.pendingEvents[1]!.data as typeof to
    expect(data.x).to.equal(1)
    expect(() => (data.x = 30)).to.throw(TypeError)
    const note = { list: [{ a: 1 }] }
    robot.note(note)
    note.list[0]!.a = 2
    const kept = robot.log[0] as typeof note
    expect(kept).to.deep.equal({ list: [{ a: 1 }] })
    kept.list.push({ a: 3 })
    expect(robot.pendingEvents[2]!.data).to.deep.equal({ what: { list: [{ a: 1 }] } })
    expect(() => (robot.pendingEvents[2]!.data as { what: typeof note }).what.list.pop()).to.throw(TypeError)
  })

  it('gives frozen events', () => {
    const [created] = new Robot().pendingEvents
    expect(() => ((created as { topic: string }).topic = 'x')).to.throw(TypeError)
    expect(() => (created!.metadata['x'] = 1)).to.throw(TypeError)
  })

  it('changes neither version nor time, and has no event pending, when its body throws', () => {
    const robot = new Robot()
    robot.modifiedOn.setTime(0)
    expect(() => robot.fail('no')).to.throw(RangeError, 'no')
    expect(robot.version).to.equal(1)
    expect(robot.modifiedOn.getTime()).to.equal(0)
    expect(robot.pendingEvents).to.have.length(1)
    robot.start()
    expect(robot.version).to.equal(2)
  })

  it('refuses to be called from a decorated body', () => {
    const robot = new Robot()
    expect(() => robot.nest()).to.throw(ProgrammingError, /Robot\.Started.*undecorated command/)
    expect(robot.pendingEvents).to.have.length(1)
    robot.start()
    expect(robot.version).to.equal(2)
  })

  it('refuses to be called from a body on replay', () => {
    const robot = new Robot()
    const events = readAgain(robot.pendingEvents)
    const nested = { ...events[0]!, originatorVersion: 2, topic: 'Robot.Nested', data: {} }
    expect(() => replay([...events, nested])).to.throw(ProgrammingError, /Robot\.Started/)
  })

  it('refuses another aggregate’s decorated method in its body', () => {
    @aggregate('Remote')
    class Remote extends Aggregate {
      @event('Pressed') press() {
        robot.start()
      }
    }
    const robot = new Robot()
    expect(() => new Remote().press()).to.throw(ProgrammingError, /Robot\.Started/)
    expect(robot.version).to.equal(1)
  })

  it('refuses a body that returns a promise, whose failure is nobody’s', async () => {
    const unhandled: unknown[] = []
    const listener = (reason: unknown) => unhandled.push(reason)
    process.on('unhandledRejection', listener)
    const robot = new Robot()
    try {
      expect(() => robot.promise(true)).to.throw(ProgrammingError, /Robot\.Promised.*promise/)
      expect(() => robot.promise(false)).to.throw(ProgrammingError)
      await new Promise((resolve) => setTimeout(resolve, 5))
    } finally {
      process.off('unhandledRejection', listener)
    }
    expect(unhandled).to.deep.equal([])
    expect([robot.version, robot.pendingEvents.length]).to.deep.equal([1, 1])
  })

  it('may be protected or private, for commands that decide', () => {
    const robot = new Robot()
    robot.hide(-1)
    expect(robot.version).to.equal(1)
    robot.hide(1)
    expect(robot.pendingEvents.map(({ topic, originatorVersion }) => [topic, originatorVersion])).to.deep.equal([
      ['Robot.Created', 1],
      ['Robot.Protected', 2],
      ['Robot.Private', 3],
    ])
  })

  it('refuses arguments that are not its parameters', () => {
    // As from JavaScript, where no compiler stands before it.
    const robot = new Robot() as unknown as Record<string, (...args: unknown[]) => unknown>
    expect(() => robot['start']!(1)).to.throw(ProgrammingError, /Robot\.Started/)
    expect(() => robot['note']!(1, 'b', 3)).to.throw(ProgrammingError, /2 argument/)
    expect(() => robot['move']!()).to.throw(ProgrammingError, /plain object/)
    expect(() => robot['move']!([1])).to.throw(ProgrammingError, /plain object/)
    expect(() => robot['move']!(new Date())).to.throw(ProgrammingError, /plain object/)
    expect(() => robot['move']!({ x: 1 }, 2)).to.throw(ProgrammingError, /1 argument/)
    expect((robot as unknown as Robot).version).to.equal(1)
  })

  it('refuses values that can’t be kept, and names the event, not the value', () => {
    const robot = new Robot()
    expect(() => robot.note(() => 'secret'))
      .to.throw(ProgrammingError, /Robot\.Noted.*function/)
      .with.property('message')
      .not.match(/secret/)
    const circle: unknown[] = []
    circle.push(circle)
    expect(() => robot.note(circle)).to.throw(ProgrammingError, /Robot\.Noted/)
    expect([robot.version, robot.log.length]).to.deep.equal([1, 0])
  })

  it('refuses to run without its aggregate', () => {
    const { start } = Robot.prototype
    expect(() => start.call(undefined as unknown as Robot)).to.throw(ProgrammingError, /Started/)
    expect(() => start.call({} as Robot)).to.throw(ProgrammingError, /Started/)
    const robot = new Robot()
    const bound = start.bind(robot)
    bound()
    expect(robot.version).to.equal(2)
  })
})

describe('Creation', () => {
  it('has the id that static createId makes of the arguments', () => {
    expect(new Dog('Fido').id).to.equal(Dog.createId('Fido')).and.to.equal(uuidv5('/dogs/Fido', uuidv5.URL))
  })

  it('calls createId on the class, so that a subclass may change what it uses', () => {
    @aggregate('Named', { created: event('Born', 'name') })
    class Named extends Aggregate {
      static prefix = 'named'
      static createId(name: string) {
        return `${this.prefix}-${name}`
      }
      constructor(readonly name: string) {
        super()
      }
    }
    @aggregate('Renamed')
    class Renamed extends Named {
      static override prefix = 'renamed'
    }
    expect(new Named('x').id).to.equal('named-x')
    expect(new Renamed('x').id).to.equal('renamed-x')
  })

  it('has a random UUID (v4) otherwise', () => {
    @aggregate('Anyone')
    class Anyone extends Aggregate {}
    const [a, b] = [new Anyone(), new Anyone()]
    expect(a.id).to.match(uuid4)
    expect(b.id).to.match(uuid4).and.not.equal(a.id)
    expect(a.pendingEvents[0]).to.deep.include({ topic: 'Anyone.Created', data: {} })
  })

  it('refuses an id that is neither a UUID nor non-empty text', () => {
    let id: unknown
    @aggregate('Identified')
    class Identified extends Aggregate {
      static createId() {
        return id
      }
    }
    for (id of ['', 'a\0b', 1, null, undefined, {}, Promise.resolve('a')]) {
      expect(() => new Identified(), String(id)).to.throw(TypeError, /Identified/)
    }
    id = 'any text'
    expect(new Identified().id).to.equal('any text')
  })

  it('takes one object without created', () => {
    @aggregate('Boxed')
    class Boxed extends Aggregate {
      size: number
      constructor(readonly data: { size: number; tags: string[] }) {
        super()
        this.size = data.size
      }
    }
    const given = { size: 1, tags: ['a'] }
    const boxed = new Boxed(given)
    given.tags.push('b')
    boxed.data.tags.push('c')
    expect(boxed.pendingEvents[0]).to.deep.include({ topic: 'Boxed.Created', data: { size: 1, tags: ['a'] } })
    expect(replayed(boxed)).to.deep.include({ size: 1, id: boxed.id })
    expect(() => new Boxed('text' as never)).to.throw(ProgrammingError, /Boxed\.Created.*plain object/)
  })

  it('has no event pending when the constructor throws, and goes on afterwards', () => {
    @aggregate('Picky', { created: event('Born', 'name') })
    class Picky extends Aggregate {
      constructor(readonly name: string) {
        super()
        if (name === '') throw new RangeError('no name')
      }
    }
    expect(() => new Picky('')).to.throw(RangeError)
    expect(new Picky('x').version).to.equal(1)
  })

  it('may construct other aggregates, before its own super() too', () => {
    const made: Aggregate[] = []
    @aggregate('Twin', { created: event('Born', 'depth') })
    class Twin extends Aggregate {
      other: string
      constructor(readonly depth: number) {
        const before = depth > 0 ? new Twin(depth - 1) : new Dog('Inner')
        super()
        const after = new Dog(`after ${depth}`)
        this.other = before.id
        made.push(before, after)
      }
    }
    const twin = new Twin(2)
    expect(new Set([twin.id, ...made.map(({ id }) => id)]).size).to.equal(7)
    for (const each of [twin, ...made]) {
      expect(each.version).to.equal(1)
      expect(each.pendingEvents.map(({ originatorId }) => originatorId)).to.deep.equal([each.id])
    }
    expect(made.filter((each) => each instanceof Twin)).to.have.length(2)
  })

  it('refuses a decorated call in the constructor, on itself or another', () => {
    @aggregate('Eager', { created: event('Born', 'other') })
    class Eager extends Aggregate {
      constructor(other: boolean) {
        super()
        if (other) new Dog('Fido').addTrick('sit')
        else this.run()
      }
      @event('Ran') run() {}
    }
    expect(() => new Eager(false)).to.throw(ProgrammingError, /Eager\.Ran.*constructor/)
    expect(() => new Eager(true)).to.throw(ProgrammingError, /Dog\.TrickAdded/)
    expect(new Dog('Rex').addTrick('beg')).to.equal(undefined)
  })

  it('refuses a class that sets what every aggregate has', () => {
    @aggregate('Versioned')
    class Versioned extends Aggregate {
      override version = 7
    }
    @aggregate('SelfIdentified')
    class SelfIdentified extends Aggregate {
      override id = 'mine'
    }
    @aggregate('Dated')
    class Dated extends Aggregate {
      constructor() {
        super()
        ;(this as { modifiedOn: unknown }).modifiedOn = 'today'
      }
    }
    @aggregate('Replaced')
    class Replaced extends Aggregate {
      constructor() {
        super()
        return Object.create(this) as Replaced
      }
    }
    expect(() => new Versioned()).to.throw(ProgrammingError, /Versioned.*'version'/)
    expect(() => new SelfIdentified()).to.throw(ProgrammingError, /SelfIdentified.*'id'/)
    expect(() => new Dated()).to.throw(ProgrammingError, /Dated.*'modifiedOn'/)
    expect(() => new Replaced()).to.throw(ProgrammingError, /Replaced.*another object/)
  })

  it('works with a private constructor behind a factory', () => {
    @aggregate('Account', { created: event('Opened', 'owner') })
    class Account extends Aggregate {
      private constructor(readonly owner: string) {
        super()
      }
      static open(owner: string) {
        return new this(owner.trim())
      }
    }
    expect(Account.open(' Ann ').pendingEvents[0]!.data).to.deep.equal({ owner: 'Ann' })
  })

  it('works for a class without a name', () => {
    const Nameless = aggregate('Nameless')(class extends Aggregate {})
    const nameless = new Nameless()
    expect(nameless.pendingEvents[0]!.topic).to.equal('Nameless.Created')
    expect(isDeepStrictEqual(replayed(nameless), nameless)).to.equal(true)
  })
})

describe('A subclass', () => {
  it('has inherited events under its own name, and is what its stream makes', () => {
    const puppy = new Puppy('Rex')
    puppy.addTrick('sit')
    puppy.giveToy({ name: 'ball', squeaks: true })
    expect(puppy.pendingEvents.map(({ topic, data }) => [topic, data])).to.deep.equal([
      ['Puppy.Registered', { name: 'Rex' }],
      ['Puppy.TrickAdded', { trick: 'sit' }],
      ['Puppy.ToyGiven', { name: 'ball', squeaks: true }],
    ])
    expect(puppy).to.be.instanceOf(Puppy).and.instanceOf(Dog)
    expect(puppy.constructor).to.equal(Puppy)
    const again = replayed(puppy)
    expect(again).to.be.instanceOf(Puppy)
    expect(isDeepStrictEqual(again, puppy)).to.equal(true)
  })

  it('needs its own @aggregate', () => {
    class Stray extends Dog {}
    class Nobody extends Aggregate {
      @event('Ran') run() {}
    }
    expect(() => new Stray('x')).to.throw(ProgrammingError, /'Dog'.*own @aggregate/)
    expect(() => new Nobody()).to.throw(ProgrammingError, /own @aggregate/)
    expect(() => definitionOf(Stray)).to.throw(ProgrammingError, /own @aggregate/)
    // Nor does it take the place of one that is being made.
    @aggregate('Owner')
    class Owner extends Aggregate {
      stray = new Stray('x')
    }
    expect(() => new Owner()).to.throw(ProgrammingError, /'Dog'.*own @aggregate/)
  })

  it('may have an undecorated class between', () => {
    abstract class Animal extends Aggregate {
      legs = 0
      constructor(readonly kind: string) {
        super()
      }
      @event('LegGrown', 'count') growLegs(count: number) {
        this.legs += count
      }
    }
    @aggregate('Bird', { created: event('Hatched', 'kind') })
    class Bird extends Animal {}
    const bird = new Bird('duck')
    bird.growLegs(2)
    expect(bird.pendingEvents.map(({ topic }) => topic)).to.deep.equal(['Bird.Hatched', 'Bird.LegGrown'])
    expect(isDeepStrictEqual(replayed(bird), bird)).to.equal(true)
  })

  it('may have a created event and a constructor of its own', () => {
    @aggregate('Adopted', { created: event('Adopted', 'name', 'from') })
    class Adopted extends Dog {
      constructor(
        name: string,
        readonly from: string,
      ) {
        super(name)
      }
    }
    @aggregate('Renewed', { created: event('Renewed', 'name') })
    class Renewed extends Dog {}
    @aggregate('Fixed', { created: event('Begun') })
    class Fixed extends Dog {
      constructor() {
        super('Fixed')
      }
      static override createId() {
        return 'fixed'
      }
    }
    @aggregate('Default')
    class Default extends Dog {
      constructor({ name }: { name: string }) {
        super(name)
      }
      static override createId(): string {
        return 'default'
      }
    }
    const all = [new Adopted('Rex', 'Ann'), new Renewed('Rex'), new Fixed(), new Default({ name: 'Rex' })]
    expect(all.map((each) => [each.pendingEvents[0]!.topic, each.pendingEvents[0]!.data])).to.deep.equal([
      ['Adopted.Adopted', { name: 'Rex', from: 'Ann' }],
      ['Renewed.Renewed', { name: 'Rex' }],
      ['Fixed.Begun', {}],
      ['Default.Created', { name: 'Rex' }],
    ])
    for (const each of all) expect(isDeepStrictEqual(replayed(each), each)).to.equal(true)
  })

  it('may override a decorated method, decorated or as a command', () => {
    @aggregate('LoudDog')
    class LoudDog extends Dog {
      @event('TrickAdded', 'trick') override addTrick(trick: string) {
        this.tricks.push(trick.toUpperCase())
      }
    }
    @aggregate('LazyDog')
    class LazyDog extends Dog {
      override addTrick(trick: string) {
        if (this.tricks.length < 1) super.addTrick(trick)
      }
    }
    const loud = new LoudDog('x')
    loud.addTrick('sit')
    expect(loud.tricks).to.deep.equal(['SIT'])
    expect(isDeepStrictEqual(replayed(loud), loud)).to.equal(true)
    const lazy = new LazyDog('x')
    lazy.addTrick('sit')
    lazy.addTrick('beg')
    expect(lazy.pendingEvents.map(({ topic }) => topic)).to.deep.equal(['LazyDog.Registered', 'LazyDog.TrickAdded'])
    expect(isDeepStrictEqual(replayed(lazy), lazy)).to.equal(true)
  })
})

describe('Replay', () => {
  const events = () => {
    const dog = new Dog('Fido')
    dog.addTrick('sit')
    dog.addTrick('beg')
    return readAgain(dog.pendingEvents)
  }

  it('of no events is nothing', () => {
    expect(replay([])).to.equal(undefined)
  })

  it('takes events one at a time', () => {
    const making = new Replay()
    const versions = events().map((event) => {
      making.take(event)
      return making.aggregate?.version
    })
    expect(versions).to.deep.equal([1, 2, 3])
    expect(making.topic).to.equal('Dog.Registered')
  })

  it('refuses an event of another originator', () => {
    const [first, second] = events()
    expect(() => replay([first!, { ...second!, originatorId: 'other' }])).to.throw(
      OriginatorIdError,
      /Dog\.TrickAdded.*other/,
    )
  })

  it('refuses an event that is not the next one', () => {
    const [first, second, third] = events()
    expect(() => replay([first!, third!])).to.throw(OriginatorVersionError, /version 3.*next version is 2/)
    expect(() => replay([first!, second!, second!])).to.throw(OriginatorVersionError)
  })

  it('refuses a first event that makes no aggregate, or not as the first', () => {
    const [first, second] = events()
    expect(() => replay([second!])).to.throw(OriginatorVersionError, /next version is 1/)
    expect(() => replay([{ ...second!, originatorVersion: 1 }])).to.throw(OriginatorVersionError, /can't be the first/)
    expect(() => replay([{ ...first!, originatorVersion: 2 }])).to.throw(OriginatorVersionError)
  })

  it('refuses a created event after the first', () => {
    const [first] = events()
    expect(() => replay([first!, { ...first!, originatorVersion: 2 }])).to.throw(
      OriginatorVersionError,
      /there already/,
    )
  })

  it('refuses an unknown topic, and names it and the originator', () => {
    const [first, second] = events()
    const id = first!.originatorId
    expect(() => replay([{ ...first!, topic: 'Wolf.Born' }])).to.throw(TopicError, new RegExp(`"Wolf.Born".*${id}`))
    expect(() => replay([first!, { ...second!, topic: 'Dog.Flew' }])).to.throw(
      TopicError,
      new RegExp(`"Dog.Flew".*${id}`),
    )
  })

  it('refuses an event of another class in the stream', () => {
    const [first, second] = events()
    Cat.register('Tom')
    expect(() => replay([first!, { ...second!, topic: 'Cat.Napped' }])).to.throw(TopicError, /Cat\.Napped.*'Dog'/)
  })
})

describe('definitionOf', () => {
  it('finds a class of either shape', () => {
    expect(definitionOf(Dog)).to.include({ name: 'Dog', aggregateClass: Dog })
    expect(definitionOf(Cat)).to.include({ name: 'Cat', aggregateClass: Cat })
    expect(definitionOf(Aggregate)).to.include({ name: 'Aggregate' })
  })

  it('refuses what is no aggregate class', () => {
    for (const value of [undefined, null, 1, 'Dog', {}, class {}, () => 1, new Dog('x')]) {
      expect(() => definitionOf(value)).to.throw(ProgrammingError, /no aggregate class/)
    }
  })
})
