import type { AnyDecider, CommandArgument } from '../domain/decider.js'
import { definitionOfDecider, type DeciderAggregate } from '../domain/decider-definition.js'
import { AggregateNotFoundError, ProgrammingError, RecordConflictError } from '../errors.js'
import type { Application } from './application.js'
import type { Collectable } from './taken-events.js'

/** How `execute` goes about it. */
export interface ExecuteOptions {
  /**
   * How often the command is executed again at most, from loading on, after somebody else has saved that version first
   * (`RecordConflictError`). Default: 0, the conflict comes out.
   */
  readonly retries?: number | undefined
}

/** What follows the command's name: its parameter, where it has one, and options. */
export type ExecuteArguments<Command> = [...command: CommandArgument<Command>, options?: ExecuteOptions]

/** Loads, decides and saves. */
export async function execute(
  application: Pick<Application, 'repository' | 'save'>,
  decider: AnyDecider,
  id: string,
  name: string,
  command: unknown,
  options: ExecuteOptions = {},
): Promise<unknown> {
  const definition = definitionOfDecider(decider)
  if (!definition) throw new ProgrammingError('execute() takes a decider, as decider(…).events(…).commands(…) makes it')
  let retries = checkRetries(options)
  let aggregate = await load(application, decider, id)
  for (;;) {
    const state: unknown = aggregate ? aggregate.state : definition.initial()
    const next = definition.happen(aggregate, id, decider.decide(state, name, command))
    if (!next) return state
    try {
      // with what was loaded, of which it is known whether that was in a transaction that is rolled back by now
      await application.save(aggregate as Collectable | undefined, next)
      return next.state
    } catch (error) {
      if (!(error instanceof RecordConflictError) || retries-- <= 0) throw error
      const again = await load(application, decider, id)
      // in a transaction that goes on seeing what it saw, the same would be decided for ever
      if ((again?.version ?? 0) <= (aggregate?.version ?? 0)) throw error
      aggregate = again
    }
  }
}

/** `undefined` where nothing has happened yet. */
async function load(
  { repository }: Pick<Application, 'repository'>,
  decider: AnyDecider,
  id: string,
): Promise<DeciderAggregate<unknown> | undefined> {
  try {
    return await repository.get(decider, id)
  } catch (error) {
    if (error instanceof AggregateNotFoundError) return undefined
    throw error
  }
}

function checkRetries(options: ExecuteOptions): number {
  if (typeof options !== 'object' || options === null) {
    throw new ProgrammingError('What follows the command of execute() are options: { retries: 3 }')
  }
  const { retries = 0, ...unknown } = options
  const [name] = Object.keys(unknown)
  if (name !== undefined) throw new ProgrammingError(`execute() has no option ${name}; it takes retries`)
  if (Number.isSafeInteger(retries) && retries >= 0) return retries
  throw new ProgrammingError('The option retries must be an integer from 0: how often it is executed again at most')
}
