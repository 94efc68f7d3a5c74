import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { bodyProblems, IdParams, problems } from '../schemas.js';
import { type Identity, IdentityHeaders, resolveIdentity } from './identity.js';
import type { IssuedKey, KeyService } from './key-service.js';
import type { StoredKey } from './key-store.js';
import { actorOf } from './plugin.js';
import { IssuedKeySchema, KeyListQuerySchema, KeyPageSchema, KeyRequestSchema, KeySchema, RotateRequestSchema } from './schemas.js';

const access = { scope: 'api-keys:manage' } as const;

/** `/api-keys`: create, list, revoke, rotate. */
export const keyRoutes: FastifyPluginAsyncTypebox<{ keys: KeyService }> = async (app, { keys }) => {
  app.addSchema(KeySchema);

  app.post('/api-keys', {
    config: { access },
    schema: {
      operationId: 'createApiKey', tags: ['api-keys'], headers: IdentityHeaders, summary: 'Create an API key',
      description: 'The key is in this answer and never again. A key cannot grant a scope it does not have itself.',
      body: KeyRequestSchema, response: { 201: IssuedKeySchema, ...problems('identity_conflict', ...bodyProblems) },
    },
  }, async (request, reply) => {
    const { name, scopes, identity, identityType, expiresAt, allowedOrigins = [] } = request.body;
    const issued = await keys.create(actorOf(request), {
      name, scopes, boundTo: boundIdentity(identity, identityType), expiresAt: expiresAt ? new Date(expiresAt) : null, allowedOrigins,
    });
    return reply.code(201).header('cache-control', 'no-store').header('location', `/api-keys/${issued.stored.id}`).send(presentIssued(issued));
  });

  app.get('/api-keys', {
    config: { access },
    schema: {
      operationId: 'listApiKeys', tags: ['api-keys'], headers: IdentityHeaders, summary: 'List API keys', description: 'Newest first, revoked ones included; never a key itself.',
      querystring: KeyListQuerySchema, response: { 200: KeyPageSchema, ...problems('invalid_cursor') },
    },
  }, async (request) => {
    const { limit, cursor, ...filter } = request.query;
    const { rows, nextCursor } = await keys.list(actorOf(request), filter, cursor, limit);
    return { rows: rows.map(present), nextCursor };
  });

  app.delete('/api-keys/:id', {
    config: { access },
    schema: {
      operationId: 'revokeApiKey', tags: ['api-keys'], headers: IdentityHeaders, summary: 'Revoke an API key', description: 'Takes effect at once. Repeating it changes nothing.',
      params: IdParams,
      querystring: Type.Object({
        descendants: Type.Boolean({ default: false, description: '`true`: also every key that it, or one of those, made or was rotated into.' }),
      }, { additionalProperties: false }),
      response: { 204: Type.Null({ description: 'Revoked.' }), ...problems('api_key_not_found') },
    },
  }, async (request, reply) => {
    await keys.revoke(actorOf(request), request.params.id, request.query.descendants);
    return reply.code(204).send(null);
  });

  app.post('/api-keys/:id/rotate', {
    config: { access },
    schema: {
      operationId: 'rotateApiKey', tags: ['api-keys'], headers: IdentityHeaders, summary: 'Rotate an API key',
      description: 'Answers with a successor of the same rights; the old key keeps working for overlapSeconds.',
      params: IdParams, body: RotateRequestSchema,
      response: { 201: IssuedKeySchema, ...problems('api_key_not_found', 'api_key_not_active', ...bodyProblems) },
    },
  }, async (request, reply) => {
    const issued = await keys.rotate(actorOf(request), request.params.id, request.body.overlapSeconds);
    return reply.code(201).header('cache-control', 'no-store').header('location', `/api-keys/${issued.stored.id}`).send(presentIssued(issued));
  });
};

function boundIdentity(identity?: string, identityType?: string): Identity | undefined {
  return identity === undefined && identityType === undefined ? undefined : resolveIdentity(null, {}, { identity, identityType });
}

function present(stored: StoredKey) {
  return {
    id: stored.id,
    name: stored.name,
    hint: stored.hint,
    scopes: stored.scopes,
    identity: stored.boundTo?.identity ?? null,
    identityType: stored.boundTo?.identityType ?? null,
    allowedOrigins: stored.allowedOrigins,
    createdBy: stored.createdBy,
    rotatedFrom: stored.rotatedFrom,
    createdAt: stored.createdAt.toISOString(),
    expiresAt: stored.expiresAt?.toISOString() ?? null,
    revokedAt: stored.revokedAt?.toISOString() ?? null,
    lastUsedAt: stored.lastUsedAt?.toISOString() ?? null,
  };
}

function presentIssued({ stored, key }: IssuedKey) {
  return { ...present(stored), key };
}
