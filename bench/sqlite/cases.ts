import type { Case, Place } from '../harness.js'
import { readCases } from './read.js'
import { recorderCases } from './recorder.js'
import { commandCases, saveCases } from './save.js'
import { transactionCases } from './transaction.js'

const every = [...saveCases, ...commandCases, ...transactionCases, ...recorderCases, ...readCases]

/** What is measured on SQLite. With synchronous NORMAL, only what differs from FULL: saves. */
export const sqliteCases: Readonly<Record<Exclude<Place, 'postgres' | 'slow'>, readonly Omit<Case, 'place'>[]>> = {
  file: every,
  normal: saveCases,
  memory: every,
}
