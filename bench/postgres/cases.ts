import type { Case } from '../harness.js'
import { readCases } from './read.js'
import { saveCases } from './save.js'
import { transactionCases } from './transaction.js'

export { slowFlushCases, writersCase } from './save.js'

/** What is measured on PostgreSQL, on the server of that URL. */
export function postgresCases(url: string): Omit<Case, 'place'>[] {
  return [...saveCases(url), ...transactionCases(url), ...readCases(url)]
}
