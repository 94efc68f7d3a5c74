import type { Test } from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { type Gateway, type RequestOptions, startGateway } from './gateway.js';
import { seed } from './sandbox.js';

/** A gateway in front of a sandbox of its own. */
export async function startBoth(t: Test, overrides: Record<string, string> = {}): Promise<{ gateway: Gateway; sandbox: string }> {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  return { gateway: await startGateway(t, sandbox.url, { AUTHKIT_TOKEN_SOURCE: 'http', ...overrides }), sandbox: sandbox.url };
}

/** A session's id and token, made with the root key. */
export async function openSession(gateway: Gateway, body: Record<string, unknown>): Promise<{ id: string; token: string; expiresAt: string }> {
  const { status, json, text } = await gateway.request('POST', '/authkit/sessions', { json: body });
  if (status !== 201) throw new Error(`no session: ${text}`);
  return json;
}

/** A request with a bearer credential and no key. */
export function asBearer(gateway: Gateway, token: string) {
  return (method: string, path: string, { headers, ...options }: RequestOptions = {}) =>
    gateway.request(method, path, { key: null, headers: { authorization: `Bearer ${token}`, ...headers }, ...options });
}

/** Puts a connection of `identity` into the vault, and the claim that stores it. */
export async function claimOf(sandbox: string, identity: string, platform = 'gmail', row: Record<string, unknown> = {}) {
  const seeded = await seed(sandbox, { identity, platform, ...row });
  return { ...seeded, claim: { key: seeded.key, platform } };
}
