import { PassThrough } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type NamedIdentity, resolveIdentity } from '../auth/identity.js';
import { principalOf } from '../auth/plugin.js';
import { requireUnbound } from '../auth/unbound.js';
import { Problem } from '../errors.js';
import type { Reconciler } from './reconciler.js';

const progressEveryMs = 200;
const heartbeatMs = 15_000;

/**
 * Starts a sync of everything by hand and answers with server-sent events: `progress` while it runs, then `done` with the
 * same members, or `failed` with a problem's `code` and `detail`. It ends when the caller leaves.
 */
export async function streamSync(request: FastifyRequest, reply: FastifyReply, reconciler: Reconciler): Promise<FastifyReply> {
  const principal = principalOf(request);
  requireUnbound(principal);
  if (resolveIdentity(principal, request.headers, request.body as NamedIdentity | undefined)) {
    throw new Problem('invalid_request', 'all=true means every identity; name none.', { errors: [{ field: 'query.all', message: 'contradicts the identity' }] });
  }
  const gone = new AbortController();
  const unwatch = request.server.watchCredential(request, (problem) => gone.abort(problem));
  reply.raw.once('close', () => {
    unwatch();
    gone.abort(new Error('the caller left'));
  });

  const stream = new PassThrough();
  const send = (event: string, data: unknown): void => {
    if (!stream.destroyed) stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  };
  let sentAt = 0;
  const { finished } = await reconciler.start(gone.signal, (summary) => {
    // A slow reader gets fewer events, not a growing queue.
    if (performance.now() - sentAt < progressEveryMs || stream.writableNeedDrain) return;
    sentAt = performance.now();
    send('progress', summary);
  });
  // Waiting for the upstream's rate limit can take longer than proxies keep a silent connection.
  const heartbeat = setInterval(() => void (stream.destroyed || stream.write(': waiting\n\n')), heartbeatMs);
  void finished.then((summary) => send('done', summary), (error: unknown) => {
    const problem = error instanceof Problem ? error : new Problem('internal_error', 'Something went wrong on our side; the request id finds it in our logs.');
    send('failed', { code: problem.code, detail: problem.detail });
  }).finally(() => {
    clearInterval(heartbeat);
    stream.end();
  });
  return reply.type('text/event-stream').headers({ 'cache-control': 'no-store', 'x-accel-buffering': 'no' }).send(stream);
}
