import { AsyncLocalStorage } from 'node:async_hooks'
import { expect } from 'chai'
import { Gathering, type UnderWay } from '../../lib/postgres/drivers/gathering.js'
import { eventually } from '../support/victim.js'

describe('What is gathered for statements', () => {
  const forEver = 2 ** 30
  const requests = new AsyncLocalStorage<string>()

  /** Sends at most three at a time. */
  function gatheringOf(patienceMs: number) {
    const statements: UnderWay[] = []
    const sent: string[][] = []
    const contexts: unknown[] = []
    const gathering = new Gathering<string>((waiting) => {
      statements.push(gathering.begin())
      sent.push(waiting.slice(0, 3))
      contexts.push(requests.getStore())
      return waiting.slice(3)
    }, patienceMs)
    const add = (...items: string[]) => {
      for (const item of items) gathering.add(item)
    }
    /** The answer of a statement, by its place. */
    const answer = async (place: number) => {
      gathering.end(statements[place]!)
      await nextTick()
    }
    return { sent, contexts, add, answer }
  }

  it('is sent together with all that is started in the same tick', async () => {
    const { sent, add } = gatheringOf(forEver)
    add('a', 'b')
    expect(sent).to.deep.equal([])
    await nextTick()
    expect(sent).to.deep.equal([['a', 'b']])
  })

  it('waits while a statement is under way, and is sent at its answer, first come, first served', async () => {
    const { sent, add, answer } = gatheringOf(forEver)
    add('a')
    await nextTick()
    add('b', 'c', 'd', 'e')
    await nextTick()
    expect(sent).to.deep.equal([['a']])
    await answer(0)
    add('f')
    await nextTick()
    expect(sent.slice(1)).to.deep.equal([['b', 'c', 'd']])
    await answer(1)
    expect(sent.slice(2)).to.deep.equal([['e', 'f']])
    await answer(2)
    add('g')
    await nextTick()
    expect(sent.slice(3)).to.deep.equal([['g']])
  })

  it('does not wait for ever: a statement without an answer holds nobody up, again and again', async () => {
    const { sent, add } = gatheringOf(2)
    add('a')
    await nextTick()
    add('b', 'c', 'd', 'e')
    await eventually('all of them', () => Promise.resolve(sent.flat().length === 5))
    expect(sent).to.deep.equal([['a'], ['b', 'c', 'd'], ['e']])
    add('f')
    await eventually('another one', () => Promise.resolve(sent.flat().length === 6))
    // left behind by the first statement that finds a place, not by one that others are under way before
    const { sent: many, add: addMany } = gatheringOf(2)
    addMany('a', 'b', 'c', 'd')
    await eventually('who was left', () => Promise.resolve(many.flat().length === 4))
  })

  it('waits for the last statement: the answer of an earlier one, overdue, sends nothing', async () => {
    const { sent, add, answer } = gatheringOf(20)
    add('a')
    await nextTick()
    add('b')
    await eventually('the second', () => Promise.resolve(sent.length === 2))
    add('c')
    await answer(0)
    expect(sent).to.have.length(2)
    await answer(1)
    expect(sent.slice(2)).to.deep.equal([['c']])
  })

  it('is sent in nobody’s context', async () => {
    const { sent, contexts, add, answer } = gatheringOf(2)
    requests.run('first', () => {
      add('a')
    })
    await nextTick()
    requests.run('second', () => {
      add('b')
    })
    await eventually('the second', () => Promise.resolve(sent.length === 2))
    requests.run('third', () => {
      add('c')
    })
    await requests.run('fourth', () => answer(1))
    expect(sent).to.have.length(3)
    expect(contexts).to.deep.equal([undefined, undefined, undefined])
  })
})

function nextTick(): Promise<void> {
  // behind the ticks that are there now, and what they begin
  return new Promise((resolve) => setImmediate(resolve))
}
