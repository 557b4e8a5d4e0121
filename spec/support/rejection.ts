import { expect } from 'chai'

/**
 * Expects that a promise rejects with an error of that class, and gives the error back.
 *
 * @param message  What its message contains, or matches.
 */
export async function rejection<E extends Error>(
  promise: Promise<unknown>,
  errorClass: new (...args: never[]) => E,
  message?: string | RegExp,
): Promise<E> {
  const error = await failure(promise)
  expect(error).to.be.instanceOf(errorClass)
  if (typeof message === 'string') expect((error as E).message).to.include(message)
  if (message instanceof RegExp) expect((error as E).message).to.match(message)
  return error as E
}

/** Expects that a promise rejects, and gives back what with. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return error
  }
  return expect.fail(`Should have rejected, but resolved to ${String(value)}`)
}
