// There is no server that answers: `pg-unreachable <url> <pool> <pool timeout in ms>`. Says when it has seen that, is told
// 'end' or 'it is there now', and ends by itself.
import { expect } from 'chai'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgresJs from 'postgres'
import { Application } from '../../../lib/application/application.js'
import { OperationalError } from '../../../lib/errors.js'
import { postgres } from '../../../lib/postgres/index.js'
import { Dog } from '../dogs.js'
import { rejection } from '../rejection.js'
import { variation } from '../victim.js'
import { tell, told } from './parent.js'

const [url = '', pool = '', timeout = ''] = process.argv.slice(2)
const poolTimeoutMs = Number(timeout)
// the user's client tries again in its own time, and ends in it
const client =
  pool === 'db'
    ? postgresJs(url, { max: 2, connect_timeout: 1, backoff: () => 0.05, onnotice: () => undefined })
    : undefined
const datastore = client ? postgres(drizzle(client), { poolTimeoutMs }) : postgres(url, { max: 2, poolTimeoutMs })
const school = new Application({ name: 'Unreachable', persistence: datastore })
class School extends Application {}

const calls: Record<string, () => Promise<unknown>> = {
  'datastore.ready()': () => datastore.ready(),
  'Application.create()': () => School.create({ persistence: datastore }),
  'app.save()': () => school.save(new Dog('Fido')),
  'repository.get()': () => school.repository.get(Dog, Dog.createId('Fido')),
  'recorder.selectNotifications()': () => school.recorder.selectNotifications({ start: 1, limit: 10 }),
  'app.transaction()': () => school.transaction(() => expect.fail('Has begun')),
  'a transaction begun by hand': () => school.transaction(),
  'ten saves at once': () => Promise.all(Array.from({ length: 10 }, (_, n) => school.save(new Dog(`dog ${n}`)))),
}
for (const [call, run] of Object.entries(calls)) {
  await variation(`it is ${call}`, async () => {
    const start = performance.now()
    const error = await rejection(run(), OperationalError)
    const tookMs = performance.now() - start
    expect(error.retryable, error.message).to.equal(true)
    expect(`${error.message} ${String(error.cause)}`).not.to.include('secret')
    // a deadline, with what a loaded machine may add
    expect(tookMs).to.be.below(poolTimeoutMs + 2000)
  })
}
const next = told()
await tell('refused')
if ((await next) === 'it is there now') {
  await school.save(new Dog('Fido'))
  expect((await school.repository.get(Dog, Dog.createId('Fido'))).version).to.equal(1)
}
await school.close()
await datastore.close()
await client?.end({ timeout: 0 })
await tell('closed')
