import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { admin, describePostgres, postgresUrl } from './support/postgres-server.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
/** Of this run alone: `make check` runs specs on several versions of Drizzle at once. */
const workshop = join(root, 'dist', ['docs-check', process.env.OTHER_DRIZZLE].filter(Boolean).join('-'))

/** Fenced code on one page that is one module: its blocks, in order, each at the line where it stands on the page. */
interface Program {
  readonly page: string
  /** The page's line of the first block. */
  readonly line: number
  readonly blocks: readonly Block[]
}

interface Block {
  /** The page's line of the first line of code, from 1. */
  readonly line: number
  readonly code: string
  /** Type-checked only: `no-run`. */
  readonly runs: boolean
}

/** Pages whose fragments are quotations, and where they are taken from. */
const quoting: Readonly<Record<string, string>> = Object.fromEntries(
  ['', '/express', '/fastify', '/hono', '/nestjs'].map((framework) => [
    `docs/guides/web-frameworks${framework}.md`,
    'docs/examples/web-frameworks',
  ]),
)

const pages = findPages().filter((page) => !page.startsWith('docs/decisions/'))
const programs = pages.flatMap((page) => programsOf(page, read(page)))
const running = programs.filter(({ blocks }) => blocks.some(({ runs }) => runs))

describe('The code on the pages', function () {
  const skipped = pages.flatMap((page) => fencesOf(read(page)).filter(({ words }) => words.includes('fragment')))

  before(compileAll)

  it(`has the types that it claims (${programs.length} programs, ${skipped.length} fragments left out)`, function () {
    if (typeErrors()) expect.fail(`\n${typeErrors()}`)
  })

  for (const program of running.filter((each) => !needsPostgres(each)))
    it(titleOf(program), function () {
      this.timeout(60_000)
      run(program)
    })
})

describePostgres('The code on the pages, on PostgreSQL,', () => {
  before(compileAll)

  for (const program of running.filter(needsPostgres))
    it(titleOf(program), async function () {
      this.timeout(60_000)
      const name = `page_${randomUUID().slice(0, 8)}`
      await admin()`CREATE DATABASE ${admin()(name)}`
      const url = new URL(postgresUrl())
      url.pathname = name
      try {
        run(program, { DATABASE_URL: url.href })
      } finally {
        await admin()`DROP DATABASE ${admin()(name)} WITH (FORCE)`
      }
    })
})

describe('The pages', function () {
  it('link to files and headings that are there', function () {
    const broken = findPages().flatMap((page) => brokenLinks(page, read(page)))
    if (broken.length > 0) expect.fail(`\n  ${broken.join('\n  ')}\n`)
  })

  it('quote code of examples as it is there', function () {
    const wrong = Object.entries(quoting).flatMap(([page, folder]) =>
      notQuoted(page, read(page), sources(folder).map(read)),
    )
    if (wrong.length > 0) expect.fail(`\n  ${wrong.join('\n  ')}\n`)
  })

  it('of databases have the same headings', function () {
    const [sqlite, postgresql] = ['sqlite', 'postgresql'].map((name) => sectionsOf(read(`docs/backends/${name}.md`)))
    expect(postgresql).to.deep.equal(sqlite)
    expect(sqlite).to.include('Transactions')
  })

  it('name functions that exist, where the way of an event is told', function () {
    const page = 'docs/how-an-event-flows.md'
    const code = [...sources('lib'), ...sources('docs/examples')].map((file) => read(file))
    const unknown = methodsNamedIn(read(page)).filter(
      ({ owner, method }) => !code.some((text) => has(text, owner, method)),
    )
    if (unknown.length > 0)
      expect.fail(
        `\n  ${unknown.map(({ line, owner, method }) => `${page}:${line} names ${owner}.${method}, which is not in lib: rename it here in the same change.`).join('\n  ')}\n`,
      )
  })
})

describe('The check of the pages', function () {
  const page = ['# Dogs', '', '```ts', 'const a = 1', '```', 'and', '```ts no-run', 'fetch(a)', '```', ''].join('\n')

  it('joins the blocks of a page, each at its own line, and starts anew where the page says so', function () {
    const programs = programsOf(
      'dogs.md',
      `${page}\n\`\`\`ts new\nconst a = 2\n\`\`\`\n\`\`\`ts fragment\n…\n\`\`\`\n\`\`\`sh\nls\n\`\`\`\n`,
    )
    expect(programs.map(({ line, blocks }) => ({ line, blocks }))).to.deep.equal([
      {
        line: 4,
        blocks: [
          { line: 4, code: 'const a = 1', runs: true },
          { line: 8, code: 'fetch(a)', runs: false },
        ],
      },
      { line: 12, blocks: [{ line: 12, code: 'const a = 2', runs: true }] },
    ])
    expect(sourceOf(programs[0]!.blocks).split('\n')[7]).to.equal('fetch(a)')
  })

  it('refuses a word after ts that it does not know', function () {
    expect(() => programsOf('dogs.md', '```ts norun\n```\n')).to.throw(/dogs\.md:1 .*norun/)
  })

  it('reports links that lead nowhere, and none in code', function () {
    const text =
      '[a](nowhere.md) [b](../README.md#no-such-heading) [c](https://example.org)\n```md\n[d](nothing.md)\n```\n`[e](f.md)`'
    expect(brokenLinks('docs/page.md', text, { 'README.md': '# Title' })).to.deep.equal([
      'docs/page.md:1 links to nowhere.md, and docs/nowhere.md is not there.',
      'docs/page.md:1 links to ../README.md#no-such-heading, and README.md has no such heading.',
    ])
  })

  it('reports a quotation of which a word was changed, and not one that is indented otherwise', function () {
    const source = 'class Dog {\n  bark() {\n    return "woof" // loud\n  }\n}\n'
    const quote = (code: string) => notQuoted('docs/page.md', `\`\`\`ts fragment\n${code}\n\`\`\`\n`, [source])
    expect(quote('bark() {\n  return "woof" // loud\n}')).to.deep.equal([])
    expect(quote('bark() {\n  return "wau" // loud\n}')).to.deep.equal([
      'docs/page.md:2 quotes code that is in none of its examples: quote it again.',
    ])
  })

  it('finds the functions that a page names, and topics not', function () {
    const named = methodsNamedIn('First `Application.save(dog)`, then `Dog.TrickAdded`.\nLast `Mapper.toStoredEvent`.')
    expect(named).to.deep.equal([
      { line: 1, owner: 'Application', method: 'save' },
      { line: 2, owner: 'Mapper', method: 'toStoredEvent' },
    ])
    const text =
      'export class Mapper {\n  async toStoredEvent(event: DomainEvent) {}\n  readonly transcoder: Transcoder\n}'
    expect(has(text, 'Mapper', 'toStoredEvent')).to.equal(true)
    expect(has(text, 'Mapper', 'transcoder')).to.equal(true)
    expect(has(text, 'Mapper', 'toDomainEvent')).to.equal(false)
    expect(has(text, 'EventStore', 'toStoredEvent')).to.equal(false)
  })
})

// ---- programs ----

function programsOf(page: string, text: string): Program[] {
  const programs: { page: string; line: number; blocks: Block[] }[] = []
  for (const { language, words, line, code } of fencesOf(text)) {
    if (language !== 'ts') continue
    const unknown = words.find((word) => !['no-run', 'fragment', 'new'].includes(word))
    if (unknown !== undefined)
      throw new Error(`${page}:${line - 1} says "ts ${unknown}": a block of code may be no-run, fragment or new.`)
    if (words.includes('fragment')) continue
    if (programs.length === 0 || words.includes('new')) programs.push({ page, line, blocks: [] })
    programs.at(-1)!.blocks.push({ line, code, runs: !words.includes('no-run') })
  }
  return programs
}

/** Such a program finds an empty database in `DATABASE_URL`. */
function needsPostgres({ blocks }: Program): boolean {
  return blocks.some(({ code }) => code.includes('process.env.DATABASE_URL'))
}

function titleOf({ page, line }: Program): string {
  return `runs: ${page}, from line ${line}`
}

/** In a folder of its own. */
function run(program: Program, variables: NodeJS.ProcessEnv = {}): void {
  const folder = mkdtempSync(join(tmpdir(), 'page-'))
  try {
    const file = join(workshop, 'out', `${fileNameOf(program)}.js`)
    const child = spawnSync(process.execPath, ['--enable-source-maps', file], {
      cwd: folder,
      env: { ...process.env, ...variables },
      encoding: 'utf8',
      timeout: 50_000,
    })
    if (child.status !== 0)
      expect.fail(
        `\n${program.page} does not run to its end (${child.signal ?? `exit code ${child.status}`}):\n` +
          withPageLines(child.stderr),
      )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** One module of those blocks, every line at the number that it has on the page, so that errors name the page's line. */
function sourceOf(blocks: readonly Block[]): string {
  const lines: string[] = []
  for (const { line, code } of blocks) {
    while (lines.length < line - 1) lines.push('')
    lines.push(...code.split('\n'))
  }
  return `${lines.join('\n')}\nexport {}\n`
}

let errorsOfAll: string | undefined

/** A hook: compiles them once, whichever suite comes first. */
function compileAll(this: Mocha.Context): void {
  this.timeout(180_000)
  typeErrors()
}

/** Of all programs, by page and line; '' is none. */
function typeErrors(): string {
  return (errorsOfAll ??= compile(programs))
}

/** Compiles all programs in one run, with the options of the project. Returns errors, by page and line; '' is none. */
function compile(programs: readonly Program[]): string {
  rmSync(workshop, { recursive: true, force: true })
  mkdirSync(workshop, { recursive: true })
  const write = (name: string, blocks: readonly Block[]) =>
    writeFileSync(join(workshop, `${name}.ts`), sourceOf(blocks))
  for (const program of programs) {
    const running = program.blocks.filter(({ runs }) => runs)
    if (running.length > 0) write(fileNameOf(program), running)
    if (running.length < program.blocks.length) write(`${fileNameOf(program)}-types-only`, program.blocks)
  }
  const options = { rootDir: '.', outDir: 'out', declaration: false, declarationMap: false, noUnusedLocals: false }
  writeFileSync(
    join(workshop, 'tsconfig.json'),
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions: options, include: ['*.ts'], exclude: ['out'] }),
  )
  if (programs.length === 0) return ''
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const child = spawnSync(process.execPath, [tsc, '-p', workshop, '--pretty', 'false'], {
    cwd: workshop,
    encoding: 'utf8',
  })
  return child.status === 0 ? '' : withPageLines(child.stdout + child.stderr)
}

/** Puts the page in the place of the program that was made of it; their line numbers are the same. */
function withPageLines(output: string): string {
  return output
    .replace(
      /[^\s('"]*?([\w.-]+--\d+)(?:-types-only)?\.(?:ts|js)\b/g,
      (whole, name: string) => pageByName.get(name) ?? whole,
    )
    .replace(/^(\S+\.md)\((\d+),(\d+)\)/gm, '$1:$2:$3')
    .trimEnd()
}

const pageByName = new Map<string, string>()

/** Without ending; remembers the page, for `withPageLines`. */
function fileNameOf({ page, line }: Program): string {
  const name = `${page.replace(/\.md$/, '').replaceAll('/', '.')}--${line}`
  pageByName.set(name, page)
  return name
}

// ---- pages ----

interface Fence {
  readonly language: string
  readonly words: readonly string[]
  /** The page's line of the first line of code, from 1. */
  readonly line: number
  readonly code: string
}

function fencesOf(text: string): Fence[] {
  const fences: Fence[] = []
  const lines = text.split('\n')
  for (let at = 0; at < lines.length; at++) {
    const opening = /^( *)(`{3,}|~{3,})\s*([^`]*)$/.exec(lines[at]!)
    if (opening === null) continue
    const [, indent = '', marker = '', info = ''] = opening
    const first = at + 1
    do at++
    while (at < lines.length && lines[at]!.trim() !== marker)
    const [language = '', ...words] = info.trim().split(/\s+/)
    const code = lines.slice(first, at).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line))
    fences.push({
      language: language === 'typescript' ? 'ts' : language,
      words,
      line: first + 1,
      code: code.join('\n'),
    })
  }
  return fences
}

/** The page without its code, line numbers kept. */
function proseOf(text: string): string {
  const lines = text.split('\n')
  for (const { line, code } of fencesOf(text)) lines.fill('', line - 2, line + code.split('\n').length)
  return lines.join('\n')
}

/** Relative links of a page whose file, or whose heading in a page, is not there. `others` stands in for files. */
function brokenLinks(page: string, text: string, others?: Readonly<Record<string, string>>): string[] {
  const exists = (file: string) => (others ? file in others : existsSync(join(root, file)))
  const prose = proseOf(text).replace(/`[^`\n]*`/g, '')
  const broken: string[] = []
  for (const { 0: whole, 1: target = '', index } of prose.matchAll(/\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g)) {
    if (whole === '' || /^[a-z][a-z+.-]*:/i.test(target)) continue
    const [path = '', anchor] = target.split('#')
    const file = path === '' ? page : posix.normalize(posix.join(posix.dirname(page), decodeURI(path)))
    const at = `${page}:${prose.slice(0, index).split('\n').length} links to ${target}, and ${file}`
    if (path !== '' && !exists(file)) broken.push(`${at} is not there.`)
    else if (anchor !== undefined && file.endsWith('.md')) {
      const linked = path === '' ? text : (others?.[file] ?? read(file))
      if (!anchorsOf(linked).includes(anchor)) broken.push(`${at} has no such heading.`)
    }
  }
  return broken
}

/** Fragments that are in none of these sources, however they are indented and wrapped. */
function notQuoted(page: string, text: string, sources: readonly string[]): string[] {
  const plain = (code: string) => code.replace(/,(?=\s*[)\]}])/g, '').replace(/\s+/g, '')
  const all = sources.map(plain)
  return fencesOf(text)
    .filter(({ words, code }) => words.includes('fragment') && !all.some((source) => source.includes(plain(code))))
    .map(({ line }) => `${page}:${line} quotes code that is in none of its examples: quote it again.`)
}

/** Headings as GitHub makes anchors of them: lower case, no punctuation, spaces to dashes. */
function anchorsOf(text: string): string[] {
  return [...proseOf(text).matchAll(/^#{1,6}\s+(.*)$/gm)].map(([, heading = '']) =>
    heading
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

/** `Owner.method` in backticks. Topics, whose second name starts with a capital, are left out. */
function methodsNamedIn(text: string): { line: number; owner: string; method: string }[] {
  return proseOf(text)
    .split('\n')
    .flatMap((line, index) =>
      [...line.matchAll(/`([A-Z]\w*)\.([a-z]\w*)(?:\([^`]*\))?`/g)].map(([, owner, method]) => ({
        line: index + 1,
        owner: owner!,
        method: method!,
      })),
    )
}

/** Whether the source text declares that class or interface, and a member of that name. */
function has(text: string, owner: string, method: string): boolean {
  return (
    new RegExp(`\\b(?:class|interface|type|const|function)\\s+${owner}\\b`).test(text) &&
    new RegExp(`^\\s+(?:[a-z]+ +)*${method}\\??\\s*[(<:=]`, 'm').test(text)
  )
}

/** The headings of a page's sections. */
function sectionsOf(text: string): string[] {
  return [...proseOf(text).matchAll(/^## (.*)$/gm)].map(([, heading = '']) => heading)
}

function findPages(): string[] {
  return [...(existsSync(join(root, 'README.md')) ? ['README.md'] : []), ...list('docs', '.md')].sort()
}

function sources(folder: string): string[] {
  return list(folder, '.ts')
}

function list(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => posix.join(folder, file.replaceAll('\\', '/')))
    .filter((file) => file.endsWith(ending))
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}
