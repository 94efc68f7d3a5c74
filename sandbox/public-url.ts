import type { FastifyRequest } from 'fastify';
import type { SandboxState } from './state.js';

/** The root under which the caller reaches the sandbox, without a trailing slash. */
export function publicUrl(state: SandboxState, request: FastifyRequest): string {
  return state.publicUrl ?? `${request.protocol}://${request.host}`;
}
