import { expect } from 'chai'
import { readFileSync, readdirSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** How a module comes in: when the file loads, only when the line runs, or never (types are erased). */
type Kind = 'static' | 'lazy' | 'type'

interface Room {
  /** Rooms whose files it may import. */
  readonly rooms: readonly string[]
  /** Packages it may import in any way. Node's own modules are free everywhere. */
  readonly packages?: readonly string[]
}

// The house. Change this table when you mean to change the house, and DESIGN's drawing with it:
//
//   errors ← domain ← persistence ← application ← processing
//                        ↑    ↑
//                   memory    drizzle
//                                ↑
//                      postgres · sqlite
const table: Readonly<Record<string, Room>> = {
  errors: { rooms: [] },
  domain: { rooms: ['errors'], packages: ['uuid'] },
  persistence: { rooms: ['errors', 'domain'], packages: ['uuid', 'import-meta-resolve'] },
  application: { rooms: ['errors', 'domain', 'persistence'] },
  processing: { rooms: ['errors', 'domain', 'persistence', 'application'] },
  memory: { rooms: ['errors', 'domain', 'persistence'] },
  drizzle: { rooms: ['errors', 'domain', 'persistence'], packages: ['drizzle-orm'] },
  sqlite: {
    rooms: ['errors', 'domain', 'persistence', 'drizzle'],
    packages: ['drizzle-orm', 'drizzle-orm/better-sqlite3/session', 'drizzle-orm/sqlite-core'],
  },
  postgres: {
    rooms: ['errors', 'domain', 'persistence', 'drizzle'],
    packages: ['drizzle-orm', 'drizzle-orm/pg-core', 'drizzle-orm/postgres-js/session'],
  },
  // lib/index.ts, the door without a database
  door: { rooms: ['errors', 'domain', 'persistence', 'application', 'processing', 'memory'] },
}

/** Files that load another room, and never before it is asked for. */
const lazyRooms: Readonly<Record<string, readonly string[]>> = {
  'lib/index.ts': ['lib/drizzle/index.ts'],
}

/** The door where dialects meet, so that an environment's URL finds its own. */
const meetingPlaces: Readonly<Record<string, readonly string[]>> = {
  'lib/drizzle/index.ts': ['lib/sqlite/datastore.ts', 'lib/postgres/datastore.ts'],
}

/** Packages that need a driver: as types anywhere in their dialect's room, loaded only by `import()` in its drivers. */
const driverPackages: readonly { readonly folder: string; readonly packages: readonly string[] }[] = [
  { folder: 'lib/sqlite/drivers/', packages: ['better-sqlite3', 'drizzle-orm/better-sqlite3'] },
  { folder: 'lib/postgres/drivers/', packages: ['postgres', 'drizzle-orm/postgres-js'] },
]

/** The one file whose work is to import what it is told. */
const topicLoader = 'lib/persistence/topic-loader.ts'

const dialectRooms = ['sqlite', 'postgres']
const dialectEntries = [
  'datastore.ts',
  'dialect.ts',
  'drivers',
  'errors.ts',
  'index.ts',
  'session.ts',
  'source.ts',
  'tables.ts',
]

/** What a dialect has beside these, since its twin has no such thing to do. */
const ownEntries: Readonly<Record<string, readonly string[]>> = {
  // writers beside each other, whose events are put in order; arrays as parameters; several statements in one text
  postgres: [
    'append.ts',
    'append-together.ts',
    'arrays.ts',
    'given-events.ts',
    'order.ts',
    'texts.ts',
    'transaction-control.ts',
  ],
}

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')

describe('The house', function () {
  it('imports point inward, and only dialects know a database', function () {
    report(badImports(readLib()))
  })

  it('has no circle of imports between files, those for types alone left aside', function () {
    report(importCircles(readLib()))
  })

  it('makes each AsyncLocalStorage once, with its module', function () {
    const problems = [...readLib()].flatMap(([file, source]) =>
      source
        .split('\n')
        .filter((line) => line.includes('new AsyncLocalStorage') && !/^(export )?const /.test(line))
        .map(
          (line) => `${file}: ${line.trim()} Node 20 never forgets a storage that was used: share one, keyed by owner.`,
        ),
    )
    report(problems)
  })

  it('has dialects that are twins', function () {
    const files = readLib()
    const filesOf = (room: string) =>
      [...files.keys()].filter((file) => roomOf(file) === room).map((file) => file.slice(`lib/${room}/`.length))
    report(unequalDialects(Object.fromEntries(dialectRooms.map((room) => [room, filesOf(room)])), ownEntries))
  })
})

describe('The check of the house', function () {
  const planted: readonly { title: string; files: Record<string, string>; says: RegExp }[] = [
    {
      title: 'a room further out',
      files: {
        'lib/domain/dog.ts': `import { Mapper } from '../persistence/mapper.js'`,
        'lib/persistence/mapper.ts': '',
      },
      says: /lib\/domain\/dog\.ts:1 imports lib\/persistence\/mapper\.ts/,
    },
    {
      title: 'a type of Drizzle left of the drizzle room',
      files: { 'lib/application/application.ts': `\nimport type { SQL } from 'drizzle-orm'` },
      says: /application\.ts:2 imports 'drizzle-orm'/,
    },
    {
      title: 'a type of Drizzle named inside a declaration',
      files: { 'lib/memory/factory.ts': `export type Sql = import('drizzle-orm').SQL` },
      says: /factory\.ts:1 imports 'drizzle-orm'/,
    },
    {
      title: 'one dialect of Drizzle in the room for all of them',
      files: { 'lib/drizzle/statements.ts': `import { sqliteTable } from 'drizzle-orm/sqlite-core'` },
      says: /statements\.ts:1 imports 'drizzle-orm\/sqlite-core'/,
    },
    {
      title: 'one dialect in the other',
      files: { 'lib/sqlite/dialect.ts': `export * from '../postgres/tables.js'`, 'lib/postgres/tables.ts': '' },
      says: /lib\/sqlite\/dialect\.ts:1 imports lib\/postgres\/tables\.ts/,
    },
    {
      title: 'a driver that comes in with its dialect',
      files: { 'lib/sqlite/drivers/better-sqlite3.ts': `import Database from 'better-sqlite3'` },
      says: /better-sqlite3\.ts:1 .*import\(\)/,
    },
    {
      title: 'a driver outside its folder',
      files: { 'lib/sqlite/dialect.ts': `const { default: Database } = await import('better-sqlite3')` },
      says: /dialect\.ts:1 imports 'better-sqlite3'/,
    },
    {
      title: 'a driver that is required',
      files: { 'lib/postgres/tables.ts': `const postgres = require('postgres')` },
      says: /tables\.ts:1 imports 'postgres'/,
    },
    {
      title: 'a database room that comes in with the first door',
      files: { 'lib/index.ts': `export * from './drizzle/index.js'`, 'lib/drizzle/index.ts': '' },
      says: /lib\/index\.ts:1 .*import\(\)/,
    },
    {
      title: 'a database room loaded lazily by another file than the door',
      files: { 'lib/application/application.ts': `await import('../drizzle/index.js')`, 'lib/drizzle/index.ts': '' },
      says: /application\.ts:1 imports lib\/drizzle\/index\.ts/,
    },
    {
      title: 'a module whose name is made at run time',
      files: { 'lib/sqlite/index.ts': 'await import(`better-${name}`)' },
      says: /index\.ts:1 .*topic-loader/,
    },
    {
      title: 'a file that is not there',
      files: { 'lib/domain/dog.ts': `import { wag } from './tail.js'` },
      says: /dog\.ts:1 imports '\.\/tail\.js', which is no file/,
    },
    {
      title: 'a room that the table does not have',
      files: { 'lib/kennel/kennel.ts': '' },
      says: /lib\/kennel\/kennel\.ts is in no room/,
    },
  ]
  for (const { title, files, says } of planted)
    it(`reports ${title}`, function () {
      const problems = badImports(new Map(Object.entries(files)))
      expect(problems).to.have.length(1)
      expect(problems[0]).to.match(says)
    })

  it('lets a driver be loaded lazily, and its types be named, in its folder', function () {
    const source = `import type Database from 'better-sqlite3'\nconst driver = await import('better-sqlite3')`
    expect(badImports(new Map([['lib/sqlite/drivers/better-sqlite3.ts', source]]))).to.deep.equal([])
  })

  it('reports a circle once, with the way round', function () {
    const problems = importCircles(
      new Map([
        ['lib/domain/dog.ts', `import { Lead } from './lead.js'`],
        ['lib/domain/lead.ts', `export { Collar } from './collar.js'`],
        ['lib/domain/collar.ts', `import { Dog } from './dog.js'`],
      ]),
    )
    expect(problems).to.have.length(1)
    expect(problems[0]).to.contain('lib/domain/dog.ts → lib/domain/lead.ts → lib/domain/collar.ts → lib/domain/dog.ts')
  })

  it('reports a dialect that lacks a file, or has one that its twin has not', function () {
    const whole = ['index.ts', 'dialect.ts', 'tables.ts', 'errors.ts', 'drivers/driver.ts']
    const problems = unequalDialects({ sqlite: whole.slice(1), postgres: [...whole, 'listen.ts'] }, {})
    expect(problems.join('\n'))
      .to.match(/lib\/sqlite lacks index\.ts/)
      .and.to.match(/lib\/postgres has listen\.ts/)
  })

  it('lets a dialect have files of its own that are named as such, and reports a name without a file', function () {
    const rooms = { sqlite: dialectEntries, postgres: [...dialectEntries, 'order.ts'] }
    expect(unequalDialects(rooms, { postgres: ['order.ts'] })).to.deep.equal([])
    const problems = unequalDialects(rooms, { postgres: ['order.ts', 'listen.ts'] })
    expect(problems).to.have.length(1)
    expect(problems[0]).to.match(/lib\/postgres has no listen\.ts/)
  })
})

function report(problems: readonly string[]): void {
  if (problems.length > 0) expect.fail(`\n  ${problems.join('\n  ')}\n`)
}

/** Every source file of lib, by path from the root, with forward slashes. */
function readLib(): Map<string, string> {
  const files = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' })
    .map((file) => posix.join('lib', file.replaceAll('\\', '/')))
    .filter((file) => file.endsWith('.ts'))
  return new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]))
}

function badImports(files: ReadonlyMap<string, string>): string[] {
  const problems: string[] = []
  for (const [file, source] of files) {
    const room = roomOf(file)
    if (table[room] === undefined) {
      problems.push(
        `${file} is in no room: put it into one, or add the room to the table in spec/architecture.spec.ts.`,
      )
      continue
    }
    for (const found of importsOf(file, source)) {
      const problem = badImport(file, found, files)
      if (problem !== undefined) problems.push(`${file}:${found.line} ${problem}`)
    }
  }
  return problems
}

function badImport(file: string, found: Import, files: ReadonlyMap<string, string>): string | undefined {
  const { specifier, kind } = found
  const room = roomOf(file)
  const { rooms, packages = [] } = table[room]!
  if (specifier === undefined)
    return file === topicLoader
      ? undefined
      : `imports a module whose name is made at run time: only ${topicLoader} does; give the name as a literal.`
  if (isBuiltin(specifier)) return undefined

  if (specifier.startsWith('.')) {
    const target = targetOf(file, specifier)
    if (!files.has(target)) return `imports '${specifier}', which is no file of lib (names end in .js).`
    const lazy = lazyRooms[file]?.includes(target) ?? false
    if (lazy && kind === 'static') return `loads ${target} with the door: load it by import() when it is first used.`
    const meets = meetingPlaces[file]?.includes(target) ?? false
    if (lazy || meets || roomOf(target) === room || rooms.includes(roomOf(target))) return undefined
    return (
      `imports ${target}: imports point inward, and ${room} may import ${rooms.join(', ') || 'no other room'}. ` +
      'Move what both need to the inner room, or pass it in.'
    )
  }

  const driver = driverPackages.find(
    ({ folder, packages }) =>
      packages.includes(specifier) && file.startsWith(kind === 'type' ? posix.dirname(folder) + '/' : folder),
  )
  if (driver !== undefined)
    return kind === 'static'
      ? `loads '${specifier}' with the dialect's door: load it by import() when a database is first opened.`
      : undefined
  if (packages.includes(specifier)) return undefined
  const home = driverPackages.find((driver) => driver.packages.includes(specifier))?.folder
  return (
    `imports '${specifier}': ${room} may import ${packages.join(', ') || 'no package'}` +
    (kind === 'type' ? ', types included. ' : '. ') +
    (home === undefined ? 'Only the drizzle room and dialects know a database.' : `It has its place in ${home}.`)
  )
}

/** Circles of imports that are not for types alone, each once, starting at its first file. */
function importCircles(files: ReadonlyMap<string, string>): string[] {
  const imports = (file: string) =>
    importsOf(file, files.get(file)!)
      .filter(({ kind, specifier }) => kind === 'static' && specifier?.startsWith('.'))
      .map(({ specifier }) => targetOf(file, specifier!))
      .filter((target) => files.has(target))
  const problems: string[] = []
  const done = new Set<string>()
  const walk = (file: string, way: readonly string[]): void => {
    const start = way.indexOf(file)
    if (start >= 0)
      problems.push(
        `${[...way.slice(start), file].join(' → ')}: a circle; move what they share to a file of its own, or pass it in.`,
      )
    if (start >= 0 || done.has(file)) return
    for (const target of imports(file)) walk(target, [...way, file])
    done.add(file)
  }
  for (const file of files.keys()) walk(file, [])
  return problems
}

function unequalDialects(
  rooms: Readonly<Record<string, readonly string[]>>,
  own: Readonly<Record<string, readonly string[]>>,
): string[] {
  const topLevel = (room: string) => [...new Set(rooms[room]!.map((file) => file.split('/')[0]!))].sort()
  const names = Object.keys(rooms)
  const common = (room: string) => topLevel(room).filter((entry) => !own[room]?.includes(entry))
  const problems = names.flatMap((room) =>
    (own[room] ?? [])
      .filter((entry) => !topLevel(room).includes(entry))
      .map((entry) => `lib/${room} has no ${entry}: take it out of ownEntries in spec/architecture.spec.ts.`),
  )
  for (const entry of new Set([...dialectEntries, ...names.flatMap(common)])) {
    const without = names.filter((room) => !common(room).includes(entry))
    const having = names.filter((room) => !without.includes(room))
    if (dialectEntries.includes(entry))
      problems.push(...without.map((room) => `lib/${room} lacks ${entry}: dialects are twins.`))
    else if (without.length > 0)
      problems.push(
        `lib/${having.join(', lib/')} has ${entry}, lib/${without.join(', lib/')} has not: dialects are twins; ` +
          'what is the same in two belongs in lib/drizzle, what is one dialect’s alone in ownEntries.',
      )
  }
  return problems
}

interface Import {
  /** Absent where it is no literal. */
  readonly specifier: string | undefined
  readonly kind: Kind
  /** From 1. */
  readonly line: number
}

function importsOf(file: string, source: string): Import[] {
  const found: Import[] = []
  const parsed = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true)
  const add = (name: ts.Node | undefined, kind: Kind, at: ts.Node): void => {
    const specifier = name !== undefined && ts.isStringLiteralLike(name) ? name.text : undefined
    found.push({ specifier, kind, line: parsed.getLineAndCharacterOfPosition(at.getStart()).line + 1 })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node))
      add(
        node.moduleSpecifier,
        node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? 'type' : 'static',
        node,
      )
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined)
      add(node.moduleSpecifier, node.isTypeOnly ? 'type' : 'static', node)
    else if (ts.isImportTypeNode(node))
      add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, 'type', node)
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], 'lazy', node)
    else if (ts.isCallExpression(node) && /^require(\.resolve)?$/.test(node.expression.getText(parsed)))
      add(node.arguments[0], 'lazy', node)
    ts.forEachChild(node, visit)
  }
  visit(parsed)
  return found
}

function targetOf(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts')
}

function roomOf(file: string): string {
  if (file === 'lib/index.ts') return 'door'
  return file.split('/')[1]!.replace(/\.ts$/, '')
}
