import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { headerPrefix } from '../caller.js';
import { errorBody, errorForStatus } from '../errors.js';
import { rateLimitHeaders } from '../rate-limit.js';
import type { Fault } from './faults.js';

type Inflict = (fault: Fault, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

const INFLICT: Record<Fault['kind'], Inflict> = {
  status: answerStatus,
  delay: (fault) => sleep(fault.ms ?? 1000, undefined, { ref: false }),
  hang: async (_fault, _request, reply) => reply.hijack(),
  reset: breakOff,
  stall: breakOff,
  malformed: async (fault, _request, reply) => reply.code(fault.status ?? 200).type('application/json').send('{"rows":[{"id":"conn'),
  'rate-limit': async (fault, request, reply) => {
    reply.headers(rateLimitHeaders(headerPrefix(request), 1000, 0, 60_000));
    return answerStatus({ ...fault, status: 429 }, request, reply);
  },
  'undefined-body': async (fault, _request, reply) => reply.code(fault.status ?? 200).type('application/json').send(''),
};

/** Lets a fault happen to a call. After a `delay` the call goes on as usual; every other kind ends it. */
export async function inflict(fault: Fault, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  await INFLICT[fault.kind](fault, request, reply);
}

async function answerStatus(fault: Fault, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const status = fault.status ?? 500;
  if (fault.retryAfter !== undefined) reply.header('retry-after', String(fault.retryAfter));
  reply.code(status).headers(fault.headers ?? {});
  if (typeof fault.body === 'string') return reply.type(fault.headers?.['content-type'] ?? 'text/plain; charset=utf-8').send(fault.body);
  const body = fault.body ?? errorBody(errorForStatus(status, `Simulated failure ${status}`), headerPrefix(request), request.id);
  return reply.type('application/json; charset=utf-8').send(JSON.stringify(body));
}

/** Promises more bytes than it sends, then cuts the connection (`reset`) or says nothing more (`stall`). */
async function breakOff(fault: Fault, _request: FastifyRequest, reply: FastifyReply): Promise<void> {
  reply.hijack();
  const { raw } = reply;
  if (fault.afterBytes === undefined) {
    if (fault.kind === 'reset') raw.socket?.resetAndDestroy();
    return;
  }
  raw.writeHead(fault.status ?? 200, { 'content-type': 'application/json', 'content-length': fault.afterBytes + 1024, ...fault.headers });
  raw.flushHeaders();
  // Destroying only once the bytes are out makes the caller see exactly that many.
  const finish = () => {
    if (fault.kind === 'reset') raw.socket?.destroy();
  };
  if (fault.afterBytes === 0) setImmediate(finish);
  else raw.write('{"rows":['.padEnd(fault.afterBytes).slice(0, fault.afterBytes), finish);
}
