import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { bodyProblems, IdParams, problems, Time } from '../schemas.js';
import { IdentityHeaders, IdentityMembers, requireIdentity } from './identity.js';
import { actorOf, principalOf } from './plugin.js';
import { OriginsSchema } from './schemas.js';
import type { SessionService } from './session-service.js';

const access = { scope: 'authkit:sessions' } as const;

const SessionBody = Type.Object({
  ...IdentityMembers,
  expiresIn: Type.Integer({ minimum: 1, maximum: 3600, default: 600, description: 'Seconds until it ends by itself.' }),
  allowedOrigins: Type.Optional(OriginsSchema),
  platforms: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' }), {
    minItems: 1, maxItems: 300, uniqueItems: true, description: 'The only platforms it is for; all unless given.',
  })),
  reconnect: Type.Optional(Type.Object({ connectionId: Type.String({ format: 'uuid' }) }, {
    additionalProperties: false, description: 'A claim made with this session gives that connection its new key; everything else about it stays.',
  })),
}, {
  additionalProperties: false,
  examples: [{ identity: 'ada', expiresIn: 600, allowedOrigins: ['https://app.example.com', 'https://authkit.picaos.com'], platforms: ['gmail'] }],
});

const SessionSchema = Type.Object({
  id: Type.String({ format: 'uuid' }),
  token: Type.String({ description: 'Sent as `Authorization: Bearer`. It is not stored and not shown again.' }),
  expiresAt: Time,
}, { examples: [{ id: '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', token: 'ags_…', expiresAt: '2026-01-01T00:10:00.000Z' }] });

/** `/authkit/sessions`: what a server makes for a browser once it knows who its user is, and ends. */
export const sessionRoutes: FastifyPluginAsyncTypebox<{ sessions: SessionService }> = async (app, { sessions }) => {
  app.post('/authkit/sessions', {
    config: { access },
    schema: {
      operationId: 'createAuthkitSession', tags: ['authkit'], summary: 'Create an AuthKit session',
      description: 'A short-lived token for one identity\'s browser: good for asking AuthKit tokens, claiming connections and listing them, and for nothing else.',
      body: SessionBody,
      response: {
        201: SessionSchema,
        ...problems('identity_required', 'identity_conflict', 'connection_not_found', ...bodyProblems),
      },
    },
  }, async (request, reply) => {
    const { expiresIn, allowedOrigins = [], platforms = [], reconnect, ...named } = request.body;
    const owner = requireIdentity(principalOf(request), request.headers, named);
    const { stored, token } = await sessions.create(principalOf(request), owner, {
      expiresInSeconds: expiresIn, allowedOrigins, platforms, reconnectId: reconnect?.connectionId,
    });
    return reply.code(201).header('cache-control', 'no-store').send({ id: stored.id, token, expiresAt: stored.expiresAt.toISOString() });
  });

  app.delete('/authkit/sessions/:id', {
    config: { access },
    schema: {
      operationId: 'endAuthkitSession', tags: ['authkit'], headers: IdentityHeaders, summary: 'End an AuthKit session', description: 'Takes effect at once, on every replica.',
      params: IdParams, response: { 204: Type.Null({ description: 'Ended.' }), ...problems('session_not_found') },
    },
  }, async (request, reply) => {
    await sessions.end(actorOf(request), request.params.id);
    return reply.code(204).send(null);
  });
};
