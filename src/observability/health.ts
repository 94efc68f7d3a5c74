import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type, { type Static } from 'typebox';
import { OneOf, publicProblems } from '../schemas.js';

const Check = Type.Object({ status: OneOf(['ok', 'failed']), detail: Type.Optional(Type.String()) });
const Readiness = Type.Object({ status: OneOf(['ready', 'unavailable']), checks: Type.Record(Type.String(), Check) });

/** A named part of the service: resolves when it works, rejects otherwise. */
export type ReadinessCheck = () => Promise<void>;

/** Something worth telling that does not make the service unready; undefined: nothing to tell. */
export type ReadinessDetail = () => string | undefined;

/**
 * `GET /healthz`: the process answers. `GET /readyz`: every check passes, else 503; also 503 from the moment a stop was
 * asked for, so that a load balancer turns away before the listener closes.
 */
export const health: FastifyPluginAsyncTypebox<HealthOptions> = async (app, { checks, details, isStopping }) => {
  const schema = { tags: ['operations'] };

  app.get('/healthz', {
    config: { access: 'public' },
    schema: {
      ...schema, operationId: 'healthz', summary: 'Liveness',
      response: { 200: Type.Object({ status: Type.Literal('ok') }, { description: 'Alive.', examples: [{ status: 'ok' }] }), ...publicProblems() },
    },
  }, async () => ({ status: 'ok' as const }));

  app.get('/readyz', {
    config: { access: 'public' },
    schema: {
      ...schema, operationId: 'readyz', summary: 'Readiness',
      response: {
        200: Type.Object(Readiness.properties, { description: 'Ready.', examples: [{ status: 'ready', checks: { database: { status: 'ok' } } }] }),
        503: Type.Object(Readiness.properties, {
          description: 'Not ready.', examples: [{ status: 'unavailable', checks: { database: { status: 'failed', detail: 'does not answer' } } }],
        }),
        ...publicProblems(),
      },
    },
  }, async (request, reply) => {
    const results = await Promise.all(Object.entries(checks).map(async ([name, check]) => [name, await run(name, check)] as const));
    const stopping = isStopping() ? [['process', { status: 'failed' as const, detail: 'is stopping' }] as const] : [];
    const told = Object.entries(details).map(([name, tell]) => [name, detailed(tell())] as const);
    const all = Object.fromEntries([...results, ...told, ...stopping]);
    const ready = Object.values(all).every(({ status }) => status === 'ok');
    reply.header('cache-control', 'no-store');
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'unavailable', checks: all });

    async function run(name: string, check: ReadinessCheck): Promise<CheckResult> {
      try {
        await withDeadline(check(), 2_000);
        return { status: 'ok' };
      } catch (error) {
        // The reason may name hosts and users: it is for the log.
        request.log.warn({ err: error, check: name }, 'readiness check failed');
        return { status: 'failed', detail: 'does not answer' };
      }
    }
  });
};

type HealthOptions = { checks: Record<string, ReadinessCheck>; details: Record<string, ReadinessDetail>; isStopping: () => boolean };

function detailed(detail: string | undefined): CheckResult {
  return detail === undefined ? { status: 'ok' } : { status: 'ok', detail };
}

type CheckResult = Static<typeof Check>;

async function withDeadline(work: Promise<void>, milliseconds: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  await Promise.race([work, deadline]).finally(() => clearTimeout(timer));
}
