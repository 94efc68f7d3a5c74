import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { IdentityHeaders, IdentityMembers, requireIdentity } from '../auth/identity.js';
import { principalOf } from '../auth/plugin.js';
import { bodyProblems, problems, sessionProblems, upstreamProblems } from '../schemas.js';
import type { TokenSource } from '../upstream/authkit-token.js';
import { narrowToken } from './narrow-token.js';

const paging = {
  page: Type.Optional(Type.Integer({ minimum: 1, maximum: 100_000 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
};

const TokenBody = Type.Object({
  ...IdentityMembers,
  group: Type.Optional(Type.String({ maxLength: 128 })),
  label: Type.Optional(Type.String({ maxLength: 128 })),
  ...paging,
}, { additionalProperties: false, examples: [{ identity: 'ada', identityType: 'user' }] });

/** `POST /authkit/token`: the URL that AuthKit's widget is given. */
export const authkitRoutes: FastifyPluginAsyncTypebox<{ issueToken: TokenSource }> = async (app, { issueToken }) => {
  app.post('/authkit/token', {
    config: { access: { scope: 'authkit:token', sessions: true } },
    schema: {
      operationId: 'createAuthkitToken', tags: ['authkit'], headers: IdentityHeaders, summary: 'Issue an AuthKit token',
      description: 'The upstream\'s token object for the identity, unwrapped and unmodified, save that a session made for certain platforms sees only those. '
        + '`page` and `limit` are for widgets that page through the integrations.',
      querystring: Type.Object(paging, { additionalProperties: false }),
      body: TokenBody,
      response: {
        200: Type.Unsafe<Record<string, unknown>>({
          type: 'object', additionalProperties: true, description: 'The token; its members depend on AUTHKIT_TOKEN_SOURCE.',
          examples: [{ rows: [{ name: 'Gmail', platform: 'gmail' }], total: 1, pages: 1, page: 1, requestId: 'req_1', isWhiteLabel: false }],
        }),
        ...problems('identity_required', 'identity_conflict', ...bodyProblems, ...sessionProblems, ...upstreamProblems),
      },
    },
  }, async (request, reply) => {
    const { group, label, ...body } = request.body;
    const owner = requireIdentity(principalOf(request), request.headers, body);
    const page = request.query.page ?? body.page;
    const limit = request.query.limit ?? body.limit;
    const token = await issueToken({ ...owner, group, label, page, limit });
    // Past the serializer: the answer is the upstream's, to the last member.
    return reply.header('cache-control', 'no-store').type('application/json').serializer(JSON.stringify).send(narrowToken(token, principalOf(request).session?.platforms ?? []));
  });
};
