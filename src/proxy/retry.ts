import { retryAfterSeconds } from '../upstream/errors.js';

/** Retries are at most this share of calls, beyond a few that a quiet gateway may always make. */
const share = 0.1;
const reserve = 10;
const mostSaved = 100;
// A socket closed between two calls is no trouble of the upstream's, only the price of keeping it open.
const staleShare = 0.25;

const maxRetries = 2;
const baseDelayMs = 100;
const longestRetryAfterMs = 10_000;
const retriedStatuses = new Set([429, 502, 503, 504]);
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Counts calls and decides whether one more retry is within the budget. */
export type RetryBudget = { call(): void; spend(kind: 'trouble' | 'stale'): boolean };

/** A full budget. */
export function createRetryBudget(): RetryBudget {
  const saved = { trouble: reserve, stale: reserve };
  return {
    call() {
      saved.trouble = Math.min(saved.trouble + share, mostSaved);
      saved.stale = Math.min(saved.stale + staleShare, mostSaved);
    },
    spend(kind) {
      if (saved[kind] < 1) return false;
      saved[kind] -= 1;
      return true;
    },
  };
}

/** One attempt that did not succeed. */
export type FailedAttempt = {
  method: string;
  hasBody: boolean;
  /** How many attempts were made, this one included. */
  attempts: number;
  /** Milliseconds until the call's deadline. */
  remainingMs: number;
} & ({ status: number; retryAfter: string | undefined } | { sent: boolean; stale: boolean; timedOut: boolean });

/**
 * How long to wait before the next attempt, in milliseconds; undefined: no more. Only what is safe to repeat is repeated:
 * GET, HEAD and OPTIONS without a body, and any method of which no byte has left. Full jitter; `Retry-After` is waited
 * for when it is at most 10 seconds and ends before the deadline.
 */
export function retryDelay(failed: FailedAttempt, budget: RetryBudget, random: () => number = Math.random): number | undefined {
  if (failed.attempts > maxRetries) return undefined;
  const safe = safeMethods.has(failed.method) && !failed.hasBody;
  if ('status' in failed) {
    if (!safe || !retriedStatuses.has(failed.status)) return undefined;
    const asked = (retryAfterSeconds(failed.retryAfter) ?? 0) * 1000;
    if (asked > longestRetryAfterMs) return undefined;
    return within(Math.max(asked, jitter(failed.attempts, random)), failed.remainingMs, budget);
  }
  if (failed.sent && (!safe || failed.timedOut)) return undefined;
  if (failed.stale) return budget.spend('stale') ? 0 : undefined;
  return within(jitter(failed.attempts, random), failed.remainingMs, budget);
}

function jitter(attempts: number, random: () => number): number {
  return random() * baseDelayMs * 2 ** (attempts - 1);
}

function within(delay: number, remainingMs: number, budget: RetryBudget): number | undefined {
  return delay < remainingMs && budget.spend('trouble') ? delay : undefined;
}

/** Whether a failure is that of a kept-alive socket which the other side closed before it answered anything. */
export function isStale(error: Error): boolean {
  return (error as { stale?: boolean }).stale === true;
}
