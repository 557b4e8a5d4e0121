import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import type { Scope } from 'eventsourcing-drizzle/drizzle'
import { type Adoptions, answerTo } from './adoptions.js'

/** Express 5. A scope around each request; handlers say when it is committed. */
export function expressServer(adoptions: Adoptions, scope: Scope): Express {
  const app = express()
  app.use(express.json())

  app.use((_request, response, next) => {
    // until the response is closed: it was sent, or the client has hung up
    const closed = new Promise<void>((resolve) => response.once('close', resolve))
    scope.run(() => (next(), closed)).catch(next)
  })

  app.post('/adoptions', async (request, response) => {
    const adopted = await adoptions.adopt(request.body)
    await scope.commit() // before the answer: this may fail, too
    response.status(201).json(adopted)
  })

  app.get('/owners', async (_request, response) => {
    const owners = await adoptions.owners()
    await scope.commit() // what only reads has a transaction, too
    response.json(owners)
  })

  app.use(async (error: Error, _request: Request, response: Response, next: NextFunction) => {
    if (response.closed) return // nobody is there any more
    if (response.headersSent) return next(error)
    // now, not when the client has read the answer; a body that can't be parsed never came to a scope
    if (scope.isRunning) await scope.rollback()
    const { status, body } = answerTo(error)
    response.status(status).json(body)
  })
  return app
}
