import { expect } from 'chai'
import { OperationalError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import { MemoryDatastore } from '../../lib/memory/index.js'
import { isRetryable } from '../../lib/persistence/retryable.js'
import { type TransactionRetryOptions, transactionRetry } from '../../lib/persistence/transaction-retry.js'
import { failure, rejection } from '../support/rejection.js'

/** A unit of work that throws these one after the other, and then returns. */
class Unit {
  calls = 0
  readonly #errors: unknown[]

  constructor(...errors: unknown[]) {
    this.#errors = errors
  }

  readonly run = async (): Promise<string> => {
    await Promise.resolve()
    const error = this.#errors[this.calls]
    this.calls += 1
    if (error !== undefined) throw error as Error
    return 'done'
  }
}

/** A clock that only notes for how long it was waited. */
function clock() {
  const waits: number[] = []
  return { waits, sleep: (seconds: number) => Promise.resolve(waits.push(seconds)) }
}

const lost = (message = 'lost') => new OperationalError(message, { retryable: true })

describe('transactionRetry()', () => {
  it('gives what the unit returns, having called it once', async () => {
    for (const total of [0, 1, 5]) {
      const unit = new Unit()
      expect(await transactionRetry(unit.run, { total })()).to.equal('done')
      expect(unit.calls).to.equal(1)
    }
  })

  it('repeats it once by default, and rejects with the last error as it is', async () => {
    const saved = new Unit(lost())
    expect(await transactionRetry(saved.run)()).to.equal('done')
    const [first, second] = [lost('first'), Object.freeze(lost('second'))]
    const unit = new Unit(first, second, lost('third'))
    expect(await failure(transactionRetry(unit.run)())).to.equal(second)
    expect(unit.calls).to.equal(2)
  })

  it('calls it total + 1 times at most, and once where total is 0', async () => {
    for (const total of [0, 1, 2, 5]) {
      const unit = new Unit(...Array.from({ length: 10 }, () => lost()))
      await rejection(transactionRetry(unit.run, { total })(), OperationalError)
      expect(unit.calls).to.equal(total + 1)
    }
  })

  it('waits 0, then the factor doubled each time, and never longer than the maximum', async () => {
    const errors = Array.from({ length: 6 }, () => lost())
    const { waits, sleep } = clock()
    const options = { total: 5, backoffFactor: 0.1, backoffMax: 1, sleep }
    await rejection(transactionRetry(new Unit(...errors).run, options)(), OperationalError)
    expect(waits).to.deep.equal([0, 0.2, 0.4, 0.8, 1])

    const unlimited = clock()
    await transactionRetry(new Unit(...errors).run, { total: 6, backoffFactor: 1, sleep: unlimited.sleep })()
    expect(unlimited.waits).to.deep.equal([0, 2, 4, 8, 16, 32])

    const plain = clock()
    await transactionRetry(new Unit(...errors).run, { total: 6, sleep: plain.sleep })()
    expect(plain.waits).to.deep.equal([0, 0, 0, 0, 0, 0])
  })

  it('waits some part of that with full jitter', async () => {
    const { waits, sleep } = clock()
    const options = { total: 100, backoffFactor: 1, backoffMax: 8, jitter: 'full', sleep } as const
    await transactionRetry(new Unit(...Array.from({ length: 100 }, () => lost())).run, options)()
    expect(waits[0]).to.equal(0)
    const later = waits.slice(3)
    expect(later.every((seconds) => seconds >= 0 && seconds <= 8)).to.equal(true)
    expect(new Set(later).size).to.be.above(90)
    expect([later.some((seconds) => seconds < 4), later.some((seconds) => seconds > 4)]).to.deep.equal([true, true])
  })

  it('passes other errors on at once, also after one that was repeated', async () => {
    const conflict = new RecordConflictError('taken', 'dog', 1, 1)
    const unit = new Unit(lost(), conflict, lost())
    expect(await failure(transactionRetry(unit.run, { total: 5 })())).to.equal(conflict)
    expect(unit.calls).to.equal(2)
    const thrown = new Unit('text')
    expect(await failure(transactionRetry(thrown.run, { total: 5 })())).to.equal('text')
  })

  it('repeats after what retryOn says', async () => {
    const conflict = () => new RecordConflictError('taken', 'dog', 1, 1)
    const retryOn = (error: unknown) => isRetryable(error) || error instanceof RecordConflictError
    const unit = new Unit(conflict(), lost(), conflict())
    expect(await transactionRetry(unit.run, { total: 3, retryOn })()).to.equal('done')
    await rejection(transactionRetry(new Unit(lost()).run, { retryOn: () => false })(), OperationalError)
  })

  it('takes a function that is not asynchronous, and one that throws at once', async () => {
    let calls = 0
    const unit = transactionRetry((word: string) => {
      calls += 1
      if (calls === 1) throw lost()
      return `${word} ${calls}`
    })
    const { class: named } = {
      class() {
        return 'of that name'
      },
    }
    expect(await transactionRetry(named)()).to.equal('of that name')
    const result: string = await unit('call')
    expect(result).to.equal('call 2')
  })

  it('hands on this and the arguments, and keeps name and length', async () => {
    async function walk(this: { readonly name: string }, how: string, far: number) {
      return Promise.resolve(`${this.name} ${how} ${far}`)
    }
    const retried = transactionRetry(walk, { total: 2 })
    expect(await retried.call({ name: 'Fido' }, 'fast', 2)).to.equal('Fido fast 2')
    expect([retried.name, retried.length]).to.deep.equal(['walk', 2])
    const bare = transactionRetry({ total: 2 })(walk)
    expect(await bare.call({ name: 'Rex' }, 'slowly', 1)).to.equal('Rex slowly 1')
  })

  describe('with a signal', () => {
    it('that is aborted already rejects with its reason, and calls nothing', async () => {
      const unit = new Unit()
      const reason = new RangeError('enough')
      expect(await failure(transactionRetry(unit.run, { signal: AbortSignal.abort(reason) })())).to.equal(reason)
      expect(unit.calls).to.equal(0)
    })

    it('stops waiting when it is aborted, and rejects with its reason', async () => {
      const controller = new AbortController()
      const unit = new Unit(lost(), lost(), lost())
      const options = { total: 5, backoffFactor: 1000, signal: controller.signal }
      const running = transactionRetry(async () => {
        // the second failure is followed by half an hour's wait
        if (unit.calls === 1) setImmediate(() => controller.abort(new RangeError('enough')))
        return unit.run()
      }, options)()
      await rejection(running, RangeError, 'enough')
      expect(unit.calls).to.equal(2)
    })

    it('is not repeated when it is aborted meanwhile, and gives what the call that was under way returned', async () => {
      const controller = new AbortController()
      const unit = new Unit(lost())
      const abort = async () => {
        controller.abort(new RangeError('enough'))
        return unit.run()
      }
      await rejection(transactionRetry(abort, { total: 5, signal: controller.signal })(), RangeError, 'enough')
      expect(unit.calls).to.equal(1)
      const late = new AbortController()
      const succeed = async () => {
        late.abort()
        return new Unit().run()
      }
      expect(await transactionRetry(succeed, { signal: late.signal })()).to.equal('done')
    })
  })

  describe('inside an open transaction', () => {
    it('refuses without a session, of whatever datastore the transaction is, and calls nothing', async () => {
      const datastore = new MemoryDatastore()
      const unit = new Unit()
      const retried = transactionRetry(unit.run)
      await datastore.transaction(async () => {
        await rejection(retried(), ProgrammingError, 'outermost')
        await datastore.transaction(() => rejection(retried(), ProgrammingError, 'outermost'))
        expect(unit.calls).to.equal(0)
        expect(await datastore.outside(retried)).to.equal('done')
      })
      expect(await retried()).to.equal('done')
    })

    it('is allowed where total is 0, which turns it off', async () => {
      const datastore = new MemoryDatastore()
      expect(await datastore.transaction(transactionRetry(new Unit().run, { total: 0 }))).to.equal('done')
    })

    it('rolls the given session back after each failure, before it is repeated', async () => {
      const datastore = new MemoryDatastore()
      const events: string[] = []
      const session = { rollback: () => Promise.resolve(events.push('rollback')) }
      const unit = new Unit(lost(), lost())
      const run = async () => {
        events.push('call')
        return unit.run()
      }
      expect(await datastore.transaction(transactionRetry(run, { total: 2, session }))).to.equal('done')
      expect(events).to.deep.equal(['call', 'rollback', 'call', 'rollback', 'call'])
    })
  })

  it('leaves the given session alone after success and after other errors', async () => {
    const session = { rollback: () => expect.fail('Is rolled back') }
    expect(await transactionRetry(new Unit().run, { session })()).to.equal('done')
    await rejection(transactionRetry(new Unit(new RangeError('no')).run, { session })(), RangeError)
  })

  it('gets the session from the instance, each time anew', async () => {
    class Worker {
      rollbacks = 0
      readonly session = { rollback: () => (this.rollbacks += 1) }
      unit = new Unit(lost(), lost())

      @transactionRetry({ total: 2, session: (self: Worker) => self.session })
      async run() {
        return this.unit.run()
      }
    }
    const [worker, other] = [new Worker(), new Worker()]
    expect(await worker.run()).to.equal('done')
    expect([worker.rollbacks, other.rollbacks]).to.deep.equal([2, 0])
    const none = transactionRetry(new Unit(lost()).run, { session: () => ({}) as { rollback(): void } })
    await rejection(none(), ProgrammingError, 'rollback')
  })

  it('goes on with the error of a rollback that fails, in place of the first', async () => {
    const failed = lost('rollback failed')
    const failing = { rollback: () => Promise.reject(failed) }
    const unit = new Unit(lost('first'), lost('second'))
    expect(await failure(transactionRetry(unit.run, { session: failing })())).to.equal(failed)
    expect(unit.calls).to.equal(2)

    const broken = new RangeError('broken')
    const breaking = { rollback: () => Promise.reject(broken) }
    const once = new Unit(lost('first'))
    expect(await failure(transactionRetry(once.run, { total: 5, session: breaking })())).to.equal(broken)
    expect(once.calls).to.equal(1)
  })

  it('decorates methods: bare, with parentheses, with options, static and private ones', async () => {
    class Worker {
      static unit = new Unit(lost())
      readonly unit = new Unit(lost(), lost())

      @transactionRetry
      async bare(word: string) {
        return `${word} ${await this.unit.run()}`
      }

      @transactionRetry()
      async called() {
        return this.unit.run()
      }

      @transactionRetry({ total: 2 })
      async often() {
        return this.unit.run()
      }

      @transactionRetry
      static async ofClass() {
        return this.unit.run()
      }

      @transactionRetry({ total: 2 })
      async #hidden() {
        return this.unit.run()
      }

      hidden() {
        return this.#hidden()
      }
    }
    await rejection(new Worker().bare('is'), OperationalError)
    await rejection(new Worker().called(), OperationalError)
    const result: string = await new Worker().often()
    expect(result).to.equal('done')
    expect(await Worker.ofClass()).to.equal('done')
    expect(await new Worker().hidden()).to.equal('done')
    const worker = new Worker()
    worker.unit.calls = 1
    expect(await worker.bare('is')).to.equal('is done')
    // @ts-expect-error  the parameters survive decoration
    void new Worker().bare().catch(() => undefined)
  })

  it('refuses to be on anything else', () => {
    const anything = transactionRetry as (...args: unknown[]) => unknown
    for (const kind of ['getter', 'setter', 'field', 'accessor', 'class']) {
      const context = { kind, name: 'run', addInitializer: () => undefined }
      expect(() => anything(() => undefined, context), kind).to.throw(ProgrammingError, kind)
      expect(() => (anything() as typeof anything)(() => undefined, context), kind).to.throw(ProgrammingError, kind)
    }
    // as under experimentalDecorators
    expect(() => anything({}, 'run', undefined)).to.throw(ProgrammingError, 'field')
    expect(() => anything({}, 'run', { get: () => 1 })).to.throw(ProgrammingError, 'accessor')
    expect(() => anything(class Dog {})).to.throw(ProgrammingError, 'method')
    expect(() => anything(function* walk() {})).to.throw(ProgrammingError, 'walk')
    expect(() => anything(async function* walk() {})).to.throw(ProgrammingError, 'walk')
    for (const nothing of [null, 1, 'run']) expect(() => anything(nothing)).to.throw(ProgrammingError)
  })

  it('refuses options that cannot be, and says which', () => {
    const cases: [option: string, ...values: unknown[]][] = [
      ['total', -1, 1.5, NaN, Infinity, '1', null],
      ['backoffFactor', -0.1, NaN, Infinity, '1'],
      ['backoffMax', -1, NaN, '1'],
      ['jitter', true, 'half'],
      ['retryOn', OperationalError.name, 1],
      ['signal', {}, null],
      ['session', {}, 1, null],
      ['sleep', 1],
      ['retries', 1],
    ]
    for (const [option, ...values] of cases) {
      for (const value of values) {
        const options = { [option]: value } as TransactionRetryOptions
        expect(() => transactionRetry(options), `${option}: ${String(value)}`).to.throw(ProgrammingError, option)
      }
    }
    expect(() => transactionRetry({ total: 0, backoffMax: Infinity, session: undefined })).not.to.throw()
  })
})
