import { isDeepStrictEqual } from 'node:util'
import { expect } from 'chai'
import { Temporal } from 'temporal-polyfill'
import { Aggregate, definitionOfInstance } from '../../lib/domain/aggregate.js'
import { canHaveState, copyOfAggregate, originOf } from '../../lib/domain/aggregate-state.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { deepCopy } from '../../lib/domain/deep-copy.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import { hiddenMemberIn } from '../../lib/domain/hidden-members.js'
import { definitionOf } from '../../lib/domain/replay.js'
import { ProgrammingError } from '../../lib/errors.js'
import { Cat, Dog, Puppy } from '../support/dogs.js'

describe('The state of an aggregate', function () {
  it('is its own fields, without id, version, times and pending events', function () {
    const puppy = new Puppy('Fido')
    puppy.addTrick('roll over')
    expect(stateOf(puppy)).to.deep.equal({ name: 'Fido', tricks: ['roll over'], toys: [] })
    expect(stateOf(Cat.register('Tom'))).to.deep.equal({ name: 'Tom', minutesSlept: 0 })
    expect(stateOf(new Aggregate())).to.deep.equal({})
  })

  it('makes the same aggregate again, without pending events', function () {
    for (const original of [trained(), rested(), new Aggregate()]) {
      original.collectEvents()
      const again = definitionOfInstance(original)!.restore(originOf(original), stateOf(original))
      expect(again).to.not.equal(original)
      expect(isDeepStrictEqual(again, original)).to.equal(true)
      expect(again.pendingEvents).to.deep.equal([])
      expect(again.constructor).to.equal(original.constructor)
    }
  })

  it('is restored without running the constructor, initialisers or events', function () {
    const parade = new Parade(3)
    parade.pass()
    const runs = Parade.runs
    const again = definitionOf(Parade).restore(originOf(parade), stateOf(parade)) as Parade
    expect(Parade.runs).to.equal(runs)
    expect(again).to.include({ id: parade.id, version: 2, dogs: 2, banner: 'spring' })
  })

  it('leaves the aggregate able to decide', function () {
    const original = trained()
    const again = definitionOf(Puppy).restore(originOf(original), stateOf(original)) as Puppy
    again.addTrick('bow')
    expect(again.version).to.equal(original.version + 1)
    expect(
      again.pendingEvents.map(({ originatorId, originatorVersion, topic }) => [originatorId, originatorVersion, topic]),
    ) //
      .to.deep.equal([[original.id, original.version + 1, 'Puppy.TrickAdded']])
    const cat = rested()
    const rested2 = definitionOf(Cat).restore(originOf(cat), stateOf(cat)) as Cat
    rested2.nap(1)
    expect(rested2.pendingEvents.map(({ topic }) => topic)).to.deep.equal(['Cat.Napped'])
  })

  it('has dates of its own', function () {
    const original = trained()
    const again = definitionOf(Puppy).restore(originOf(original), {}) as Puppy
    original.createdOn.setFullYear(1815)
    original.modifiedOn.setFullYear(1815)
    expect(again.createdOn.getFullYear()).to.be.above(2000)
    expect(again.modifiedOn.getFullYear()).to.be.above(2000)
  })

  it('never sets what every aggregate has, nor what is above it', function () {
    const original = trained()
    const state = JSON.parse('{"id":"other","version":9,"name":"Fido","__proto__":{"hacked":true}}') as object
    const again = definitionOf(Puppy).restore(originOf(original), { ...state }) as Puppy & { hacked?: boolean }
    expect(again).to.include({ id: original.id, version: original.version, name: 'Fido' })
    expect(again.hacked).to.equal(undefined)
    expect(again).to.be.an.instanceof(Puppy)
  })

  it('is refused where a field is a symbol’s, an accessor or not enumerable', function () {
    for (const [key, property] of [
      [Symbol('secret'), { value: 1, enumerable: true }],
      ['secret', { get: () => 1, enumerable: true }],
      ['secret', { value: 1, enumerable: false }],
    ] as const) {
      const parade = Object.defineProperty(new Parade(1), key, property)
      expect(() => stateOf(parade)).to.throw(ProgrammingError, /secret.*'Parade' can't be in a snapshot/)
      expect(copyOfAggregate(parade)).to.equal(undefined)
    }
  })
})

describe('The state of a class with #private members', function () {
  it('can’t be had from outside', function () {
    for (const [each, member] of [
      [HiddenField, '#secret'],
      [HiddenMethod, '#check'],
      [HiddenBelow, '#secret'],
    ] as const) {
      const definition = definitionOf(each)
      expect(() => definition.requireState()).to.throw(ProgrammingError, `since its class has ${member}`)
      expect(() => stateOf(new each())).to.throw(ProgrammingError, /toSnapshot\(\)/)
      expect(canHaveState(definition)).to.equal(false)
      expect(copyOfAggregate(new each())).to.equal(undefined)
    }
  })

  it('can be had where only the class itself has some', function () {
    expect(canHaveState(definitionOf(Counted))).to.equal(true)
  })

  it('is what its methods say', function () {
    const vault = new Vault('Ann')
    vault.pay(5)
    expect(stateOf(vault)).to.deep.equal({ owner: 'Ann', balance: 5 })
    const made = Vault.made
    const again = definitionOf(Vault).restore(originOf(vault), stateOf(vault)) as Vault
    expect(Vault.made).to.equal(made + 1)
    expect([again.id, again.version, again.balance, again.owner]).to.deep.equal([vault.id, 2, 5, 'Ann'])
    expect([again.createdOn, again.modifiedOn]).to.deep.equal([vault.createdOn, vault.modifiedOn])
    expect(again.pendingEvents).to.deep.equal([])
    again.pay(1)
    expect([again.balance, vault.balance, again.pendingEvents.length]).to.deep.equal([6, 5, 1])
  })

  it('is what its methods say in a subclass and in an EventedAggregate', function () {
    const safe = new Safe('Ann')
    safe.pay(7)
    const again = copyOfAggregate(safe)
    expect(again).to.be.an.instanceof(Safe)
    expect(again?.balance).to.equal(7)
    const purse = Purse.create('Filled', { coins: 3 })
    expect(copyOfAggregate(purse)?.coins).to.equal(3)
  })

  it('is refused where only one of the two methods is there, or one does something else', function () {
    expect(() => definitionOf(HalfWay).requireState()).to.throw(ProgrammingError, /needs both/)
    const broken = new Broken()
    expect(() => stateOf(broken)).to.throw(ProgrammingError, /must return its state as a plain object/)
    for (const answer of ['none', 'two', 'later', 'other']) {
      expect(() => definitionOf(Broken).restore(originOf(broken), { answer }), answer).to.throw(
        ProgrammingError,
        /fromSnapshot of 'Broken' must return, at once/,
      )
    }
    expect(() => definitionOf(Broken).restore(originOf(broken), { answer: 'event' })).to.throw(ProgrammingError)
    // and nothing is left of it
    expect(new Broken().version).to.equal(1)
  })

  it('is told by the text of the class', function () {
    const cases: [string, string | undefined][] = [
      ['class A { #a = 1 }', '#a'],
      ['class A{#e=1;static#t=2}', '#e'],
      ['class A { static #count = 0; static get #n() { return A.#count } static async * #x() {} }', undefined],
      ['class A { static #count = 0; #method() { A.#count++ } }', '#method'],
      ['class A { get #ünder() { return 1 } }', '#ünder'],
      ['class A { has(x) { return #brand in x } #brand }', '#brand'],
      ["class A { a = \"#a\"; b = 'it\\'s #b'; /* #c */ c = 1 // #d\n }", undefined],
      ['class A { a = `#a ${"#b" + `#c ${{ d: 1 }.d}`} #e`; f = 1 }', undefined],
      ['class A { a(x) { return `${x.#b}` } }', '#b'],
      ['class A { a = /[/#a]#b\\/#c/g; b = 1 / 2; c(x) { return x / 3 } }', undefined],
      ['class A { a(x) { return /#a/.test(x) } b = [/#b/, /"/] ; #c }', '#c'],
      ['class A { a = 4 / 2; #b = "/" }', '#b'],
      ['class A { a(x) { return `}` + x } #b }', '#b'],
      ['class A{n=0;half(){return this.n++/2}#b=0;get b(){return this.#b/2}}', '#b'],
      ['class A { a(x) { if (x) /"/.test(x) } #b = 0 }', '#b'],
      ['class A { a(x) { while ((x)) /`/.exec(x) } #b = 0 }', '#b'],
      ["class A { a(x) { if (x) {} /it's/.test(x) } #b = 0 }", '#b'],
      ['class A { a(x) { for (;;) /#a/.test(x) } b(x) { return this.if(x) / 2 } #c = "/" }', '#c'],
      ['class A { a(x) { return x\n /2\n } #b = 0; c = 1 / 2 }', '#b'],
      ['class A { a() { return __classPrivateFieldGet(this, _A_a, "f") } }', '__classPrivateFieldGet'],
      ['class A { constructor() { __privateAdd(this, _a, 1) } }', '__privateAdd'],
      ['class A { a = "__privateAdd"; }', undefined],
      ['function Old() { this.a = "#" }', undefined],
      ['class A { a = "', undefined],
      ['class A { a = `${', undefined],
    ]
    for (const [source, found] of cases) expect(hiddenMemberIn(source), source).to.equal(found)
  })
})

describe('A copy of an aggregate', function () {
  it('equals it, and has nothing in common with it', function () {
    const original = trained()
    original.collectEvents()
    const copy = copyOfAggregate(original)
    expect(isDeepStrictEqual(copy, original)).to.equal(true)
    copy!.addTrick('bow')
    copy!.toys[0]!.squeaks = false
    expect(original.tricks).to.deep.equal(['roll over'])
    expect(original.toys).to.deep.equal([{ name: 'bone', squeaks: true }])
    expect(original.version).to.equal(3)
  })

  it('has no pending events', function () {
    expect(copyOfAggregate(trained())?.pendingEvents).to.deep.equal([])
  })

  it('is none of what no definition made', function () {
    expect(copyOfAggregate({ id: 'fido' })).to.equal(undefined)
  })
})

describe('A deep copy', function () {
  it('equals what it is a copy of, and shares nothing that changes', function () {
    const values = {
      list: [1, , [2, { a: 1 }]],
      map: new Map<unknown, unknown>([[{ key: 1 }, new Set([{ item: 1 }])]]),
      date: new Date(0),
      bytes: new Uint8Array([1, 2]),
      buffer: Buffer.from('abc'),
      floats: new Float64Array([1.5]),
      view: new DataView(new ArrayBuffer(4)),
      expression: /a/gi,
      error: new RangeError('far'),
      line: new Line(2),
      kennel: new Kennel([['Fido', 1]]),
      url: new URL('https://example.com/a?b=1'),
      nothing: undefined,
      none: null,
      big: 7n,
      bare: Object.assign(Object.create(null) as object, { a: [1] }),
      boxed: Object(1) as object,
      frozen: Object.freeze({ a: Object.freeze([1]) }),
    }
    const copy = deepCopy(values)!
    expect(isDeepStrictEqual(copy, values)).to.equal(true)
    for (const [key, value] of Object.entries(values)) {
      if (typeof value === 'object' && value !== null) expect(copy[key as keyof typeof copy], key).to.not.equal(value)
    }
    copy.line.add()
    copy.floats[0] = 9
    copy.kennel.set('Buster', 2)
    copy.url.searchParams.set('b', '2')
    copy.buffer[0] = 0
    expect(values.line.quantity).to.equal(2)
    expect(copy.line.quantity).to.equal(3)
    expect(values.floats[0]).to.equal(1.5)
    expect(values.kennel.size).to.equal(1)
    expect(copy.kennel.isFull()).to.equal(true)
    expect(values.url.href).to.equal('https://example.com/a?b=1')
    expect(values.buffer.toString()).to.equal('abc')
    expect(1 in copy.list).to.equal(false)
    expect(copy.error).to.be.an.instanceof(RangeError)
    expect(Object.isFrozen(copy.frozen) && Object.isFrozen(copy.frozen.a)).to.equal(true)
  })

  it('keeps what stands in several places, and what holds itself', function () {
    const line = { quantity: 1 }
    const order: Record<string, unknown> = { lines: [line], last: line, views: [] }
    order['self'] = order
    const bytes = new Uint8Array(8)
    order['views'] = [bytes, new Uint8Array(bytes.buffer, 4)]
    const copy = deepCopy(order) as typeof order & { lines: object[]; views: Uint8Array[] }
    expect(copy['last']).to.equal(copy.lines[0])
    expect(copy['self']).to.equal(copy)
    expect(copy.views[0]!.buffer).to.equal(copy.views[1]!.buffer)
    expect(copy.views[0]!.buffer).to.not.equal(bytes.buffer)
  })

  it('keeps the values of a package’s Temporal, which never change', function () {
    const date = Temporal.PlainDate.from('2026-11-22')
    expect(String(deepCopy({ dates: [date] })!.dates[0])).to.equal('2026-11-22')
  })

  it('is none where something can’t be copied', function () {
    class Secret {
      #value = 1
      get value() {
        return this.#value
      }
    }
    let deep: object = {}
    for (let level = 0; level < 100_000; level++) deep = { deep }
    for (const value of [() => 1, new Secret(), Promise.resolve(), new WeakMap(), new Dog('Fido'), deep]) {
      expect(deepCopy({ value })).to.equal(undefined)
    }
  })

  it('keeps accessors without calling them', function () {
    const values = {
      first: 'Ann',
      get name(): string {
        return this.first
      },
    }
    const copy = deepCopy(values)!
    copy.first = 'Bea'
    expect(copy.name).to.equal('Bea')
  })
})

function stateOf(aggregate: object): Record<string, unknown> {
  return definitionOfInstance(aggregate)!.stateOf(aggregate)
}

function trained(): Puppy {
  const puppy = new Puppy('Fido')
  puppy.addTrick('roll over')
  puppy.giveToy({ name: 'bone', squeaks: true })
  return puppy
}

function rested(): Cat {
  const cat = Cat.register('Tom')
  cat.nap(5)
  return cat
}

class Line {
  constructor(public quantity: number) {}
  add() {
    this.quantity++
  }
}

class Kennel extends Map<string, number> {
  isFull() {
    return this.size > 1
  }
}

@aggregate('Parade', { created: event('Started', 'dogs') })
class Parade extends Aggregate {
  static runs = 0
  banner = Parade.called('spring')
  constructor(public dogs: number) {
    super()
    Parade.runs++
  }
  static called(banner: string) {
    Parade.runs++
    return banner
  }
  @event('Passed')
  pass() {
    Parade.runs++
    this.dogs--
  }
}

@aggregate('HiddenField')
class HiddenField extends Aggregate {
  #secret = 1
  get secret() {
    return this.#secret
  }
}

@aggregate('HiddenMethod')
class HiddenMethod extends Aggregate {
  check() {
    this.#check()
  }
  #check() {}
}

@aggregate('HiddenBelow')
class HiddenBelow extends HiddenField {}

@aggregate('Counted')
class Counted extends Aggregate {
  note = '#not private'
}

@aggregate('StrongBox', { created: event('Opened', 'owner') })
class Vault extends Aggregate {
  static made = 0
  #balance = 0
  constructor(readonly owner: string) {
    super()
    Vault.made++
  }
  get balance() {
    return this.#balance
  }
  @event('Paid', 'amount')
  pay(amount: number) {
    this.#balance += amount
  }
  toSnapshot() {
    return { owner: this.owner, balance: this.#balance }
  }
  static fromSnapshot({ owner, balance }: { owner: string; balance: number }) {
    const vault = new this(owner)
    vault.#balance = balance
    return vault
  }
}

@aggregate('Safe')
class Safe extends Vault {}

class Purse extends EventedAggregate<{ Filled: { coins: number } }> {
  static readonly topic = 'Purse'
  #coins = 0
  get coins() {
    return this.#coins
  }
  static readonly evolve: Evolve<Purse, { Filled: { coins: number } }> = {
    Filled: (purse, { coins }) => {
      purse.#coins = coins
    },
  }
  toSnapshot() {
    return { coins: this.#coins }
  }
  static fromSnapshot({ coins }: { coins: number }) {
    const purse = new Purse()
    purse.#coins = coins
    return purse
  }
}

@aggregate('HalfWay')
class HalfWay extends Aggregate {
  toSnapshot() {
    return {}
  }
}

@aggregate('Broken')
class Broken extends Aggregate {
  @event('Changed')
  change() {}
  toSnapshot() {
    return Promise.resolve({})
  }
  static fromSnapshot({ answer }: { answer: string }): unknown {
    switch (answer) {
      case 'none':
        return undefined
      case 'two':
        void new Broken()
        return new Broken()
      case 'later':
        return Promise.resolve(new Broken())
      case 'other':
        return {}
      default: {
        const broken = new Broken()
        broken.change()
        return broken
      }
    }
  }
}
