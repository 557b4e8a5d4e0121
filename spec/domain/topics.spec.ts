import { expect } from 'chai'
import { Aggregate } from '../../lib/domain/aggregate.js'
import { aggregate, event } from '../../lib/domain/decorators.js'
import { EventedAggregate, type Evolve } from '../../lib/domain/evented-aggregate.js'
import { definitionOf } from '../../lib/domain/replay.js'
import { everyNameOf, findEvent, registerTopicAlias } from '../../lib/domain/topics.js'
import { ProgrammingError, TopicError } from '../../lib/errors.js'
import { readAgain, replay } from '../support/replayed.js'

@aggregate('Ship', { created: event('Launched', 'name') })
class Ship extends Aggregate {
  ports: string[] = []
  constructor(readonly name: string) {
    super()
  }
  @event('Docked', 'port') dock(port: string) {
    this.ports.push(port)
  }
}

describe('Topics', () => {
  it('find their event', () => {
    expect(findEvent('Ship.Docked')).to.deep.include({ topic: 'Ship.Docked', name: 'Docked', classVersion: 1 })
    expect(findEvent('Ship.Docked')?.aggregate).to.equal(definitionOf(Ship))
    for (const unknown of ['Ship.Sunk', 'Ship', 'Docked', '', '.', 'Ship.', 'toString', '__proto__']) {
      expect(findEvent(unknown), unknown).to.equal(undefined)
    }
  })

  it('may be aliases of one event', () => {
    registerTopicAlias('Ship.Moored', 'Ship.Docked')
    expect(findEvent('Ship.Moored')).to.equal(findEvent('Ship.Docked'))
  })

  it('may be aliases of a whole aggregate, on top of those of its events', () => {
    registerTopicAlias('Boat', 'Ship')
    registerTopicAlias('Raft', 'Boat')
    registerTopicAlias('Ship.Anchored', 'Ship.Docked')
    registerTopicAlias('Raft.Tied', 'Ship.Anchored')
    for (const topic of ['Boat.Docked', 'Raft.Docked', 'Boat.Anchored', 'Raft.Anchored', 'Raft.Tied']) {
      expect(findEvent(topic), topic).to.equal(findEvent('Ship.Docked'))
      expect(findEvent(topic), `${topic} again`).to.equal(findEvent('Ship.Docked'))
    }
    expect(findEvent('Boat.Sunk')).to.equal(undefined)
    expect(findEvent('Boat.Tied')).to.equal(undefined)
  })

  it('of old events replay', () => {
    registerTopicAlias('Barge', 'Ship')
    registerTopicAlias('Barge.Stopped', 'Ship.Docked')
    const ship = new Ship('Ann')
    ship.dock('Oslo')
    const [first, second] = readAgain(ship.pendingEvents)
    expect(
      replay([
        { ...first!, topic: 'Barge.Launched' },
        { ...second!, topic: 'Barge.Stopped' },
      ]),
    ).to.deep.equal(ship)
  })

  it('may lead to what is registered later', () => {
    registerTopicAlias('OldLater.Made', 'Later.Born')
    registerTopicAlias('OlderLater', 'Later')
    expect(findEvent('OldLater.Made')).to.equal(undefined)
    expect(findEvent('OlderLater.Born')).to.equal(undefined)
    class Later extends EventedAggregate<{ Born: object }> {
      static readonly topic = 'Later'
      static readonly evolve: Evolve<Later, { Born: object }> = { Born() {} }
    }
    const definition = definitionOf(Later)
    expect(findEvent('OldLater.Made')?.aggregate).to.equal(definition)
    expect(findEvent('OlderLater.Born')?.aggregate).to.equal(definition)
  })

  it('may be registered twice alike, but not for something else', () => {
    registerTopicAlias('Ship.Parked', 'Ship.Docked')
    registerTopicAlias('Ship.Parked', 'Ship.Docked')
    expect(() => registerTopicAlias('Ship.Parked', 'Ship.Launched')).to.throw(TopicError, /"Ship.Parked" is in use/)
  })

  it('in use can’t be aliases', () => {
    expect(() => registerTopicAlias('Ship.Docked', 'Ship.Launched')).to.throw(TopicError, /"Ship.Docked" is in use/)
    expect(() => registerTopicAlias('Ship', 'Tanker')).to.throw(TopicError, /"Ship" is in use/)
  })

  it('that are aliases can’t be given to a class', () => {
    registerTopicAlias('Canoe', 'Ship')
    registerTopicAlias('Kayak.Paddled', 'Ship.Docked')
    expect(() => {
      @aggregate('Canoe')
      class Canoe extends Aggregate {}
      return Canoe
    }).to.throw(TopicError, /"Canoe"/)
    expect(() => {
      @aggregate('Kayak')
      class Kayak extends Aggregate {
        @event('Paddled') paddle() {}
      }
      return Kayak
    }).to.throw(TopicError, /"Kayak.Paddled"/)
    expect(findEvent('Kayak.Created')).to.equal(undefined)
  })

  it('can’t lead back to themselves', () => {
    expect(() => registerTopicAlias('Loop', 'Loop')).to.throw(TopicError, /"Loop"/)
    registerTopicAlias('LoopA', 'LoopB')
    registerTopicAlias('LoopB', 'LoopC')
    expect(() => registerTopicAlias('LoopC', 'LoopA')).to.throw(TopicError, /leads back/)
    // Around a corner: found only when it is read, and then it is unknown, not endless.
    registerTopicAlias('CornerB.X', 'CornerA.X')
    registerTopicAlias('CornerA', 'CornerB')
    expect(findEvent('CornerA.X')).to.equal(undefined)
  })

  it('that can’t be ones are refused', () => {
    for (const [former, current] of [
      ['', 'Ship'],
      ['Old', ''],
      ['a\0', 'Ship'],
      [1, 'Ship'],
      ['Old', undefined],
    ]) {
      expect(() => registerTopicAlias(former as string, current as string)).to.throw(ProgrammingError)
    }
    expect(() => registerTopicAlias('OldShip', 'Ship.Docked')).to.throw(ProgrammingError, /two topics/)
    expect(() => registerTopicAlias('OldShip.Docked', 'OtherShip')).to.throw(ProgrammingError, /two topics/)
  })

  it('are asked for under every name that they have had', () => {
    @aggregate('Wharf')
    class Wharf extends Aggregate {
      @event('Opened') open() {}
      @event('Closed') close() {}
    }
    expect(Wharf).to.have.property('name', 'Wharf')
    registerTopicAlias('Quay', 'Wharf')
    registerTopicAlias('Mole', 'Quay')
    registerTopicAlias('Quay.Shut', 'Wharf.Closed')
    registerTopicAlias('Mole.Locked', 'Quay.Shut')
    registerTopicAlias('Jetty.Ended', 'Mole.Locked')
    // one name of an aggregate that is another event's
    registerTopicAlias('Mole.Opened', 'Wharf.Closed')
    const opened = ['Wharf.Opened', 'Quay.Opened']
    const closed = ['Closed', 'Shut'].flatMap((name) => ['Wharf', 'Quay', 'Mole'].map((each) => `${each}.${name}`))
    const all = [...closed.filter((name) => name !== 'Wharf.Shut'), 'Mole.Locked', 'Jetty.Ended', 'Mole.Opened']
    expect(everyNameOf(['Wharf.Opened'])).to.have.members(opened)
    for (const name of all) expect(everyNameOf([name]), name).to.have.members(all)
    expect(everyNameOf(['Wharf.Opened', 'Wharf.Closed'])).to.have.members([...opened, ...all])
    expect(new Set([...all, ...opened].map((name) => findEvent(name)?.topic))).to.deep.equal(
      new Set(['Wharf.Closed', 'Wharf.Opened']),
    )
    // also of what is not known here, and of none
    expect(everyNameOf(['Unknown.Event', 'toString'])).to.deep.equal(['Unknown.Event', 'toString'])
    expect(everyNameOf([])).to.deep.equal([])
    registerTopicAlias('Gone.Before', 'Gone.Now')
    expect(everyNameOf(['Gone.Now'])).to.have.members(['Gone.Now', 'Gone.Before'])
  })

  it('are asked for without end, where aliases lead round a corner', () => {
    registerTopicAlias('RoundB.X', 'RoundA.X')
    registerTopicAlias('RoundA', 'RoundB')
    expect(everyNameOf(['RoundA.X'])).to.include('RoundA.X')
    expect(everyNameOf(['RoundB.X'])).to.include('RoundB.X')
  })
})
