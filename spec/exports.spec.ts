import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  name: string
  dependencies: Record<string, string>
  exports: Record<string, { types: string; default: string } | string>
}
const entryPoints = Object.entries(manifest.exports).filter(([door]) => door !== './package.json')

// What each entry point brings at run time. A name added here is a promise to users; one taken away breaks them.
const names: Readonly<Record<string, readonly string[]>> = {
  '.': [
    'AesCipher',
    'Aggregate',
    'AggregateNotFoundError',
    'AggregateTypeError',
    'Application',
    'BrotliCompressor',
    'DataError',
    'DatabaseError',
    'DatabaseProgrammingError',
    'Environment',
    'EventProcessingError',
    'EventSourcingError',
    'EventSourcedLog',
    'EventStore',
    'EventedAggregate',
    'Factory',
    'InfrastructureFactoryError',
    'IntegrityError',
    'InterfaceError',
    'InternalError',
    'JsonTranscoder',
    'Mapper',
    'MapperDeserialisationError',
    'MemoryAggregateRecorder',
    'MemoryApplicationRecorder',
    'MemoryDatastore',
    'MemoryFactory',
    'MemoryProcessRecorder',
    'MemorySnapshotRecorder',
    'MemoryTrackingRecorder',
    'NotSupportedError',
    'NotificationLog',
    'OperationalError',
    'OriginatorIdError',
    'OriginatorVersionError',
    'PersistenceError',
    'ProgrammingError',
    'RecordConflictError',
    'Repository',
    'SnapshotStore',
    'TopicError',
    'TranscodingNotRegisteredError',
    'WaitInterruptedError',
    'WaitTimeoutError',
    'ZlibCompressor',
    'aggregate',
    'causeOf',
    'causedBy',
    'createKey',
    'decider',
    'decimalTranscoding',
    'event',
    'eventId',
    'isOutcomeUnknown',
    'isRetryable',
    'registerTopic',
    'registerTopicAlias',
    'resolveTopic',
    'temporalTranscodings',
    'transactionRetry',
    'withMetadata',
  ],
  './drizzle': [
    'Datastore',
    'DrizzleAggregateRecorder',
    'DrizzleApplicationRecorder',
    'DrizzleFactory',
    'DrizzleProcessRecorder',
    'DrizzleSnapshotRecorder',
    'DrizzleTrackingRecorder',
    'scopedSession',
  ],
  './sqlite': ['eventsTable', 'snapshotsTable', 'sqlite', 'trackingTable'],
  './postgres': ['eventsTable', 'postgres', 'snapshotsTable', 'trackingTable'],
}

describe('The package', function () {
  this.timeout(60_000)

  for (const [door, target] of entryPoints)
    describe(nameOf(door), function () {
      it('has types and a default for every way of loading it', function () {
        expect(target, 'package.json exports').to.be.an('object').with.all.keys('types', 'default')
        const { types, default: code } = target as { types: string; default: string }
        expect(existsSync(join(root, types)), `${types} is built`).to.equal(true)
        expect(existsSync(join(root, code)), `${code} is built`).to.equal(true)
        expect(Object.keys(target).at(-1), 'default comes last, or conditions after it are never met').to.equal(
          'default',
        )
      })

      it('brings the names that were agreed', async function () {
        const brought = Object.keys((await import(nameOf(door))) as object).sort()
        expect(
          brought,
          'Names are promises: change the list in spec/exports.spec.ts and the changelog when you mean to.',
        ).to.deep.equal([...(names[door] ?? [])].sort())
      })
    })

  it('loads nothing but its two dependencies by the first door', function () {
    const loaded = packagesLoadedBy(`await import('eventsourcing-drizzle')`)
    expect(Object.keys(manifest.dependencies)).to.include.members(loaded)
  })

  for (const [door, driver, open] of [
    ['sqlite', 'better-sqlite3', `await door.sqlite(':memory:').ready()`],
    // where nobody answers: the driver is loaded before that is known
    ['postgres', 'postgres', `await door.postgres('postgresql://127.0.0.1:1/school').ready().catch(() => {})`],
  ] as const) {
    it(`loads no ${driver} by the door of ${door}`, function () {
      const loaded = packagesLoadedBy(`await import('eventsourcing-drizzle/${door}')`)
      expect(loaded).not.to.include(driver)
      expect(loaded).to.include(process.env.OTHER_DRIZZLE ?? 'drizzle-orm')
    })
    it(`loads ${driver} when a database is opened`, function () {
      expect(
        packagesLoadedBy(`const door = await import('eventsourcing-drizzle/${door}'); ${open}; process.exit()`),
      ).to.include(driver)
    })
  }

  it('can be required from CommonJS', function () {
    const require = createRequire(import.meta.url)
    for (const [door] of entryPoints)
      expect(Object.keys(require(nameOf(door)) as object)).to.include.members([...names[door]!])
  })

  it('shows its package.json to tools', function () {
    expect((createRequire(import.meta.url)('eventsourcing-drizzle/package.json') as { name: string }).name).to.equal(
      manifest.name,
    )
  })
})

function nameOf(door: string): string {
  return manifest.name + door.slice(1)
}

/**
 * The packages of node_modules from which a fresh Node process loads files while it runs `code`; sorted, each once.
 * A hook sees what is imported, and the cache of `require` what is required.
 */
function packagesLoadedBy(code: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'loaded-'))
  try {
    const record = join(folder, 'loaded.txt')
    writeFileSync(record, '')
    writeFileSync(
      join(folder, 'hooks.mjs'),
      `import { appendFileSync } from 'node:fs'
       export async function load(url, context, next) {
         appendFileSync(${JSON.stringify(record)}, url + '\\n')
         return next(url, context)
       }`,
    )
    writeFileSync(
      join(folder, 'register.mjs'),
      `import { appendFileSync } from 'node:fs'
       import { createRequire, register } from 'node:module'
       register(${JSON.stringify(pathToFileURL(join(folder, 'hooks.mjs')).href)})
       process.on('exit', () => {
         appendFileSync(${JSON.stringify(record)}, Object.keys(createRequire(import.meta.url).cache).join('\\n') + '\\n')
       })`,
    )
    const child = spawnSync(
      process.execPath,
      ['--import', pathToFileURL(join(folder, 'register.mjs')).href, '--input-type=module', '--eval', code],
      { cwd: root, encoding: 'utf8' },
    )
    expect(child.status, child.stderr).to.equal(0)
    const loaded = readFileSync(record, 'utf8').replaceAll('\\', '/')
    expect(loaded, 'the hook has seen the package itself').to.contain('/dist/lib/')
    return [...new Set([...loaded.matchAll(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//g)].map(([, name]) => name!))].sort()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
