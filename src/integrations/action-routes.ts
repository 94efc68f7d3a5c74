import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { Nullable, problems, upstreamProblems } from '../schemas.js';
import type { ActionDirectory } from '../upstream/action-directory.js';
import type { Action } from '../upstream/actions.js';
import { type Catalogue, connectorOf } from './catalogue.js';
import { pageOf, PageNumbers, PageOf } from './paging.js';

const ActionSchema = Type.Object({
  id: Nullable(Type.String()), title: Type.String(), method: Type.String(),
  path: Nullable(Type.String({ description: 'The provider\'s path behind the base URL, with braces around its parameters.' })),
  baseUrl: Nullable(Type.String({ description: 'The provider\'s base URL, where the upstream tells it. On `/proxy` its path may stand before the action\'s.' })),
  key: Nullable(Type.String()), modelName: Nullable(Type.String()),
});
const example = {
  id: 'conn_mod_def::gmail-list', title: 'List messages', method: 'GET', path: '/gmail/v1/users/{{userId}}/messages', baseUrl: 'https://gmail.googleapis.com',
  key: 'api::gmail::v1::Messages::list', modelName: 'Messages',
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
        q: Type.Optional(Type.String({ maxLength: 128, description: 'Part of the title, of the base URL and path, or of the key, or a method.' })),
        ...PageNumbers,
      }, { additionalProperties: false }),
      response: {
        200: PageOf(ActionSchema, { examples: [{ rows: [example], total: 1, pages: 1, page: 1 }] }),
        ...problems('integration_not_found', ...upstreamProblems),
      },
    },
  }, async (request) => {
    const { platform } = request.params;
    // Asked first, and from memory: what does not exist would cost calls of the upstream's limit, which all share.
    if (!actions.has(platform)) connectorOf(await catalogue.read(undefined), platform);
    const { actions: all } = await actions.require(platform);
    const found = pageOf(all.filter((action) => matches(action, request.query.q)), request.query);
    return { ...found, rows: found.rows.map(present) };
  });
};

function matches({ title, path, baseUrl, key, method }: Action, q: string | undefined): boolean {
  const wanted = q?.toLowerCase();
  if (wanted === undefined || method.toLowerCase() === wanted) return true;
  return [title, path === undefined ? undefined : (baseUrl ?? '') + path, key].some((text) => text?.toLowerCase().includes(wanted));
}

function present({ id, title, method, path, baseUrl, key, modelName }: Action) {
  return { id: id ?? null, title, method, path: path ?? null, baseUrl: baseUrl ?? null, key: key ?? null, modelName: modelName ?? null };
}
