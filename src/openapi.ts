import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import type { TSchema } from 'typebox';
import Value from 'typebox/value';
import { scopes } from './auth/scopes.js';
import { ProblemSchema } from './schemas.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

/** The OpenAPI document, written from the routes, at `GET /openapi.json`, and a page to browse it at `/docs`. */
export const openapi = fp(async (app) => {
  app.addSchema(ProblemSchema);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'AuthKit gateway', version, license: { name: 'MIT', identifier: 'MIT' },
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
    transform: ({ schema, url }) => ({
      schema: { ...schema, querystring: asSent(schema?.querystring), body: asSent(schema?.body) }, url: url.replace(/\/\*$/, '/:path'),
    }),
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject;
      const operations = Object.values(document.openapiObject.paths ?? {}).flatMap((path) => Object.values(path ?? {})) as Operation[];
      for (const { requestBody } of operations) {
        // @fastify/swagger demands every body; whoever has nothing to say sends none (json-bodies.ts).
        if (requestBody) requestBody.required = !Object.values(requestBody.content).every(({ schema }) => Value.Check(schema, {}));
      }
      return document.openapiObject;
    },
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `def-${index}`) },
  });
  let json: Served | undefined;
  let yaml: Served | undefined;
  const sendDocument = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { type, body, etag } = request.routeOptions.url === '/docs/yaml'
      ? yaml ??= toServe('application/yaml', app.swagger({ yaml: true })) : json ??= toServe('application/json; charset=utf-8', JSON.stringify(app.swagger()));
    reply.headers({ etag, 'cache-control': 'no-cache' });
    return knows(request.headers['if-none-match'], etag) ? reply.code(304).send() : reply.type(type).send(body);
  };
  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, sendDocument);
  await app.register(swaggerUi, {
    routePrefix: '/docs', uiConfig: { deepLinking: true, tryItOutEnabled: false }, staticCSP: pagePolicy,
    uiHooks: {
      preHandler: (request, reply, done) => {
        if (/^\/docs\/(?:json|yaml)$/.test(request.routeOptions.url ?? '')) void sendDocument(request, reply);
        else done();
      },
    },
  });
}, { name: 'openapi' });

/** What the page at /docs may load: its own files, and the document. The hash is that of the style sheet in Swagger UI's logo. */
const pagePolicy = [
  "default-src 'none'", "script-src 'self'", "style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='", "img-src 'self' data:", "connect-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
].join('; ');

/** A document as it is sent, every time the same bytes: answers that nobody reads then share them. */
type Served = { type: string; body: Buffer; etag: string };

function toServe(type: string, text: string): Served {
  const body = Buffer.from(text);
  return { type, body, etag: `"${createHash('sha256').update(body).digest('base64url')}"` };
}

/** Whether an `If-None-Match` names `etag`; weakly, as RFC 9110 §13.1.2 has it. */
function knows(ifNoneMatch: string | undefined, etag: string): boolean {
  return ifNoneMatch !== undefined && ifNoneMatch.split(',').some((tag) => ['*', etag, `W/${etag}`].includes(tag.trim()));
}

type Operation = { requestBody?: { required: boolean; content: Record<string, { schema: TSchema }> } };

/** A schema as the sender of a request meets it: members with a default may be left out, though validated requests have them. */
function asSent(schema: unknown): unknown {
  return schema && JSON.parse(JSON.stringify(schema), (_name, value: { required?: unknown; properties?: Record<string, { default?: unknown }> } | null) => {
    if (!value?.properties || !Array.isArray(value.required)) return value;
    const required = value.required.filter((name: string) => value.properties![name]?.default === undefined);
    return { ...value, required: required.length > 0 ? required : undefined };
  });
}

function describeScopes(): string {
  return `An API key. Scopes: ${Object.entries(scopes).map(([scope, opens]) => `\`${scope}\`: ${opens}`).join(' ')} Each operation's x-scope names the one it needs.`;
}
