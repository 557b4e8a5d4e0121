import { expect } from 'chai'
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import type { Aggregate } from '../../lib/domain/aggregate.js'
import { findEvent } from '../../lib/domain/topics.js'
import { OperationalError, ProgrammingError } from '../../lib/errors.js'
import { rejection } from '../support/rejection.js'
import { replayed } from '../support/replayed.js'

interface Dog extends Aggregate {
  readonly name: string
  readonly secret: string
  tricks: string[]
  addTrick(trick: string): number
  move(to: { x: number; y: number }): void
  fail(): void
  nest(): void
  hide(): void
}
type DogClass = (new (name: string) => Dog) & { createId(name: string): string }
interface Fixture {
  kennel(prefix: string): {
    Dog: DogClass
    Puppy: new (name: string) => Dog & { giveToy(toy: string): void }
    Stray: DogClass
  }
  refused: Record<string, () => unknown>
  Worker: (new (failures: number) => Worker) & { ofClass(worker: Worker): Promise<string> }
}
type Worker = Record<'bare' | 'called' | 'often', (word: string) => Promise<string>>

const root = fileURLToPath(new URL('../../..', import.meta.url))
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')

// Compiling is a test too: the fixture says which of its lines the compiler is to refuse.
async function compile(folder: string, ...options: string[]): Promise<Fixture> {
  const outDir = `${root}dist/fixtures/${folder}`
  try {
    execFileSync(process.execPath, [tsc, '-p', `${root}spec/fixtures/legacy`, '--outDir', outDir, ...options])
  } catch (error) {
    throw new Error(`The fixture does not compile: ${String((error as { stdout?: unknown }).stdout)}`, { cause: error })
  }
  return (await import(pathToFileURL(`${outDir}/kennel.js`).href)) as Fixture
}

for (const [name, folder, ...options] of [
  ['', 'legacy'],
  [', fields assigned', 'legacy-assigned', '--useDefineForClassFields', 'false'],
] as const) {
  describe(`Decorators under experimentalDecorators${name}`, function () {
    this.timeout(60_000)
    let fixture: Fixture
    let classes: ReturnType<Fixture['kennel']>
    let prefix: string

    before(async () => {
      fixture = await compile(folder, ...options)
      prefix = options.length > 0 ? 'Assigned' : 'Legacy'
      classes = fixture.kennel(prefix)
    })

    it('record what happens, and replay to the same', () => {
      const dog = new classes.Dog('Fido')
      expect(dog.addTrick('sit')).to.equal(1)
      dog.move({ x: 1, y: 2 })
      dog.hide()
      expect(dog.pendingEvents.map(({ topic, data }) => [topic, data])).to.deep.equal([
        [`${prefix}Dog.Registered`, { name: 'Fido' }],
        [`${prefix}Dog.TrickAdded`, { trick: 'sit' }],
        [`${prefix}Dog.Moved`, { x: 1, y: 2 }],
        [`${prefix}Dog.Hidden`, {}],
        [`${prefix}Dog.Hidden`, { value: 'something' }],
      ])
      const again = replayed(dog) as Dog
      expect(isDeepStrictEqual(again, dog)).to.equal(true)
      expect(again.secret).to.equal('secret of Fido')
    })

    it('keep constructor, instanceof, name and createId', () => {
      const dog = new classes.Dog('Fido')
      expect(dog).to.be.instanceOf(classes.Dog)
      expect(dog.constructor).to.equal(classes.Dog)
      expect(classes.Dog.name).to.equal('Dog')
      expect(dog.id).to.equal('dogs/Fido').and.to.equal(classes.Dog.createId('Fido'))
    })

    it('serve subclasses', () => {
      const puppy = new classes.Puppy('Rex')
      puppy.addTrick('sit')
      puppy.giveToy('ball')
      expect(puppy.id).to.equal('puppies/Rex')
      expect(puppy.pendingEvents.map(({ topic }) => topic)).to.deep.equal(
        ['Registered', 'TrickAdded', 'ToyGiven'].map((event) => `${prefix}Puppy.${event}`),
      )
      expect(puppy).to.be.instanceOf(classes.Dog)
      expect(isDeepStrictEqual(replayed(puppy), puppy)).to.equal(true)
      expect(() => new classes.Stray('x')).to.throw(ProgrammingError, /own @aggregate/)
    })

    it('have upcasts, which subclasses inherit', () => {
      for (const name of [`${prefix}Dog`, `${prefix}Puppy`]) {
        const added = findEvent(`${name}.TrickAdded`)
        expect(added?.classVersion).to.equal(2)
        expect(added?.upcasts[0]?.({ name: 'sit' })).to.deep.equal({ trick: 'sit' })
        expect(findEvent(`${name}.Registered`)?.classVersion).to.equal(2)
        expect(findEvent(`${name}.Moved`)?.classVersion).to.equal(1)
        expect(added?.aggregate.snapshotUpcasts).to.have.length(1)
      }
    })

    it('leave nothing behind when a body throws or causes another event', () => {
      const dog = new classes.Dog('Fido')
      expect(() => dog.fail()).to.throw(RangeError)
      expect(() => dog.nest()).to.throw(ProgrammingError, /TrickAdded/)
      expect([dog.version, dog.pendingEvents.length]).to.deep.equal([1, 1])
    })

    it('repeat methods', async () => {
      const { Worker } = fixture
      for (const [method, total] of [
        ['bare', 1],
        ['called', 1],
        ['often', 2],
      ] as const) {
        expect(await new Worker(total)[method]('done')).to.equal('done')
        await rejection(new Worker(total + 1)[method]('done'), OperationalError)
      }
      expect(await Worker.ofClass(new Worker(2))).to.equal('static')
    })

    it('refuse what can’t be an event or aggregate', () => {
      for (const [what, definition] of Object.entries(fixture.refused)) {
        expect(definition, what).to.throw(ProgrammingError)
      }
    })
  })
}
