import type { FastifyInstance } from 'fastify';
import { admit } from '../caller.js';
import { ApiError } from '../errors.js';
import { listParam, paginate, param, type Query } from '../paging.js';
import { publicUrl } from '../public-url.js';
import type { SandboxState } from '../state.js';
import { ACTIONS, type Action } from './actions.js';
import { drawMark } from './marks.js';
import { findPlatform, PLATFORMS } from './platforms.js';
import { connectorRow } from './rows.js';

/** Connectors, actions and knowledge, and the marks their images point at. */
export async function catalogueRoutes(app: FastifyInstance, { state }: { state: SandboxState }): Promise<void> {
  const page = <Row>(rows: readonly Row[], query: Query) => {
    const { limit: _limit, ...answer } = paginate(rows, query, { limit: 20, max: state.settings.maxPageSize });
    return answer;
  };

  app.get('/v1/available-connectors', async (request, reply) => {
    admit(state, request, reply);
    const query = request.query as Query;
    const root = publicUrl(state, request);
    const keys = listParam(query, 'key');
    const offered = PLATFORMS.filter(({ authkit }) => equals(String(authkit), param(query, 'authkit')));
    const rows = offered.map((platform) => connectorRow(platform, root)).filter(
      (row) =>
        equals(row.platform, param(query, 'platform')) &&
        equals(row.category, param(query, 'category')) &&
        includes(row.name, param(query, 'name')) &&
        (keys === undefined || keys.includes(row.key)),
    );
    return page(rows, query);
  });

  app.get<{ Params: { platform: string } }>('/v1/available-actions/:platform', async (request, reply) => {
    const { prefix } = admit(state, request, reply);
    const query = request.query as Query;
    const actions = ACTIONS.filter(
      (action) =>
        action.platform === request.params.platform &&
        includes(action.title, param(query, 'title')) &&
        equals(action.key, param(query, 'key')) &&
        equals(action.method, param(query, 'method')),
    );
    return page(
      actions.map(({ id, title, key, modelName, method, platform, path, tags }) => ({
        title, key, modelName, method, platform, ...(prefix === 'one' && { systemId: id, path, tags }),
      })),
      query,
    );
  });

  app.get('/v1/knowledge', async (request, reply) => {
    admit(state, request, reply);
    const query = request.query as Query;
    const actions = ACTIONS.filter((action) => equals(action.platform, param(query, 'connectionPlatform')));
    return page(actions.map(knowledgeRow), query);
  });

  app.get<{ Params: { platform: string } }>('/marks/:platform.svg', async (request, reply) => {
    const platform = findPlatform(request.params.platform);
    if (!platform) throw new ApiError('NotFound', 'No such mark');
    reply.header('cache-control', 'public, max-age=86400').header('cross-origin-resource-policy', 'cross-origin');
    return reply.type('image/svg+xml').send(await drawMark(platform));
  });
}

function knowledgeRow({ id, title, method, path, platform, baseUrl, tags }: Action) {
  return { _id: id, title, method, path, connectionPlatform: platform, baseUrl, knowledge: `${title}: ${method} ${baseUrl}${path}`, tags, active: true };
}

function equals(value: string, wanted: string | undefined): boolean {
  return wanted === undefined || value.toLowerCase() === wanted.toLowerCase();
}

function includes(value: string, wanted: string | undefined): boolean {
  return wanted === undefined || value.toLowerCase().includes(wanted.toLowerCase());
}
