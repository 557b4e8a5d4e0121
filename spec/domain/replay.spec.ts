import { expect } from 'chai'
import fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import type { Aggregate } from '../../lib/domain/aggregate.js'
import { Cat, Puppy } from '../support/dogs.js'
import { readAgain, replay } from '../support/replayed.js'

describe('Replay of anything that happened', () => {
  it('equals the original, at each of its versions', () => {
    fc.assert(
      fc.property(fc.oneof(puppyCommands, catCommands), ({ make, commands }) => {
        const original = make()
        for (const command of commands) command(original)
        const events = original.pendingEvents
        expect(events.map(({ originatorVersion }) => originatorVersion)).to.deep.equal(
          Array.from({ length: commands.length + 1 }, (_, index) => index + 1),
        )
        expect(isDeepStrictEqual(replay(readAgain(events)), original)).to.equal(true)
        const half = replay(readAgain(events.slice(0, Math.ceil(events.length / 2))))
        expect(half?.version).to.equal(Math.ceil(events.length / 2))
        expect(half?.modifiedOn).to.deep.equal(events[half!.version - 1]!.timestamp)
      }),
    )
  })
})

interface Happening {
  make: () => Aggregate
  commands: ((aggregate: Aggregate) => void)[]
}

const puppyCommands: fc.Arbitrary<Happening> = fc.record({
  make: fc.string().map((name) => () => new Puppy(name)),
  commands: fc.array(
    fc.oneof(
      fc.string().map((trick) => (puppy: Aggregate) => (puppy as Puppy).addTrick(trick)),
      fc
        .record({ name: fc.string(), squeaks: fc.boolean() })
        .map((toy) => (puppy: Aggregate) => (puppy as Puppy).giveToy(toy)),
    ),
  ),
})

const catCommands: fc.Arbitrary<Happening> = fc.record({
  make: fc.string().map((name) => () => Cat.register(name)),
  commands: fc.array(fc.double({ noNaN: true }).map((minutes) => (cat: Aggregate) => (cat as Cat).nap(minutes))),
})
