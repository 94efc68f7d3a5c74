import { METHODS } from 'node:http';
import type { FastifyPluginAsync, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify';
import Type from 'typebox';
import { IdentityTypeSchema } from '../auth/identity.js';
import { OneOf, problems, upstreamProblems } from '../schemas.js';
import { varyOfOurs } from './caching.js';
import { proxyCall, type ProxyDependencies } from './call.js';

const documented = { GET: 'proxyGet', HEAD: 'proxyHead', POST: 'proxyPost', PUT: 'proxyPut', PATCH: 'proxyPatch', DELETE: 'proxyDelete', OPTIONS: 'proxyOptions' } as const;

// TRACE echoes what the provider received, our secret included (RFC 9110 §9.3.8); CONNECT is no request to a resource.
const others = METHODS.filter((method) => !(method in documented) && method !== 'TRACE' && method !== 'CONNECT');

/** `ANY /proxy/:platform/*`: forwards to the provider with the stored connection. */
export const proxyRoutes: FastifyPluginAsync<ProxyDependencies> = async (app, dependencies) => {
  for (const method of others) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true });
  }
  const route = {
    url: '/proxy/:platform/*',
    config: { access: { scope: 'proxy' as const }, cors: false },
    exposeHeadRoute: false,
    // The schema is documentation: what passes through is the provider's to judge.
    validatorCompiler: () => () => true,
    // The last hook, not the handler: before a handler runs, Fastify reads or refuses the body by its type.
    onRequest: (request: FastifyRequest, reply: FastifyReply, _done: HookHandlerDoneFunction): void => void proxyCall(dependencies, request, reply),
    // Of answers that are ours: problems and explanations.
    onSend: (_request: FastifyRequest, reply: FastifyReply, _payload: unknown, done: HookHandlerDoneFunction): void => {
      void reply.header('vary', varyOfOurs);
      done();
    },
    handler: async (): Promise<never> => {
      throw new Error('the proxy answers before its handler');
    },
  };
  for (const [method, operationId] of Object.entries(documented)) app.route({ ...route, method, schema: schemaOf(method, operationId) });
  app.route({ ...route, method: others, schema: { hide: true } });
};

const idempotencyProblems = ['idempotency_in_progress', 'idempotency_outcome_unknown', 'idempotency_answer_not_kept', 'idempotency_key_reused'] as const;

function schemaOf(method: string, operationId: string) {
  const bodyless = method === 'GET' || method === 'HEAD' || method === 'OPTIONS' || method === 'DELETE';
  return {
    operationId, tags: ['proxy'], summary: `Forward a ${method} to a provider`,
    description: 'Sent on with the connection of `x-connection-id`, or the only one of the identity on the platform that has not failed. '
      + 'The provider\'s answer passes verbatim, save headers that would cross identities or origins, and carries no `x-authkit-error`; '
      + 'an answer with that header is ours.',
    params: Type.Object({
      platform: Type.String({ description: 'The platform, as in the connection.', examples: ['gmail'] }),
      path: Type.String({ description: 'The provider\'s path, slashes included, byte for byte, query included.', examples: ['users/me/messages'] }),
    }),
    headers: Type.Object({
      'x-connection-id': Type.Optional(Type.String({ format: 'uuid', description: 'The connection to use.' })),
      'x-identity': Type.Optional(Type.String({ description: 'Whose connection to use.', examples: ['ada'] })),
      'x-identity-type': Type.Optional(IdentityTypeSchema),
      'x-pica-action-id': Type.Optional(Type.String({ description: 'The action to call; without it the path decides. Must be of the platform and method.' })),
      ...(method === 'POST' || method === 'PATCH' ? { 'idempotency-key': Type.Optional(Type.String({ minLength: 1, maxLength: 255,
        description: 'Send this write once: a repeat gets the first answer again, for 24 hours.' })) } : {}),
      'x-authkit-explain': Type.Optional(OneOf(['true', 'false'], { description: 'Answer what would be sent, with the rules that chose it, and send nothing.' })),
    }),
    ...(bodyless ? {} : { body: { content: { '*/*': { schema: {
      description: 'Anything; passed on byte for byte. A custom action takes a JSON object, and `connectionKey` is set in it.', examples: [{ raw: 'VG86IGdyYWNlQGV4YW1wbGUuY29t' }],
    } } } } }),
    response: {
      default: {
        description: 'The provider\'s answer.', content: { '*/*': { schema: { description: 'Whatever the provider sends.' }, example: { messages: [{ id: '18f0c2' }] } } },
      } as never,
      ...problems(
        'invalid_path', 'identity_required', 'identity_conflict', 'connection_not_found', 'connection_ambiguous', 'reconnect_required', 'platform_mismatch', 'environment_mismatch',
        'action_mismatch', 'request_timeout', 'payload_too_large', 'upgrade_not_supported', 'overloaded', 'upstream_circuit_open', ...upstreamProblems,
        ...(method === 'POST' || method === 'PATCH' ? idempotencyProblems : []),
      ),
    },
  };
}
