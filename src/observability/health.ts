import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type, { type Static } from 'typebox';
import { OneOf, publicProblems } from '../schemas.js';

const Check = Type.Object({
  status: OneOf(['ok', 'failed'], { description: '`ok`: no reason to send requests elsewhere.' }),
  detail: Type.Optional(Type.String({ description: 'Of `upstream`, what was last seen of it: never asked, ok, unauthorized, unreachable, or circuit open.' })),
  since: Type.Optional(Type.String({ format: 'date-time', description: 'Since when the detail has been the same.' })),
});
const Readiness = Type.Object({ status: OneOf(['ready', 'unavailable']), checks: Type.Record(Type.String(), Check) });

/** A named part of the service: resolves when it works, rejects otherwise; `readiness` of its error may be shown to anybody. */
export type ReadinessCheck = () => Promise<void>;

/** Something worth telling that does not make the service unready. */
export type ReadinessDetail = () => { detail: string; since?: string };

/**
 * `GET /healthz`: the process answers. `GET /readyz`: every check passes, else 503; also 503 from the moment a stop was
 * asked for, so that a load balancer turns away before the listener closes. `details` are told and never fail it: taken out of
 * service for an upstream that is away, every replica would be.
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
        200: Type.Object(Readiness.properties, {
          description: 'Ready.',
          examples: [{ status: 'ready', checks: { database: { status: 'ok' }, upstream: { status: 'ok', detail: 'ok', since: '2026-01-01T00:00:00.000Z' } } }],
        }),
        503: Type.Object(Readiness.properties, {
          description: 'Not ready.', examples: [{ status: 'unavailable', checks: { database: { status: 'failed', detail: 'does not answer' } } }],
        }),
        ...publicProblems(),
      },
    },
  }, async (request, reply) => {
    const results = await Promise.all(Object.entries(checks).map(async ([name, check]) => [name, await run(name, check)] as const));
    const stopping = isStopping() ? [['process', { status: 'failed' as const, detail: 'is stopping' }] as const] : [];
    const told = Object.entries(details).map(([name, tell]) => [name, { status: 'ok' as const, ...tell() }] as const);
    const all: Record<string, CheckResult> = Object.fromEntries<CheckResult>([...results, ...told, ...stopping]);
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
        return { status: 'failed', detail: (error as { readiness?: string }).readiness ?? 'does not answer' };
      }
    }
  });
};

type HealthOptions = { checks: Record<string, ReadinessCheck>; details: Record<string, ReadinessDetail>; isStopping: () => boolean };

type CheckResult = Static<typeof Check>;

async function withDeadline(work: Promise<void>, milliseconds: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  await Promise.race([work, deadline]).finally(() => clearTimeout(timer));
}
