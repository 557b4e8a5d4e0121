import { IntegrityError, OperationalError, type AnySession } from 'eventsourcing-drizzle'
import type { TrainingSchool } from '../training-school/application.js'
import type { AdoptionsTable } from './tables.js'

/** What a client posts: somebody takes home a dog that lived in a kennel. */
export interface Adoption {
  readonly owner: string
  readonly dog: string
  readonly kennel: string
}

/** Looks at a dog, somewhere else and slowly. Rejects with `NotWell`. */
export type Vet = (dog: string) => Promise<void>

/** The vet's no. */
export class NotWell extends Error {}

/** A session of either dialect, as far as it is used here. */
export type RequestSession = Pick<AnySession, 'select' | 'insert'>

/** What the work is done with. */
export interface AdoptionsParts {
  /** Its events join the transaction that is current when its methods are called. */
  readonly school: TrainingSchool
  /** Gives the session of the current request. */
  readonly session: () => RequestSession
  readonly table: AdoptionsTable
  readonly vet: Vet
}

/** The work behind the routes: the same for every framework, and it knows none. */
export class Adoptions {
  readonly #parts: AdoptionsParts

  constructor(parts: AdoptionsParts) {
    this.#parts = parts
  }

  /** Writes a row and two events. In between, when some of it is written, the vet may say no. */
  async adopt({ owner, dog, kennel }: Adoption): Promise<{ owner: string; dog: string }> {
    const { school, session, table, vet } = this.#parts
    await session().insert(table).values({ owner, dog, kennel })
    await school.register(dog)
    await vet(dog)
    await school.addTrick(dog, 'come home')
    return { owner, dog }
  }

  /** All owners, by name. */
  async owners(): Promise<string[]> {
    const { session, table } = this.#parts
    const rows: { owner: string }[] = await session().select().from(table).orderBy(table.owner)
    return rows.map(({ owner }) => owner)
  }
}

/** What the client is told of an error. Messages of databases are not for him. */
export function answerTo(error: unknown): { status: number; body: { error: string } } {
  const { status, statusCode, message } = error as { status?: number; statusCode?: number; message?: string }
  if (error instanceof NotWell) return answer(422, error.message)
  if (isConflict(error)) return answer(409, 'That conflicts with what is stored')
  if (error instanceof OperationalError && error.retryable) return answer(503, 'Try again')
  // the framework's own errors say what they are
  return status || statusCode ? answer(status || statusCode || 500, message ?? '') : answer(500, 'That failed')
}

function answer(status: number, error: string) {
  return { status, body: { error } }
}

/** Ours, or the driver's where the transaction is somebody else's. */
function isConflict(error: unknown): boolean {
  return error instanceof IntegrityError || /^23/.test(String((error as { code?: unknown }).code))
}
