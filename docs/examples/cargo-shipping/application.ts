import { Application, type JsonTranscoder } from 'eventsourcing-drizzle'
import { Cargo, type Handling, Itinerary, type Leg, type Location, RouteSpecification } from './domain.js'

/** Where cargo is, as its owner is told. */
export interface Tracking {
  readonly status: 'booked' | 'in port' | 'on board' | 'claimed'
  /** The last port that has handled it. */
  readonly location: Location | undefined
  /** While it is on board. */
  readonly voyage: string | undefined
  /** What comes next; nothing is known of that while cargo is not routed, or is not where it should be. */
  readonly next: Handling | undefined
  readonly arrival: Date | undefined
  readonly isMisdirected: boolean
  readonly isMisrouted: boolean
}

/** What one can do at the shipping company. */
export class CargoShipping extends Application {
  /** How values of the domain's own are stored. The names are stored, too: never change them. */
  protected override registerTranscodings(transcoder: JsonTranscoder): void {
    transcoder.register({
      type: RouteSpecification,
      name: 'route_specification',
      encode: ({ origin, destination, deadline }) => ({ origin, destination, deadline }),
      decode: ({ origin, destination, deadline }) => new RouteSpecification(origin, destination, deadline),
    })
    transcoder.register({
      type: Itinerary,
      name: 'itinerary',
      encode: ({ legs }) => legs,
      decode: (legs) => new Itinerary(legs),
    })
  }

  /** @returns The tracking id. */
  async book(origin: Location, destination: Location, deadline: Date): Promise<string> {
    const cargo = Cargo.book(new RouteSpecification(origin, destination, deadline))
    await this.save(cargo)
    return cargo.id
  }

  async changeDestination(id: string, destination: Location): Promise<void> {
    const cargo = await this.repository.get(Cargo, id)
    cargo.changeDestination(destination)
    await this.save(cargo)
  }

  async route(id: string, legs: readonly Leg[]): Promise<void> {
    const cargo = await this.repository.get(Cargo, id)
    cargo.route(new Itinerary(legs))
    await this.save(cargo)
  }

  async handle(id: string, handling: Handling): Promise<void> {
    const cargo = await this.repository.get(Cargo, id)
    cargo.handle(handling)
    await this.save(cargo)
  }

  async track(id: string): Promise<Tracking> {
    const { lastHandling, itinerary, ahead, isMisdirected, isMisrouted } = await this.repository.get(Cargo, id)
    return {
      status: statusAfter(lastHandling),
      location: lastHandling?.location,
      voyage: lastHandling?.activity === 'load' ? lastHandling.voyage : undefined,
      next: isMisdirected ? undefined : ahead[0],
      arrival: isMisdirected || isMisrouted ? undefined : itinerary?.arrival,
      isMisdirected,
      isMisrouted,
    }
  }
}

function statusAfter(handling: Handling | undefined): Tracking['status'] {
  if (handling === undefined) return 'booked'
  if (handling.activity === 'claim') return 'claimed'
  return handling.activity === 'load' ? 'on board' : 'in port'
}
