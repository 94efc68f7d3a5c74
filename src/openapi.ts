import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import fp from 'fastify-plugin';
import { scopes } from './auth/scopes.js';
import { ProblemSchema } from './schemas.js';

/** The OpenAPI document, written from the routes, at `GET /openapi.json`, and a page to browse it at `/docs`. */
export const openapi = fp(async (app) => {
  app.addSchema(ProblemSchema);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'AuthKit gateway', version: '1.0.0', license: { name: 'MIT', identifier: 'MIT' },
        description: 'Stands between your applications and Pica: AuthKit tokens, stored connections, and a streaming passthrough proxy.',
      },
      servers: [{ url: '/', description: 'This gateway.' }],
      tags: [
        { name: 'authkit', description: 'Tokens for the AuthKit widget.' },
        { name: 'connections', description: 'Who connected what.' },
        { name: 'integrations', description: 'What can be connected.' },
        { name: 'proxy', description: 'Calls through a stored connection.' },
        { name: 'webhooks', description: 'Tell an application what happens to connections.' },
        { name: 'api-keys', description: 'Credentials of this gateway.' },
        { name: 'operations', description: 'Health and metrics.' },
      ],
      components: {
        securitySchemes: {
          apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: describeScopes() },
          session: {
            type: 'http', scheme: 'bearer',
            description: 'What a browser holds instead of a key, for one identity: an AuthKit session\'s token, or a JWT of the configured identity provider.',
          },
          bearer: { type: 'http', scheme: 'bearer', description: 'The same key as `Authorization: Bearer`.' },
        },
      },
    },
    // OpenAPI has no wildcard: `path` stands for the rest of the URL, slashes included.
    transform: ({ schema, url }) => ({ schema: schema!, url: url.replace(/\/\*$/, '/:path') }),
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `def-${index}`) },
  });
  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, async () => app.swagger());
  await app.register(swaggerUi, { routePrefix: '/docs', uiConfig: { deepLinking: true, tryItOutEnabled: false } });
}, { name: 'openapi' });

function describeScopes(): string {
  return `An API key. Scopes: ${Object.entries(scopes).map(([scope, opens]) => `\`${scope}\`: ${opens}`).join(' ')} Each operation's x-scope names the one it needs.`;
}
