import { runEveryConformanceSuite } from '../conformance/every.js'
import { sqliteGivenDb } from '../support/sqlite-backends.js'

runEveryConformanceSuite(sqliteGivenDb)
