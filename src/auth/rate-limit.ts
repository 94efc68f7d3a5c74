import { hash } from 'node:crypto';
import { once } from 'node:events';
import rateLimit from '@fastify/rate-limit';
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { Redis } from 'ioredis';
import { Problem } from '../errors.js';
import { type Identity, identityName, resolveIdentity } from './identity.js';
import { isBrowserCredential } from './principal.js';

const limitHeader = 'ratelimit-limit';
const remainingHeader = 'ratelimit-remaining';
const resetHeader = 'ratelimit-reset';

/** Counts a request that named no identity on the one it turned out to be for; rejects with 429 `rate_limited` beyond the limit. */
export type LimitOwner = (request: FastifyRequest, reply: FastifyReply, owner: { identity: string; identityType: string }) => Promise<void>;

declare module 'fastify' {
  interface FastifyInstance {
    /** Present while requests are limited. */
    limitOwner?: LimitOwner;
  }
}

/** What an answer tells of the limit. */
export const rateLimitHeaders: readonly string[] = [limitHeader, remainingHeader, resetHeader];

/**
 * `perMinute`: requests of one key, and of one identity, in a minute; `browserPerMinute`: those that sessions and JWTs of one
 * identity make; 0: no limit. `redisUrl`: where replicas count together; undefined: each for itself.
 */
export type RateLimitOptions = { perMinute: number; browserPerMinute: number; redisUrl: string | undefined };

/** How long Redis may take to connect and to answer; longer, and it counts as away. */
const redisTimeoutMs = 1_000;

type Count = ReturnType<ReturnType<FastifyInstance['createRateLimit']>>;

/**
 * Limits each key and each identity, counted on the principal and never on the address, wherever the request names the
 * identity, and does nothing else to the request. Answers carry `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`
 * of the tightest; beyond it 429 `rate_limited` with Retry-After. While Redis is away requests are not limited: a limiter must
 * not be what stops the service.
 */
export const rateLimits = fp<RateLimitOptions>(async (app, { perMinute, browserPerMinute, redisUrl }) => {
  const report = reporter(app.log);
  const redis = redisUrl === undefined ? undefined : openRedis(redisUrl, report.failed);
  app.addHook('onClose', async () => void redis?.disconnect());
  await app.register(rateLimit, { global: false, timeWindow: 60_000, ...(redis ? { redis, nameSpace: 'authkit-rate-' } : {}) });
  // So that the first requests are counted; when Redis is away, the service starts without it.
  if (redis) await once(redis, 'ready', { signal: AbortSignal.timeout(2 * redisTimeoutMs) }).catch(() => {});

  /** Counts by name. The plugin counts requests: it gets a stand-in, so that nothing has to be written into a real one. */
  const counter = (kind: string, max: number): ((name: string) => Count) => {
    // Digests: who calls is not for everybody to read who can read Redis.
    const limit = app.createRateLimit({ max, keyGenerator: (subject) => hash('sha256', `${kind}:${(subject as unknown as { counted: string }).counted}`) });
    return (counted) => limit({ counted, routeOptions: {} } as unknown as FastifyRequest);
  };
  const perKey = counter('key', perMinute);
  const perIdentity = counter('identity', perMinute);
  const perBrowser = counter('browser', browserPerMinute);

  const count = async (reply: FastifyReply, counting: Count[]): Promise<void> => {
    const results = await Promise.all(counting).catch(report.failed);
    if (!results) return;
    report.succeeded();
    const counted = results.flatMap((result) => ('remaining' in result ? [result] : []));
    const tightest = counted.reduce<(typeof counted)[number] | undefined>((one, other) => (one && one.remaining <= other.remaining && !other.isExceeded ? one : other), undefined);
    if (!tightest || (!tightest.isExceeded && Number(reply.getHeader(remainingHeader) ?? Infinity) < tightest.remaining)) return;
    const reset = String(tightest.ttlInSeconds);
    reply.headers({ [limitHeader]: String(tightest.max), [remainingHeader]: String(tightest.remaining), [resetHeader]: reset });
    if (tightest.isExceeded) {
      throw new Problem('rate_limited', `At most ${tightest.max} requests a minute for a key and for an identity.`, { headers: { 'retry-after': reset } });
    }
  };

  // Callbacks, and not async functions: a request that is not counted costs no promise.
  app.addHook('onRequest', ({ principal, identity }, reply, done) => {
    if (!principal) return done();
    const limitsBrowser = browserPerMinute > 0 && identity !== undefined && isBrowserCredential(principal);
    if (perMinute === 0 && !limitsBrowser) return done();
    const counting = perMinute > 0 ? [perKey(principal.id), ...(identity ? [perIdentity(identityName(identity))] : [])] : [];
    if (limitsBrowser) counting.push(perBrowser(identityName(identity)));
    count(reply, counting).then(() => done(), done);
  });
  if (perMinute === 0) return;
  // The body and the query are read and judged only now.
  app.addHook('preHandler', (request, reply, done) => {
    const named = request.principal && !request.identity ? namedIdentity(request) : undefined;
    if (!named) return done();
    count(reply, [perIdentity(identityName(named))]).then(() => done(), done);
  });
  app.decorate('limitOwner', (_request, reply, owner) => count(reply, [perIdentity(identityName(owner))]));
}, { name: 'rate-limits', dependencies: ['auth'] });

/** The identity in a request's body or query. One that is refused names nobody: its route answers that. */
function namedIdentity({ principal, headers, body, query }: FastifyRequest): Identity | undefined {
  for (const part of [body, query]) {
    if (typeof part !== 'object' || part === null) continue;
    const { identity, identityType, user_id } = part as Record<string, unknown>;
    if (typeof identity !== 'string' && typeof user_id !== 'string') continue;
    try {
      return resolveIdentity(principal, headers, { identity: text(identity), identityType: text(identityType), user_id: text(user_id) });
    } catch {
      return undefined;
    }
  }
  return undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** A client that fails at once, rather than wait, while there is no connection. */
function openRedis(url: string, failed: (error: unknown) => void): Redis {
  const redis = new Redis(url, {
    connectTimeout: redisTimeoutMs, socketTimeout: redisTimeoutMs, maxRetriesPerRequest: 0, enableOfflineQueue: false,
  });
  return redis.on('error', failed);
}

/** Logs that counting fails once, and not for each request, and that it works again. */
function reporter(log: FastifyBaseLogger): { failed(error: unknown): void; succeeded(): void } {
  let works = true;
  return {
    failed(error) {
      if (works) log.warn({ err: error }, 'Redis does not answer: requests are not limited');
      works = false;
    },
    succeeded() {
      if (!works) log.info('Redis answers again: requests are limited');
      works = true;
    },
  };
}
