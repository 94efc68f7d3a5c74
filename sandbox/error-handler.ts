import type { FastifyReply, FastifyRequest } from 'fastify';
import { headerPrefix } from './caller.js';
import { ApiError, errorBody } from './errors.js';
import type { SandboxState } from './state.js';

/** Renders what a route threw: the documented body, the bare 401 if set so, or plain text for a body that could not be read. */
export async function renderError(state: SandboxState, error: Error, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const known = error instanceof ApiError ? error : undefined;
  if (known?.type === 'Unauthorized' && state.settings.unauthorizedBody === 'text') {
    return reply.code(401).type('text/plain; charset=utf-8').send('Unauthorized');
  }
  const status = unreadableStatus(error);
  if (status !== undefined) return reply.code(status).type('text/plain; charset=utf-8').send(error.message);
  if (!known) request.log.error(error);
  const shown = known ?? new ApiError('InternalServerError', 'An unknown error occurred');
  return reply.code(shown.status).send(errorBody(shown, headerPrefix(request), request.id));
}

/** The status of Fastify's own refusals of a body: too large, unknown media type, malformed (400), not of the expected type (422). */
function unreadableStatus(error: Error & { statusCode?: number; validation?: unknown }): number | undefined {
  if (error.validation !== undefined) return 422;
  if (error instanceof SyntaxError) return 400;
  return error.statusCode !== undefined && error.statusCode < 500 ? error.statusCode : undefined;
}
