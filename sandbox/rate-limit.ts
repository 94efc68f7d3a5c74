import type { HeaderPrefix } from './errors.js';
import type { Settings } from './settings.js';

/** Whether a call may pass, and the headers that say so. */
export interface Allowance {
  allowed: boolean;
  headers: Record<string, string>;
}

/** A fixed window per secret. */
export class RateLimiter {
  #windows = new Map<string, { used: number; endsAt: number }>();

  /** Counts one call of `secret`; `headers` are the upstream's three, misspelling included. */
  take(secret: string, prefix: HeaderPrefix, settings: Settings): Allowance {
    const now = Date.now();
    let window = this.#windows.get(secret);
    if (!window || window.endsAt <= now) {
      window = { used: 0, endsAt: now + settings.rateLimitWindowMs };
      this.#windows.set(secret, window);
    }
    window.used += 1;
    return {
      allowed: window.used <= settings.rateLimit,
      headers: rateLimitHeaders(prefix, settings.rateLimit, Math.max(0, settings.rateLimit - window.used), window.endsAt - now),
    };
  }

  reset(): void {
    this.#windows.clear();
  }
}

/** The upstream's rate-limit headers (upstream.md). */
export function rateLimitHeaders(prefix: HeaderPrefix, limit: number, remaining: number, resetMs: number): Record<string, string> {
  return {
    [`x-${prefix}-rate-limit-limit`]: String(limit),
    [`x-${prefix}-rate-limit-remainings`]: String(remaining),
    [`x-${prefix}-rate-limit-reset`]: String(Math.ceil(resetMs / 1000)),
  };
}
