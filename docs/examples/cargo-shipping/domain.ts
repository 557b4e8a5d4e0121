import { EventedAggregate, type Evolve, type Upcasts } from 'eventsourcing-drizzle'

// After the cargo shipping of Eric Evans, Domain-Driven Design (2003), which many of its readers know.

/** A place, by its UN/LOCODE: 'SESTO' is Stockholm. */
export type Location = string

/** From port to port on one voyage. */
export interface Leg {
  readonly voyage: string
  readonly from: Location
  readonly to: Location
  readonly departure: Date
  readonly arrival: Date
}

/** What is done with cargo in a port; loading and unloading belong to a voyage. */
export interface Handling {
  readonly activity: 'receive' | 'load' | 'unload' | 'claim'
  readonly location: Location
  readonly voyage?: string
}

/** Where cargo is to go from where, and by when. A value: it never changes, so events hold it as it is. */
export class RouteSpecification {
  constructor(
    readonly origin: Location,
    readonly destination: Location,
    readonly deadline: Date,
  ) {}

  from(origin: Location): RouteSpecification {
    return new RouteSpecification(origin, this.destination, this.deadline)
  }

  to(destination: Location): RouteSpecification {
    return new RouteSpecification(this.origin, destination, this.deadline)
  }
}

/** The way that cargo takes, leg by leg. A value, too. */
export class Itinerary {
  constructor(readonly legs: readonly Leg[]) {}

  get destination(): Location | undefined {
    return this.legs.at(-1)?.to
  }

  get arrival(): Date | undefined {
    return this.legs.at(-1)?.arrival
  }

  /** Whether it leads from origin to destination in time, without a gap. */
  satisfies({ origin, destination, deadline }: RouteSpecification): boolean {
    let port = origin
    for (const { from, to } of this.legs) {
      if (from !== port) return false
      port = to
    }
    return port === destination && this.arrival !== undefined && this.arrival <= deadline
  }

  /** All that is done with cargo that takes this way, in order. */
  handlings(): Handling[] {
    const [first, last] = [this.legs[0], this.legs.at(-1)]
    if (!first || !last) return []
    return [
      { activity: 'receive', location: first.from },
      ...this.legs.flatMap(({ voyage, from, to }): Handling[] => [
        { activity: 'load', location: from, voyage },
        { activity: 'unload', location: to, voyage },
      ]),
      { activity: 'claim', location: last.to },
    ]
  }
}

/** What the shipping company refuses. Nothing has happened then. */
export class ShippingError extends Error {}

/** What happens to cargo, and the data of it. */
export interface CargoEvents {
  Booked: { specification: RouteSpecification }
  DestinationChanged: { specification: RouteSpecification }
  Routed: { itinerary: Itinerary }
  Handled: { handling: Handling }
}

/** Cargo, from its booking until somebody claims it. */
export class Cargo extends EventedAggregate<CargoEvents> {
  static readonly topic = 'Cargo'

  specification!: RouteSpecification // set by the first event
  itinerary: Itinerary | undefined
  lastHandling: Handling | undefined
  /** What is still to be done with it, on its itinerary. */
  ahead: Handling[] = []
  /** Something else was done with it than was to be done next. A new itinerary, from where it is, mends that. */
  isMisdirected = false

  static book(specification: RouteSpecification): Cargo {
    if (specification.origin === specification.destination) throw new ShippingError('It is there already')
    return Cargo.create('Booked', { specification })
  }

  changeDestination(destination: Location): void {
    this.checkNotClaimed()
    this.trigger('DestinationChanged', { specification: this.specification.to(destination) })
  }

  route(itinerary: Itinerary): void {
    this.checkNotClaimed()
    const here = this.lastHandling?.location ?? this.specification.origin
    if (!itinerary.satisfies(this.specification.from(here)))
      throw new ShippingError('That way does not lead from here to the destination in time')
    this.trigger('Routed', { itinerary })
  }

  /** What a port has done was done, also where it was a mistake. So only the impossible is refused. */
  handle(handling: Handling): void {
    this.checkNotClaimed()
    this.trigger('Handled', { handling })
  }

  /** Its itinerary does not lead to its destination any more. */
  get isMisrouted(): boolean {
    return this.itinerary !== undefined && this.itinerary.destination !== this.specification.destination
  }

  get isClaimed(): boolean {
    return this.lastHandling?.activity === 'claim'
  }

  private checkNotClaimed(): void {
    if (this.isClaimed) throw new ShippingError('It was claimed')
  }

  static readonly evolve: Evolve<Cargo, CargoEvents> = {
    Booked(cargo, { specification }) {
      cargo.specification = specification
    },
    DestinationChanged(cargo, { specification }) {
      cargo.specification = specification
    },
    Routed(cargo, { itinerary }) {
      cargo.itinerary = itinerary
      // cargo that is under way was received
      cargo.ahead = itinerary.handlings().slice(cargo.lastHandling ? 1 : 0)
      cargo.isMisdirected = false
    },
    Handled(cargo, { handling }) {
      cargo.lastHandling = handling
      if (cargo.itinerary && !isSame(handling, cargo.ahead.shift())) cargo.isMisdirected = true
    },
  }

  /** Once a booking said its parts one by one. Such events stay stored as they are, and are read as those of today. */
  static readonly upcasts: Upcasts<CargoEvents> = {
    Booked: {
      1: ({ origin, destination, deadline }: { origin: Location; destination: Location; deadline: Date }) => ({
        specification: new RouteSpecification(origin, destination, deadline),
      }),
    },
  }
}

function isSame(handling: Handling, other: Handling | undefined): boolean {
  const { activity, location, voyage } = handling
  return activity === other?.activity && location === other.location && voyage === other.voyage
}
