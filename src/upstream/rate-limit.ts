const hour = 3_600_000;

/** The upstream's word on its rate limit: calls of a window, how many are left in this one, and when the next begins. */
export type RateLimit = Readonly<{ limit: number; remaining: number; resetAt: number; resetMs: number }>;

/**
 * Reads `{prefix}-rate-limit-limit`, `-remainings` (sic) and `-reset` (upstream.md, "Rate limits and errors"); undefined
 * unless all three are there.
 */
export function readRateLimit(headers: Record<string, string | string[] | undefined>, prefix: string, now = Date.now()): RateLimit | undefined {
  const header = (name: string): string | string[] | undefined => headers[`${prefix}-rate-limit-${name}`];
  const [limit, remaining, wait] = [number(header('limit')), number(header('remainings')), resetMs(header('reset'), now)];
  if (!limit || remaining === undefined || wait === undefined) return undefined;
  return { limit, remaining, resetAt: now + wait, resetMs: wait };
}

/**
 * Milliseconds from `now` until the reset that an upstream's header tells, undefined when it tells none: it is seconds from
 * now, and a number too large for that is a Unix time. An hour at most: what is further away is no rate limit's window.
 */
export function resetMs(value: string | string[] | undefined, now: number): number | undefined {
  const reset = number(value);
  return reset === undefined ? undefined : Math.min(hour, Math.max(0, reset > 1e9 ? reset * 1000 - now : reset * 1000));
}

function number(header: string | string[] | undefined): number | undefined {
  return typeof header === 'string' && /^\d{1,10}$/.test(header) ? Number(header) : undefined;
}
