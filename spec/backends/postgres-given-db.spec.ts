import { runEveryConformanceSuite } from '../conformance/every.js'
import { postgresGivenDb } from '../support/postgres-backends.js'
import { describePostgres } from '../support/postgres-server.js'

describePostgres("PostgreSQL by the user's own Drizzle database", () => runEveryConformanceSuite(postgresGivenDb))
