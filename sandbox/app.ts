import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify';
import { headerPrefix } from './caller.js';
import { catalogueRoutes } from './catalogue/routes.js';
import { inflict } from './control/inflict.js';
import { controlRoutes } from './control/routes.js';
import { renderError } from './error-handler.js';
import { passthroughRoutes } from './passthrough/routes.js';
import { PASSTHROUGH_ROOT } from './passthrough/target.js';
import { createState } from './state.js';
import { authkitTokenRoutes } from './tokens/authkit.js';
import { embedTokenRoutes } from './tokens/embed.js';
import { vaultRoutes } from './vault/routes.js';
import { widgetRoutes } from './widget-routes.js';

const CONTROL_ROOT = '/__control/';

/** Secrets the sandbox takes unless given others. */
export const DEFAULT_SECRETS = ['sk_test_sandbox_0123456789abcdef', 'sk_live_sandbox_0123456789abcdef'];

/** How a sandbox starts. */
export interface SandboxOptions {
  /** Secrets the simulated API accepts, `sk_test_…` or `sk_live_…`. */
  secrets?: string[];
  /** Root of image URLs, when browsers reach the sandbox under another name than its callers. */
  publicUrl?: string;
  logger?: FastifyServerOptions['logger'];
}

/** A Pica simulator with an empty vault, not yet listening. */
export async function buildSandbox(options: SandboxOptions = {}): Promise<FastifyInstance> {
  const state = createState(options.secrets ?? DEFAULT_SECRETS, options.publicUrl?.replace(/\/+$/, ''));
  const app = Fastify({
    logger: options.logger ?? false,
    // Hanging and half-sent answers must not hold up the close.
    forceCloseConnections: true,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    // The router would decode a provider's path, and refuse one with a stray %; request.originalUrl keeps it as it came.
    rewriteUrl: ({ url = '/' }) => (url.startsWith(PASSTHROUGH_ROOT) ? '/v1/passthrough' : url),
  });

  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'string' }, async (_request: unknown, body: string) =>
    body === '' ? undefined : JSON.parse(body),
  );
  app.setErrorHandler((error: Error, request, reply) => renderError(state, error, request, reply));
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ type: 'error', error: 'Not found' }));

  // Not async: the recorder must be in place before the first byte of the body arrives.
  app.addHook('onRequest', (request, reply, done) => {
    if (!request.originalUrl.startsWith(CONTROL_ROOT)) state.recordings.observe(request.originalUrl, request.raw, reply.raw);
    if (headerPrefix(request) === 'one') reply.header('x-one-correlation-id', request.id);
    done();
  });
  app.addHook('onRequest', async (request, reply) => {
    const fault = request.originalUrl.startsWith(CONTROL_ROOT) ? undefined : state.faults.take(request.method, request.originalUrl);
    if (fault) await inflict(fault, request, reply);
  });

  await app.register(embedTokenRoutes, { state });
  await app.register(authkitTokenRoutes, { state });
  await app.register(vaultRoutes, { state, prefix: '/v1/vault/connections' });
  await app.register(catalogueRoutes, { state });
  await app.register(passthroughRoutes, { state });
  await app.register(widgetRoutes, { state });
  await app.register(controlRoutes, { state, prefix: '/__control' });
  return app;
}
