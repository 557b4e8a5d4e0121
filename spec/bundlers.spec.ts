import { nodeResolve } from '@rollup/plugin-node-resolve'
import { expect } from 'chai'
import { type BuildOptions, build as esbuild } from 'esbuild'
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { rollup } from 'rollup'
import { minify } from 'terser'
import ts from 'typescript'
import { build as vite, type InlineConfig } from 'vite'
import { admin, describePostgres, postgresUrl } from './support/postgres-server.js'
import { remove, temporaryDirectory } from './support/sqlite-backends.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Below the project, so that a bundle finds the packages that are not in it. */
const workshop = join(root, 'dist/bundles')

/** One program, as it is written and as tsc compiles it; it imports this package by its name. */
const source = join(root, 'spec/support/children/bundled.ts')
const compiled = join(root, 'dist/spec/support/children/bundled.js')

/** What has native code, or finds its own files beside it. */
const external = ['better-sqlite3', 'postgres']

interface Bundle {
  readonly title: string
  readonly file: string
  /** Whether classes keep their names. */
  readonly keepsNames?: boolean
  make(file: string): Promise<void>
}

const bundles: readonly Bundle[] = [
  { title: 'esbuild, minified', file: 'esbuild.mjs', make: (file) => withEsbuild(file) },
  {
    title: 'esbuild, minified, with experimentalDecorators',
    file: 'esbuild-experimental.mjs',
    make: (file) => withEsbuild(file, { tsconfigRaw: { compilerOptions: { experimentalDecorators: true } } }),
  },
  {
    title: 'esbuild, minified, in CommonJS',
    file: 'esbuild.cjs',
    make: (file) => withEsbuild(file, { format: 'cjs' }),
  },
  {
    title: 'esbuild, minified, names kept',
    file: 'esbuild-names.mjs',
    keepsNames: true,
    make: (file) => withEsbuild(file, { keepNames: true }),
  },
  {
    title: 'Rollup and terser, which mangles all names of the module',
    file: 'rollup.mjs',
    make: withRollup,
  },
  { title: 'Vite, minified, of what tsc has compiled', file: 'vite.mjs', make: (file) => withVite(file, compiled) },
  {
    title: 'Vite, minified, with experimentalDecorators',
    file: 'vite-experimental.mjs',
    make: (file) => withVite(file, source, { oxc: { decorator: { legacy: true } } }),
  },
]

describe('In a bundle', function () {
  this.timeout(60_000)
  let directory: string
  const made: Promise<void>[] = []

  before(async () => {
    rmSync(workshop, { recursive: true, force: true })
    mkdirSync(join(workshop, 'node_modules'), { recursive: true })
    // as it is installed: found by its name, by way of its package.json
    symlinkSync(root, join(workshop, 'node_modules/eventsourcing-drizzle'), 'junction')
    directory = await temporaryDirectory()
    for (const { file, make } of bundles) made.push(make(join(workshop, file)))
    await Promise.allSettled([run(compiled, 'sit', `sqlite:${join(directory, 'start.db')}`), ...made])
  })

  after(() => remove(directory))

  for (const [index, { title, file, keepsNames }] of bundles.entries()) {
    it(`of ${title}, every shape of aggregate saves and reads in memory`, async () => {
      await made[index]
      const { nameless, ...read } = await run(join(workshop, file), 'sit')
      expect(read).to.deep.equal(readAfter('sit'))
      if (keepsNames) expect(nameless).to.equal('Nameless')
      else expect(nameless).to.match(/^ProgrammingError: .*static readonly applicationName/)
    })

    it(`of ${title}, it reads what others stored in a SQLite file, and they read what it stores`, async () => {
      await made[index]
      const database = join(directory, `${index}.db`)
      copyFileSync(join(directory, 'start.db'), database)
      expect(await run(join(workshop, file), 'roll', `sqlite:${database}`)).to.deep.include(readAfter('sit', 'roll'))
      const { nameless, ...read } = await run(compiled, 'jump', `sqlite:${database}`)
      expect(read).to.deep.equal(readAfter('sit', 'roll', 'jump'))
      expect(nameless).to.equal('Nameless')
    })
  }

  it('that is split, for SQLite alone, nothing has to be installed but better-sqlite3', async () => {
    const place = join(directory, 'alone')
    mkdirSync(join(place, 'node_modules'), { recursive: true })
    const driver = 'node_modules/better-sqlite3'
    symlinkSync(join(root, driver), join(place, driver), 'junction')
    // split: in one file, what Drizzle's part for PostgreSQL imports is imported at the start
    await withEsbuildTo({
      entryPoints: { main: source },
      outdir: place,
      splitting: true,
      outExtension: { '.js': '.mjs' },
    })
    expect(await run(join(place, 'main.mjs'), 'sit', `sqlite:${join(place, 'school.db')}`)).to.deep.include(
      readAfter('sit'),
    )
  })

  it('that is split, nothing of Drizzle and of drivers is loaded before it is used', async () => {
    const entry = join(workshop, 'entry.mjs')
    writeFileSync(entry, "export * from 'eventsourcing-drizzle'\n")
    const { outputs } = (
      await withEsbuildTo({ entryPoints: [entry], outdir: join(workshop, 'split'), splitting: true })
    ).metafile!
    const start = Object.keys(outputs).find((file) => outputs[file]!.entryPoint?.endsWith('entry.mjs'))!
    const loaded = new Set([start])
    // a set goes on to what is added on the way
    for (const file of loaded)
      for (const { path, kind } of outputs[file]?.imports ?? []) if (kind === 'import-statement') loaded.add(path)
    const packages = [...loaded].flatMap((file) =>
      outputs[file] ? packagesOf(Object.keys(outputs[file].inputs)) : [file],
    )
    expect([...new Set(packages)].filter((name) => !name.startsWith('node:')).sort()).to.deep.equal([
      'import-meta-resolve',
      'uuid',
    ])
    expect(packagesOf(Object.values(outputs).flatMap(({ inputs }) => Object.keys(inputs)))).to.include('drizzle-orm')
  })
})

describe('package.json', () => {
  it('names the modules that do something when they are imported, so that no bundler leaves them out', () => {
    const files = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
      .map((file) => `lib/${file.replaceAll('\\', '/')}`)
      .filter((file) => file.endsWith('.ts') && acts(readFileSync(join(root, file), 'utf8')))
    const { sideEffects } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { sideEffects: string[] }
    const expected = files.map((file) => `./dist/${file.replace(/ts$/, 'js')}`)
    expect([...sideEffects].sort(), 'sideEffects of package.json').to.deep.equal(expected.sort())
  })
})

describePostgres('In a bundle, on PostgreSQL,', () => {
  it('every shape of aggregate saves and reads, with postgres.js outside and inside', async function () {
    this.timeout(60_000)
    mkdirSync(join(workshop, 'node_modules'), { recursive: true })
    const name = `bundle_${randomUUID().slice(0, 8)}`
    await admin()`CREATE DATABASE ${admin()(name)}`
    const url = new URL(postgresUrl())
    url.pathname = name
    try {
      expect(await run(compiled, 'sit', url.href)).to.deep.include(readAfter('sit'))
      const [without, inside] = ['postgres-outside.mjs', 'postgres-inside.mjs'].map((name) => join(workshop, name))
      await Promise.all([withEsbuild(without!), withEsbuild(inside!, { external: ['better-sqlite3'] })])
      expect(await run(without!, 'roll', url.href)).to.deep.include(readAfter('sit', 'roll'))
      expect(await run(inside!, 'jump', url.href)).to.deep.include(readAfter('sit', 'roll', 'jump'))
    } finally {
      await admin()`DROP DATABASE ${admin()(name)} WITH (FORCE)`
    }
  })
})

// ---- the program ----

/** What it prints, but for `nameless`, after it was run with each of these tricks. */
function readAfter(...tricks: string[]): Record<string, unknown> {
  return {
    dog: ['Fido', tricks, tricks.length],
    cat: ['Tom', tricks],
    fox: { tricks },
    topics: ['Dog.Registered', 'Dog.TrickAdded', 'Dog.Fed', 'Cat.Born'],
  }
}

async function run(file: string, ...args: string[]): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(process.execPath, [file, ...args]).catch(
    (error: { stderr?: string }) => {
      // Node quotes the line, which may be all of the bundle
      throw new Error(`${file} failed: ${String(error.stderr).replace(/^.{500,}$/gm, '…')}`, {
        cause: 'see its message',
      })
    },
  )
  return JSON.parse(stdout) as Record<string, unknown>
}

/** Whether a module has statements other than declarations: then importing it is more than having its names. */
function acts(text: string): boolean {
  const { statements } = ts.createSourceFile('module.ts', text, ts.ScriptTarget.Latest)
  return statements.some(
    (statement) =>
      !ts.isImportDeclaration(statement) &&
      !ts.isExportDeclaration(statement) &&
      !ts.isVariableStatement(statement) &&
      !ts.isFunctionDeclaration(statement) &&
      !ts.isClassDeclaration(statement) &&
      !ts.isInterfaceDeclaration(statement) &&
      !ts.isTypeAliasDeclaration(statement),
  )
}

// ---- bundlers ----

async function withEsbuild(outfile: string, options: BuildOptions = {}): Promise<void> {
  await withEsbuildTo({ entryPoints: [source], outfile, minify: true, ...options })
}

function withEsbuildTo(options: BuildOptions): ReturnType<typeof esbuild> {
  return esbuild({
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external,
    nodePaths: [join(workshop, 'node_modules')],
    logLevel: 'silent',
    metafile: true,
    absWorkingDir: root,
    ...options,
  })
}

async function withRollup(file: string): Promise<void> {
  const bundle = await rollup({
    input: compiled,
    external,
    plugins: [nodeResolve({ preferBuiltins: true })],
    onwarn: () => undefined,
  })
  const { output } = await bundle.generate({ format: 'es', entryFileNames: 'bundle.mjs', chunkFileNames: '[hash].mjs' })
  const chunks = output.filter((each) => each.type === 'chunk')
  mkdirSync(folderOf(file))
  for (const { fileName, code } of chunks) {
    const options = { module: true, toplevel: true, compress: { passes: 2 }, mangle: { toplevel: true } }
    writeFileSync(join(folderOf(file), fileName), (await minify(code, options)).code!)
  }
  writeFileSync(file, `import ${JSON.stringify(join(folderOf(file), 'bundle.mjs'))}\n`)
}

async function withVite(file: string, entry: string, config: InlineConfig = {}): Promise<void> {
  await vite({
    configFile: false,
    root,
    logLevel: 'silent',
    ssr: { noExternal: true, external },
    ...config,
    build: {
      ssr: entry,
      minify: true,
      target: 'node20',
      outDir: folderOf(file),
      rolldownOptions: { output: { entryFileNames: 'bundle.mjs' } },
    },
  })
  writeFileSync(file, `import ${JSON.stringify(join(folderOf(file), 'bundle.mjs'))}\n`)
}

/** Where a bundle of several files is. */
function folderOf(file: string): string {
  return file.replace(/\.mjs$/, '')
}

/** Of files in a bundle. */
function packagesOf(inputs: readonly string[]): string[] {
  return inputs.flatMap((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? [])
}
