import type { Server } from 'node:http'
import { honoServer } from './hono.js'
import { describeServer, inScopes } from './requests.js'

const serve = inScopes((adoptions, scope) => honoServer(adoptions, scope) as Server)

describeServer('Hono', { sqlite: serve, postgres: serve })
