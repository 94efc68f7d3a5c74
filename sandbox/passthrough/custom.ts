import { gunzipSync } from 'node:zlib';
import { type Action, findCustomAction, isCustom } from '../catalogue/actions.js';
import { ApiError } from '../errors.js';
import type { Connection, Vault } from '../vault/store.js';
import { digest } from './digest.js';
import { json, type Provider, type ProviderAnswer, type ProviderCall } from './provider.js';

const MAX_BODY_BYTES = 4 * 1024 * 1024;

/**
 * Custom actions are code of the vendor's: they act with the connection that `connectionKey` in the body names, whichever
 * one the header has. Throws BadRequest without that member, and NotFound for a key that no connection of the platform has.
 */
export function customActions(vault: Vault): Provider {
  return (call) => {
    const action = call.action ?? findCustomAction(call.platform, call.method, call.path);
    return action && isCustom(action) ? act(vault, action, call) : undefined;
  };
}

async function act(vault: Vault, { platform }: Action, call: ProviderCall): Promise<ProviderAnswer> {
  const fields = await readFields(call);
  const key = fields['connectionKey'];
  if (typeof key !== 'string') throw new ApiError('BadRequest', 'connectionKey is required');
  const connection = vault.byKey(key);
  if (connection?.platform !== platform) throw new ApiError('NotFound', 'Connection not found');
  return json({ id: '18f3a1c2d4e5f699', labelIds: ['SENT'], from: addressOf(connection), to: fields['to'] ?? null });
}

function addressOf({ identity, platform }: Connection): string {
  return `${identity ?? 'sandbox'}@${platform}.example`;
}

/** The body's members, read as leniently as a body parser can: by its bytes, whatever its content type says. */
async function readFields({ body, rawHeaders }: ProviderCall): Promise<Record<string, unknown>> {
  const { kept } = await digest(body, MAX_BODY_BYTES);
  const zipped = rawHeaders.some(([name, value]) => name.toLowerCase() === 'content-encoding' && /gzip/i.test(value));
  try {
    const text = (zipped ? gunzipSync(kept) : kept).toString().trim();
    return text.startsWith('{') ? JSON.parse(text) as Record<string, unknown> : Object.fromEntries(new URLSearchParams(text));
  } catch {
    throw new ApiError('BadRequest', 'The body cannot be read');
  }
}
