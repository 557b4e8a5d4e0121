import { runEveryConformanceSuite } from '../conformance/every.js'
import { sqliteFile } from '../support/sqlite-backends.js'

runEveryConformanceSuite(sqliteFile)
