import { createServer } from 'node:http'
import { expressServer } from './express.js'
import { describeServer, inScopes } from './requests.js'

const serve = inScopes((adoptions, scope) => createServer(expressServer(adoptions, scope)))

describeServer('Express 5', { sqlite: serve, postgres: serve })
