import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { npmVersion } from 'drizzle-orm/version'

/*
 * All specs that another Drizzle may change, as one, for `make test-drizzle-0.44` and its like. Mocha would `require` each spec file, and Node's hooks see
 * only what is imported; this file it imports, because of its ending. A spec file that can't be loaded is one failed
 * case here and not the end of the run.
 */

const project = fileURLToPath(new URL('../../..', import.meta.url))

/**
 * What has no Drizzle in it, or tests how servers, connections and files behave, which our own statements reach without
 * Drizzle: it would say the same again, and takes half of the time. What other versions may change is in the suites, on
 * every backend, and in the specs of sessions, own tables, users' databases and types.
 */
const leftOut = [
  'spec/architecture.',
  'spec/bundlers.',
  'spec/drizzle-versions.',
  'spec/domain/',
  'spec/persistence/',
  'spec/backends/fault-proxy.',
  'spec/backends/memory.',
  'spec/backends/postgres-connecting.',
  'spec/backends/postgres-faults.',
  'spec/backends/postgres-kills.',
  'spec/backends/postgres-leases.',
  'spec/backends/postgres-many-saves.',
  'spec/backends/postgres-order',
  'spec/backends/postgres-pool.',
  'spec/backends/postgres-processes.',
  'spec/backends/postgres-server.',
  'spec/backends/postgres-shared-statements.',
  'spec/backends/postgres-soak.',
  'spec/backends/postgres-unreachable.',
  'spec/backends/sqlite-processes.',
  'spec/backends/sqlite-shared-',
]

describe('drizzle-orm, in this run', () => {
  it(`is ${process.env.OTHER_DRIZZLE} (${npmVersion})`, async () => {
    const manifest = await readFile(
      join(project, 'node_modules', process.env.OTHER_DRIZZLE ?? '', 'package.json'),
      'utf8',
    )
    expect(npmVersion).to.equal((JSON.parse(manifest) as { version: string }).version)
  })
})

const files: string[] = []
for (const folder of ['dist/spec', 'dist/docs/examples']) {
  const all = await readdir(join(project, folder), { recursive: true })
  const specs = all.filter((name) => name.endsWith('.spec.js')).sort()
  files.push(...specs.map((name) => `${folder}/${name.replaceAll('\\', '/')}`))
}

describe('What is left out of this run', () => {
  for (const start of leftOut) {
    it(`${start}: is there in others`, () => {
      expect(files.filter((file) => isOf(start, file))).not.to.deep.equal([])
    })
  }
})

for (const file of files.filter((file) => !leftOut.some((start) => isOf(start, file)))) {
  try {
    await import(pathToFileURL(join(project, file)).href)
  } catch (error) {
    it(`${file} is loaded`, () => {
      throw error
    })
  }
}

function isOf(start: string, file: string): boolean {
  return file.startsWith(`dist/${start}`)
}
