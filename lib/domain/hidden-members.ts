/*
 * Private members of JavaScript (`#balance`) can't be seen from outside, and an object that its class's constructor has not made has
 * none. That a class has some is told by its source text: in a class as written (or minified) a `#` stands nowhere else once text,
 * comments and regular expressions are out of it. Where a compiler had to turn them into something older, its helpers' names
 * tell; in a minified bundle of that kind nothing does, and then using such a member is a TypeError of the engine or the helper.
 *
 * @see docs/decisions/0026-snapshots.md
 */

/**
 * The first `#private` member that instances of a class, or of a class above it, have; `undefined` where there is none.
 *
 * @param end  The prototype to stop before.
 */
export function hiddenMember(prototype: object | null, end: object = Object.prototype): string | undefined {
  for (let each: unknown = prototype; isPrototype(each) && each !== end; each = Object.getPrototypeOf(each)) {
    const found = ownHiddenMember(each)
    if (found !== undefined) return found
  }
  return undefined
}

/** The first `#private` member, of the instances, in the source text of one class. */
export function hiddenMemberIn(source: string): string | undefined {
  if (!source.includes('#') && !source.includes('_')) return undefined
  const code = withoutTexts(source)
  const helper = helpers.exec(code)?.[0]
  if (helper !== undefined) return helper
  const ofTheClass = new Set(Array.from(code.matchAll(declaredStatic), ([, name]) => name))
  return Array.from(code.matchAll(privateName), ([name]) => name).find((name) => !ofTheClass.has(name))
}

const privateName = /#[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/gu
const declaredStatic = new RegExp(
  `\\bstatic\\s+(?:(?:async|get|set|accessor)\\b\\s*)?(?:\\*\\s*)?(${privateName.source})`,
  'gu',
)
/** Of tsc, esbuild, swc and Babel. */
const helpers =
  /\b__classPrivateField(?:Get|Set|In)\b|\b__private(?:Get|Set|Add|In|Method|Wrapper)\b|\b_class_?[pP]rivate\w+/

/** By prototype, since a decorator may have put something in the class's place. */
const known = new WeakMap<object, string | null>()

function ownHiddenMember(prototype: object): string | undefined {
  let found = known.get(prototype)
  if (found === undefined) {
    found = hiddenMemberIn(sourceOf(prototype)) ?? null
    known.set(prototype, found)
  }
  return found ?? undefined
}

/** The class's own text, where it is there. */
const classes = new WeakMap<object, Function>()

/** Says which class a prototype is of, where its `constructor` is something that was put in the class's place. */
export function tellClass(prototype: object, written: Function): void {
  classes.set(prototype, written)
}

function sourceOf(prototype: object): string {
  const written =
    classes.get(prototype) ?? (Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value as unknown)
  return typeof written === 'function' ? Function.prototype.toString.call(written) : ''
}

function isPrototype(value: unknown): value is object {
  return typeof value === 'object' && value !== null && value !== Object.prototype
}

/** JavaScript without what may hold anything: texts, templates (but not what is between their `${}`), comments, expressions. */
function withoutTexts(source: string): string {
  let code = ''
  /** Of each open template: how many braces are open inside of its `${`. */
  const templates: number[] = []
  const heads = new Heads()
  let index = 0
  while (index < source.length) {
    const rest = templates.length > 0 && source[index] === '}' && templates.at(-1) === 0
    if (rest) templates.pop()
    const character = rest ? '`' : source[index]
    const skipped =
      character === '`'
        ? templateEnd(source, index + 1)
        : character === '/' && isComment(source[index + 1])
          ? commentEnd(source, index)
          : character === '"' || character === "'"
            ? quotedEnd(source, index, character)
            : character === '/' && beginsExpression(code, heads)
              ? expressionEnd(source, index)
              : undefined
    if (skipped === undefined) {
      heads.note(character, code)
      if (templates.length > 0) countBrace(templates, character)
      code += character
      index++
      continue
    }
    // what stands in its place is a value, so that a slash behind it divides; a comment is a space
    code += character === '/' && isComment(source[index + 1]) ? ' ' : rest ? ')+0' : '0'
    if (character === '`' && source.startsWith('${', skipped - 2)) {
      templates.push(0)
      code += '+('
    }
    index = skipped
  }
  return code
}

function countBrace(templates: number[], character: string | undefined): void {
  const open = templates.length - 1
  if (character === '{') templates[open] = (templates[open] ?? 0) + 1
  else if (character === '}') templates[open] = (templates[open] ?? 0) - 1
}

function isComment(character: string | undefined): boolean {
  return character === '/' || character === '*'
}

function commentEnd(source: string, start: number): number {
  const end = source[start + 1] === '/' ? source.indexOf('\n', start) : source.indexOf('*/', start + 2) + 2
  return end < start + 2 ? source.length : end
}

function quotedEnd(source: string, start: number, quote: string): number {
  let index = start + 1
  // no text goes on in the next line: then it was none
  while (index < source.length && source[index] !== quote && source[index] !== '\n')
    index += source[index] === '\\' ? 2 : 1
  return index + 1
}

/** Behind the closing backtick, or behind the next `${`. */
function templateEnd(source: string, start: number): number {
  let index = start
  while (index < source.length && source[index] !== '`') {
    if (source.startsWith('${', index)) return index + 2
    index += source[index] === '\\' ? 2 : 1
  }
  return index + 1
}

/** `undefined` where it is none, since the line ends before it. */
function expressionEnd(source: string, start: number): number | undefined {
  let isInSet = false
  let index = start + 1
  while (isInSet || source[index] !== '/') {
    if (index >= source.length || source[index] === '\n') return undefined
    if (source[index] === '[') isInSet = true
    else if (source[index] === ']') isInSet = false
    index += source[index] === '\\' ? 2 : 1
  }
  return index + 1
}

/** Which parentheses are the head of a statement, as in `if (…)`, behind which no slash divides. */
class Heads {
  readonly #open: boolean[] = []
  /** Whether the one that was closed last is one. */
  isLast = false

  /** @param code  What is before it. */
  note(character: string | undefined, code: string): void {
    if (character === '(') this.#open.push(/(?<![.\p{ID_Continue}$#])(?:if|while|for|with)\s*$/u.test(code.slice(-40)))
    else if (character === ')') this.isLast = this.#open.pop() ?? false
  }
}

/** Whether a slash behind that code begins a regular expression: it divides behind a value. */
function beginsExpression(code: string, heads: Heads): boolean {
  const before = code.trimEnd()
  const word = /[\p{ID_Continue}$]+$/u.exec(before.slice(-30))?.[0]
  if (word !== undefined) return wordsBeforeValues.has(word)
  if (before.endsWith(')')) return heads.isLast
  // behind a brace a statement begins: who divides an object or a function?
  return !/(?:\]|\+\+|--)$/.test(before)
}

const wordsBeforeValues = new Set(
  'return typeof instanceof in of new delete void throw case do else yield await'.split(' '),
)
