import { hash } from 'node:crypto';
import { once } from 'node:events';
import rateLimit from '@fastify/rate-limit';
import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { Redis } from 'ioredis';
import { Problem } from '../errors.js';
import { type Identity, identityName } from './identity.js';

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

/** `perMinute`: requests of one key, and of one identity, in a minute. `redisUrl`: where replicas count together; undefined: each for itself. */
export type RateLimitOptions = { perMinute: number; redisUrl: string | undefined };

/** How long Redis may take to connect and to answer; longer, and it counts as away. */
const redisTimeoutMs = 1_000;

/**
 * Limits each key and each identity, counted on the principal and never on the address. Answers carry `RateLimit-Limit`,
 * `RateLimit-Remaining` and `RateLimit-Reset` of the tighter of the two; beyond it 429 `rate_limited` with Retry-After.
 * While Redis is away requests are not limited: a limiter must not be what stops the service.
 */
export const rateLimits = fp<RateLimitOptions>(async (app, { perMinute, redisUrl }) => {
  const report = reporter(app.log);
  const redis = redisUrl === undefined ? undefined : openRedis(redisUrl, report.failed);
  app.addHook('onClose', async () => void redis?.disconnect());
  await app.register(rateLimit, { global: false, max: perMinute, timeWindow: 60_000, ...(redis ? { redis, nameSpace: 'authkit-rate-' } : {}) });
  // So that the first requests are counted; when Redis is away, the service starts without it.
  if (redis) await once(redis, 'ready', { signal: AbortSignal.timeout(2 * redisTimeoutMs) }).catch(() => {});

  // Digests: who calls is not for everybody to read who can read Redis.
  const perKey = app.createRateLimit({ keyGenerator: (request) => hash('sha256', `key:${request.principal!.id}`) });
  const perIdentity = app.createRateLimit({
    keyGenerator: (request) => hash('sha256', `identity:${identityName(request.identity!)}`),
  });

  const count = async (reply: FastifyReply, counting: ReturnType<typeof perKey>[]): Promise<void> => {
    const results = await Promise.all(counting).catch(report.failed);
    if (!results) return;
    report.succeeded();
    const counted = results.flatMap((result) => ('remaining' in result ? [result] : []));
    const tightest = counted.reduce<(typeof counted)[number] | undefined>((one, other) => (one && one.remaining <= other.remaining && !other.isExceeded ? one : other), undefined);
    if (!tightest || (!tightest.isExceeded && Number(reply.getHeader(remainingHeader) ?? Infinity) < tightest.remaining)) return;
    const reset = String(tightest.ttlInSeconds);
    reply.headers({ [limitHeader]: String(tightest.max), [remainingHeader]: String(tightest.remaining), [resetHeader]: reset });
    if (tightest.isExceeded) {
      throw new Problem('rate_limited', `At most ${perMinute} requests a minute for a key and for an identity.`, { headers: { 'retry-after': reset } });
    }
  };

  app.addHook('onRequest', async (request, reply) => {
    if (request.principal) await count(reply, [perKey(request), ...(request.identity ? [perIdentity(request)] : [])]);
  });
  app.decorate('limitOwner', (request, reply, { identity, identityType }) => {
    request.identity = { identity, identityType: identityType as Identity['identityType'] };
    return count(reply, [perIdentity(request)]);
  });
}, { name: 'rate-limits', dependencies: ['auth'] });

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
