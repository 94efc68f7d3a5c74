import fp from 'fastify-plugin';
import { publicProblems } from '../schemas.js';
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { Front } from '../http/front.js';
import { counter, histogram, remember, seconds } from './series.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** Prometheus registry of this gateway; label values come from route patterns and codes, never from callers. */
    metrics: Registry;
  }
}

/** Counts and times every request, counts client connections, and serves `GET /metrics` in the Prometheus text format. */
export const metrics = fp<{ front: Front }>(async (app, { front }) => {
  const registry = new Registry();
  app.decorate('metrics', registry);
  collectDefaultMetrics({ register: registry });
  const requests = counter({ name: 'http_requests_total', help: 'Requests answered.', registry }, ['method', 'route', 'status']);
  const duration = histogram({ name: 'http_request_duration_seconds', help: 'Time to answer.', registry }, seconds);
  const upstream = histogram({ name: 'upstream_duration_seconds', help: 'Time spent waiting for the upstream.', registry }, seconds);
  const waited = remember((route) => upstream({ route }));
  const timed = remember((route, method) => duration({ method, route }));
  const seriesOf = remember((route, method, status) => ({ counted: requests({ method, route, status }), timed: timed(route, method) }));

  // Of a request that could not be read the method is not known; one that was read may name any.
  const refused = remember((status) => requests({ method: 'unknown', route: 'unparsed', status }));
  front.onRefusal(({ status }) => refused(String(status)).inc());
  new Gauge({ name: 'http_connections', help: 'Client connections that are open.', registers: [registry], collect() {
    this.set(front.connections());
  } });
  new Counter({ name: 'http_connections_refused_total', help: 'Client connections closed because there were too many.', registers: [registry], collect() {
    this.reset();
    this.inc(front.refusedConnections());
  } });

  app.addHook('onResponse', (request, reply, done) => {
    const series = seriesOf(request.route, request.method, String(reply.statusCode));
    series.counted.inc();
    series.timed.observe(reply.elapsedTime / 1000);
    if (request.upstreamMs > 0) waited(request.route).observe(request.upstreamMs / 1000);
    done();
  });

  app.get('/metrics', {
    config: { access: 'public' },
    schema: { tags: ['operations'], operationId: 'metrics', summary: 'Prometheus metrics', produces: ['text/plain'], response: { 200: textResponse, ...publicProblems() } },
  }, async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()));
}, { name: 'metrics', dependencies: ['request-log', 'auth'] });

const textResponse = {
  description: 'The Prometheus text format.',
  content: { 'text/plain': { schema: { type: 'string' }, example: 'http_requests_total{method="GET",route="/healthz",status="200"} 1' } },
};
