// A thread of a victim, which ends its backends while the victim's own thread stands still.
import { parentPort, workerData } from 'node:worker_threads'
import postgresJs from 'postgres'
import { terminate } from '../killer.js'

const { url, applicationName, done } = workerData as { url: string; applicationName: string; done: Int32Array }
const admin = postgresJs(url, { max: 1, onnotice: () => undefined })
await admin`SELECT 1`
parentPort?.on('message', () => {
  void terminate(admin, applicationName).then(() => {
    Atomics.store(done, 0, 1)
    Atomics.notify(done, 0)
  })
})
parentPort?.postMessage('ready')
