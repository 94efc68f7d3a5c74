import { Problem } from '../errors.js';
import { HttpError } from './http/errors.js';
import { resetMs } from './rate-limit.js';

/** What the upstream says of a failure (upstream.md, "Rate limits and errors"), for the log alone. */
export type UpstreamDetails = Readonly<{ status: number; type?: string; key?: string; message?: string; correlationId?: string }>;

/** An upstream answer that is not a success: the cause of the problem that it becomes. `details` may quote what was sent, so they are masked when logged. */
export class UpstreamRefusal extends Error {
  override readonly name = 'UpstreamRefusal';

  constructor(readonly details: UpstreamDetails) {
    super(`the upstream answered with status ${details.status}`);
  }
}

/**
 * The catalogued problem for an upstream answer that is not a success: our secret refused → 502 `upstream_unauthorized`; another
 * 403 → 502 `upstream_forbidden`; 402 → 502 `upstream_quota_exceeded`; 429 → `upstream_rate_limited` with Retry-After (its own,
 * or else its rate limit's reset); the rest → 502 `upstream_invalid_response`. The upstream's body goes into no detail: it may
 * quote what we sent.
 *
 * @param body parsed, or as text where it is no JSON
 */
export function problemForStatus(status: number, header: (name: string) => string | undefined, body?: unknown, now = Date.now()): Problem {
  const details = detailsOf(status, body, header('x-one-correlation-id') ?? header('x-pica-correlation-id'));
  const cause = new UpstreamRefusal(details);
  if (status === 401 || (status === 403 && isAboutSecret(details))) {
    return new Problem('upstream_unauthorized', `The upstream answered ${status} to our secret; check PICA_SECRET_KEY.`, { cause });
  }
  if (status === 403) return new Problem('upstream_forbidden', 'The upstream accepts our secret, but a rule of it forbids this call; the log has its reason.', { cause });
  if (status === 402) return new Problem('upstream_quota_exceeded', 'The upstream answered 402: its quota is used up, or it is not paid.', { cause });
  if (status === 429) {
    const reset = header('x-pica-rate-limit-reset') ?? header('x-one-rate-limit-reset');
    const seconds = retryAfterSeconds(header('retry-after'), now) ?? Math.ceil((resetMs(reset, now) ?? 1000) / 1000);
    return new Problem('upstream_rate_limited', 'The upstream limits our rate; try again later.', { headers: { 'retry-after': String(seconds) }, cause });
  }
  return new Problem('upstream_invalid_response', `The upstream answered with status ${status}.`, { cause });
}

// A refused credential may be no more than "403 Forbidden"; an error document says what else it is about.
function isAboutSecret({ type, key, message = '' }: UpstreamDetails): boolean {
  const bare = type === undefined && key === undefined && /^[\s"']*(?:(?:403|error)\b[\s:]*)?(?:forbidden)?[\s"'.!]*$/i.test(message);
  return bare || /\b(?:secret|api[ _-]?key|credentials?|unauthori[sz]ed|unauthenticated|authentication)\b/i.test([type, key, message].join(' '));
}

const longestText = 500;

function detailsOf(status: number, body: unknown, correlationId: string | undefined): UpstreamDetails {
  const members = typeof body === 'object' && body !== null ? body as Record<string, unknown> : { message: body };
  const { type, key, message, error } = members;
  const text = { type: short(type), key: short(key), message: short(message) ?? short(error), correlationId: short(correlationId ?? members['correlationId']) };
  return { status, ...Object.fromEntries(Object.entries(text).filter(([, value]) => value !== undefined)) };
}

function short(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.slice(0, longestText) : undefined;
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
