import type { IncomingHttpHeaders } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../errors.js';
import type { Plan } from './plan.js';
import { isRepeatable } from './retry.js';

/** The answer to `x-authkit-explain: true`; null where no action was found. */
type Explanation = {
  connection: { id: string; platform: string; environment: string; identity: string; identityType: string; rule: string };
  /** `custom`: the action takes its credential from the body; null where that is not known. */
  action: { id: string | null; title: string | null; path: string | null; baseUrl: string | null; custom: boolean | null; rule: string };
  /** `body`: what we set in the caller's; null where it passes as it is. */
  upstream: { method: string; path: string; headers: (readonly [name: string, value: string])[]; body: { connectionKey: string } | null };
  retry: { repeatable: boolean; rule: string };
};

const secret = /auth|cookie|credential|secret|token|api[-_]?key|[-_]key$|password|passwd|session|signature/i;

/** Whether `x-authkit-explain` asks for an explanation; 400 for anything but true and false, so that no call is sent by a slip. */
export function wantsExplanation(request: FastifyRequest): boolean {
  const value = request.headers['x-authkit-explain'];
  if (value === undefined) return false;
  const word = String(value).toLowerCase();
  if (word === 'true' || word === 'false') return word === 'true';
  throw new Problem('invalid_request', 'x-authkit-explain is neither true nor false.', {
    errors: [{ field: 'header.x-authkit-explain', message: 'must be true or false' }],
  });
}

/**
 * Answers what would be sent. Nothing is sent. Masked is what looks like a credential by its name, and all that came as
 * `x-upstream-*`, which is where callers put theirs.
 */
export function explain(reply: FastifyReply, plan: Plan, upstream: { path: string; headers: readonly string[] }): void {
  const { connection, resolution: { match, rule } } = plan;
  const given = reply.request.headers;
  const headers: Explanation['upstream']['headers'] = [];
  for (let i = 0; i < upstream.headers.length; i += 2) {
    const name = upstream.headers[i]!;
    const masked = secret.test(name) || given[`x-upstream-${name.toLowerCase()}`] !== undefined;
    headers.push([name, masked ? '[secret]' : upstream.headers[i + 1]!]);
  }
  const explanation: Explanation = {
    connection: {
      id: connection.id, platform: connection.platform, environment: connection.environment, identity: connection.identity, identityType: connection.identityType,
      rule: given['x-connection-id'] === undefined
        ? 'the only connection of the identity on the platform that has not failed'
        : 'x-connection-id',
    },
    action: {
      id: match?.action.id ?? null, title: match?.action.title ?? null, path: match?.action.path ?? null, baseUrl: match?.action.baseUrl ?? null,
      custom: match?.action.custom ?? null, rule,
    },
    upstream: { method: reply.request.method, path: upstream.path, headers, body: match?.action.custom ? { connectionKey: '[secret]' } : null },
    retry: repetition(reply.request.method, given),
  };
  void reply.header('cache-control', 'no-store').header('x-authkit-explain', 'true').type('application/json').serializer(JSON.stringify).send(explanation);
}

/** Whether the call would be sent again after a failure; a body shows in the headers. */
function repetition(method: string, { 'content-length': length = '0', 'transfer-encoding': coding }: IncomingHttpHeaders): Explanation['retry'] {
  const repeatable = isRepeatable(method, coding !== undefined || Number(length) > 0);
  return {
    repeatable,
    rule: repeatable
      ? 'GET, HEAD or OPTIONS without a body: at most twice more after 502, 503, 504, a 429 with Retry-After, or a connection that broke before the answer'
      : 'may have been acted on once it was sent: only when no connection could be made',
  };
}
