import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance } from 'fastify';
import Type from 'typebox';
import { findPlatform } from '../catalogue/platforms.js';
import { ApiError } from '../errors.js';
import { Environment, IdentityType } from '../identity.js';
import { param, type Query } from '../paging.js';
import { Settings } from '../settings.js';
import { resetState, type SandboxState } from '../state.js';
import { ConnectionState, type Connection } from '../vault/store.js';
import { FaultBody } from './faults.js';

const SeedBody = Type.Object(
  {
    platform: Type.String(),
    identity: Type.Optional(Type.String()),
    identityType: Type.Optional(IdentityType),
    environment: Type.Optional(Environment),
    state: Type.Optional(ConnectionState),
    name: Type.Optional(Type.String()),
    tags: Type.Optional(Type.Array(Type.String())),
    key: Type.Optional(Type.String()),
    active: Type.Optional(Type.Boolean()),
    count: Type.Optional(Type.Integer({ minimum: 1, maximum: 5000 })),
    /** Spreads `count` over so many identities: `identity-0`, `identity-1` … */
    identities: Type.Optional(Type.Integer({ minimum: 1 })),
  },
  { additionalProperties: false },
);

const IdParams = Type.Object({ id: Type.String() });

const ConnectionPatch = Type.Partial(
  Type.Object({ state: ConnectionState, active: Type.Boolean(), name: Type.String(), tags: Type.Array(Type.String()) }),
  { additionalProperties: false },
);

/** `/__control`: seeding, faults, recordings, settings. Not part of what it simulates, so never under `/v1`, never recorded. */
export async function controlRoutes(instance: FastifyInstance, { state }: { state: SandboxState }): Promise<void> {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();

  app.post('/reset', async (_request, reply) => {
    resetState(state);
    return reply.code(204).send();
  });

  app.get('/settings', async () => state.settings);
  app.patch('/settings', { schema: { body: Type.Partial(Settings, { additionalProperties: false }) } }, async (request) => {
    state.settings = { ...state.settings, ...request.body };
    return state.settings;
  });

  app.get('/faults', async () => ({ rows: state.faults.list() }));
  app.post('/faults', { schema: { body: FaultBody } }, async (request, reply) => {
    state.faults.add(request.body);
    return reply.code(201).send(request.body);
  });
  app.delete('/faults', async (_request, reply) => {
    state.faults.clear();
    return reply.code(204).send();
  });

  app.get('/requests', async (request) => {
    const rows = state.recordings.list(param(request.query as Query, 'path'));
    return { rows, total: rows.length };
  });
  app.delete('/requests', async (_request, reply) => {
    state.recordings.clear();
    return reply.code(204).send();
  });

  app.get('/connections', async () => {
    const rows = state.vault.all();
    return { rows, total: rows.length };
  });
  app.post('/connections', { schema: { body: SeedBody } }, async (request, reply) => {
    const { count = 1, identities, platform, environment = 'test', ...rest } = request.body;
    const known = findPlatform(platform);
    if (!known) throw new ApiError('BadRequest', `Unknown platform ${platform}`);
    if (count > 1 && rest.key !== undefined) throw new ApiError('BadRequest', 'key and count exclude each other');
    const identityOf = (index: number) => (identities === undefined ? rest.identity : `${rest.identity ?? 'identity'}-${index % identities}`);
    const rows = Array.from({ length: count }, (_, index) => state.vault.create({ platform: known, environment, ...rest, identity: identityOf(index) }));
    return reply.code(201).send(count === 1 ? rows[0] : { rows, total: count });
  });
  app.patch('/connections/:id', { schema: { params: IdParams, body: ConnectionPatch } }, async (request) => {
    return state.vault.update(seeded(state, request.params.id).id, request.body);
  });
  app.delete('/connections/:id', { schema: { params: IdParams } }, async (request, reply) => {
    state.vault.delete(seeded(state, request.params.id).id);
    return reply.code(204).send();
  });
}

function seeded(state: SandboxState, id: string): Connection {
  const connection = state.vault.get(id);
  if (!connection) throw new ApiError('NotFound', 'Connection not found');
  return connection;
}
