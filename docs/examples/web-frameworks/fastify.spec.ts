import { fastifyServer } from './fastify.js'
import { describeServer, inScopes } from './requests.js'

const serve = inScopes(async (adoptions, scope) => {
  const app = fastifyServer(adoptions, scope)
  await app.ready()
  return app.server
})

describeServer('Fastify 5', { sqlite: serve, postgres: serve })
