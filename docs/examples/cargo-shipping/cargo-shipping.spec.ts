import assert from 'node:assert/strict'
import { CargoShipping } from './application.js'
import { Cargo, Itinerary, type Leg, RouteSpecification, ShippingError } from './domain.js'

const [hongkong, tokyo, hamburg, helsinki, stockholm] = ['HKHKG', 'JPTYO', 'DEHAM', 'FIHEL', 'SESTO'] as const
const march = (day: number) => new Date(Date.UTC(2026, 2, day))

const overTokyo = [
  leg('V1', hongkong, tokyo, 1, 3),
  leg('V2', tokyo, hamburg, 5, 20),
  leg('V3', hamburg, stockholm, 22, 24),
]

describe('Cargo shipping in memory', () => cases({}))

describe('Cargo shipping on SQLite', () =>
  cases({ PERSISTENCE_MODULE: 'eventsourcing-drizzle', DRIZZLE_URL: 'sqlite::memory:' }))

function cases(env: Readonly<Record<string, string>>): void {
  let shipping: CargoShipping
  let id: string

  beforeEach(async () => {
    shipping = new CargoShipping({ env })
    id = await shipping.book(hongkong, stockholm, march(25))
  })

  afterEach(() => shipping.close())

  it('books cargo, and knows no more of it at first', async () => {
    const { status, next, arrival } = await shipping.track(id)
    assert.deepEqual({ status, next, arrival }, { status: 'booked', next: undefined, arrival: undefined })
    await assert.rejects(shipping.book(hongkong, hongkong, march(25)), ShippingError)
  })

  it('follows cargo along its itinerary until somebody claims it', async () => {
    await shipping.route(id, overTokyo)
    assert.deepEqual((await shipping.track(id)).next, { activity: 'receive', location: hongkong })
    assert.deepEqual((await shipping.track(id)).arrival, march(24))

    await shipping.handle(id, { activity: 'receive', location: hongkong })
    await shipping.handle(id, { activity: 'load', location: hongkong, voyage: 'V1' })
    const onBoard = await shipping.track(id)
    assert.deepEqual([onBoard.status, onBoard.location, onBoard.voyage], ['on board', hongkong, 'V1'])
    assert.deepEqual(onBoard.next, { activity: 'unload', location: tokyo, voyage: 'V1' })

    await shipping.handle(id, { activity: 'unload', location: tokyo, voyage: 'V1' })
    await shipping.handle(id, { activity: 'load', location: tokyo, voyage: 'V2' })
    await shipping.handle(id, { activity: 'unload', location: hamburg, voyage: 'V2' })
    await shipping.handle(id, { activity: 'load', location: hamburg, voyage: 'V3' })
    await shipping.handle(id, { activity: 'unload', location: stockholm, voyage: 'V3' })
    const arrived = await shipping.track(id)
    assert.deepEqual([arrived.status, arrived.location], ['in port', stockholm])
    assert.deepEqual(arrived.next, { activity: 'claim', location: stockholm })

    await shipping.handle(id, { activity: 'claim', location: stockholm })
    const { status, next, isMisdirected } = await shipping.track(id)
    assert.deepEqual({ status, next, isMisdirected }, { status: 'claimed', next: undefined, isMisdirected: false })
    await assert.rejects(shipping.changeDestination(id, helsinki), ShippingError)
  })

  it('takes no way that is late, has a gap, or leads elsewhere', async () => {
    const [first, second, third] = overTokyo as [Leg, Leg, Leg]
    await assert.rejects(shipping.route(id, [first, second, leg('V4', hamburg, stockholm, 24, 26)]), ShippingError)
    await assert.rejects(shipping.route(id, [first, third]), ShippingError)
    await assert.rejects(shipping.route(id, [first, second]), ShippingError)
    await assert.rejects(shipping.route(id, []), ShippingError)
  })

  it('knows cargo as misrouted from a change of destination to the next itinerary', async () => {
    await shipping.route(id, overTokyo)
    await shipping.changeDestination(id, helsinki)
    assert.equal((await shipping.track(id)).isMisrouted, true)

    await shipping.route(id, [...overTokyo.slice(0, 2), leg('V5', hamburg, helsinki, 21, 24)])
    assert.equal((await shipping.track(id)).isMisrouted, false)
  })

  it('knows cargo as misdirected from a mistake to an itinerary that mends it', async () => {
    await shipping.route(id, [leg('V6', hongkong, hamburg, 1, 18), leg('V3', hamburg, stockholm, 22, 24)])
    await shipping.handle(id, { activity: 'receive', location: hongkong })
    await shipping.handle(id, { activity: 'load', location: hongkong, voyage: 'V1' }) // which goes to Tokyo
    await shipping.handle(id, { activity: 'unload', location: tokyo, voyage: 'V1' })
    const astray = await shipping.track(id)
    assert.deepEqual([astray.isMisdirected, astray.location, astray.next], [true, tokyo, undefined])

    await shipping.route(id, overTokyo.slice(1))
    const { isMisdirected, next } = await shipping.track(id)
    assert.equal(isMisdirected, false)
    assert.deepEqual(next, { activity: 'load', location: tokyo, voyage: 'V2' })
  })

  it('keeps values of its own in events, and gives them back as what they were', async () => {
    await shipping.route(id, overTokyo)
    const { specification, itinerary } = await shipping.repository.get(Cargo, id)

    assert.deepEqual(specification, new RouteSpecification(hongkong, stockholm, march(25)))
    assert.deepEqual(itinerary, new Itinerary(overTokyo))
  })

  it('reads bookings of the time when they had no specification', async () => {
    const state = {
      timestamp: '2020-02-20T10:00:00.000Z',
      data: { origin: hongkong, destination: stockholm, deadline: { _type_: 'date', _data_: march(25) } },
    }
    await shipping.recorder.insertEvents([
      { originatorId: 'old', originatorVersion: 1, topic: 'Cargo.Booked', state: Buffer.from(JSON.stringify(state)) },
    ])

    await shipping.route('old', overTokyo)
    assert.deepEqual((await shipping.track('old')).arrival, march(24))
  })
}

function leg(voyage: string, from: string, to: string, departure: number, arrival: number): Leg {
  return { voyage, from, to, departure: march(departure), arrival: march(arrival) }
}
