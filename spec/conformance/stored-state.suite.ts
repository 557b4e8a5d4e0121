import { deserialize, serialize } from 'node:v8'
import { expect } from 'chai'
import { MapperDeserialisationError } from '../../lib/errors.js'
import { Mapper } from '../../lib/persistence/mapper.js'
import { JsonTranscoder } from '../../lib/persistence/transcoder.js'
import type { DefineCase } from '../support/cases.js'
import { Dog } from '../support/dogs.js'
import { rejection } from '../support/rejection.js'
import { bytes, storedEvent } from '../support/stored-events.js'
import { schoolOn, TrainingSchool } from '../support/training-school.js'

/** What comes of states that are not what the library has written, or that something else writes and reads. */
export function storedStateSuite(define: DefineCase): void {
  describe('stored states', () => {
    define('may hold any character, also the one that stands for damaged text', async (opened) => {
      const school = schoolOn(opened)
      const tricks = ['\uFFFD', 'sitz, 座れ, 🐕', '\u0000', '\ud83d', '"\\\n']
      const dog = new Dog('Fido')
      for (const trick of tricks) dog.addTrick(trick)
      await school.save(dog)
      expect(await school.tricks('Fido')).to.deep.equal(tricks)
      expect((await school.events.get(dog.id)).slice(1).map(({ data }) => data['trick'])).to.deep.equal(tricks)
    })

    define('are refused where they are damaged, by name, without what is in them', async (opened) => {
      const school = schoolOn(opened)
      await school.register('Fido')
      const damaged = [
        Buffer.concat([
          bytes('{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET'),
          Buffer.of(0xff),
          bytes('"}}'),
        ]),
        bytes('{"timestamp":"2026-01-01T00:00:00.000Z","data":{"trick":"SECRET"'),
        bytes('"SECRET"'),
        new Uint8Array(0),
      ]
      for (const [index, state] of damaged.entries()) {
        const id = `damaged ${index}`
        const [first] = await school.recorder.selectEvents(Dog.createId('Fido'))
        await school.recorder.insertEvents([{ ...first!, originatorId: id }, storedEvent(id, 2, { state })])
        for (const reading of [school.repository.get(Dog, id), school.events.get(id)]) {
          const error = await rejection(reading, MapperDeserialisationError, JSON.stringify(id))
          expect(error.message).to.include('Dog.TrickAdded').and.not.include('SECRET')
        }
      }
    })

    define('are written and read by a transcoder of one’s own, bytes or text', async (opened) => {
      class Reversed extends JsonTranscoder {
        override encode(value: unknown): Uint8Array {
          return super.encode(value).slice().reverse()
        }
        override decode(state: Uint8Array): unknown {
          return super.decode(state.slice().reverse())
        }
      }
      class Marked extends Mapper {
        override decode(...[stored]: Parameters<Mapper['decode']>) {
          const event = super.decode(stored)
          return { ...event, data: { ...event.data, trick: `${String(event.data['trick'])}!` } }
        }
      }
      const ways: [Record<string, unknown>, string][] = [
        [{ TRANSCODER_TOPIC: { encode: serialize, decode: deserialize } }, 'sit'],
        [{ TRANSCODER_TOPIC: Reversed }, 'sit'],
        [{ MAPPER_TOPIC: Marked }, 'sit!'],
      ]
      for (const [index, [env, expected]] of ways.entries()) {
        const factory = opened.factory(`Own ${index}`, env)
        const school = new TrainingSchool({ persistence: factory, name: `Own ${index}` })
        const dog = new Dog('Fido')
        dog.addTrick('sit')
        await school.save(dog)
        expect(await school.tricks('Fido')).to.deep.equal([expected])
      }
    })
  })
}
