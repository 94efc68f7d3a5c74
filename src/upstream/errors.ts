import { Problem } from '../errors.js';
import { HttpError } from './http/errors.js';
import { resetMs } from './rate-limit.js';

/**
 * The catalogued problem for an upstream answer that is not a success (design.md, "Upstream trouble"): our secret refused
 * → 502 `upstream_unauthorized`; 429 → `upstream_rate_limited` with Retry-After (its own, or else its rate limit's reset);
 * the rest → `upstream_invalid_response`. The upstream's body goes into no detail: it may quote what we sent.
 */
export function problemForStatus(status: number, header: (name: string) => string | undefined, now = Date.now()): Problem {
  if (status === 401 || status === 403) {
    return new Problem('upstream_unauthorized', `The upstream answered ${status} to our secret; check PICA_SECRET_KEY.`);
  }
  if (status === 429) {
    const reset = header('x-pica-rate-limit-reset') ?? header('x-one-rate-limit-reset');
    const seconds = retryAfterSeconds(header('retry-after'), now) ?? Math.ceil((resetMs(reset, now) ?? 1000) / 1000);
    return new Problem('upstream_rate_limited', 'The upstream limits our rate; try again later.', { headers: { 'retry-after': String(seconds) } });
  }
  return new Problem('upstream_invalid_response', `The upstream answered with status ${status}.`);
}

/** The catalogued problem for an upstream call that got no usable answer. */
export function problemForFailure(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const { code } = error as { code?: string };
  if (isTimeout(error)) {
    return new Problem('upstream_timeout', 'The upstream did not answer in time.', { cause: error });
  }
  if (error instanceof HttpError && error.kind === 'protocol') return invalidResponse('it is no HTTP answer, or too large a one', error);
  if (error instanceof SyntaxError || code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') return invalidResponse('its body could not be read', error);
  return new Problem('upstream_unreachable', 'The upstream cannot be reached, or broke off its answer.', { cause: error });
}

/** Whether a failure is that time ran out. */
export function isTimeout(error: unknown): boolean {
  const { name, code } = error as { name?: string; code?: string };
  return name === 'TimeoutError' || code === 'timeout' || timeouts.has(code ?? '');
}

/** 502 `upstream_invalid_response` with a reason. */
export function invalidResponse(reason: string, cause?: unknown): Problem {
  return new Problem('upstream_invalid_response', `The upstream's answer is not usable: ${reason}.`, { cause });
}

const timeouts = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ECONNABORTED', 'ETIMEDOUT']);

/** Retry-After (RFC 9110 §10.2.3), seconds or a date, as whole seconds from now; undefined when it says nothing usable. */
export function retryAfterSeconds(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value);
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - now) / 1000));
}
