/** The upstream's word on its rate limit: calls of a window, how many are left in this one, and when the next begins. */
export type RateLimit = Readonly<{ limit: number; remaining: number; resetAt: number; resetMs: number }>;

/**
 * Reads `{prefix}-rate-limit-limit`, `-remainings` (sic) and `-reset` (upstream.md, "Rate limits and errors"); undefined
 * unless all three are there. The reset is seconds from now; a number too large for that is a Unix time.
 */
export function readRateLimit(headers: Record<string, string | string[] | undefined>, prefix: string, now = Date.now()): RateLimit | undefined {
  const [limit, remaining, reset] = ['limit', 'remainings', 'reset'].map((name) => number(headers[`${prefix}-rate-limit-${name}`]));
  if (!limit || remaining === undefined || reset === undefined) return undefined;
  const resetMs = Math.max(0, reset > 1e9 ? reset * 1000 - now : reset * 1000);
  return { limit, remaining, resetAt: now + resetMs, resetMs };
}

function number(header: string | string[] | undefined): number | undefined {
  return typeof header === 'string' && /^\d{1,10}$/.test(header) ? Number(header) : undefined;
}
