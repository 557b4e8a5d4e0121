import 'reflect-metadata'
import {
  type ArgumentsHost,
  Body,
  Catch,
  Controller,
  type ExceptionFilter,
  Get,
  type INestApplication,
  Inject,
  Module,
  Post,
} from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { ClsPluginTransactional, Transactional, TransactionHost } from '@nestjs-cls/transactional'
import { TransactionalAdapterDrizzleOrm } from '@nestjs-cls/transactional-adapter-drizzle-orm'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type { Response } from 'express'
import { ClsModule } from 'nestjs-cls'
import { type Adoption, Adoptions, type RequestSession, answerTo } from '../adoptions.js'

/** What DRIZZLE_SCOPED_SESSION_TOPIC names: Nest's transaction, or the database where there is none just now. */
export const currentSession = () => TransactionHost.getInstance<DrizzleAdapter>().tx as RequestSession

type DrizzleAdapter = TransactionalAdapterDrizzleOrm<PostgresJsDatabase>

const DATABASE = Symbol('DATABASE')

@Controller()
class AdoptionsController {
  constructor(@Inject(Adoptions) private readonly adoptions: Adoptions) {}

  @Post('adoptions')
  @Transactional() // committed when it resolves, before Nest sends what it resolves to
  adopt(@Body() adoption: Adoption) {
    return this.adoptions.adopt(adoption)
  }

  @Get('owners')
  owners() {
    return this.adoptions.owners()
  }
}

@Catch()
class ErrorFilter implements ExceptionFilter<Error> {
  catch(error: Error, host: ArgumentsHost) {
    const { status, body } = answerTo(error)
    host.switchToHttp().getResponse<Response>().status(status).json(body)
  }
}

/** NestJS 11. Its transactions are those of `@nestjs-cls/transactional`; events join them. */
export async function nestServer(adoptions: Adoptions, db: unknown): Promise<INestApplication> {
  @Module({ providers: [{ provide: DATABASE, useValue: db }], exports: [DATABASE] })
  class DatabaseModule {}

  @Module({
    imports: [
      ClsModule.forRoot({
        plugins: [
          new ClsPluginTransactional({
            imports: [DatabaseModule],
            adapter: new TransactionalAdapterDrizzleOrm<PostgresJsDatabase>({
              drizzleInstanceToken: DATABASE,
              // with none it is a statement without an end, SET TRANSACTION, that PostgreSQL refuses
              defaultTxOptions: { isolationLevel: 'read committed' },
            }),
          }),
        ],
      }),
    ],
    providers: [{ provide: Adoptions, useValue: adoptions }],
    controllers: [AdoptionsController],
  })
  class AppModule {}

  const app = await NestFactory.create(AppModule, { logger: ['error'] })
  return app.useGlobalFilters(new ErrorFilter())
}
