import { setTimeout as delay } from 'node:timers/promises'
import type { Backend, OpenOptions, Opened } from './backend.js'

/** Defines one case of a suite: its title, and what it does with a datastore of its own. */
export type DefineCase = (title: string, run: (opened: Opened) => Promise<void>, options?: OpenOptions) => void

/**
 * How a suite defines its cases on that backend: each opens a fresh datastore and closes it again. What `backend.skip`
 * names by title is pending, with the reason beside the title.
 */
export function casesOf(backend: Backend): DefineCase {
  return (title, run, options) => {
    const reason = backend.skip?.[title]
    if (reason !== undefined) {
      it(`${title} (not here: ${reason})`)
      return
    }
    it(title, async () => {
      const opened = await backend.open(options)
      try {
        await run(opened)
      } catch (error) {
        // a case that failed may have left a transaction open, which closing waits for; its own error is the one to see
        await Promise.race([opened.close().catch(() => undefined), delay(500)])
        throw error
      }
      await opened.close()
    })
  }
}
