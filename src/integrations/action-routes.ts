import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { Problem } from '../errors.js';
import { Nullable, problems, upstreamProblems } from '../schemas.js';
import type { ActionDirectory } from '../upstream/action-directory.js';
import type { Action } from '../upstream/actions.js';
import type { Catalogue } from './catalogue.js';

const ActionSchema = Type.Object({
  id: Nullable(Type.String()), title: Type.String(), method: Type.String(), path: Nullable(Type.String()), key: Nullable(Type.String()), modelName: Nullable(Type.String()),
});
const example = {
  id: 'conn_mod_def::gmail-list', title: 'List messages', method: 'GET', path: '/gmail/v1/users/{{userId}}/messages', key: 'api::gmail::v1::Messages::list', modelName: 'Messages',
};

/** `GET /integrations/:platform/actions`: what can be called on a platform through the proxy. */
export const actionRoutes: FastifyPluginAsyncTypebox<{ actions: ActionDirectory; catalogue: Catalogue }> = async (app, { actions, catalogue }) => {
  app.get('/integrations/:platform/actions', {
    config: { access: { scope: 'integrations:read' } },
    schema: {
      operationId: 'listActions', tags: ['integrations'], summary: 'List a platform\'s actions',
      description: 'The upstream\'s actions, cached. On `/proxy` a request\'s method and path find their action by themselves.',
      params: Type.Object({ platform: Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' }) }),
      querystring: Type.Object({
        q: Type.Optional(Type.String({ maxLength: 128, description: 'Part of the title, path or key, or a method.' })),
        page: Type.Integer({ minimum: 1, maximum: 100_000, default: 1 }),
        limit: Type.Integer({ minimum: 1, maximum: 300, default: 20 }),
      }, { additionalProperties: false }),
      response: {
        200: Type.Object({ rows: Type.Array(ActionSchema), total: Type.Integer(), pages: Type.Integer(), page: Type.Integer() }, {
          examples: [{ rows: [example], total: 1, pages: 1, page: 1 }],
        }),
        ...problems('integration_not_found', ...upstreamProblems),
      },
    },
  }, async (request) => {
    const { q, page, limit } = request.query;
    const { platform } = request.params;
    const { actions: all } = await actions.require(platform);
    if (all.length === 0 && !(await catalogue.read(undefined)).connectors.some((connector) => connector.platform === platform)) {
      throw new Problem('integration_not_found', 'The catalogue has no such platform.', { errors: [{ field: 'path.platform', message: 'is unknown' }] });
    }
    const found = all.filter((action) => matches(action, q));
    return { rows: found.slice((page - 1) * limit, page * limit).map(present), total: found.length, pages: Math.ceil(found.length / limit), page };
  });
};

function matches({ title, path, key, method }: Action, q: string | undefined): boolean {
  const wanted = q?.toLowerCase();
  if (wanted === undefined || method.toLowerCase() === wanted) return true;
  return [title, path, key].some((text) => text?.toLowerCase().includes(wanted));
}

function present({ id, title, method, path, key, modelName }: Action) {
  return { id: id ?? null, title, method, path: path ?? null, key: key ?? null, modelName: modelName ?? null };
}
