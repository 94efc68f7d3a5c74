import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply } from 'fastify';
import Type from 'typebox';
import { problems, upstreamProblems } from '../schemas.js';
import { type Connector, ConnectorSchema } from '../upstream/connectors.js';
import { type Catalogue, connectorOf } from './catalogue.js';
import { pageOf, PageNumbers, PageOf } from './paging.js';

const access = { scope: 'integrations:read' } as const;

const example = {
  id: 'conn_def::gmail', name: 'Gmail', key: 'api::gmail::v1', platform: 'gmail', category: 'Communication', image: 'https://assets.example.com/gmail.svg',
  description: 'Email', tags: [], oauth: true, version: '1.0.0', active: true,
};
const headers = {
  age: { type: 'integer', description: 'Seconds since the upstream gave this catalogue (RFC 9111 §5.1).' },
  'x-authkit-stale': { type: 'string', description: '`true` when it is past its time and has not been renewed yet: it is being asked for, or the upstream is down.' },
};

const ListQuery = Type.Object({
  q: Type.Optional(Type.String({ maxLength: 128, description: 'Part of the name or platform.' })),
  category: Type.Optional(Type.String({ maxLength: 128, description: 'Exact category, in any case.' })),
  authkit: Type.Optional(Type.Boolean({ description: 'Only those AuthKit can connect (true), or only the others (false).' })),
  ...PageNumbers,
}, { additionalProperties: false });

/** `/integrations`: the upstream's catalogue of connectors, cached, with search and paging of our own. */
export const integrationRoutes: FastifyPluginAsyncTypebox<{ catalogue: Catalogue }> = async (app, { catalogue }) => {
  app.get('/integrations', {
    config: { access },
    schema: {
      operationId: 'listIntegrations', tags: ['integrations'], summary: 'List integrations',
      description: 'The upstream\'s connectors, cached; served past their time while the upstream is down, and then marked stale.',
      querystring: ListQuery,
      response: {
        200: PageOf(ConnectorSchema, { headers, examples: [{ rows: [example], total: 1, pages: 1, page: 1 }] }),
        ...problems(...upstreamProblems),
      },
    },
  }, async (request, reply) => {
    const { q, category, authkit } = request.query;
    const snapshot = await catalogue.read(authkit);
    sayAge(reply, snapshot);
    return pageOf(snapshot.connectors.filter((connector) => matches(connector, q, category)), request.query);
  });

  app.get('/integrations/:platform', {
    config: { access },
    schema: {
      operationId: 'getIntegration', tags: ['integrations'], summary: 'Get one integration',
      params: Type.Object({ platform: Type.String({ minLength: 1, maxLength: 64 }) }),
      response: { 200: Type.Unsafe<Connector>({ ...ConnectorSchema, headers, examples: [example] }), ...problems('integration_not_found', ...upstreamProblems) },
    },
  }, async (request, reply) => {
    const snapshot = await catalogue.read(undefined);
    sayAge(reply, snapshot);
    return connectorOf(snapshot, request.params.platform);
  });
};

function matches(connector: Connector, q: string | undefined, category: string | undefined): boolean {
  const wanted = q?.toLowerCase() ?? '';
  const named = connector.name.toLowerCase().includes(wanted) || connector.platform.toLowerCase().includes(wanted);
  return named && (category === undefined || connector.category?.toLowerCase() === category.toLowerCase());
}

function sayAge(reply: FastifyReply, { ageSeconds, stale }: { ageSeconds: number; stale: boolean }): void {
  reply.header('age', ageSeconds);
  if (stale) reply.header('x-authkit-stale', 'true');
}
