// Says which drizzle-orm it meets: itself, in a thread and in a child process; and where its imports lead.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { npmVersion } from 'drizzle-orm/version'

const file = fileURLToPath(import.meta.url)

if (!isMainThread) parentPort?.postMessage(npmVersion)
else if (process.argv[2] === 'in a child') console.log(npmVersion)
else {
  const [inThread] = (await once(new Worker(file), 'message')) as [string]
  const inChild = execFileSync(process.execPath, [file, 'in a child'], { encoding: 'utf8' }).trim()
  const resolved = ['drizzle-orm', 'drizzle-orm/pg-core'].map((name) => import.meta.resolve(name))
  console.log(JSON.stringify({ versions: [npmVersion, inThread, inChild], resolved }))
}
