// The main job, step by step, on a SQLite file of its own. `make demo` runs it; DRIZZLE_URL names another database, a
// SQLite file or one of PostgreSQL.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TrainingSchool } from './application.js'
import { Dog } from './domain.js'
import { openDatabase } from './tables.js'

const folder = await mkdtemp(join(tmpdir(), 'training-school-'))
const url = process.env['DRIZZLE_URL'] || join(folder, 'school.db')

const database = openDatabase(url)
const { datastore, owners } = database
const school = new TrainingSchool({ persistence: datastore })
try {
  await school.ready()
  say(
    `A training school for dogs, on ${datastore.dialect === 'postgresql' ? 'PostgreSQL' : 'SQLite'}. Its database:`,
    process.env['DRIZZLE_URL']
      ? '  the one of DRIZZLE_URL, where all stays'
      : `  ${url} (removed at the end; DRIZZLE_URL=sqlite:school.db keeps one)`,
  )

  if (await school.repository.has(Dog.createId('Fido'))) {
    say('The demo has been shown in this database already. Take a new one, or none: make demo')
    process.exitCode = 1
  } else {
    await database.createOwners()
    await showDemo()
  }
} finally {
  await school.close()
  await datastore.close()
  await rm(folder, { recursive: true, force: true })
}

async function showDemo(): Promise<void> {
  step('1  Fido is registered and learns two tricks. What happens is stored as events.')
  code("await school.register('Fido')")
  await school.register('Fido')
  code("await school.addTrick('Fido', 'roll over')")
  await school.addTrick('Fido', 'roll over')
  code("await school.addTrick('Fido', 'play dead')")
  await school.addTrick('Fido', 'play dead')
  await showEvents()

  step('2  Fido is read back: made again from those events.')
  code("await school.tricks('Fido')")
  say(`    → ${(await school.tricks('Fido')).join(', ')}`)

  step('3  A row of your own table and events, in one transaction: both are committed.')
  code('await school.transaction(async (session) => {')
  code("  await session.insert(owners).values({ name: 'Ann', dog: 'Buster' })")
  code("  await school.register('Buster')")
  code('})')
  await school.transaction(async (session) => {
    await session.insert(owners).values({ name: 'Ann', dog: 'Buster' })
    await school.register('Buster')
  })
  await showOwners()
  await showEvents()

  step('4  The same for Bob and Rex, but then something fails: both are rolled back.')
  code('await school.transaction(async (session) => {')
  code("  await session.insert(owners).values({ name: 'Bob', dog: 'Rex' })")
  code("  await school.register('Rex')")
  code("  throw new Error('Rex bit the postman')")
  code('})')
  try {
    await school.transaction(async (session) => {
      await session.insert(owners).values({ name: 'Bob', dog: 'Rex' })
      await school.register('Rex')
      throw new Error('Rex bit the postman')
    })
  } catch (error) {
    say(`    → ${String(error)}`)
  }
  await showOwners()
  await showEvents()
  say('', '  No Bob, no Rex: tables and events never disagree.')

  say(
    '',
    'Read next',
    '  docs/examples/training-school/   this demo: domain.ts, application.ts, tables.ts, demo.ts',
    '  docs/getting-started.md          the same, written by you',
    '  docs/how-an-event-flows.md       what happened between save and the disk',
  )
}

async function showOwners(): Promise<void> {
  const rows = await school.transaction((session) => database.allOwners(session))
  show(
    'owners',
    ['id', 'name', 'dog'],
    rows.map((row) => [row.id, row.name, row.dog]),
  )
}

async function showEvents(): Promise<void> {
  const rows = await school.transaction((session) => database.allEvents(session))
  show(
    'training_school_events',
    ['notification id', 'topic', 'version', 'originator id'],
    rows.map((row) => [row.notificationId, row.topic, row.originatorVersion, row.originatorId]),
  )
}

function show(table: string, head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const lines = [head, ...rows.map((row) => row.map(String))]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  say('', `  ${table}`)
  for (const line of lines)
    say(
      `    ${line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('   ')
        .trimEnd()}`,
    )
}

function step(text: string): void {
  say('', text, '')
}

function code(text: string): void {
  say(`    ${text}`)
}

function say(...lines: readonly string[]): void {
  for (const line of lines) console.log(line)
}
