import type { DatastoreOpener } from '../drizzle/shared-datastores.js'
import { NotSupportedError } from '../errors.js'

/** A datastore on PostgreSQL: not built yet. @throws NotSupportedError  Always. */
export function postgres(_source?: unknown, _options?: unknown): never {
  throw notBuilt('postgres()')
}

/** How environments will open datastores on PostgreSQL: their URLs are known, and refused. */
export const postgresOpener: DatastoreOpener = {
  forms: [],
  accepts: (url) => /^postgres(ql)?(\+[a-z0-9_]+)?:/i.test(url),
  key: () => undefined,
  open: () => {
    throw notBuilt('A postgres:// URL')
  },
}

/** The error for what follows with PostgreSQL. */
export function notBuilt(what: string): NotSupportedError {
  return new NotSupportedError(`${what}: PostgreSQL is not supported yet; use SQLite, for example sqlite:school.db`)
}
