import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { admit } from '../caller.js';
import { ApiError } from '../errors.js';
import { listParam, paginate, param, type Query, skipTo } from '../paging.js';
import type { SandboxState } from '../state.js';
import { hostedRow, ossRow } from './shapes.js';
import type { Connection } from './store.js';

const IdParams = Type.Object({ id: Type.String() });
const TagsBody = Type.Object({ tags: Type.Array(Type.String()) });

/** `/v1/vault/connections`, in the row shape the settings ask for. A secret sees the rows of its own environment only. */
export async function vaultRoutes(instance: FastifyInstance, { state }: { state: SandboxState }): Promise<void> {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>();
  const shape = (row: Connection) => (state.settings.rowShape === 'oss' ? ossRow(row) : hostedRow(row));

  app.get('/', async (request, reply) => {
    const { environment } = admit(state, request, reply);
    const query = request.query as Query;
    const active = param(query, 'active');
    const found = state.vault.find({
      environment,
      identity: param(query, 'identity'),
      identityType: param(query, 'identityType'),
      platform: param(query, 'platform'),
      keys: listParam(query, 'key'),
      tags: listParam(query, 'tags'),
      active: active === undefined ? undefined : active === 'true',
    });
    const options = { limit: 20, max: state.settings.maxPageSize };
    if (state.settings.rowShape === 'oss') {
      // It knows no pages: `page` is one more member that rows are filtered by, and none has it.
      const { rows, total, skip, limit } = skipTo(param(query, 'page') === undefined ? found : [], query, options);
      return { type: 'read', rows: rows.map(shape), total, skip, limit };
    }
    const { rows, total, pages, page } = paginate(found, query, options);
    return { rows: rows.map(shape), total, pages, page };
  });

  app.get('/:id', { schema: { params: IdParams } }, async (request, reply) => {
    const row = owned(state, request.params.id, request, reply);
    if (state.settings.rowShape === 'oss') throw new ApiError('NotFound', 'Connection not found');
    return shape(row);
  });

  app.patch('/:id', { schema: { params: IdParams, body: TagsBody } }, async (request, reply) => {
    const row = owned(state, request.params.id, request, reply);
    return shape(state.vault.update(row.id, { tags: request.body.tags }) ?? row);
  });

  app.delete('/:id', { schema: { params: IdParams } }, async (request, reply) => {
    state.vault.delete(owned(state, request.params.id, request, reply).id);
    return reply.code(200).send();
  });
}

function owned(state: SandboxState, id: string, request: FastifyRequest, reply: FastifyReply): Connection {
  const { environment } = admit(state, request, reply);
  const row = state.vault.get(id);
  if (!row || row.environment !== environment) throw new ApiError('NotFound', 'Connection not found');
  return row;
}
