import type { FastifyReply, FastifyRequest } from 'fastify';
import { ApiError, type HeaderPrefix } from './errors.js';
import type { Environment } from './identity.js';
import type { SandboxState } from './state.js';

/** Who calls: the secret's environment, and the header prefix it speaks. */
export interface Caller {
  environment: Environment;
  prefix: HeaderPrefix;
}

/** The value of `x-pica-{name}` or `x-one-{name}`. */
export function wireHeader(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[`x-pica-${name}`] ?? request.headers[`x-one-${name}`];
  return Array.isArray(value) ? value[0] : value;
}

/** The prefix the request speaks; Pica's when it shows none. */
export function headerPrefix(request: FastifyRequest): HeaderPrefix {
  return 'x-one-secret' in request.headers ? 'one' : 'pica';
}

/** Lets a request with an accepted secret in, counting it against the rate limit. Throws Unauthorized or TooManyRequests. */
export function admit(state: SandboxState, request: FastifyRequest, reply: FastifyReply): Caller {
  const secret = wireHeader(request, 'secret');
  if (secret === undefined || !state.secrets.includes(secret)) {
    throw new ApiError('Unauthorized', 'You are not authorized to access this resource');
  }
  const prefix = headerPrefix(request);
  const { allowed, headers } = state.rateLimiter.take(secret, prefix, state.settings);
  reply.headers(headers);
  if (!allowed) throw new ApiError('TooManyRequests', 'Rate limit exceeded');
  return { environment: secret.startsWith('sk_live_') ? 'live' : 'test', prefix };
}
