import type { FastifyInstance } from 'fastify';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { buildApp } from '../../src/app.js';
import { type Config, loadConfig } from '../../src/config.js';
import { createLogger } from '../../src/observability/logger.js';
import type { Database } from '../../src/persistence/database.js';
import { openTestDatabase } from './database.js';
import { type CapturedLog, captureLog } from './log.js';

export const rootKey = 'root-key-of-the-tests-0123456789abcdef';
export const secretKey = 'sk_test_sandbox_0123456789abcdef';

/** A gateway listening on a port of its own. */
export type Gateway = {
  url: string;
  app: FastifyInstance;
  config: Config;
  database: Database;
  log: CapturedLog;
  /** `fetch` on a path, with the root key unless the headers name another credential; `json` becomes the body. */
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>;
  /** A new API key with these scopes, optionally bound to an identity. */
  createKey(scopes: string[], bound?: { identity: string; identityType?: string }): Promise<string>;
};
export type RequestOptions = { headers?: Record<string, string>; json?: unknown; body?: string; key?: string | null };
export type Answer = { status: number; headers: Headers; text: string; json: any };

/** Test configuration: the environment of a gateway whose upstream is at `upstream`, with overrides by variable name. */
export function testConfig(upstream: string, overrides: Record<string, string> = {}): Config {
  return loadConfig({
    PORT: '0', PICA_SECRET_KEY: secretKey, ADMIN_API_KEY: rootKey, PICA_BASE_URL: upstream, UPSTREAM_TIMEOUT_MS: '2000', RECONCILE_INTERVAL_MS: '0', LOG_LEVEL: 'info', ...overrides,
  });
}

/** Starts a gateway on a database of its own (or the given one) and closes it when the test ends. */
export async function startGateway(t: Test, upstream: string, overrides: Record<string, string> = {}, given?: Database): Promise<Gateway> {
  const database = given ?? await openTestDatabase(t);
  const config = testConfig(upstream, overrides);
  const log = captureLog(t);
  const app = await buildApp({ config, database, logger: createLogger(config.logLevel, [config.secretKey, ...config.adminApiKeys], log) });
  t.teardown(() => app.close());
  await app.listen({ host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;

  const request: Gateway['request'] = async (method, path, { headers = {}, json, body, key = rootKey } = {}) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { ...(key === null ? {} : { 'x-api-key': key }), ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(json === undefined ? body === undefined ? {} : { body } : { body: JSON.stringify(json) }),
      redirect: 'manual',
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: parse(text) };
  };
  return {
    url, app, config, database, log, request,
    async createKey(scopes, bound = undefined) {
      const { status, json, text } = await request('POST', '/api-keys', { json: { name: 'test', scopes, ...bound } });
      if (status !== 201) throw new Error(`no key: ${text}`);
      return json.key as string;
    },
  };
}

function parse(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
