import { Pool } from 'undici';
import { addUpstreamTime, currentTrace } from '../observability/request-log.js';
import { invalidResponse, problemForFailure, problemForStatus } from './errors.js';
import { type NoteSeen, seenIn } from './last-seen.js';
import { type RateLimit, readRateLimit } from './rate-limit.js';

/** Where the upstream is, and how it is spoken to. */
export type UpstreamOptions = {
  /** Root, without a trailing slash. */
  baseUrl: string;
  secretKey: string;
  headerPrefix: 'x-pica' | 'x-one';
  /** Deadline of one call, first byte to last, in milliseconds. */
  timeoutMs: number;
  /** Told what was seen of the upstream. */
  note?: NoteSeen;
};

/** What is special about one call. */
export type UpstreamRequest = {
  query?: Record<string, string | number | undefined>;
  body?: unknown;
  /** Statuses besides 2xx that the caller handles; their body is not read. */
  accept?: readonly number[];
  /** Ends the call early. */
  signal?: AbortSignal;
};

/** Our own calls to the upstream: JSON in, JSON out, with a deadline, each failure a catalogued Problem. */
export type UpstreamClient = {
  /** The parsed body, and the status when it is one of `accept`. An empty body is undefined. */
  call(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, request?: UpstreamRequest): Promise<{ status: number; body: unknown }>;
  /** What the upstream last said of its rate limit; undefined while it has said nothing. */
  rateLimit(): RateLimit | undefined;
  close(): Promise<void>;
};

const maxAnswerBytes = 64 * 1024 * 1024;
/** What an error document has at most; of more, nothing is read. */
const errorDocumentBytes = 64 * 1024;

/** A client with sockets of its own. */
export function createUpstreamClient({ baseUrl, secretKey, headerPrefix, timeoutMs, note = () => {} }: UpstreamOptions): UpstreamClient {
  const { origin, pathname } = new URL(baseUrl);
  const root = pathname.replace(/\/+$/, '');
  const pool = new Pool(origin, {
    connections: 16, maxResponseSize: maxAnswerBytes, headersTimeout: timeoutMs, bodyTimeout: timeoutMs, connect: { timeout: timeoutMs },
  });
  let rateLimit: RateLimit | undefined;

  return {
    async call(method, path, { query = {}, body, accept = [], signal } = {}) {
      const started = performance.now();
      const span = currentTrace()?.call(method);
      try {
        const answer = await pool.request({
          method,
          path: `${root}${path}${queryString(query)}`,
          headers: {
            [`${headerPrefix}-secret`]: secretKey,
            accept: 'application/json',
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...span?.headers,
          },
          body: body === undefined ? null : JSON.stringify(body),
          signal: signal ? AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) : AbortSignal.timeout(timeoutMs),
        });
        rateLimit = readRateLimit(answer.headers, headerPrefix) ?? rateLimit;
        const status = answer.statusCode;
        span?.answered(status);
        if (accept.includes(status)) {
          await answer.body.dump();
          note('ok');
          return { status, body: undefined };
        }
        if (status < 200 || status > 299) throw problemForStatus(status, (name) => [answer.headers[name]].flat()[0], await errorDocument(answer.body));
        const parsed = parse(await answer.body.text());
        note('ok');
        return { status, body: parsed };
      } catch (error) {
        const problem = problemForFailure(error);
        if (!signal?.aborted) note(seenIn(problem));
        span?.failed(problem);
        throw problem;
      } finally {
        span?.end();
        addUpstreamTime(performance.now() - started);
      }
    },
    rateLimit: () => rateLimit,
    close: () => pool.destroy(),
  };
}

/** Whether a body is the upstream's error document, which some failures answer with a 2xx status around it. */
export function isErrorBody(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false;
  const { key, status, type, error } = body as Record<string, unknown>;
  return (typeof key === 'string' && key.startsWith('err::')) || (typeof status === 'number' && status >= 400) || (type === 'error' && error !== undefined);
}

/** The body of a failure, parsed, or as text where it is no JSON; as far as it came, since the status alone says enough. */
async function errorDocument(body: AsyncIterable<Buffer>): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > errorDocumentBytes) break;
    }
  } catch {
    // It broke off.
  }
  const text = Buffer.concat(chunks).toString();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function parse(text: string): unknown {
  if (text === '') return undefined;
  const body: unknown = JSON.parse(text);
  if (isErrorBody(body)) throw invalidResponse('it holds an error inside a success');
  return body;
}

function queryString(query: Record<string, string | number | undefined>): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`);
  return pairs.length > 0 ? `?${pairs.join('&')}` : '';
}
