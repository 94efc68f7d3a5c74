import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { isBrowsersWord } from '../auth/browser.js';
import { type Identity, IdentityHeaders, refuseBrowsersChoice, requireIdentity } from '../auth/identity.js';
import { principalOf } from '../auth/plugin.js';
import { isBrowserCredential, type Principal } from '../auth/principal.js';
import { Problem } from '../errors.js';
import { bodyProblems, IdParams, problems, Ref, sessionProblems, upstreamProblems } from '../schemas.js';
import { connectionStates, type ConnectionState, storable } from '../upstream/vault.js';
import {
  ConnectionPageSchema, ConnectionSchema, ConnectionViewSchema, type CreateBody, CreateBodySchema,
  judgedPart, ListQuerySchema, PatchBodySchema, SyncBodySchema, SyncQuerySchema, SyncResponses,
} from './schemas.js';
import type { Reconciler } from './reconciler.js';
import type { Claimant, ConnectionClaim } from './save.js';
import type { ConnectionService } from './service.js';
import type { Connection, ConnectionFilter } from './store.js';
import { streamSync } from './sync-stream.js';

const read = { scope: 'connections:read' } as const;
const write = { scope: 'connections:write' } as const;
const maxMetadataBytes = 16 * 1024;

/** `/connections`: store, list, read, change, delete and sync. */
export const connectionRoutes: FastifyPluginAsyncTypebox<{ connections: ConnectionService; reconciler: Reconciler }> = async (app, { connections, reconciler }) => {
  app.addSchema(ConnectionSchema);
  app.addSchema(ConnectionViewSchema);

  app.post('/connections', {
    config: { access: { ...write, sessions: true }, judgedPart },
    schema: {
      operationId: 'saveConnection', tags: ['connections'], headers: IdentityHeaders, summary: 'Store a connection',
      description: 'The widget\'s record as it comes, or the guide\'s form. Storing the same key again updates the connection. '
        + 'Unless CONNECTION_VERIFICATION says otherwise, the vault must have the connection for this identity, and state, name and tags come from there.',
      body: CreateBodySchema,
      response: {
        200: Ref(ConnectionViewSchema, 'Already there; updated.'),
        201: Ref(ConnectionViewSchema, 'Stored.'),
        ...problems(
          'identity_required', 'identity_conflict', 'connection_owned_by_other', 'invalid_connection_key', 'environment_mismatch', 'platform_mismatch',
          'connection_claim_rejected', 'platform_not_allowed', 'connection_not_found', ...bodyProblems, ...sessionProblems, ...upstreamProblems,
        ),
      },
    },
  }, async (request, reply) => {
    const { body } = request;
    const owner = requireIdentity(principalOf(request), request.headers, {
      identity: body.identity || undefined, identityType: body.identityType || undefined, user_id: body.user_id ?? undefined,
    });
    const { connection, created } = await connections.save(owner, toClaim(body), claimantOf(request));
    if (created) reply.code(201).header('location', `/connections/${connection.id}`);
    return presentTo(principalOf(request))(connection);
  });

  app.get('/connections', {
    config: { access: { ...read, sessions: true } },
    schema: {
      operationId: 'listConnections', tags: ['connections'], headers: IdentityHeaders, summary: 'List connections',
      description: 'Newest first, in pages behind a keyset cursor. Sessions and JWTs see the platforms they are for, without `key` and `metadata`.',
      querystring: ListQuerySchema, response: { 200: ConnectionPageSchema, ...problems('identity_conflict', 'invalid_cursor', ...sessionProblems) },
    },
  }, async (request) => {
    const { limit, cursor, ...filter } = request.query;
    const principal = principalOf(request);
    if (filter.identity !== undefined) refuseBrowsersChoice(principal, request.headers, 'query.identity');
    const { rows, nextCursor } = await connections.list({ ...narrow(filter, request.identity), platforms: platformsOf(principal) }, cursor, limit);
    return { rows: rows.map(presentTo(principal)), nextCursor };
  });

  app.get('/connections/:id', {
    config: { access: read },
    schema: {
      operationId: 'getConnection', tags: ['connections'], headers: IdentityHeaders, summary: 'Get a connection',
      params: IdParams, response: { 200: Ref(ConnectionSchema), ...problems('connection_not_found') },
    },
  }, async (request) => present(await connections.get(request.params.id, request.identity)));

  app.patch('/connections/:id', {
    config: { access: write },
    schema: {
      operationId: 'changeConnection', tags: ['connections'], headers: IdentityHeaders, summary: 'Change a connection\'s name, tags or metadata',
      params: IdParams, body: PatchBodySchema, response: { 200: Ref(ConnectionSchema), ...problems('connection_not_found', ...bodyProblems) },
    },
  }, async (request) => {
    if (request.body.metadata) refuseUnstorable(request.body.metadata);
    return present(await connections.change(request.params.id, request.identity, request.body));
  });

  app.delete('/connections/:id', {
    config: { access: write },
    schema: {
      operationId: 'deleteConnection', tags: ['connections'], headers: IdentityHeaders, summary: 'Delete a connection',
      description: 'Deletes it upstream too, unless `upstream=false`.',
      params: IdParams,
      querystring: Type.Object({
        upstream: Type.Boolean({
          default: true, description: '`false`: the vault keeps the connection, so that the next sync of the identity, by hand or by the reconciler, stores it again.',
        }),
      }, { additionalProperties: false }),
      response: { 204: Type.Null({ description: 'Deleted.' }), ...problems('connection_not_found', ...upstreamProblems) },
    },
  }, async (request, reply) => {
    await connections.remove(request.params.id, request.identity, request.query.upstream);
    return reply.code(204).send(null);
  });

  app.post('/connections/sync', {
    config: { access: write },
    schema: {
      operationId: 'syncConnections', tags: ['connections'], headers: IdentityHeaders, summary: 'Sync an identity\'s connections with the vault',
      description: 'Stores what the vault has, takes over states, and marks what the vault no longer has as `failed`. With `all=true` it does so '
        + 'for every identity and answers with server-sent events: `progress`, then `done` or `failed`. Leaving ends it.',
      querystring: SyncQuerySchema,
      body: SyncBodySchema,
      response: {
        ...SyncResponses,
        ...problems('identity_required', 'identity_conflict', 'unbound_key_required', 'sync_in_progress', ...bodyProblems, ...upstreamProblems),
      },
    },
  }, async (request, reply) => {
    if (request.query.all) return streamSync(request, reply, reconciler);
    return connections.sync(requireIdentity(principalOf(request), request.headers, request.body));
  });
};

function claimantOf(request: FastifyRequest): Claimant {
  const principal = principalOf(request);
  return {
    fromBrowser: isBrowsersWord(principal, request.headers), bound: principal.identity !== undefined,
    platforms: platformsOf(principal), reconnect: principal.session?.reconnect,
  };
}

/** The platforms that a session is for; undefined: all. */
function platformsOf({ session }: Principal): readonly string[] | undefined {
  return session && session.platforms.length > 0 ? session.platforms : undefined;
}

function narrow(filter: ConnectionFilter, owner: Identity | undefined): ConnectionFilter {
  if (!owner) return filter;
  for (const member of ['identity', 'identityType'] as const) {
    if (filter[member] !== undefined && filter[member] !== owner[member]) {
      throw new Problem('identity_conflict', 'The query names another identity than the request acts as.', {
        errors: [{ field: `query.${member}`, message: 'contradicts the credential or header' }],
      });
    }
  }
  return { ...filter, ...owner };
}

function toClaim(body: CreateBody): ConnectionClaim {
  const { platform, environment, name, tags } = body;
  return {
    ...('connection_key' in body
      ? { key: String(body.connection_key), keyField: 'body.connection_key' }
      : { key: (body as { key: string }).key, keyField: 'body.key' }),
    platform,
    environment: environment ?? undefined,
    state: toState(body),
    name: isText(name) ? storable(name, 256) : undefined,
    tags: Array.isArray(tags) ? [...new Set(tags.filter((tag) => isText(tag) && tag !== '').slice(0, 50).map((tag: string) => storable(tag, 64)))] : undefined,
  };
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function toState(body: CreateBody): ConnectionState {
  if ('active' in body && body.active === false) return 'failed';
  return body.state ? connectionStates.find((state) => state === body.state) ?? 'unknown' : 'operational';
}

function refuseUnstorable(metadata: Record<string, unknown>): void {
  const text = JSON.stringify(metadata);
  const message = Buffer.byteLength(text) > maxMetadataBytes ? `must be at most ${maxMetadataBytes} bytes of JSON`
    // Postgres' jsonb does not hold it; JSON.stringify writes it as an escape.
    : /(?<!\\)(?:\\\\)*\\u0000/.test(text) ? 'must not contain NUL' : undefined;
  if (message) throw new Problem('invalid_request', `metadata ${message}.`, { errors: [{ field: 'body.metadata', message }] });
}

/** Everything for a server; a browser gets neither the connection's key nor the application's own metadata. */
function presentTo(principal: Principal): (connection: Connection) => Static<typeof ConnectionViewSchema> {
  if (!isBrowserCredential(principal)) return present;
  return (connection) => {
    const { key: _key, metadata: _metadata, ...seen } = present(connection);
    return seen;
  };
}

function present(connection: Connection) {
  const { id, key, platform, environment, state, stateReason, identity, identityType, name, tags, metadata, createdAt, updatedAt, lastUsedAt } = connection;
  return {
    id, key, platform, environment, state, stateReason, identity, identityType, name, tags, metadata: metadata as Record<string, unknown>,
    createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString(), lastUsedAt: lastUsedAt?.toISOString() ?? null,
  };
}
