import { retryAfterSeconds } from '../upstream/errors.js';
import type { FailureKind } from '../upstream/passthrough.js';

/** Retries are at most this share of calls, beyond a few that a quiet gateway may always make. */
const share = 0.1;
const reserve = 10;
const mostSaved = 100;
// A socket closed between two calls is no trouble of the upstream's, only the price of keeping it open.
const staleShare = 0.25;

const maxRetries = 2;
const baseDelayMs = 100;
/** A 503 without Retry-After asks for a pause all the same (RFC 9110 §15.6.4). */
const pauseMs = 500;
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

/** How an attempt did not succeed. */
export type Failure = { status: number; retryAfter: string | undefined } | { kind: FailureKind; sent: boolean; stale: boolean };

/** One attempt that did not succeed. */
export type FailedAttempt = {
  method: string;
  hasBody: boolean;
  /** How many attempts were made, this one included. */
  attempts: number;
  /** Milliseconds until the call's deadline. */
  remainingMs: number;
} & Failure;

/** Why a call is sent again, or is not. */
export type RetryReason =
  /** A kept connection had been closed. */
  | 'stale_connection'
  /** No connection, or it closed before an answer. */
  | 'unreachable'
  /** Nothing had been sent when the time to connect was over. */
  | 'not_sent'
  /** 502, 503, 504, or a 429 that says when to come again. */
  | 'status'
  /** Any other status, which sending again would not change. */
  | 'final_status'
  | 'attempts_spent'
  /** The provider may have acted on it: not GET, HEAD or OPTIONS, or with a body. */
  | 'not_repeatable'
  /** A 429 without Retry-After: when to come again is the caller's to judge. */
  | 'rate_limited'
  | 'retry_after_too_long'
  | 'past_deadline'
  | 'budget_spent'
  | 'timed_out'
  /** An answer came, and it was malformed: another would be as well. */
  | 'invalid_answer'
  /** It was ended on this side. */
  | 'given_up';

/** Whether a call is sent again, why, and after how many milliseconds. */
export type RetryDecision = Readonly<{ retry: boolean; reason: RetryReason; waitMs: number }>;

const finalStatus = no('final_status');

/**
 * Whether to make another attempt. Only what is safe to repeat is repeated: GET, HEAD and OPTIONS without a body, and any
 * method of which no byte has left. Full jitter after failures, a pause after a 503; `Retry-After` is waited for when it is at
 * most 10 seconds and ends before the deadline.
 */
export function decideRetry(failed: FailedAttempt, budget: RetryBudget, random: () => number = Math.random): RetryDecision {
  const safe = isRepeatable(failed.method, failed.hasBody);
  if ('status' in failed) {
    if (!retriedStatuses.has(failed.status)) return finalStatus;
    if (failed.attempts > maxRetries) return no('attempts_spent');
    if (!safe) return no('not_repeatable');
    const asked = retryAfterSeconds(failed.retryAfter);
    if (asked === undefined && failed.status === 429) return no('rate_limited');
    if (asked !== undefined && asked * 1000 > longestRetryAfterMs) return no('retry_after_too_long');
    const backoff = asked === undefined && failed.status === 503 ? pause(failed.attempts, random) : jitter(failed.attempts, random);
    return after(Math.max((asked ?? 0) * 1000, backoff), 'status', failed.remainingMs, budget);
  }
  if (failed.kind === 'protocol') return no('invalid_answer');
  if (failed.kind === 'aborted') return no('given_up');
  if (failed.attempts > maxRetries) return no('attempts_spent');
  if (failed.sent && failed.kind === 'timeout') return no('timed_out');
  if (failed.sent && !safe) return no('not_repeatable');
  if (failed.stale) return budget.spend('stale') ? { retry: true, reason: 'stale_connection', waitMs: 0 } : no('budget_spent');
  return after(jitter(failed.attempts, random), failed.kind === 'timeout' ? 'not_sent' : 'unreachable', failed.remainingMs, budget);
}

/** Whether a call may be sent again when the provider may have received it (RFC 9110 §9.2.2). */
export function isRepeatable(method: string, hasBody: boolean): boolean {
  return safeMethods.has(method) && !hasBody;
}

function jitter(attempts: number, random: () => number): number {
  return random() * baseDelayMs * 2 ** (attempts - 1);
}

function pause(attempts: number, random: () => number): number {
  return (1 + random()) / 2 * pauseMs * 2 ** (attempts - 1);
}

function after(waitMs: number, reason: RetryReason, remainingMs: number, budget: RetryBudget): RetryDecision {
  if (waitMs >= remainingMs) return no('past_deadline');
  return budget.spend('trouble') ? { retry: true, reason, waitMs } : no('budget_spent');
}

function no(reason: RetryReason): RetryDecision {
  return { retry: false, reason, waitMs: 0 };
}
