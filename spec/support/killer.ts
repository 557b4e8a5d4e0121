import type postgresJs from 'postgres'

/** Ends all backends of that application name, and resolves when they are gone. */
export async function terminate(admin: postgresJs.Sql, applicationName: string): Promise<void> {
  await admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ${applicationName}`
  // asked for, pg_terminate_backend waits for each in steps of 100 ms
  for (;;) {
    const [row] = await admin`
      SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = ${applicationName}`
    if (row?.n === 0) return
  }
}
