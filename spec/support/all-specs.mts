import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect } from 'chai'
import { npmVersion } from 'drizzle-orm/version'

/*
 * All specs as one, for `make test-drizzle-0.44` and its like. Mocha would `require` each spec file, and Node's hooks see
 * only what is imported; this file it imports, because of its ending. A spec file that can't be loaded is one failed
 * case here and not the end of the run.
 */

const project = fileURLToPath(new URL('../../..', import.meta.url))

describe('drizzle-orm, in this run', () => {
  it(`is ${process.env.OTHER_DRIZZLE} (${npmVersion})`, async () => {
    const manifest = await readFile(
      join(project, 'node_modules', process.env.OTHER_DRIZZLE ?? '', 'package.json'),
      'utf8',
    )
    expect(npmVersion).to.equal((JSON.parse(manifest) as { version: string }).version)
  })
})

for (const folder of ['dist/spec', 'dist/docs/examples']) {
  const files = await readdir(join(project, folder), { recursive: true })
  for (const file of files.filter((name) => name.endsWith('.spec.js')).sort()) {
    try {
      await import(pathToFileURL(join(project, folder, file)).href)
    } catch (error) {
      it(`${folder}/${file} is loaded`, () => {
        throw error
      })
    }
  }
}
