import { decider } from '../../lib/domain/decider.js'

/** The decider. */
export const Fox = decider('Fox', { initial: () => ({ name: '', km: 0, cubs: [] as string[] }) })
  .events({
    Born: (state, data: { name: string }) => ({ ...state, name: data.name }),
    Ran: (state, data: { km: number }) => ({ ...state, km: state.km + data.km }),
    Littered: (state, data: { cubs: string[] }) => ({ ...state, cubs: [...state.cubs, ...data.cubs] }),
    Slept: (state) => ({ ...state, km: 0 }),
  })
  .commands((events) => ({
    bear: (_state, command: { name: string }) => events.Born(command),
    run: (state, command: { km: number }) => (state.km > 10 ? [] : [events.Ran(command)]),
    litter: (_state, command: { cubs: string[] }) => events.Littered(command),
    /** Runs, and sleeps then. */
    roam: (_state, command: { legs: number[] }) => [...command.legs.map((km) => events.Ran({ km })), events.Slept()],
    sleep: (state) => {
      if (state.km === 0) return
      return events.Slept()
    },
    rename: (state, command: { name: string }) => {
      if (command.name === state.name) throw new RangeError(`It is called ${state.name} already`)
      return events.Born(command)
    },
  }))
