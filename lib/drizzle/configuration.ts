import { createTableRelationsHelpers, DefaultLogger, extractTablesRelationalConfig } from 'drizzle-orm'

/** How statements are logged; Drizzle's own interface. */
export interface QueryLogger {
  logQuery(query: string, params: unknown[]): void
}

/** What Drizzle needs to know of the user's database. */
export interface DrizzleConfiguration<Schema extends Record<string, unknown>> {
  /** The user's tables and relations, for `session.query` and for the types. */
  readonly schema?: Schema | undefined
  /** `true` is Drizzle's own logger, to the console. */
  readonly logger?: QueryLogger | boolean | undefined
  readonly casing?: 'snake_case' | 'camelCase' | undefined
}

/** A user's tables as Drizzle's databases take them. */
export interface RelationalSchema {
  readonly fullSchema: Record<string, unknown>
  readonly schema: Record<string, never>
  readonly tableNamesMap: Record<string, string>
}

/** The user's tables and relations, found in what they configured. */
export function relationalSchema(schema: Record<string, unknown> | undefined): RelationalSchema | undefined {
  if (!schema) return undefined
  const { tables, tableNamesMap } = extractTablesRelationalConfig(schema, createTableRelationsHelpers)
  return { fullSchema: schema, schema: tables as RelationalSchema['schema'], tableNamesMap }
}

/** The user's tables and relations, taken from their own Drizzle database. */
export function relationalSchemaOf(db: unknown): RelationalSchema | undefined {
  const { schema, fullSchema, tableNamesMap } = (db as { _: Partial<RelationalSchema> })._
  return schema && fullSchema && tableNamesMap ? { fullSchema, schema, tableNamesMap } : undefined
}

/** The logger that was configured, if any. */
export function configuredLogger({
  logger,
}: {
  readonly logger?: QueryLogger | boolean | undefined
}): QueryLogger | undefined {
  return logger === true ? new DefaultLogger() : logger || undefined
}
