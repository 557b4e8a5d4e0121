import { runEveryConformanceSuite } from '../conformance/every.js'
import { sqliteMemory } from '../support/sqlite-backends.js'

runEveryConformanceSuite(sqliteMemory)
