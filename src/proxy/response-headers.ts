import { inertPolicy, isActive } from './active-content.js';
import { cacheControlOf, varyOf } from './caching.js';
import { connectionOptions, hopByHop, rememberNames } from './header-names.js';
import { quotes } from './quoted-secrets.js';

const passthrough = /^x-(?:pica|one)-passthrough-(.+)$/;
const credentials = /^x-(?:pica|one)-(?:secret|connection-key)$/;
/** Names that say something of this gateway, or would have a browser ask for a login to it: the provider's arrive as `x-upstream-{name}`. */
const renamed = /^(?:x-request-id|idempotency-replayed|ratelimit(?:-.*)?|server-timing|www-authenticate)$/;

/**
 * What acts on our origin as a whole and not on the answer alone: on what a browser keeps or does for the origin, on its
 * other pages, and on caches and servers between us and the caller.
 */
const originWide = new RegExp(`^(?:${[
  'set-cookie2?', 'access-control-.*', 'timing-allow-origin', 'strict-transport-security', 'public-key-pins.*', 'expect-ct', 'expect-staple.*', 'x-authkit-.*',
  'clear-site-data', 'alt-svc', 'nel', 'report-to', 'reporting-endpoints', 'service-worker-allowed', 'accept-ch.*', 'critical-ch', 'delegate-ch', 'origin-agent-cluster',
  'origin-trial', 'set-login', 'idp-signin-status', 'speculation-rules', 'supports-loading-mode', 'sec-.*', 'secure-session-.*', 'refresh', 'x-dns-prefetch-control',
  '(?:x-)?sourcemap', 'use-as-dictionary', 'activate-storage-access', 'observe-browsing-topics', 'shared-storage-.*', 'attribution-reporting-.*', 'ad-auction-.*',
  '(?:x-)?content-security-policy.*', 'x-webkit-csp', 'permissions-policy.*', 'feature-policy', '(?:require-)?document-policy.*', 'integrity-policy.*',
  'connection-allowlist.*', 'cross-origin-.*', 'x-content-type-options',
  'surrogate-.*', '(?:.*-)?cdn-cache-control', 'edge-.*', '(?:x-)?cache-tags?', 'xkey', 'x-accel-(?!buffering$).*', '(?:x-lighttpd-)?(?:x-)?send-?(?:file|tempfile)2?',
  'x-reproxy-.*', '(?:x-)?(?:litespeed|lscache|lsadc)-.*', 'netlify-.*', 'akamai-.*', 'no-vary-search', 'cache-groups?(?:-.*)?', 'variants', 'variant-key', 'x-esi',
  'x-envoy-(?!upstream-service-time$).*',
].join('|')})$`);

/**
 * What becomes of a header. `name`: what it is called afterwards, in lower case. `provider`: it says that the provider spoke.
 */
type Fate = Readonly<{ kind: 'drop' | 'keep' | 'rename' | 'connection' | 'length' | 'type' | 'vary' | 'cache-control'; name: string; provider: boolean }>;

const fateOf = rememberNames<Fate>((given) => {
  const restored = passthrough.exec(given)?.[1];
  const name = restored ?? given;
  const provider = restored !== undefined;
  if (renamed.test(name)) return { kind: 'rename', name: `x-upstream-${name}`, provider };
  return { kind: kindOf(name, provider), name, provider };
});

function kindOf(name: string, provider: boolean): Fate['kind'] {
  switch (name) {
    case 'connection': return 'connection';
    // The provider's tells of a body that the upstream may have recoded; its own is that of this message.
    case 'content-length': return provider ? 'drop' : 'length';
    case 'content-type': return 'type';
    case 'vary': return 'vary';
    case 'cache-control': return 'cache-control';
    default: return hopByHop.has(name) || originWide.test(name) || credentials.test(name) ? 'drop' : 'keep';
  }
}

/** An answer's fields, translated, and what of them decides how it is treated. */
type Fields = {
  headers: string[];
  /** Whether a provider spoke (upstream.md, "Passthrough"). */
  fromProvider: boolean;
  contentLength: number | undefined;
  /** Undefined too where it is said more than once. */
  contentType: string | undefined;
  vary: string | undefined;
  cacheControl: string | undefined;
  /** Names of those that held a secret of ours. */
  withheld: string[] | undefined;
};

/** An answer's head as the caller gets it, in a flat list, and what is to be known of it. */
export type ResponseHead = Readonly<Omit<Fields, 'vary' | 'cacheControl'>>;

const noSecrets: readonly string[] = [];

/**
 * Restores `x-(pica|one)-passthrough-{name}` to `{name}`, which wins over the upstream's own header of that name, and drops
 * hop-by-hop fields, cookies, credentials, and all that acts on our origin as a whole; our own names arrive as
 * `x-upstream-{name}`. The upstream's rate-limit headers stay. The content type that the upstream puts on a provider's
 * answer without one is meaningless and goes. Caches and browsers are told to keep the answer to its caller and its type.
 *
 * @param secrets what no field may hold; one that does goes, and is named in `withheld`
 */
export function responseHead(status: number, raw: readonly string[], secrets: readonly string[] = noSecrets): ResponseHead {
  const fields = responseFields(status, raw, secrets);
  const { headers, contentType, contentLength } = fields;
  headers.push(
    'vary', varyOf(fields.vary), 'cache-control', cacheControlOf(fields.cacheControl), 'x-content-type-options', 'nosniff', 'cross-origin-resource-policy', 'same-origin',
  );
  // Without a body, and so without a type, there is nothing to run; a 304's fields replace those of the answer that is kept.
  const empty = contentType === undefined && (status === 204 || status === 304 || contentLength === 0);
  if (!empty && isActive(contentType)) headers.push('content-security-policy', inertPolicy);
  return fields;
}

/** The translation alone, as for an informational answer, to which the rules for caches and browsers do not apply. */
export function responseFields(status: number, raw: readonly string[], secrets: readonly string[] = noSecrets): Fields {
  const own: string[] = [];
  let restored: string[] | undefined;
  let listed: string[] | undefined;
  let fromProvider = false;
  let type: string | undefined;
  let types = 0;
  const fields: Fields = {
    headers: own, fromProvider, contentLength: undefined, contentType: undefined, vary: undefined, cacheControl: undefined, withheld: undefined,
  };
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const fate = fateOf(name);
    fromProvider ||= fate.provider;
    if (fate.kind === 'drop') continue;
    const value = raw[i + 1]!;
    if (quotes(value, secrets)) {
      (fields.withheld ??= []).push(fate.name);
      continue;
    }
    switch (fate.kind) {
      case 'keep': case 'rename':
        if (fate.provider) (restored ??= []).push(fate.name, value);
        else own.push(fate.kind === 'keep' ? name : fate.name, value);
        break;
      case 'type':
        if (fate.provider) {
          types += 1;
          fields.contentType = value;
          (restored ??= []).push(fate.name, value);
        } else {
          type = value;
        }
        break;
      case 'vary': fields.vary = joined(fields.vary, value); break;
      case 'cache-control': fields.cacheControl = joined(fields.cacheControl, value); break;
      // RFC 9110 §8.6: a 204 has no length to tell.
      case 'length': if (status !== 204 && /^\d+$/.test(value)) fields.contentLength = Number(value); break;
      case 'connection': (listed ??= []).push(...connectionOptions(value)); break;
    }
  }
  fields.fromProvider = fromProvider;
  const headers = fields.headers = merge(own, restored, listed);
  if (types === 0 && type !== undefined && !(fromProvider && type === 'application/octet-stream')) {
    fields.contentType = type;
    headers.push('content-type', type);
  } else if (types > 1 || listed?.includes('content-type')) {
    fields.contentType = undefined;
  }
  if (fields.contentLength !== undefined) headers.push('content-length', String(fields.contentLength));
  return fields;
}

/** Trailers (RFC 9110 §6.5) by the same rules as headers; those that frame or route a message are not allowed there. */
export function responseTrailers(raw: readonly string[], secrets?: readonly string[]): [string, string][] {
  const { headers } = responseFields(204, raw, secrets);
  const pairs: [string, string][] = [];
  for (let i = 0; i < headers.length; i += 2) {
    if (!/^(?:content-.*|date|expires|location|retry-after|warning|x-upstream-www-authenticate)$/i.test(headers[i]!)) pairs.push([headers[i]!, headers[i + 1]!]);
  }
  return pairs;
}

function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`;
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
