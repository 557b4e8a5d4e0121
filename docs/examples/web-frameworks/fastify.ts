import fastify, { type FastifyInstance } from 'fastify'
import type { Scope } from 'eventsourcing-drizzle/drizzle'
import { type Adoption, type Adoptions, answerTo } from './adoptions.js'
import { hungUp } from './hung-up.js'

/** Fastify 5. Each handler is a unit of work: what it returns is sent once it is committed. */
export function fastifyServer(adoptions: Adoptions, scope: Scope): FastifyInstance {
  const app = fastify()

  app.addHook('onRoute', (route) => {
    const { handler } = route
    route.handler = function (request, reply) {
      const work = async () => handler.call(this, request, reply)
      return scope.run(() => Promise.race([work(), hungUp(reply.raw)]), { commitOnExit: true })
    }
  })

  app.post<{ Body: Adoption }>('/adoptions', async (request, reply) => {
    reply.code(201)
    return adoptions.adopt(request.body) // returned, not sent: it is not committed yet
  })

  app.get('/owners', async () => adoptions.owners())

  app.setErrorHandler((error, _request, reply) => {
    const { status, body } = answerTo(error)
    return reply.code(status).send(body)
  })
  return app
}
