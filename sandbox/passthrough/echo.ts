import { isUtf8 } from 'node:buffer';
import { digest } from './digest.js';
import { json, type HeaderPairs, type Provider } from './provider.js';

const SHOWN_BODY_BYTES = 1024 * 1024;

/** Answers with what arrived: the URL byte for byte, headers as raw pairs, the body as text or base64 with its digest. */
export const echo: Provider = async ({ method, url, path, query, platform, connection, action, rawHeaders, body }) => {
  const { sha256, length, kept } = await digest(body, SHOWN_BODY_BYTES);
  return json({
    method,
    url,
    path,
    query,
    queryPairs: [...new URLSearchParams(query)],
    platform,
    connectionKey: lastFour(connection.key),
    actionId: action?.id ?? null,
    headers: masked(rawHeaders),
    body: {
      ...(isUtf8(kept) ? { text: kept.toString() } : { base64: kept.toString('base64') }),
      sha256,
      length,
      truncated: length > kept.length,
    },
  });
};

/** A provider never sees the secret or the key, so its echo must not hand them out either. */
function masked(headers: HeaderPairs): HeaderPairs {
  return headers.map(([name, value]) => [name, /^x-(pica|one)-(secret|connection-key)$/i.test(name) ? lastFour(value) : value]);
}

function lastFour(value: string): string {
  return `…${value.slice(-4)}`;
}
