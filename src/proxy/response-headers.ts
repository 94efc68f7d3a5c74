import { connectionOptions, hopByHop, rememberNames } from './header-names.js';

const passthrough = /^x-(?:pica|one)-passthrough-(.+)$/;
const credentials = /^x-(?:pica|one)-(?:secret|connection-key)$/;
const refused = /^(?:set-cookie2?|access-control-.*|strict-transport-security|x-authkit-.*)$/;

/** What becomes of a header. `name`: what it is called afterwards, in lower case. `marker`: says that the provider spoke, but does not pass. */
type Fate = Readonly<{ kind: 'drop' | 'keep' | 'marker' | 'connection' | 'length' | 'type' | 'restore' | 'restore-connection'; name: string }>;

const fateOf = rememberNames<Fate>((name) => {
  const restored = passthrough.exec(name)?.[1];
  if (restored !== undefined) {
    if (restored === 'connection') return { kind: 'restore-connection', name: restored };
    return { kind: mayPass(restored) && restored !== 'content-length' ? 'restore' : 'marker', name: restored };
  }
  if (name === 'connection') return { kind: 'connection', name };
  if (name === 'content-length') return { kind: 'length', name };
  if (!mayPass(name)) return { kind: 'drop', name };
  return { kind: name === 'content-type' ? 'type' : 'keep', name };
});

function mayPass(name: string): boolean {
  return !hopByHop.has(name) && !refused.test(name) && !credentials.test(name);
}

/** An answer's headers, translated: a flat list for the caller, and whether a provider spoke (upstream.md, "Passthrough"). */
export type ResponseHead = Readonly<{ headers: string[]; fromProvider: boolean; contentLength: number | undefined }>;

/**
 * Restores `x-(pica|one)-passthrough-{name}` to `{name}`, which wins over the upstream's own header of that name, and
 * drops hop-by-hop fields, cookies, CORS, HSTS and credentials. The upstream's rate-limit headers stay. The content type
 * that the upstream puts on a provider's answer without one is meaningless and goes.
 */
export function responseHead(status: number, raw: readonly string[]): ResponseHead {
  const own: string[] = [];
  let restored: string[] | undefined;
  let listed: string[] | undefined;
  let fromProvider = false;
  let type: string | undefined;
  let contentLength: number | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const fate = fateOf(name);
    if (fate.kind === 'drop') continue;
    const value = raw[i + 1]!;
    switch (fate.kind) {
      case 'keep': own.push(name, value); break;
      case 'type': type = value; break;
      // RFC 9110 §8.6: a 204 has no length to tell.
      case 'length': if (status !== 204 && /^\d+$/.test(value)) contentLength = Number(value); break;
      case 'connection': (listed ??= []).push(...connectionOptions(value)); break;
      case 'marker': fromProvider = true; break;
      case 'restore':
        fromProvider = true;
        (restored ??= []).push(fate.name, value);
        break;
      case 'restore-connection':
        fromProvider = true;
        (listed ??= []).push(...connectionOptions(value));
        break;
    }
  }
  const headers = merge(own, restored, listed);
  if (type !== undefined && !(fromProvider && type === 'application/octet-stream') && !has(restored, 'content-type')) headers.push('content-type', type);
  if (contentLength !== undefined) headers.push('content-length', String(contentLength));
  return { headers, fromProvider, contentLength };
}

/** Trailers (RFC 9110 §6.5) by the same rules as headers; those that frame or route a message are not allowed there. */
export function responseTrailers(raw: readonly string[]): [string, string][] {
  const { headers } = responseHead(204, raw);
  const pairs: [string, string][] = [];
  for (let i = 0; i < headers.length; i += 2) {
    if (!/^(?:content-.*|cache-control|date|expires|location|retry-after|vary|warning|www-authenticate)$/i.test(headers[i]!)) {
      pairs.push([headers[i]!, headers[i + 1]!]);
    }
  }
  return pairs;
}

function merge(own: string[], restored: string[] | undefined, listed: string[] | undefined): string[] {
  if (!restored && !listed?.length) return own;
  const headers: string[] = [];
  for (let i = 0; restored && i < restored.length; i += 2) {
    if (!listed?.includes(restored[i]!)) headers.push(restored[i]!, restored[i + 1]!);
  }
  for (let i = 0; i < own.length; i += 2) {
    const { name } = fateOf(own[i]!);
    if (!listed?.includes(name) && !has(restored, name)) headers.push(own[i]!, own[i + 1]!);
  }
  return headers;
}

/** Whether a flat list has a header; `name` and the list's names are lower-case. */
function has(headers: readonly string[] | undefined, name: string): boolean {
  if (!headers) return false;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] === name) return true;
  }
  return false;
}
