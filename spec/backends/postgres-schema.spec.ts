import { runEveryConformanceSuite } from '../conformance/every.js'
import { postgresSchema } from '../support/postgres-backends.js'
import { describePostgres } from '../support/postgres-server.js'

describePostgres('PostgreSQL with DRIZZLE_SCHEMA', () => runEveryConformanceSuite(postgresSchema))
