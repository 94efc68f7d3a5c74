import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { FastifyContextConfig } from 'fastify';
import fp from 'fastify-plugin';
import { asks } from '../auth/plugin.js';
import type { Front } from '../http/front.js';
import type { RequestTrace } from './trace.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Time this request spent waiting for the upstream, in milliseconds. */
    upstreamMs: number;
    /** What the request's route declares; Fastify makes its `routeOptions` anew whenever they are read. */
    endpoint: FastifyContextConfig;
    /** Pattern of the request's route, or `unmatched`. */
    route: string;
  }
}

type Stopwatch = { upstreamMs: number; trace?: RequestTrace };
const current = new AsyncLocalStorage<Stopwatch>();

/** Adds to the upstream time of the request being served; does nothing outside of one. */
export function addUpstreamTime(milliseconds: number): void {
  const stopwatch = current.getStore();
  if (stopwatch) stopwatch.upstreamMs += milliseconds;
}

/** The trace of the request being served; undefined without a collector, and outside of a request. */
export function currentTrace(): RequestTrace | undefined {
  return current.getStore()?.trace;
}

/** Gives the caller's `x-request-id` when it is harmless to log and to echo, and `mask` finds no secret in it; else a new one. */
export function requestIds(mask: (text: string) => string): (request: IncomingMessage) => string {
  return ({ headers }) => {
    const given = headers['x-request-id'];
    return typeof given === 'string' && /^[\w.:-]{1,64}$/.test(given) && mask(given) === given ? given : randomUUID();
  };
}

/** One log line per request, those included that are refused before they have a route, and `x-request-id` on every answer. */
export const requestLog = fp<{ front: Front }>(async (app, { front }) => {
  front.onRefusal(({ requestId, method, status, code }) => app.log.info({ requestId, method, route: 'unparsed', status, code }, 'request'));
  app.decorateRequest('upstreamMs', 0);
  app.decorateRequest('endpoint', null as unknown as FastifyContextConfig);
  app.decorateRequest('route', '');
  app.addHook('onRequest', (request, reply, done) => {
    const { config } = request.routeOptions;
    request.endpoint = config;
    request.route = config.url ?? 'unmatched';
    reply.header('x-request-id', request.id);
    // The proxy keeps its own time: a context per call would cost it more than the rest of its bookkeeping.
    if (asks(config.access, 'proxy')) return done();
    reply.raw.once('close', leaveContext);
    running += 1;
    current.run(request as Stopwatch, done);
  });
  app.addHook('onResponse', (request, reply, done) => {
    app.log.info({
      requestId: request.id,
      traceId: request.trace?.traceId,
      method: request.method,
      route: request.route,
      status: reply.statusCode,
      principal: request.principal?.id,
      // Of refused callers only: others are known by their credential.
      client: reply.statusCode === 401 || reply.statusCode === 429 ? request.ip : undefined,
      ms: Math.round(reply.elapsedTime * 10) / 10,
      upstreamMs: Math.round(request.upstreamMs * 10) / 10,
    }, 'request');
    done();
  });
}, { name: 'request-log' });

// Once used, an AsyncLocalStorage makes Node follow every promise and socket of the process, proxied calls included.
let running = 0;
function leaveContext(): void {
  running -= 1;
  if (running === 0) current.disable();
}
