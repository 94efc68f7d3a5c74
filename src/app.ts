import type { IncomingMessage } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import type { Logger } from 'pino';
import { authkitRoutes } from './authkit/routes.js';
import { createAuthenticator } from './auth/authenticator.js';
import { cacheKeys } from './auth/cached-keys.js';
import { createKeyService } from './auth/key-service.js';
import { createKeyStore } from './auth/key-store.js';
import { withBrowserCredentials } from './auth/browser-credentials.js';
import { createJwtAuthenticator } from './auth/jwt.js';
import { answerHeaders } from './answer-headers.js';
import { authPlugin, credentialOf } from './auth/plugin.js';
import { rootPrincipal } from './auth/principal.js';
import { rateLimitHeaders, rateLimits } from './auth/rate-limit.js';
import { keyRoutes } from './auth/routes.js';
import { sessionRoutes } from './auth/session-routes.js';
import { createSessionService } from './auth/session-service.js';
import { createSessionStore } from './auth/session-store.js';
import { createStrangers, lookUpsAtOnce } from './auth/strangers.js';
import type { Config } from './config.js';
import { announceChanges, cacheChoices } from './connections/cached-choice.js';
import { createComparisonStore } from './connections/comparison-store.js';
import { createProgressStore } from './connections/progress-store.js';
import { createReconciler, reconcilerLock } from './connections/reconciler.js';
import { observeRuns } from './connections/reconciler-metrics.js';
import { reconciling } from './connections/reconciling.js';
import { createStateRefresher } from './connections/refresh.js';
import { connectionRoutes } from './connections/routes.js';
import { createConnectionService } from './connections/service.js';
import { createConnectionStore } from './connections/store.js';
import { corsPlugin } from './cors.js';
import { createDemoLogin } from './demo/login.js';
import { demoRoutes } from './demo/routes.js';
import { errorHandler, frameworkErrorHandler } from './error-handler.js';
import { createFront, type Front } from './http/front.js';
import { guard } from './http/guard.js';
import { createCatalogue } from './integrations/catalogue.js';
import { createPlatformLabels } from './integrations/platform-labels.js';
import { actionRoutes } from './integrations/action-routes.js';
import { integrationRoutes } from './integrations/routes.js';
import { jsonBodies, maxJsonBytes } from './json-bodies.js';
import { health } from './observability/health.js';
import { lazyChild } from './observability/lazy-logger.js';
import { masker } from './observability/logger.js';
import { metrics } from './observability/metrics.js';
import { requestIds, requestLog } from './observability/request-log.js';
import { openapi } from './openapi.js';
import type { Database } from './persistence/database.js';
import { createLastUsed } from './persistence/last-used.js';
import { createRetention, createSweeps, retentionLock } from './persistence/retention.js';
import { createAdmission } from './proxy/admission.js';
import { createCircuits, describeCircuits } from './proxy/circuit.js';
import { createIdempotency } from './proxy/idempotency.js';
import { createIdempotencyStore } from './proxy/idempotency-store.js';
import { createProxyMetrics } from './proxy/metrics.js';
import { routableUrl } from './proxy/path.js';
import { createRetryBudget } from './proxy/retry.js';
import { createActionResolver } from './proxy/resolve-action.js';
import { proxyRoutes } from './proxy/routes.js';
import { createActionDirectory } from './upstream/action-directory.js';
import { fetchActions } from './upstream/actions.js';
import { createUpstreamClient } from './upstream/client.js';
import { fetchConnectors } from './upstream/connectors.js';
import { createLastSeen } from './upstream/last-seen.js';
import { createPacer } from './upstream/paced.js';
import { createPassthrough } from './upstream/passthrough.js';
import { createTokenSource } from './upstream/token-source.js';
import { tracePassthrough } from './upstream/traced-passthrough.js';
import { createVault } from './upstream/vault.js';
import { retaining } from './retaining.js';
import { buildSerializer, buildValidator } from './validators.js';
import { createDispatcher } from './webhooks/dispatcher.js';
import { delivering } from './webhooks/delivering.js';
import { observeAttempts } from './webhooks/metrics.js';
import { createDeliveryQueue } from './webhooks/queue.js';
import { webhookRoutes } from './webhooks/routes.js';
import { createSender } from './webhooks/sender.js';
import { createWebhookService } from './webhooks/service.js';
import { createWebhookStore } from './webhooks/store.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** The server's side of client connections; what a stop begins with. */
    front: Front;
  }
}

/** What the app is built from; whoever opened the database closes it. */
export type AppDependencies = { config: Config; database: Database; logger: Logger };

/** The gateway, ready to listen. Closing it ends its upstream connections. */
export async function buildApp({ config, database, logger }: AppDependencies): Promise<FastifyInstance> {
  const front = createFront({ maxConnections: config.maxConnections, mayOverlap: isSafeProxied });
  const app = fastify({
    serverFactory: front.serverFactory,
    clientErrorHandler: front.refuseUnread,
    return503OnClosing: false,
    loggerInstance: logger as FastifyBaseLogger,
    genReqId: requestIds(masker([...config.adminApiKeys, config.secretKey])),
    childLoggerFactory: lazyChild,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    schemaController: { compilersFactory: { buildSerializer, buildValidator } },
    bodyLimit: maxJsonBytes,
    frameworkErrors: frameworkErrorHandler(front.report),
    trustProxy: config.trustedProxies.length > 0 ? [...config.trustedProxies] : false,
    rewriteUrl: (request) => routableUrl(request.url!),
    routerOptions: { maxParamLength: 512 },
  }).withTypeProvider<TypeBoxTypeProvider>();

  const seen = createLastSeen();
  const upstream = createUpstreamClient({
    baseUrl: config.baseUrl, secretKey: config.secretKey, headerPrefix: config.headerPrefix, timeoutMs: config.upstreamTimeoutMs, note: seen.note,
  });
  const direct = createPassthrough({
    baseUrl: config.baseUrl, secretKey: config.secretKey, headerPrefix: config.headerPrefix, timeoutMs: config.proxyTimeoutMs,
    // Calls, and those that last, which are counted apart.
    connections: 2 * config.proxyMaxInFlight,
  });
  const passthrough = config.tracing ? tracePassthrough(direct) : direct;
  const circuits = createCircuits();
  const describeUpstream = () => {
    const { seen: what, since } = seen.last();
    return { detail: describeCircuits(circuits) ?? what, ...(since ? { since: since.toISOString() } : {}) };
  };
  const stopping = new AbortController();
  app.addHook('preClose', async () => stopping.abort());

  const { invalidations } = database;
  const lastUsed = createLastUsed(database.prisma, (error) => logger.warn({ err: error }, 'lastUsedAt was not written; it is tried again'));
  const idempotency = createIdempotency(createIdempotencyStore(database.prisma), (error) => logger.error({ err: error }, 'an idempotent write was not recorded'));
  app.addHook('onListen', async () => invalidations.start());
  app.addHook('onClose', async () => void (await Promise.all([upstream.close(), passthrough.close(), lastUsed.close(), idempotency.close()])));

  const keyStore = cacheKeys(createKeyStore(database.prisma), invalidations);
  const connectionStore = announceChanges(createConnectionStore(database.prisma), invalidations);
  const vault = createVault(upstream, logger);
  const refreshState = createStateRefresher(connectionStore, vault, config.environment, logger, stopping.signal);
  const connections = createConnectionService(connectionStore, vault, config.environment, config.connectionVerification, refreshState);
  const choices = cacheChoices(connections.choose, invalidations);
  const catalogue = createCatalogue(
    (authkit) => fetchConnectors(upstream, authkit), config.integrationsTtlMs, (err) => logger.warn({ err }, 'the catalogue was not renewed; the last one is still answered'),
  );
  const actions = createActionDirectory(
    (platform) => fetchActions(upstream, platform), config.integrationsTtlMs, (err, platform) => logger.warn({ err, platform }, 'a platform\'s actions were not read'),
  );
  const keys = createKeyService(keyStore);
  const sessions = createSessionService(createSessionStore(database.prisma), (id, owner) => connections.get(id, owner));
  const strangers = createStrangers({
    atOnce: lookUpsAtOnce(database.engine === 'postgres' ? config.database.poolSize : undefined), failuresPerMinute: config.authFailuresPerMinute,
  });
  const authenticator = withBrowserCredentials(createAuthenticator(config.adminApiKeys, keyStore, strangers), strangers, {
    session: sessions.authenticate, jwt: config.jwt && createJwtAuthenticator(config.jwt),
  });
  if (config.connectionVerification === 'off') logger.warn('CONNECTION_VERIFICATION=off: whoever has a connection key can store it as their own');

  app.decorate('front', front);
  await app.register(answerHeaders);
  await app.register(errorHandler);
  await app.register(jsonBodies);
  if (config.tracing) {
    // Loaded only now: the SDK is large, and most gateways do without it.
    const { tracing } = await import('./observability/tracing.js');
    await app.register(tracing, { ...config.tracing, upstream: config.baseUrl });
  }
  await app.register(requestLog, { front });
  await app.register(guard, { front });
  await app.register(openapi);
  await app.register(corsPlugin, { origins: config.corsOrigins });
  await app.register(authPlugin, { authenticator, noteUse: (id) => lastUsed.touch('api_keys', id) });
  if (config.rateLimit.perMinute > 0 || config.rateLimit.browserPerMinute > 0) await app.register(rateLimits, config.rateLimit);
  await app.register(metrics, { front });
  await app.register(health, { checks: { database: database.ping }, details: { upstream: describeUpstream }, isStopping: () => front.phase !== 'open' });
  await app.register(authkitRoutes, { issueToken: createTokenSource(config, upstream, seen.note) });
  await app.register(sessionRoutes, { sessions });
  const pacer = createPacer(upstream, { share: config.reconcileRateShare });
  const reconciler = createReconciler({
    store: connectionStore, comparisons: createComparisonStore(database.prisma), progress: createProgressStore(database.prisma),
    vaultFor: (signal) => createVault(pacer(signal), logger),
    tryLock: () => database.tryLock(reconcilerLock), environment: config.environment, intervalMs: config.reconcileIntervalMs,
    observe: observeRuns(app.metrics, logger, config.reconcileIntervalMs),
  });
  await app.register(reconciling, { reconciler, intervalMs: config.reconcileIntervalMs });
  await app.register(connectionRoutes, { connections, reconciler });
  await app.register(integrationRoutes, { catalogue });
  await app.register(actionRoutes, { actions, catalogue });
  await app.register(keyRoutes, { keys });
  const admission = createAdmission(config.proxyMaxInFlight);
  app.addHook('onClose', async () => admission.close());
  await app.register(proxyRoutes, {
    passthrough, circuits, idempotency, admission, noteSeen: seen.note, upstreamSecret: config.secretKey, retryBudget: createRetryBudget(),
    metrics: createProxyMetrics(app.metrics, createPlatformLabels(catalogue), {
      admission, circuits, caches: { keys: keyStore.cache.counts, connections: choices.cache.counts },
    }),
    ownHeaders: ['x-request-id', ...(config.rateLimit.perMinute > 0 ? rateLimitHeaders : [])],
    timeoutMs: config.proxyTimeoutMs, maxBodyBytes: config.proxyMaxBodyBytes, maxDurationMs: config.proxyMaxDurationMs,
    confirm: async (request) => void (await authenticator.authenticate(credentialOf(request), request)),
    choose: choices.choose, resolveAction: createActionResolver(actions, config.actionResolution, config.proxyTimeoutMs),
    limitOwner: app.limitOwner, noteUse: (id) => lastUsed.touch('user_connections', id), noteRefusal: (id) => void connections.refreshState(id),
    confirmConnection: connections.confirm, watch: app.watchCredential,
  });
  const targets = { allowPrivate: config.webhookAllowPrivate };
  const queue = createDeliveryQueue(database.prisma);
  const dispatcher = createDispatcher({ queue, send: createSender(targets), ...observeAttempts(app.metrics, logger) });
  await app.register(delivering, { dispatcher });
  await app.register(retaining, { retention: createRetention({
    sweeps: createSweeps(database.prisma, config.retentionDays), tryLock: () => database.tryLock(retentionLock),
    log: (figures) => logger.info(figures, figures.done ? 'old rows deleted' : 'deleting old rows'),
  }) });
  await app.register(webhookRoutes, { webhooks: createWebhookService(createWebhookStore(database.prisma), targets) });
  if (config.demo) {
    const login = createDemoLogin(
      async (request) => (await keys.create(rootPrincipal, request)).key,
      async (owner, expiresInSeconds) => (await sessions.create(rootPrincipal, owner, { expiresInSeconds, allowedOrigins: [], platforms: [], reconnectId: undefined })).token,
    );
    await app.register(demoRoutes, { widgetBaseUrl: config.demoWidgetUrl, login });
  }
  return app;
}

const safe = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Provider calls that change nothing do not wait for one another, though they come on one connection. */
function isSafeProxied({ method, url }: IncomingMessage): boolean {
  return safe.has(method!) && url!.startsWith('/proxy/');
}
