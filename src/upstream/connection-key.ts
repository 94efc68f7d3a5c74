import { Problem } from '../errors.js';

/** A connection key taken apart: `{environment}::{platform}::{group}::{token}`, with an optional `|{identity}`. */
export type ConnectionKey = Readonly<{ environment: 'test' | 'live'; platform: string; identity: string | undefined }>;

const form = /^(test|live)::([^:|\s]{1,64})::[^|]{1,256}?::([^:|\s]{1,128})(?:\|(.{1,256}))?$/u;
// What a header value cannot carry (RFC 9110 §5.5). Other bytes, non-ASCII identity text included, it can.
// eslint-disable-next-line no-control-regex -- control characters are exactly what is refused
const headerUnsafe = /[\u0000-\u001f\u007f]|^\s|\s$/;

/**
 * Reads a connection key (upstream.md, "Connection keys"); 422 `invalid_connection_key` when it is malformed or could not
 * travel in a header. The upstream slices keys unchecked and crashes on short ones, so nothing malformed may reach it.
 */
export function parseConnectionKey(key: string, field = 'body.key'): ConnectionKey {
  const match = key.length <= 512 && !headerUnsafe.test(key) ? form.exec(key) : null;
  if (!match) {
    throw new Problem('invalid_connection_key', 'A connection key reads {environment}::{platform}::{group}::{token}, optionally |{identity}.', {
      errors: [{ field, message: 'is not a connection key' }],
    });
  }
  return { environment: match[1] as 'test' | 'live', platform: match[2]!, identity: match[4] };
}

/** A connection key as a header value: UTF-8 bytes, which HTTP carries as obs-text (RFC 9110 §5.5). */
export function connectionKeyHeader(key: string): string {
  return /^[\x20-\x7e]*$/.test(key) ? key : Buffer.from(key, 'utf8').toString('latin1');
}
