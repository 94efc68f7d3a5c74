import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import type { AxiosStatic } from 'axios';
import { setSdkApiRoot } from '../config.js';
import { addUpstreamTime, currentTrace } from '../observability/request-log.js';
import type { UpstreamSpan } from '../observability/trace.js';
import type { TokenSource } from './authkit-token.js';
import { isErrorBody } from './client.js';
import { type NoteSeen, seenIn } from './last-seen.js';
import { invalidResponse, problemForFailure, problemForStatus } from './errors.js';

type Sdk = { create(payload: { identity: string; identityType: string; group?: string | undefined; label?: string | undefined }): Promise<unknown> };

// Required rather than imported: the package's types are its TypeScript sources, which do not compile as a module and lack
// "project", an identity type the wire accepts.
const require = createRequire(import.meta.url);
const { AuthKitToken } = require('@picahq/authkit-node') as { AuthKitToken: new (secret: string, options: { baseUrl: string }) => Sdk };

// The SDK's own axios instance (1.x through npm overrides), the only place where its failures can be seen.
const axios = createRequire(require.resolve('@picahq/authkit-node'))('axios') as AxiosStatic;

/** A request of axios', with the span that follows it. */
type Traced = { span?: UpstreamSpan | undefined };
type Attempt = { failure?: unknown; timeoutMs: number; signal: AbortSignal };
const attempt = new AsyncLocalStorage<Attempt>();

axios.interceptors.request.use((request) => {
  const current = attempt.getStore();
  // Its answers must be JSON objects: by default axios hands over text that does not parse as if nothing had happened.
  if (!current) return request;
  const span = currentTrace()?.call((request.method ?? 'get').toUpperCase());
  if (span) request.headers.set(span.headers);
  return {
    ...request, timeout: current.timeoutMs, signal: current.signal, responseType: 'json', maxRedirects: 0, proxy: false,
    transitional: { silentJSONParsing: false }, span,
  };
});
axios.interceptors.response.use(
  (response) => {
    const current = attempt.getStore();
    const problem = current && unusable(response.config.url ?? '', response.data);
    endSpan(response.config, response.status, problem);
    if (current && problem) {
      current.failure ??= problem;
      throw problem;
    }
    return response;
  },
  (error: unknown) => {
    const current = attempt.getStore();
    if (current) current.failure ??= error;
    if (axios.isAxiosError(error)) endSpan(error.config, error.response?.status, error);
    return Promise.reject(error as Error);
  },
);

/** Where the upstream is, our secret, a token's deadline, and who is told what was seen of the upstream. */
type SdkOptions = { baseUrl: string; secretKey: string; timeoutMs: number; note: NoteSeen };

/**
 * Tokens through the real `@picahq/authkit-node` 1.x (the `embed` protocol). It never throws on an upstream failure: an
 * HTTP error resolves with the error's body and a network error with undefined (upstream.md, "Traps in the SDK"), and it
 * has no deadline. So its axios is watched, and what went wrong there decides, not what `create()` returns.
 */
export function createSdkTokenSource({ baseUrl, secretKey, timeoutMs, note }: SdkOptions): TokenSource {
  const sdk = new AuthKitToken(secretKey, { baseUrl: `${baseUrl}/internal` });
  return async ({ identity, identityType, group, label }) => {
    const current: Attempt = { timeoutMs, signal: AbortSignal.timeout(timeoutMs) };
    const started = performance.now();
    setSdkApiRoot(`${baseUrl}/v1`);
    const token = await attempt.run(current, () => sdk.create({ identity, identityType, group, label })).catch((error: unknown) => void (current.failure ??= error));
    addUpstreamTime(performance.now() - started);
    if (current.failure !== undefined) {
      const problem = toProblem(current);
      note(seenIn(problem));
      throw problem;
    }
    note('ok');
    if (typeof token !== 'object' || token === null || isErrorBody(token)) throw invalidResponse('it is not a token');
    return token as Record<string, unknown>;
  };
}

function endSpan(config: object | undefined, status: number | undefined, failure: unknown): void {
  const span = (config as Traced | undefined)?.span;
  if (status !== undefined) span?.answered(status);
  if (failure !== undefined) span?.failed(failure);
  span?.end();
}

function unusable(url: string, data: unknown) {
  if (typeof data !== 'object' || data === null || Array.isArray(data) || isErrorBody(data)) return invalidResponse('it is not the expected object');
  if (url.includes('/event-links/create') && typeof (data as { token?: unknown }).token !== 'string') return invalidResponse('the event link has no token');
  if (url.includes('/embed-tokens/create') && Object.keys(data).length === 0) return invalidResponse('it is not a token');
  if (url.includes('/connection-definitions') && !Array.isArray((data as { rows?: unknown }).rows)) return invalidResponse('the connection definitions have no rows');
  return undefined;
}

function toProblem({ failure, signal }: Attempt) {
  if (signal.aborted) return problemForFailure(signal.reason);
  if (!axios.isAxiosError(failure)) return problemForFailure(failure);
  if (failure.response) {
    const { status, headers } = failure.response;
    if (status >= 200 && status < 300) return invalidResponse('its body could not be read');
    return problemForStatus(status, (name) => headers[name] as string | undefined, failure.response.data);
  }
  // The original holds the request, secret header included: only its code may travel on.
  return problemForFailure(Object.assign(new Error(`the SDK's call failed: ${failure.code}`), { code: failure.code }));
}
