import { expect } from 'chai'
import { DrizzleQueryError } from 'drizzle-orm'
import { DrizzleError } from 'drizzle-orm/errors'
import { OperationalError, ProgrammingError, RecordConflictError } from '../../lib/errors.js'
import { isRetryable } from '../../lib/persistence/retryable.js'

const again = [
  ...['CONNECTION_CLOSED', 'CONNECTION_DESTROYED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT'],
  ...['ECONNREFUSED', 'CONNECT_TIMEOUT', 'ENOTFOUND', 'EHOSTUNREACH'],
  ...['57P01', '57P02', '57P03', '08000', '08003', '08006', '53300'],
  ...['40001', '40P01', '55P03'],
  ...['SQLITE_BUSY', 'SQLITE_BUSY_SNAPSHOT', 'SQLITE_LOCKED', 'SQLITE_LOCKED_SHAREDCACHE'],
]

const never = [
  ...['CONNECTION_ENDED', '57014', '3D000', '28000', '28P01', '23505', '23503', '42601', '42P01'],
  ...[
    'SQLITE_CANTOPEN',
    'SQLITE_CONSTRAINT',
    'SQLITE_CONSTRAINT_UNIQUE',
    'SQLITE_FULL',
    'ENOENT',
    'ERR_INVALID_ARG_TYPE',
  ],
]

describe('An error', () => {
  for (const code of again) {
    it(`with the driver's code ${code} is one to repeat the unit of work after`, () => {
      expect(isRetryable(coded(code))).to.equal(true)
    })
  }

  for (const code of never) {
    it(`with the driver's code ${code} is none`, () => {
      expect(isRetryable(coded(code))).to.equal(false)
    })
  }

  it('of the class of lost connections is one only where the server ended the connection', () => {
    expect(isRetryable(coded('08006', { severity: 'FATAL' }))).to.equal(true)
    expect(isRetryable(coded('08P01', { severity: 'ERROR' }))).to.equal(false)
  })

  it('without a code is told by what node-postgres says of connections that are gone', () => {
    for (const message of [
      'Connection terminated unexpectedly',
      'Connection terminated due to connection timeout',
      'timeout exceeded when trying to connect',
    ]) {
      expect(isRetryable(new Error(message)), message).to.equal(true)
    }
    expect(isRetryable(new Error('The talk was about Connection terminated'))).to.equal(false)
  })

  it('of ours says so itself', () => {
    const cause = coded('40001')
    expect(isRetryable(new OperationalError('x', { retryable: true }))).to.equal(true)
    expect(isRetryable(new OperationalError('x', { cause }))).to.equal(false)
    expect(isRetryable(new RecordConflictError('x', 'dog', 1, 1))).to.equal(false)
    expect(isRetryable(new ProgrammingError('x'))).to.equal(false)
  })

  it('that Drizzle has wrapped is told by the one inside', () => {
    for (const [code, retryable] of [
      ['40P01', true],
      ['23505', false],
    ] as const) {
      expect(isRetryable(new DrizzleQueryError('SELECT $1', [1], coded(code)))).to.equal(retryable)
      expect(isRetryable(new DrizzleError({ message: 'Failed', cause: coded(code) }))).to.equal(retryable)
    }
    expect(
      isRetryable(new DrizzleQueryError('SELECT $1', [1], new OperationalError('x', { retryable: true }))),
    ).to.equal(true)
  })

  it("of the user's own is none, whatever has caused it", () => {
    expect(isRetryable(new Error('The order failed', { cause: coded('40001') }))).to.equal(false)
    for (const thrown of [undefined, null, 'ECONNRESET', 40001, Object.create(null)]) {
      expect(isRetryable(thrown)).to.equal(false)
    }
    const circle = new DrizzleError({ message: 'x' })
    circle.cause = circle
    expect(isRetryable(circle)).to.equal(false)
  })
})

function coded(code: string, more: object = {}): Error {
  return Object.assign(new Error('What the driver says'), { code }, more)
}
