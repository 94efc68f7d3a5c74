import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { admit } from '../caller.js';
import { AUTHKIT_PLATFORMS } from '../catalogue/platforms.js';
import { tokenPageRow } from '../catalogue/rows.js';
import { ApiError } from '../errors.js';
import { TokenBody } from '../identity.js';
import { paginate, type Query } from '../paging.js';
import { publicUrl } from '../public-url.js';
import type { SandboxState } from '../state.js';

const MAX_LIMIT = 150;

/** The paged token protocols: `authkit` (AuthKit 2.x) and `one`. Each page's `requestId` is the widget's proof of identity. */
export async function authkitTokenRoutes(instance: FastifyInstance, { state }: { state: SandboxState }): Promise<void> {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();

  const tokenPage = (body: TokenBody, request: FastifyRequest, reply: FastifyReply) => {
    const { environment } = admit(state, request, reply);
    if (body.identity === undefined) throw new ApiError('BadRequest', 'identity is required');
    const root = publicUrl(state, request);
    const { rows, total, pages, page } = paginate(AUTHKIT_PLATFORMS, request.query as Query, {
      limit: 100,
      max: Math.min(MAX_LIMIT, state.settings.maxPageSize),
    });
    const { token: requestId } = state.links.issue('req', { environment, identity: body.identity, identityType: body.identityType });
    return { rows: rows.map((platform) => tokenPageRow(platform, root, environment)), total, pages, page, requestId };
  };

  app.post('/v1/authkit', { schema: { body: TokenBody } }, async (request, reply) => tokenPage(request.body, request, reply));
  app.post('/v1/authkit/token', { schema: { body: TokenBody } }, async (request, reply) => tokenPage(request.body, request, reply));

  app.get('/v1/users/flags', async (request, reply) => {
    admit(state, request, reply);
    return { isWhiteLabel: state.settings.whiteLabel };
  });
}
