import { setMaxListeners } from 'node:events';
import { type buildConnector, Client } from 'undici';
import { Problem } from '../errors.js';
import { retryAfterSeconds } from '../upstream/errors.js';
import type { AttemptResult, ClaimedDelivery } from './queue.js';
import { signedHeaders } from './secret.js';
import { before, resolveTarget, type Target, type TargetRules } from './target.js';

/** Where deliveries may go, and how long one may take. */
export type SenderOptions = TargetRules & {
  /** Limit of one attempt, from the look-up to the end of the answer. */
  timeoutMs?: number;
  /** Certificate authorities to trust besides the usual ones. */
  ca?: string;
};

/** Sends one delivery, once. Never rejects. */
export type Sender = (delivery: ClaimedDelivery, signal: AbortSignal) => Promise<AttemptResult>;

const maxAnswerBytes = 1024;

/**
 * Posts deliveries, signed, each over a connection of its own that can only lead to the addresses that were checked.
 * Redirects are failures like any other answer but a 2xx. The answer's body is not looked at.
 */
export function createSender({ timeoutMs = 10_000, ca, ...rules }: SenderOptions): Sender {
  return async ({ url, secrets, event }, stop) => {
    const { signal, clear } = limit(stop, timeoutMs);
    try {
      const target = await before(signal, resolveTarget(url, rules));
      const body = JSON.stringify({ type: event.type, timestamp: event.createdAt.toISOString(), data: event.data });
      const { status, retryAfter } = await post(target, signedHeaders(secrets, event.id, new Date(), body), body, { signal, timeoutMs, ca });
      if (status >= 200 && status < 300) return { status, error: undefined };
      return { status, error: 'status', retryAfter: status === 429 || status === 503 ? retryAfterSeconds(retryAfter) : undefined };
    } catch (error) {
      return { status: undefined, error: nameOf(error) };
    } finally {
      clear();
    }
  };
}

type Answer = { status: number; retryAfter: string | undefined };
type PostOptions = { signal: AbortSignal; timeoutMs: number; ca: string | undefined };

async function post({ url, addresses }: Target, headers: Record<string, string>, body: string, { signal, timeoutMs, ca }: PostOptions): Promise<Answer> {
  const connect: buildConnector.BuildOptions = {
    timeout: timeoutMs,
    lookup: (_hostname, options, callback) => {
      const [first] = addresses;
      if (options.all) callback(null, addresses);
      else callback(null, first!.address, first!.family);
    },
    ...(ca === undefined ? {} : { ca }),
  };
  const client = new Client(url.origin, { connect, maxHeaderSize: 16_384, headersTimeout: timeoutMs, bodyTimeout: timeoutMs });
  try {
    const answer = await client.request({
      method: 'POST', path: `${url.pathname}${url.search}`, body, signal,
      headers: { 'content-type': 'application/json', 'user-agent': 'authkit-gateway', ...headers },
    });
    // The status decides; what happens to the rest of the answer no longer matters.
    await answer.body.dump({ limit: maxAnswerBytes, signal }).catch(() => {});
    return { status: answer.statusCode, retryAfter: [answer.headers['retry-after']].flat()[0] };
  } finally {
    await client.destroy();
  }
}

// AbortSignal.any() would leave something behind on `stop`, which lives as long as the process.
function limit(stop: AbortSignal, milliseconds: number): { signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const onStop = (): void => controller.abort(stop.reason);
  const timer = setTimeout(() => controller.abort(new DOMException('the attempt took too long', 'TimeoutError')), milliseconds);
  if (stop.aborted) onStop();
  // One listener for each delivery under way, taken off below: many are no leak.
  setMaxListeners(0, stop);
  stop.addEventListener('abort', onStop, { once: true });
  return {
    signal: controller.signal,
    clear() {
      clearTimeout(timer);
      stop.removeEventListener('abort', onStop);
    },
  };
}

/** What a failed attempt is called in `lastError`: one word, nothing of what the other side said. */
function nameOf(error: unknown): string {
  if (error instanceof Problem) return 'target_refused';
  const { name, code: given } = error as { name?: string; code?: unknown };
  const code = String(given);
  if (name === 'TimeoutError' || code.endsWith('_TIMEOUT') || code === 'ETIMEDOUT') return 'timeout';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'unresolvable';
  if (/CERT|TLS|SSL|SELF_SIGNED|UNABLE_TO_/.test(code)) return 'tls';
  return 'unreachable';
}
