import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import { resolve as resolveSpecifier } from 'import-meta-resolve'
import { EventSourcingError, TopicError } from '../errors.js'

/**
 * Gives an object a name that configuration can use as its topic, wherever files end up: `TRANSCODER_TOPIC=myTranscoder`.
 *
 * @returns The object.
 * @throws TopicError  The name is no text, is empty, or belongs to another object. The same object again is fine.
 */
export function registerTopic<T>(name: string, object: T): T {
  register(name, object, { object })
  return object
}

/**
 * Gives a name to what a function loads when the name is first used; for modules of our own that bring a database package.
 *
 * @throws TopicError  As `registerTopic`.
 */
export function registerLazyTopic(name: string, load: () => Promise<unknown>): void {
  register(name, load, { load })
}

/**
 * Finds what a topic names. Takes, in this order: the object itself, which comes back; a registered name;
 * `'./session.js#getSession'`; `'package/module#name'`; `'package/module:name'`. A name may be a path (`sessions.current`).
 * Without a name, the module's namespace.
 *
 * @param base  Where relative modules start and packages are looked for: a file's URL (`import.meta.url`) or path.
 *   Default: the current directory.
 * @throws TopicError  No such module, or one that fails while loading (the reason is the cause); no such export (says
 *   which there are); no text and no object.
 */
export async function resolveTopic<T>(topic: string | T, base?: string | URL): Promise<T> {
  if (typeof topic !== 'string') {
    if (topic === undefined || topic === null) throw new TopicError(`A topic must be text or an object, not ${topic}`)
    return topic
  }
  // Casts: only the caller can know what is to be found under its topic.
  const entry = registered.get(topic)
  if (entry !== undefined) return ('load' in entry ? await load(topic, entry.load) : entry.object) as T
  const { module, path } = split(topic)
  return exported(topic, await importModule(topic, module, baseUrl(base)), path) as T
}

type Entry = { readonly object: unknown } | { readonly load: () => Promise<unknown> }

const registered = new Map<string, Entry>()

function register(name: string, value: unknown, entry: Entry): void {
  if (typeof name !== 'string' || name === '')
    throw new TopicError('The name of a topic must be text that is not empty')
  const known = registered.get(name)
  if (known !== undefined && ('load' in known ? known.load : known.object) !== value) {
    throw new TopicError(`Topic ${shown(name)} is registered for another object: choose another name`)
  }
  registered.set(name, entry)
}

async function load(topic: string, loader: () => Promise<unknown>): Promise<unknown> {
  try {
    return await loader()
  } catch (error) {
    if (error instanceof EventSourcingError) throw error
    const missing = /^Cannot find package '([^']+)'/.exec(error instanceof Error ? error.message : '')?.[1]
    const advice = missing === undefined ? 'the cause says why' : `install ${missing}`
    throw new TopicError(`Topic ${shown(topic)} failed while loading: ${advice}`, { cause: error })
  }
}

const schemes = new Set(['node', 'file', 'data', 'http', 'https'])
const exportPath = /^[\p{ID_Start}$_][\p{ID_Continue}$]*(\.[\p{ID_Start}$_][\p{ID_Continue}$]*)*$/u

/** At the last `#` (not the first character: package imports start with it), else at a last `:` before an export path. */
function split(topic: string): { module: string; path: readonly string[] } {
  const hash = topic.lastIndexOf('#')
  const colon = topic.lastIndexOf(':')
  const separatesName = hash < 1 && exportPath.test(topic.slice(colon + 1)) && !isScheme(topic.slice(0, colon))
  const at = hash > 0 ? hash : colon > 0 && separatesName ? colon : topic.length
  const module = topic.slice(0, at)
  const name = topic.slice(at + 1)
  if (module.trim() === '' || topic.includes('\0') || (at < topic.length && !exportPath.test(name))) {
    throw new TopicError(
      `Topic ${shown(topic)} can't be read: write './file.js#name', 'package/module#name', 'package/module:name' or a ` +
        'registered name',
    )
  }
  return { module, path: at < topic.length ? name.split('.') : [] }
}

// `node:fs` and `C:file.js` are modules, not a module and a name.
function isScheme(text: string): boolean {
  return schemes.has(text) || /^[a-z]$/i.test(text)
}

function baseUrl(base: string | URL | undefined): string {
  // The slash makes the directory itself the base, not the one above.
  if (base === undefined) return pathToFileURL(`${process.cwd()}/`).href
  if (base instanceof URL) return base.href
  return isAbsolute(base) || !URL.canParse(base) ? pathToFileURL(base).href : base
}

async function importModule(topic: string, module: string, base: string): Promise<object> {
  let url: string | undefined
  try {
    url = absolute(module, base)
    return (await import(url ?? module)) as object
  } catch (error) {
    if (error instanceof EventSourcingError) throw error
    const hint = url === undefined && /\.[cm]?[jt]s$/.test(module) ? " (a file's topic starts with './')" : ''
    const why = isMissing(error, url)
      ? `there is no module ${shown(module)}, seen from ${base}${hint}`
      : 'the module failed while loading, the cause says why'
    throw new TopicError(`Topic ${shown(topic)}: ${why}`, { cause: error })
  }
}

/** `undefined` for a package that isn't found from the base, but may be from this file, as in a bundle. */
function absolute(module: string, base: string): string | undefined {
  if (/^\.{1,2}(\/|$)/.test(module)) return new URL(module, base).href
  if (isAbsolute(module)) return pathToFileURL(module).href
  try {
    // `import()` alone would look for packages from this file, which is right only where they are hoisted, and Node 20
    // ignores the second argument of `import.meta.resolve`.
    return resolveSpecifier(module, base)
  } catch {
    return undefined
  }
}

// A module that is there but imports something that isn't fails with the same code: then it is not this one that is missing.
function isMissing(error: unknown, url: string | undefined): boolean {
  if (!(error instanceof Error)) return false
  const { code = '', url: missing } = error as NodeJS.ErrnoException & { url?: string }
  if (url === undefined) return code.startsWith('ERR_')
  return (code === 'ERR_MODULE_NOT_FOUND' && missing === url) || unloadable.has(code)
}

const unloadable = new Set([
  'ERR_INVALID_MODULE_SPECIFIER',
  'ERR_UNKNOWN_BUILTIN_MODULE',
  'ERR_UNSUPPORTED_DIR_IMPORT',
  'ERR_UNSUPPORTED_ESM_URL_SCHEME',
])

function exported(topic: string, module: object, path: readonly string[]): unknown {
  let found: unknown = module
  for (const [depth, name] of path.entries()) {
    const isThere = (typeof found === 'object' || typeof found === 'function') && found !== null && name in found
    if (!isThere) {
      const names = Object.keys(Object(found)).sort()
      const where = depth === 0 ? 'the module' : `'${path.slice(0, depth).join('.')}'`
      throw new TopicError(
        `Topic ${shown(topic)}: ${where} has no export '${name}'; it has ${names.join(', ') || 'none'}`,
      )
    }
    found = (found as Record<string, unknown>)[name]
  }
  if (found === undefined || found === null) throw new TopicError(`Topic ${shown(topic)} is ${found} in its module`)
  return found
}

function shown(topic: string): string {
  return JSON.stringify(topic.length > 200 ? `${topic.slice(0, 200)}…` : topic)
}
