import { expect } from 'chai'
import { Child } from '../support/child.js'
import { freshSchema } from '../support/postgres-backends.js'
import { describePostgres, postgresUrl } from '../support/postgres-server.js'
import { FaultProxy } from '../support/fault-proxy.js'
import { Peer } from '../support/tcp-peer.js'

const poolTimeoutMs = 300
/** Where nobody is to answer in it. */
const shortTimeoutMs = 100
const poolKinds = { 'a pool of ours': 'ours', "a user's database": 'db' }

// In processes of their own: they are to stay alive, not to be kept busy, and to end by themselves.
describePostgres('A PostgreSQL server that cannot be reached', () => {
  afterEach(() => Child.endAll())

  for (const [kind, pool] of Object.entries(poolKinds)) {
    describe(`by ${kind}`, () => {
      it('since the connection is refused, is an OperationalError within the deadline', async () => {
        await using peer = await Peer.refusing()
        await isRefused(urlOf(peer), pool)
      })

      it('since its host has no address, is an OperationalError within the deadline', async () => {
        await isRefused('postgres://nobody:secret@nowhere.invalid/none', pool)
      })

      it('since the peer closes each connection, is an OperationalError within the deadline', async () => {
        await using peer = await Peer.closing()
        await isRefused(urlOf(peer), pool)
        // the user's own client tries again for as long as it is asked; ours once for each that asks
        if (pool === 'ours') expect(peer.attempts).to.be.within(1, 20)
      })

      it('since the peer says nothing, is an OperationalError within the deadline', async () => {
        await using peer = await Peer.silent()
        await isRefused(urlOf(peer), pool)
        expect(peer.attempts).to.be.within(1, 20)
      })

      it('can be reached later, by the same datastore', async () => {
        await using proxy = await FaultProxy.before(postgresUrl())
        await using schema = await freshSchema()
        await proxy.down()
        const url = new URL(proxy.url)
        url.searchParams.set('search_path', schema.searchPath)
        const child = new Child('pg-unreachable', [url.href, pool, String(poolTimeoutMs)])
        expect(await child.message()).to.equal('refused')
        await proxy.up()
        await ends(child, 'it is there now')
      })
    })
  }
})

function urlOf({ port }: Peer): string {
  return `postgres://nobody:secret@127.0.0.1:${port}/none`
}

async function isRefused(url: string, pool: string): Promise<void> {
  const child = new Child('pg-unreachable', [url, pool, String(shortTimeoutMs)])
  expect(await child.message()).to.equal('refused')
  await ends(child, 'end')
}

/** Expects that it comes to its end by itself, soon after it has closed what it had. */
async function ends(child: Child, word: string): Promise<void> {
  child.send(word)
  expect(await child.message()).to.equal('closed')
  const closed = performance.now()
  const { code, stderr } = await child.exit
  expect(stderr).to.equal('')
  expect(code).to.equal(0)
  expect(performance.now() - closed, 'ms until the process had ended').to.be.below(2000)
}
