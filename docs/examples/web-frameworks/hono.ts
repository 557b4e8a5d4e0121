import { type HttpBindings, createAdaptorServer } from '@hono/node-server'
import type { Scope } from 'eventsourcing-drizzle/drizzle'
import { Hono, type Context, type Next } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { type Adoption, type Adoptions, answerTo } from './adoptions.js'
import { hungUp } from './hung-up.js'

/** Hono. A middleware makes each request a unit of work, committed before its response leaves. */
export function honoServer(adoptions: Adoptions, scope: Scope): ReturnType<typeof createAdaptorServer> {
  const app = new Hono<{ Bindings: HttpBindings }>()

  const answered = async (c: Context, next: Next) => {
    await next()
    // an error of the handler doesn't come out of next(): onError has made a response of it
    if (c.error) await scope.rollback()
  }
  app.use((c, next) =>
    scope.run(() => Promise.race([answered(c, next), hungUp(c.env.outgoing)]), { commitOnExit: true }),
  )

  app.post('/adoptions', async (c) => c.json(await adoptions.adopt(await bodyOf(c)), 201))

  app.get('/owners', async (c) => c.json(await adoptions.owners()))

  app.onError((error, c) => {
    const { status, body } = answerTo(error)
    return c.json(body, status as ContentfulStatusCode)
  })
  return createAdaptorServer(app)
}

/** @throws HTTPException  400: the body is no JSON. */
async function bodyOf(c: Context): Promise<Adoption> {
  return c.req.json<Adoption>().catch((cause: unknown) => {
    throw new HTTPException(400, { message: 'The body is no JSON', cause })
  })
}
