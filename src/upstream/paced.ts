import { setTimeout as sleep } from 'node:timers/promises';
import { Problem } from '../errors.js';
import type { UpstreamClient } from './client.js';

const minute = 60_000;
// What is assumed of an upstream that does not tell its limit.
const usual = { limit: 300, windowMs: minute };
const attempts = 3;

/** How fast paced calls go; the clock and the wait are those of tests. */
export type Pace = {
  /** Largest part of the upstream's rate limit that paced calls may use together, between 0 and 1. */
  share: number;
  now?: () => number;
  sleep?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>;
};

/** Makes clients whose calls all keep one pace; `signal` ends their waits and their calls. */
export type Pacer = (signal: AbortSignal) => Pick<UpstreamClient, 'call'>;

/**
 * Paces background calls: they are spread evenly, so that in no window of the upstream's do they exceed their share of its
 * limit, and they stand back until the next one when others have used this one up. A 429 waits as long as it asks for (one
 * minute at most) and is tried again, three times in all.
 */
export function createPacer(upstream: UpstreamClient, { share, now = Date.now, sleep: wait = pause }: Pace): Pacer {
  let windowMs = usual.windowMs;
  let lastAt = -Infinity;

  const turn = async (signal: AbortSignal): Promise<void> => {
    const said = upstream.rateLimit();
    // The window's length is never told; no reset can be further away than that.
    windowMs = Math.max(windowMs, said?.resetMs ?? 0);
    const calls = Math.max(1, Math.floor((said?.limit ?? usual.limit) * share));
    const exhausted = said && said.remaining === 0 ? said.resetAt : 0;
    const at = Math.max(lastAt + windowMs / calls, exhausted, now());
    lastAt = at;
    if (at > now()) await wait(at - now(), signal);
    signal.throwIfAborted();
  };

  return (signal) => ({
    async call(method, path, request) {
      for (let attempt = 1; ; attempt += 1) {
        await turn(signal);
        try {
          return await upstream.call(method, path, { ...request, signal });
        } catch (error) {
          if (signal.aborted || attempt === attempts || !(error instanceof Problem) || error.code !== 'upstream_rate_limited') throw error;
          await wait(Math.min(minute, Number(error.extras.headers?.['retry-after'] ?? 1) * 1000), signal);
        }
      }
    },
  });
}

const pause = (milliseconds: number, signal: AbortSignal): Promise<unknown> => sleep(milliseconds, undefined, { signal, ref: false });
