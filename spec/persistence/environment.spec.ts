import { expect } from 'chai'
import { ProgrammingError } from '../../lib/errors.js'
import { Environment, snakeCase } from '../../lib/persistence/environment.js'

describe('Environment', function () {
  it('takes the strongest layer that has a variable', function () {
    const environment = new Environment(
      'School',
      { A: 'class', B: 'class', C: 'class' },
      { B: 'process', C: 'process' },
      { C: 'option' },
    )
    expect(['A', 'B', 'C', 'D'].map((key) => environment.get(key))).to.deep.equal([
      'class',
      'process',
      'option',
      undefined,
    ])
  })

  it('takes the variable with the application name first, whichever layer each is in', function () {
    const environment = new Environment('TrainingSchool', { TRAINING_SCHOOL_URL: 'mine' }, { URL: "everybody's" })
    expect(environment.get('URL')).to.equal('mine')
    expect(environment.variable('URL')).to.equal('TRAINING_SCHOOL_URL')
    expect(new Environment('Kennels', { TRAINING_SCHOOL_URL: 'mine' }, { URL: "everybody's" }).get('URL')).to.equal(
      "everybody's",
    )
  })

  it('has no prefix without a name', function () {
    const environment = new Environment('', { _URL: 'no', URL: 'yes' })
    expect(environment.get('URL')).to.equal('yes')
    expect(environment.variable('URL')).to.equal('URL')
  })

  it('does not see a layer that is changed later, nor what is undefined in it', function () {
    const layer: Record<string, string> = { URL: 'before' }
    const environment = new Environment('School', layer, { URL: undefined }, undefined, null)
    layer['URL'] = 'after'
    expect(environment.get('URL')).to.equal('before')
  })

  it('does not take inherited things for variables', function () {
    const environment = new Environment('School', {})
    expect(environment.get('constructor')).to.equal(undefined)
    expect(environment.get('__proto__')).to.equal(undefined)
  })

  it('takes empty text for not set, hiding what is weaker', function () {
    const environment = new Environment(
      'School',
      { URL: 'x', SIZE: '3', TOPIC: 'zlib' },
      { URL: '', SIZE: '', SCHOOL_TOPIC: '' },
    )
    expect(environment.get('URL')).to.equal(undefined)
    expect(environment.text('URL')).to.equal(undefined)
    expect(environment.integer('SIZE', 7)).to.equal(7)
    expect(environment.get('TOPIC')).to.equal(undefined)
  })

  it('hands objects through as topics, and refuses them as text without showing them', function () {
    const topic = { secret: 'Ann-1815' }
    const environment = new Environment('School', { SCHOOL_TOPIC: topic })
    expect(environment.get('TOPIC')).to.equal(topic)
    expect(() => environment.text('TOPIC'))
      .to.throw(ProgrammingError, 'SCHOOL_TOPIC')
      .with.property('message')
      .that.does.not.include('Ann-1815')
  })

  describe('yes and no', function () {
    for (const word of ['y', 'yes', 't', 'true', 'on', '1', 'Y', 'Yes', 'TRUE', 'oN']) {
      it(`${word} says yes`, function () {
        expect(new Environment('', { CREATE_TABLE: word }).yes('CREATE_TABLE', false)).to.equal(true)
      })
    }
    for (const word of ['n', 'no', 'f', 'false', 'off', '0', 'N', 'No', 'FALSE', 'oFf']) {
      it(`${word} says no`, function () {
        expect(new Environment('', { CREATE_TABLE: word }).yes('CREATE_TABLE', true)).to.equal(false)
      })
    }
    for (const word of ['', ' ', 'maybe', '2', 'yes ', 'ja', 'null', true, false, 1, 0, null, {}]) {
      it(`${JSON.stringify(word)} is refused, naming the variable and the words`, function () {
        expect(() => new Environment('', { CREATE_TABLE: word }).yes('CREATE_TABLE', true))
          .to.throw(ProgrammingError)
          .with.property('message')
          .that.matches(/^CREATE_TABLE must be one of y, yes, t, true, on, 1 or n, no, f, false, off, 0, not /)
        expect(() =>
          new Environment('TrainingSchool', { TRAINING_SCHOOL_CREATE_TABLE: word }).yes('CREATE_TABLE', true),
        ).to.throw(ProgrammingError, /^TRAINING_SCHOOL_CREATE_TABLE must/)
      })
    }
    it('take the default when not set', function () {
      expect(new Environment('').yes('CREATE_TABLE', true)).to.equal(true)
      expect(new Environment('').yes('CREATE_TABLE', false)).to.equal(false)
    })
  })

  describe('integers', function () {
    for (const [text, number] of [
      ['0', 0],
      ['10', 10],
      ['+3', 3],
      ['007', 7],
      ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ] as const) {
      it(`${text} is ${number}`, function () {
        expect(new Environment('', { SIZE: text }).integer('SIZE', 1)).to.equal(number)
      })
    }
    for (const text of [
      '-1',
      '1.5',
      '1e3',
      '0x10',
      'ten',
      ' 1',
      '1 ',
      '9007199254740992',
      'NaN',
      'Infinity',
      10,
      null,
    ]) {
      it(`${JSON.stringify(text)} is refused, naming the variable`, function () {
        expect(() => new Environment('School', { SCHOOL_SIZE: text }).integer('SIZE', 1)).to.throw(
          ProgrammingError,
          /^SCHOOL_SIZE must be an integer from 0, not /,
        )
      })
    }
    it('may start elsewhere', function () {
      expect(new Environment('', { SIZE: '-5' }).integer('SIZE', 1, -10)).to.equal(-5)
      expect(() => new Environment('', { SIZE: '0' }).integer('SIZE', 1, 1)).to.throw(ProgrammingError, 'from 1')
    })
  })
})

describe('Snake case', function () {
  for (const [name, snake] of [
    ['TrainingSchool', 'training_school'],
    ['HTTPServer', 'http_server'],
    ['trainingSchool', 'training_school'],
    ['TRAINING_SCHOOL', 'training_school'],
    ['training_school', 'training_school'],
    ['Order-Desk 2', 'order_desk_2'],
    ['Dog2Cat', 'dog2_cat'],
    ['ABC', 'abc'],
    ['ÄpfelBaum', 'äpfel_baum'],
    ['A\u0308pfelBaum', 'äpfel_baum'],
    ['Школа\u0421обак', 'школа_собак'],
    ['犬School', '犬school'],
    ['_Private_', 'private'],
    ['a"b;c', 'a_b_c'],
    ['!', ''],
    ['', ''],
  ] as const) {
    it(`of ${JSON.stringify(name)} is ${JSON.stringify(snake)}`, function () {
      expect(snakeCase(name)).to.equal(snake)
    })
  }

  it('makes the prefix of variables', function () {
    expect(new Environment('HTTPServer', { HTTP_SERVER_URL: 'x' }).get('URL')).to.equal('x')
  })
})
