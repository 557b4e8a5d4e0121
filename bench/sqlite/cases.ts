import type { Case } from '../harness.js'
import { readCases } from './read.js'
import { recorderCases } from './recorder.js'
import { saveCases } from './save.js'
import { transactionCases } from './transaction.js'

/** What is measured on SQLite, on a file and in memory. */
export const sqliteCases: readonly Omit<Case, 'place'>[] = [
  ...saveCases,
  ...transactionCases,
  ...recorderCases,
  ...readCases,
]
