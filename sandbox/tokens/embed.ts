import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { admit } from '../caller.js';
import { AUTHKIT_PLATFORMS, PLATFORMS } from '../catalogue/platforms.js';
import { connectedPlatform, connectionDefinition } from '../catalogue/rows.js';
import { ApiError } from '../errors.js';
import { Environment, IdentityType, TokenBody } from '../identity.js';
import { newId } from '../ids.js';
import { param, type Query } from '../paging.js';
import { publicUrl } from '../public-url.js';
import type { SandboxState } from '../state.js';

const EventLinkBody = Type.Object({
  ...TokenBody.properties,
  environment: Type.Optional(Environment),
  usageSource: Type.Optional(Type.String()),
});

const EmbedTokenBody = Type.Object({
  linkSettings: Type.Object({ connectedPlatforms: Type.Array(Type.Unknown()), eventIncToken: Type.String() }),
  environment: Environment,
  sessionId: Type.String(),
  identity: Type.Optional(Type.String()),
  identityType: Type.Optional(IdentityType),
});

const FEATURES = [{ key: 'embed', value: 'enabled', updatedAt: 1_735_689_600_000 }];

/** The five calls of `@picahq/authkit-node` 1.x. */
export async function embedTokenRoutes(instance: FastifyInstance, { state }: { state: SandboxState }): Promise<void> {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();

  app.post('/internal/v1/settings/get', async (request, reply) => {
    admit(state, request, reply);
    const root = publicUrl(state, request);
    // Both environments, as the wire does: choosing is the SDK's part.
    const connectedPlatforms = (['test', 'live'] as const).flatMap((environment) =>
      AUTHKIT_PLATFORMS.map((platform) => connectedPlatform(platform, root, environment)),
    );
    return { _id: newId('link_settings'), ownership: ownership(), connectedPlatforms, features: FEATURES, ...timestamps() };
  });

  app.post('/internal/v1/event-links/create', { schema: { body: EventLinkBody } }, async (request, reply) => {
    const { environment } = admit(state, request, reply);
    const { identity, identityType, group, label, ttl, usageSource } = request.body;
    if (request.body.environment !== undefined && request.body.environment !== environment) {
      throw new ApiError('BadRequest', 'The environment does not match the secret');
    }
    const link = state.links.issue('evt', { environment, identity, identityType }, ttl);
    return {
      _id: newId('evt_link'), version: '1.0.0', ownership: ownership(), identity, identityType, group, label, token: link.token,
      ...timestamps(), expiresAt: link.expiresAt, environment, usageSource, _type: 'event-link',
    };
  });

  app.get('/v1/public/connection-definitions', async (request) => {
    const query = request.query as Query;
    const limit = Number(param(query, 'limit') ?? 20);
    const skip = Number(param(query, 'skip') ?? 0);
    const root = publicUrl(state, request);
    const rows = PLATFORMS.slice(skip, skip + limit).map((platform) => connectionDefinition(platform, root));
    return { rows, limit, skip, total: PLATFORMS.length };
  });

  app.get<{ Params: { prefix: string } }>('/v1/public/generate-id/:prefix', async (request) => ({ id: newId(request.params.prefix) }));

  app.post('/internal/v1/embed-tokens/create', { schema: { body: EmbedTokenBody } }, async (request, reply) => {
    const { environment } = admit(state, request, reply);
    const { linkSettings, identity, identityType } = request.body;
    const owner = state.links.owner(linkSettings.eventIncToken);
    if (!owner) throw new ApiError('BadRequest', 'Unknown event link');
    if (owner.identity !== identity || owner.identityType !== identityType || owner.environment !== environment) {
      throw new ApiError('Forbidden', 'The event link belongs to another identity');
    }
    return { _id: newId('embed_tk'), ...request.body, ...timestamps() };
  });
}

function ownership() {
  return { buildableId: 'build-sandbox', clientId: 'client-sandbox', organizationId: 'org-sandbox', projectId: 'project-sandbox' };
}

function timestamps() {
  const now = new Date();
  return { createdAt: now.getTime(), createdDate: now.toISOString(), updatedAt: now.getTime() };
}
